"""The catalogue: its files are where they were and hold what they held. Nothing is written to a user's file."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

from gradebook.pipelines.maintenance.checks.finding import Finding, Subject
from gradebook.storage.samples import File, sample_id


def samples_once(subject: Subject) -> Iterator[Finding]:
    """A sample stands in the catalogue once."""
    twice = [i for i, n in Counter(subject.ids).items() if n > 1]
    if twice:
        yield Finding(
            what=f"{len(twice)} samples stand in the catalogue twice",
            where=tuple(twice),
            mend="restore lance/samples.lance from a backup, or delete it with lance/files.lance and import again",
        )


def files_of_samples(subject: Subject) -> Iterator[Finding]:
    """Every file's sample is in the catalogue."""
    strangers = [file.filepath for file in subject.files if file.sample_id not in subject.known]
    if strangers:
        yield Finding(
            what=f"{len(strangers)} files are of samples that the catalogue does not have",
            where=tuple(strangers),
            mend="delete lance/files.lance and import the images again",
        )


def samples_have_files(subject: Subject) -> Iterator[Finding]:
    """Every sample's file is listed; a killed import can have written a sample and not yet its file."""
    listed = {file.filepath for file in subject.files}
    loose = [s for s in subject.store.catalog.samples() if s.filepath not in listed]
    if loose:
        yield Finding(
            what=f"the files of {len(loose)} samples are not listed, as after an import that was killed",
            where=tuple(s.filepath for s in loose),
            mend="import their folder again, or verify with --mend, which lists those that hold their sample",
            mending=partial(_list, subject, {s.filepath: s.sample_id for s in loose}),
        )


def files_are_there(subject: Subject) -> Iterator[Finding]:
    """Every file is where it was imported from."""
    gone = [file.filepath for file in subject.files if _stat(file.filepath) is None]
    if gone:
        yield Finding(
            what=f"{len(gone)} files are not where they were imported from",
            where=tuple(gone),
            mend=f"put them back, or say where their folder is now: "
            f"gradebook relocate {subject.store.project.root} {_folder(gone)} NEW; "
            f"were they deleted on purpose: gradebook forget {subject.store.project.root} {_folder(gone)}",
        )


def files_hold_their_sample(subject: Subject) -> Iterator[Finding]:
    """Every file holds the content that its sample's id is a hash of; the same size and time are taken for that."""
    doubtful = [file for file in subject.files if subject.content or _is_doubtful(file)]
    other = [file.filepath for file in doubtful if _content(file.filepath) not in (None, file.sample_id)]
    if other:
        yield Finding(
            what=f"{len(other)} files hold another content than when they were imported",
            where=tuple(other),
            mend=f"import them again, which makes the new content a sample of its own: "
            f"gradebook import {subject.store.project.root} {_folder(other)}",
        )


def _list(subject: Subject, samples: dict[str, str]) -> None:
    rows = []
    for path, known in samples.items():
        stat = _stat(path)
        if stat is not None and _content(path) == known:
            rows.append(File(filepath=path, sample_id=known, size=stat.st_size, mtime_ns=stat.st_mtime_ns))
    subject.store.catalog.add([], rows)


def _is_doubtful(file: File) -> bool:
    stat = _stat(file.filepath)
    return stat is not None and (stat.st_size, stat.st_mtime_ns) != (file.size, file.mtime_ns)


def _stat(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)  # noqa: PTH116  # twice as quick as pathlib's, and there may be 100,000
    except OSError:
        return None


def _content(path: str) -> str | None:
    try:
        return sample_id(Path(path).read_bytes())
    except OSError:
        return None


def _folder(paths: Iterable[str]) -> str:
    return os.path.commonpath([str(Path(path).parent) for path in paths])
