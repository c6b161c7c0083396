"""Imports images: files below a directory become samples, files and labels of a project. The files stay as they are.

An interrupted import is continued by calling it again. Known files are not read again, and labels are written once all
files have been read, so they do not depend on where it stopped.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gradebook.pipelines.importing import image_quality
from gradebook.pipelines.importing.file_discovery import FoundFile, Refusals, find_images
from gradebook.pipelines.importing.image_quality import Measures
from gradebook.pipelines.importing.image_reader import ReadImage, read_images
from gradebook.pipelines.importing.import_report import Conflict, ImportReport
from gradebook.pipelines.importing.label_decisions import decide_labels
from gradebook.pipelines.importing.labels import Labels, checked_classes, read_labels
from gradebook.pipelines.importing.level_ranges import choose_ranges
from gradebook.pipelines.importing.near_copies import NearCopies
from gradebook.pipelines.importing.tables import BY_NAME, ColumnNames
from gradebook.pipelines.process.progress import stage
from gradebook.storage import cache_files
from gradebook.storage.catalog import GONE
from gradebook.storage.project import SETTINGS, Project, read_project
from gradebook.storage.samples import File, Sample, Split
from gradebook.storage.splits import drawn_for_testing
from gradebook.storage.store import Store

CHUNK = 1_000  # files read before they are written: what a kill loses at most
EVENTS_BATCH = 10_000  # events written at once
PROGRESS_INTERVAL = 50  # files between two calls of `progress`
# Directories of a project that hold no images of the user's.
PROJECT_DIRECTORIES = ("exports", "jobs", "lance", "mongo", "runs", *cache_files.DIRECTORIES)

Progress = Callable[[int, int], None]  # files done, files in all


def import_images(
    store: Store,
    folder: Path,
    *,
    labels: str = "none",
    split: Split = Split.TRAIN,
    columns: ColumnNames = BY_NAME,
    progress: Progress | None = None,
) -> ImportReport:
    """Imports the images at or below `folder`.

    Args:
        store: the project. Open it again to see the classes that the import has added.
        folder: a directory, one image file, or a table (see `tables`) with a column of image files.
        labels: "none"; "folders" for the name of the directory that an image is in; or the path of a table with
            the columns filepath and label. A project without classes gets those that occur, sorted.
        split: what the new samples are for: TEST for all; TRAIN for those that no split folder or column puts into the
            test split. A sample that is known stays in its split.
        columns: the columns of tables that a person named.
        progress: called now and then with the files done and the files in all.

    Raises:
        ProjectError: there are no images, the labels cannot be read, or name unknown classes. Nothing was written.
    """
    folder = folder.expanduser().absolute()
    root = folder.parent.resolve() / folder.name if folder.is_file() else folder.resolve()
    stage("Looking for images")
    files, refused = find_images(root, [store.project.root / name for name in PROJECT_DIRECTORIES], columns)
    source = read_labels(labels, root, [file.filepath for file in files], columns)
    project = checked_classes(_project(store), source)
    reading = _start(store, split, total=len(files), progress=progress)
    reading.splits = source.splits if split is Split.TRAIN else {}
    project = choose_ranges(project, [file.filepath for file in files if not _is_known(file, reading)])
    for start in range(0, len(files), CHUNK):
        _import_chunk(store, project, files[start : start + CHUNK], reading)
    stage("Comparing what was found")
    problems = _quality_problems(store, reading)
    conflicts, events = decide_labels(store, source, reading.contents)
    for start in range(0, len(events), EVENTS_BATCH):
        store.log.append_now(events[start : start + EVENTS_BATCH])
    return _report(reading, refused, project, source, conflicts, len(events), problems)


@dataclass(slots=True)
class _Reading:
    """The state of an import."""

    split: Split
    total: int
    progress: Progress
    before: list[Sample]  # the catalogue's samples when it began
    samples: dict[str, Sample]  # those and the new ones, by id
    files: dict[str, File]  # the catalogue's files when it began, by path
    holders: dict[str, list[str]]  # the files of each sample, those of the catalogue and the new ones
    drawn: set[str] = field(default_factory=set)  # samples that were drawn for testing after their import
    splits: dict[str, Split] = field(default_factory=dict)  # of files that a folder or column puts into one
    contents: dict[str, str] = field(default_factory=dict)  # of every file that can be used: path -> sample_id
    done: int = 0
    known: int = 0
    new: list[Sample] = field(default_factory=list)
    duplicates: list[tuple[str, str]] = field(default_factory=list)
    moved: list[tuple[str, str]] = field(default_factory=list)
    broken: list[tuple[str, str]] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    converted: list[tuple[str, str]] = field(default_factory=list)
    stacks: list[tuple[str, str]] = field(default_factory=list)
    uniform: list[str] = field(default_factory=list)
    measures: list[Measures] = field(default_factory=list)  # of the new samples, if cleanvision is installed

    def split_of(self, path: str) -> Split:
        """Returns the split of a file."""
        return self.splits.get(path, self.split)

    def count(self) -> None:
        """Counts one more file."""
        self.done += 1
        if self.done % PROGRESS_INTERVAL == 0 or self.done == self.total:
            self.progress(self.done, self.total)


def _start(store: Store, split: Split, *, total: int, progress: Progress | None) -> _Reading:
    before, files = store.catalog.samples(), store.catalog.files()
    holders = {sample.sample_id: [sample.filepath] for sample in before}
    for file in files:
        if file.filepath not in holders.setdefault(file.sample_id, []):
            holders[file.sample_id].append(file.filepath)
    return _Reading(
        split=split,
        total=total,
        progress=progress or (lambda done, total: None),
        before=before,
        samples={sample.sample_id: sample for sample in before},
        files={file.filepath: file for file in files},
        holders=holders,
        drawn=drawn_for_testing(store.catalog.split_changes()),
    )


def _is_known(file: FoundFile, reading: _Reading) -> bool:
    """Returns whether the catalogue has a file of this size and time."""
    row = reading.files.get(file.filepath)
    return row is not None and (row.size, row.mtime_ns) == (file.size, file.mtime_ns)


def _import_chunk(store: Store, project: Project, chunk: list[FoundFile], reading: _Reading) -> None:
    """Reads those files of a chunk that are new or have changed, and adds their samples to the catalogue."""
    unread = []
    for file in chunk:
        if _is_known(file, reading):
            reading.contents[file.filepath] = reading.files[file.filepath].sample_id
            reading.known += 1
            reading.count()
        else:
            unread.append(file)
    if not unread:
        return
    mean_size = sum(file.size for file in unread) / len(unread)
    results = read_images([file.filepath for file in unread], mean_size, project, reading.count)
    first_new, rows = len(reading.new), []
    for file, result in zip(unread, results, strict=True):
        if isinstance(result, str):
            reading.broken.append((file.filepath, result))
        else:
            rows += _take(file, result, reading)
    if reading.measures:  # before the catalogue: a killed import reads these files again
        store.quality.add(image_quality.judge(reading.new[first_new:], reading.measures[first_new:]))
    store.catalog.add(reading.new[first_new:], rows)


def _take(file: FoundFile, image: ReadImage, reading: _Reading) -> list[File]:
    """Registers the content of a file; returns the rows of the catalogue's files that change."""
    path, row = file.filepath, reading.files.get(file.filepath)
    rows = [File(filepath=path, sample_id=image.sample_id, size=file.size, mtime_ns=file.mtime_ns)]
    sample = reading.samples.get(image.sample_id)
    reading.contents[path] = image.sample_id
    if row is not None and row.sample_id != image.sample_id:
        reading.changed.append(path)
    if sample is None:
        new = Sample(
            sample_id=image.sample_id,
            filepath=path,
            split=reading.split_of(path),
            width=image.width,
            height=image.height,
            fingerprint=image.fingerprint,
        )
        reading.new.append(new)
        reading.samples[new.sample_id] = new
        _note_conversion(path, image, reading)
    elif path in reading.holders[sample.sample_id]:  # touched, or a killed import wrote the sample but not the file
        reading.known += 1
    else:
        others = [other for other in reading.holders[sample.sample_id] if _still_holds(other, sample, reading.contents)]
        gone = [other for other in reading.holders[sample.sample_id] if other not in others]
        (reading.duplicates if others else reading.moved).append((path, others[0] if others else gone[0]))
        rows += [File(filepath=p, sample_id=GONE, size=0, mtime_ns=0) for p in gone if p not in reading.contents]
        reading.holders[sample.sample_id] = others
    reading.holders.setdefault(image.sample_id, []).append(path)
    return rows


