"""The catalogue's files are where they were imported from, with the same content. A user's files are never written."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

from gradebook.pipelines.importing.near_copies import split_leaks
from gradebook.pipelines.maintenance.checks.finding import Finding, Subject
from gradebook.storage.sample_files import changed_files
from gradebook.storage.samples import File, sample_id


def samples_once(subject: Subject) -> Iterator[Finding]:
    """Every sample is listed once."""
    twice = [i for i, n in Counter(subject.ids).items() if n > 1]
    if twice:
        yield Finding(
            problem=f"{len(twice)} samples are listed twice in the catalogue",
            where=tuple(twice),
            advice="restore lance/samples.lance from a backup, or delete it with lance/files.lance and import again",
        )


def files_of_samples(subject: Subject) -> Iterator[Finding]:
    """Every file's sample is in the catalogue."""
    unknown = [file.filepath for file in subject.files if file.sample_id not in subject.known_ids]
    if unknown:
        yield Finding(
            problem=f"{len(unknown)} files belong to samples that are not in the catalogue",
            where=tuple(unknown),
            advice="delete lance/files.lance and import the images again",
        )


def samples_have_files(subject: Subject) -> Iterator[Finding]:
    """Every sample's file is listed. An import that is killed can write a sample without its file."""
    listed = {file.filepath for file in subject.files}
    unlisted = [s for s in subject.store.catalog.samples() if s.filepath not in listed]
    if unlisted:
        yield Finding(
            problem=f"the files of {len(unlisted)} samples are not listed, as after an import that was killed",
            where=tuple(s.filepath for s in unlisted),
            advice="import their folder again, or run verify --repair, which lists the files that have their content",
            repair=partial(_list, subject, {s.filepath: s.sample_id for s in unlisted}),
        )


def files_are_there(subject: Subject) -> Iterator[Finding]:
    """Every file is where it was imported from."""
    missing = [file.filepath for file in subject.files if _stat(file.filepath) is None]
    if missing:
        root, folder = subject.store.project.root, _folder(missing)
        yield Finding(
            problem=f"{len(missing)} files are missing",
            where=tuple(missing),
            advice=f"put them back; if their folder was moved: gradebook relocate {root} {folder} NEW; "
            f"if they were deleted on purpose: gradebook forget {root} {folder}",
        )


def files_hold_their_sample(subject: Subject) -> Iterator[Finding]:
    """Every file has the content that its sample's id was hashed from. The same size and time count as that."""
    changed = [file.filepath for file in changed_files(subject.files, hash_all=subject.content)]
    if changed:
        yield Finding(
            problem=f"{len(changed)} files have changed since they were imported",
            where=tuple(changed),
            advice=f"import them again, which makes the new content a new sample: "
            f"gradebook import {subject.store.project.root} {_folder(changed)}",
        )


def no_near_copies_across_splits(subject: Subject) -> Iterator[Finding]:
    """No test image is a near-copy of a training image: its prediction would say nothing about unseen images."""
    pairs = split_leaks(subject.store, is_cached=False)
    if pairs:
        yield Finding(
            problem=f"{len(pairs)} images look almost the same as an image of the other split, so that the accuracy on "
            "the test images is too high",
            where=tuple(f"{later} ~ {earlier}" for later, earlier in pairs),
            advice="delete one file of each pair, or move it out of the imported folders, then: "
            f"gradebook forget {subject.store.project.root} FILE",
            is_warning=True,
        )


def _list(subject: Subject, samples: dict[str, str]) -> None:
    rows = []
    for path, known in samples.items():
        stat = _stat(path)
        if stat is not None and _content(path) == known:
            rows.append(File(filepath=path, sample_id=known, size=stat.st_size, mtime_ns=stat.st_mtime_ns))
    subject.store.catalog.add([], rows)


def _stat(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)  # noqa: PTH116  # twice as fast as pathlib's, and there may be 100,000
    except OSError:
        return None


def _content(path: str) -> str | None:
    try:
        return sample_id(Path(path).read_bytes())
    except OSError:
        return None


def _folder(paths: Iterable[str]) -> str:
    return os.path.commonpath([str(Path(path).parent) for path in paths])
