"""Import: from a directory of images to samples, files and imported labels. Nothing there is copied or changed.

An import that is interrupted goes on when it is called again: files that are known are not read again, and labels
are decided once all files are known, so that they do not depend on where it stopped.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gradebook.pipelines.importing.file_discovery import FoundFile, Refusals, find_images
from gradebook.pipelines.importing.image_reader import ReadImage, read_images
from gradebook.pipelines.importing.labels import Labels, checked_classes, read_labels
from gradebook.pipelines.process.progress import stage
from gradebook.storage import cache_files
from gradebook.storage.catalog import GONE
from gradebook.storage.duplicates import near_duplicates, stack_fingerprints
from gradebook.storage.events import Event, Kind, event
from gradebook.storage.project import SETTINGS, Project, read_project
from gradebook.storage.samples import File, Sample, Split
from gradebook.storage.store import Store

CHUNK = 1_000  # files read before they are written: what a kill loses at most
EVENTS = 10_000  # events written at once
STEP = 50  # files between two calls of `progress`
# Directories of a project that hold no images of the user's.
OURS = ("exports", "jobs", "lance", "mongo", "runs", *cache_files.DIRECTORIES)
ACTOR = "import"

Progress = Callable[[int, int], None]  # files done, files in all
Conflict = tuple[tuple[str, str], ...]  # files with the same bytes, and the label of each


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportReport:
    """What an import found. Each file counts once among imported, already_known, duplicates, moved and broken."""

    imported: int  # new samples
    test_images: int  # of these, in the test split
    already_known: int  # files that were known before
    duplicates: int  # files with the bytes of another file
    moved: int  # files with the bytes of a file that is no longer there
    broken: int  # files that cannot be used
    changed: int  # files that have other bytes than at an earlier import: their new content is another sample
    near_duplicates: int  # new samples that look like an earlier one
    conflicts: int  # samples whose files have different labels: they are given none
    leaks: int  # files whose sample is in the other split, where it stays
    labelled: int  # labels written
    label_problems: int  # rows and files without a label that can be used
    classes: tuple[str, ...]  # of the project, now
    duplicate_files: tuple[tuple[str, str], ...]  # the file, and the first with its bytes
    moved_files: tuple[tuple[str, str], ...]  # where the file is now, and where it was
    broken_files: tuple[tuple[str, str], ...]  # the file, and why
    changed_files: tuple[str, ...]
    near_duplicate_pairs: tuple[tuple[str, str], ...]  # the new file, and the earlier one
    conflict_files: tuple[Conflict, ...]
    leak_files: tuple[tuple[str, str], ...]  # the file, and the split that it stays in
    label_problem_places: tuple[tuple[str, str], ...]  # where, and why

    def as_json(self) -> dict[str, Any]:
        """Returns the report as plain dicts and lists."""
        return {name: _plain(getattr(self, name)) for name in ImportReport.__slots__}


def import_images(
    store: Store,
    folder: Path,
    *,
    labels: str = "none",
    split: Split = Split.TRAIN,
    progress: Progress | None = None,
) -> ImportReport:
    """Imports the images at or below `folder`.

    Args:
        store: the project. Its classes are read anew; open it again to see those that were made here.
        folder: a directory, one image file, or a table (.csv or .parquet) whose column filepath names image files.
        labels: "none"; "folders" for the name of the directory that an image is in; or the path of a CSV file with
            the columns filepath and label. Where the project has no classes, those that occur are made, sorted.
        split: what the new samples are for: TEST for all; TRAIN for those that no split folder or column puts into the
            test split. A sample that is known stays in its split.
        progress: called now and then with the files done and the files in all.

    Raises:
        ProjectError: there are no images, the labels cannot be read, or name unknown classes. Nothing was written.
    """
    folder = folder.expanduser().absolute()
    root = folder.parent.resolve() / folder.name if folder.is_file() else folder.resolve()
    stage("Looking for images")
    found, refused = find_images(root, [store.project.root / name for name in OURS])
    said = read_labels(labels, root, [file.filepath for file in found])
    project = checked_classes(_project(store), said)
    reading = _start(store, split, total=len(found), progress=progress)
    reading.splits = said.splits if split is Split.TRAIN else {}
    for start in range(0, len(found), CHUNK):
        _import_chunk(store, found[start : start + CHUNK], reading)
    stage("Comparing what was found")
    conflicts, events = _decide(store, said, reading.contents)
    for start in range(0, len(events), EVENTS):
        store.log.append_now(events[start : start + EVENTS])
    return _report(reading, refused, project, said, conflicts, len(events))


@dataclass(slots=True)
class _Reading:
    """How far an import has come."""

    split: Split
    total: int
    progress: Progress
    before: list[Sample]  # the catalogue's samples when it began
    samples: dict[str, Sample]  # those and the new ones, by id
    files: dict[str, File]  # the catalogue's files when it began, by path
    holders: dict[str, list[str]]  # the files of each sample, those of the catalogue and the new ones
    splits: dict[str, Split] = field(default_factory=dict)  # of files that a folder or column puts into one
    contents: dict[str, str] = field(default_factory=dict)  # of every file that can be used: path -> sample_id
    done: int = 0
    known: int = 0
    new: list[Sample] = field(default_factory=list)
    duplicates: list[tuple[str, str]] = field(default_factory=list)
    moved: list[tuple[str, str]] = field(default_factory=list)
    broken: list[tuple[str, str]] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)

    def split_of(self, path: str) -> Split:
        """Returns what a file is for."""
        return self.splits.get(path, self.split)

    def count(self) -> None:
        """One more file is done."""
        self.done += 1
        if self.done % STEP == 0 or self.done == self.total:
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
    )


def _import_chunk(store: Store, chunk: list[FoundFile], reading: _Reading) -> None:
    """Reads those files of a chunk that are new or have changed, and adds what they hold to the catalogue."""
    unread = []
    for file in chunk:
        row = reading.files.get(file.filepath)
        if row is not None and (row.size, row.mtime_ns) == (file.size, file.mtime_ns):
            reading.contents[file.filepath] = row.sample_id
            reading.known += 1
            reading.count()
        else:
            unread.append(file)
    if not unread:
        return
    mean_size = sum(file.size for file in unread) / len(unread)
    results = read_images([file.filepath for file in unread], mean_size, store.project, reading.count)
    first_new, rows = len(reading.new), []
    for file, result in zip(unread, results, strict=True):
        if isinstance(result, str):
            reading.broken.append((file.filepath, result))
        else:
            rows += _take(file, result, reading)
    store.catalog.add(reading.new[first_new:], rows)


def _take(file: FoundFile, image: ReadImage, reading: _Reading) -> list[File]:
    """Notes what a file holds; returns the rows that say so."""
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


def _still_holds(path: str, sample: Sample, contents: Mapping[str, str]) -> bool:
    return contents[path] == sample.sample_id if path in contents else Path(path).exists()


def _decide(store: Store, said: Labels, contents: Mapping[str, str]) -> tuple[list[Conflict], list[Event]]:
    """Returns the samples whose files disagree on the label, and an event for each other label that is new.

    A label is not new when the last import that labelled the sample gave it the same, whatever people did since. It
    contradicts an earlier import's when that one's file is still there and has no label now; otherwise it corrects it.
    """
    labels: dict[str, list[tuple[str, str]]] = {}
    for path in sorted(said.of.keys() & contents.keys()):
        labels.setdefault(contents[path], []).extend((path, label) for label in said.of[path])
    if not labels:
        return [], []
    imported = _imported(store)
    holders: dict[str, list[str]] = {}
    for file in store.catalog.files():
        holders.setdefault(file.sample_id, []).append(file.filepath)
    conflicts, events = [], []
    for sample_id, pairs in labels.items():
        label, earlier = pairs[0][1], imported.get(sample_id)
        if earlier not in (None, label):
            others = set(holders[sample_id]) - {path for path, _ in pairs}
            pairs += [(path, str(earlier)) for path in sorted(others) if Path(path).exists()]
        if len({label for _, label in pairs}) > 1:
            conflicts.append(tuple(pairs))
        elif earlier != label:
            events.append(event(Kind.IMPORTED, sample_id, label, actor=ACTOR))
    return conflicts, events


def _imported(store: Store) -> dict[str, str | None]:
    """Returns the label that each sample was given by the last import that gave it one."""
    rows = [e for e in store.log.read() if e.kind is Kind.IMPORTED]
    return {e.sample_id: e.label for e in sorted(rows, key=lambda e: (e.at, e.event_id))}


def _project(store: Store) -> Project:
    """Returns the project as it is now: an earlier import through the same store may have made its classes."""
    return read_project(store.project.root) if (store.project.root / SETTINGS).exists() else store.project


def _report(
    reading: _Reading, refused: Refusals, project: Project, said: Labels, conflicts: list[Conflict], labelled: int
) -> ImportReport:
    broken = sorted([*refused, *reading.broken])
    leaks = _leaks(reading)
    pairs = _near_duplicates(reading)
    return ImportReport(
        imported=len(reading.new),
        test_images=sum(sample.split is Split.TEST for sample in reading.new),
        already_known=reading.known,
        duplicates=len(reading.duplicates),
        moved=len(reading.moved),
        broken=len(broken),
        changed=len(reading.changed),
        near_duplicates=len(pairs),
        conflicts=len(conflicts),
        leaks=len(leaks),
        labelled=labelled,
        label_problems=len(said.problems),
        classes=project.classes,
        duplicate_files=tuple(reading.duplicates),
        moved_files=tuple(reading.moved),
        broken_files=tuple(broken),
        changed_files=tuple(reading.changed),
        near_duplicate_pairs=tuple(pairs),
        conflict_files=tuple(conflicts),
        leak_files=tuple(leaks),
        label_problem_places=tuple(said.problems),
    )


def _leaks(reading: _Reading) -> list[tuple[str, str]]:
    splits = [(path, reading.samples.get(sample_id)) for path, sample_id in sorted(reading.contents.items())]
    return [
        (path, sample.split.value) for path, sample in splits if sample and sample.split is not reading.split_of(path)
    ]


def _near_duplicates(reading: _Reading) -> list[tuple[str, str]]:
    new, known = (
        stack_fingerprints([sample.fingerprint for sample in samples]) for samples in (reading.new, reading.before)
    )
    every = [*reading.before, *reading.new]
    return [(reading.new[a].filepath, every[b].filepath) for a, b in near_duplicates(new, known).tolist()]


def _plain(value: Any) -> Any:
    return [_plain(part) for part in value] if isinstance(value, tuple) else value