def _note_conversion(path: str, image: ReadImage, reading: _Reading) -> None:
    """Notes what decoding did to a new image that its user should know of, and its quality."""
    if image.levels:
        reading.converted.append((path, image.levels))
    if image.pictures > 1:
        reading.stacks.append((path, f"the first of {image.pictures}"))
    if image.is_uniform:
        reading.uniform.append(path)
    if image.quality is not None:
        reading.measures.append(image.quality)


def _quality_problems(store: Store, reading: _Reading) -> list[tuple[str, str]]:
    """Returns the new images of bad quality, with what is wrong; oddly sized ones are noted for the whole project."""
    if not reading.new or not image_quality.is_available():
        return []
    known = store.quality.read()
    sizes = image_quality.judge_sizes(list(reading.samples.values()))
    store.quality.add([flag for flag in sizes if flag.problem not in known.get(flag.sample_id, {})])
    now = store.quality.read()
    return [
        (sample.filepath, ", ".join(name.replace("_", " ") for name in now[sample.sample_id]))
        for sample in reading.new
        if sample.sample_id in now
    ]


def _still_holds(path: str, sample: Sample, contents: Mapping[str, str]) -> bool:
    return contents[path] == sample.sample_id if path in contents else Path(path).exists()


def _project(store: Store) -> Project:
    """Returns the current settings: an earlier import through the same store may have added classes."""
    return read_project(store.project.root) if (store.project.root / SETTINGS).exists() else store.project


def _report(  # noqa: PLR0913  # what an import did
    reading: _Reading,
    refused: Refusals,
    project: Project,
    labels: Labels,
    conflicts: list[Conflict],
    labelled: int,
    problems: list[tuple[str, str]],
) -> ImportReport:
    broken = sorted([*refused, *reading.broken])
    leaks = _leaks(reading)
    copies = NearCopies(reading.before, reading.new)
    near_duplicates, near_leaks = (
        [(new.filepath, earlier.filepath) for new, earlier in pairs]
        for pairs in (copies.pairs(), copies.pairs_across_splits())
    )
    return ImportReport(
        imported=len(reading.new),
        test_images=sum(sample.split is Split.TEST for sample in reading.new),
        already_known=reading.known,
        duplicates=len(reading.duplicates),
        moved=len(reading.moved),
        broken=len(broken),
        changed=len(reading.changed),
        near_duplicates=len(near_duplicates),
        conflicts=len(conflicts),
        leaks=len(leaks),
        near_leaks=len(near_leaks),
        converted=len(reading.converted),
        stacks=len(reading.stacks),
        uniform=len(reading.uniform),
        quality=len(problems),
        quality_measured=image_quality.is_available(),
        labelled=labelled,
        label_problems=len(labels.problems),
        classes=project.classes,
        duplicate_files=tuple(reading.duplicates),
        moved_files=tuple(reading.moved),
        broken_files=tuple(broken),
        changed_files=tuple(reading.changed),
        near_duplicate_pairs=tuple(near_duplicates),
        conflict_files=tuple(conflicts),
        leak_files=tuple(leaks),
        near_leak_pairs=tuple(near_leaks),
        level_ranges=project.levels or {},
        converted_files=tuple(reading.converted),
        stack_files=tuple(reading.stacks),
        uniform_files=tuple(reading.uniform),
        quality_files=tuple(problems),
        label_problem_places=tuple(labels.problems),
    )


def _leaks(reading: _Reading) -> list[tuple[str, str]]:
    """Returns the files whose image is in the other split already, except those that were drawn for testing."""
    contents = sorted((path, i) for path, i in reading.contents.items() if i not in reading.drawn)
    splits = [(path, reading.samples.get(sample_id)) for path, sample_id in contents]
    return [
        (path, sample.split.value) for path, sample in splits if sample and sample.split is not reading.split_of(path)
    ]
