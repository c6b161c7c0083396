"""The catalogue: the samples of a project and the files that hold them."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, TypeGuard

from gradebook.storage import path_index, splits
from gradebook.storage.compaction import keep_indices
from gradebook.storage.lance_tables import Tables, one_of, quoted
from gradebook.storage.project import ProjectError
from gradebook.storage.samples import File, Sample, Split, files_schema, samples_schema
from gradebook.storage.splits import SplitChange

GONE = ""  # the sample_id of a file that is no longer there because its content has moved to another path
INDEX_FROM = 200_000  # rows
MAX_IDS_IN_CONDITION = 2_000  # more ids are looked up by reading the whole table, which is then faster


class Catalog(Protocol):
    """The interface of catalogues.

    A sample never changes, but its files may. If the file at a sample's `filepath` gets other content or is `GONE`, the
    sample is returned with the path of another file that holds it. If there is none, `samples` leaves the sample out,
    so that the new content is not mistaken for the old sample. A sample's `split` is the present one.
    """

    def add(self, samples: Sequence[Sample], files: Sequence[File]) -> None:
        """Adds samples, then files.

        A sample with a known id is not changed; a file with a known path is replaced. Of repeats in one call the first
        sample and the last file count.
        """

    def samples(self, split: Split | None = None, among: Collection[str] | None = None) -> list[Sample]:
        """Returns all samples, or those of one split, or of these ids, in order of import."""

    def get(self, sample_ids: Sequence[str]) -> list[Sample]:
        """Returns these samples in the order given, including those that no file holds any more.

        Raises:
            ProjectError: one of them is not in the catalogue.
        """

    def paths(self, sample_ids: Collection[str], split: Split | None = None) -> dict[str, str]:
        """Returns sample_id -> path of the samples that a file holds, in one split or all."""

    def files(self, among: Collection[str] | None = None) -> list[File]:
        """Returns the files with these paths, or all, in order of path, except those that are gone."""

    def sample_at(self, filepath: str) -> str | None:
        """Returns the id of the sample that a file holds, None if the file is not listed or is gone."""

    def ids(self) -> list[str]:
        """Returns the ids of all samples in order of import, including those that no file holds any more."""

    def change_splits(self, changes: Sequence[SplitChange]) -> None:
        """Puts samples into other splits; all of them, or none if it fails or is killed."""

    def split_changes(self) -> list[SplitChange]:
        """Returns all changes of splits, oldest first."""


class MemoryCatalog:
    """A catalogue in memory."""

    def __init__(self) -> None:
        self._samples: dict[str, Sample] = {}
        self._files: dict[str, File] = {}
        self._changes: list[SplitChange] = []

    def add(self, samples: Sequence[Sample], files: Sequence[File]) -> None:
        """See `Catalog.add`."""
        for sample in samples:
            self._samples.setdefault(sample.sample_id, sample)
        self._files.update({file.filepath: file for file in files})

    def samples(self, split: Split | None = None, among: Collection[str] | None = None) -> list[Sample]:
        """See `Catalog.samples`."""
        chosen = None if among is None else set(among)
        held = _held(splits.apply(self._samples.values(), self._changes), list(self._files.values()))
        return [s for s in held if _is_wanted(s, split, chosen)]

    def get(self, sample_ids: Sequence[str]) -> list[Sample]:
        """See `Catalog.get`."""
        return _in_order(splits.apply(self._samples.values(), self._changes), list(self._files.values()), sample_ids)

    def paths(self, sample_ids: Collection[str], split: Split | None = None) -> dict[str, str]:
        """See `Catalog.paths`."""
        return {s.sample_id: s.filepath for s in self.samples(split, sample_ids)}

    def files(self, among: Collection[str] | None = None) -> list[File]:
        """See `Catalog.files`."""
        return _existing(file for path, file in self._files.items() if among is None or path in among)

    def sample_at(self, filepath: str) -> str | None:
        """See `Catalog.sample_at`."""
        file = self._files.get(filepath)
        return None if file is None or file.sample_id == GONE else file.sample_id

    def ids(self) -> list[str]:
        """See `Catalog.ids`."""
        return list(self._samples)

    def change_splits(self, changes: Sequence[SplitChange]) -> None:
        """See `Catalog.change_splits`."""
        self._changes = [*self._changes, *changes]

    def split_changes(self) -> list[SplitChange]:
        """See `Catalog.split_changes`."""
        return list(self._changes)


class LanceCatalog:
    """A catalogue in three LanceDB tables: `samples`, `files` and `splits`."""

    def __init__(self, directory: Path, address: str = ""):
        self._tables = Tables(directory, address)
        # The stamp of the tables, and the result of `gradebook.storage.path_index.build`.
        self._path_index: tuple[str | None, Any] | None = None

    def add(self, samples: Sequence[Sample], files: Sequence[File]) -> None:
        """See `Catalog.add`."""
        with self._tables.write_lock():
            self._add_samples(samples)
            self._add_files({file.filepath: file for file in files})

    def samples(self, split: Split | None = None, among: Collection[str] | None = None) -> list[Sample]:
        """See `Catalog.samples`."""
        chosen = None if among is None else set(among)
        if chosen is not None and len(chosen) <= MAX_IDS_IN_CONDITION:
            samples, files = self._look_up(chosen)
        else:
            samples, files = self._samples(), self._files()
        return [s for s in _held(samples, files) if _is_wanted(s, split, chosen)]

    def get(self, sample_ids: Sequence[str]) -> list[Sample]:
        """See `Catalog.get`."""
        wanted = set(sample_ids)
        if not 0 < len(wanted) <= MAX_IDS_IN_CONDITION:
            return _in_order(self._samples(), self._files(), sample_ids)
        return _in_order(*self._look_up(wanted), sample_ids)

    def paths(self, sample_ids: Collection[str], split: Split | None = None) -> dict[str, str]:
        """See `Catalog.paths`. From the second call until the next import the paths come from memory."""
        stamp = self._tables.stamp(splits.TABLES)
        if stamp is None or self._path_index is None or self._path_index[0] != stamp:
            self._path_index = stamp, None
            return {s.sample_id: s.filepath for s in self.samples(split, sample_ids)}
        if self._path_index[1] is None:
            read = (self._tables.read("samples", path_index.SAMPLES), self._tables.read("files", path_index.FILES))
            if read[0] is None or read[1] is None:
                return {s.sample_id: s.filepath for s in self.samples(split, sample_ids)}
            samples = path_index.with_splits(read[0], {c.sample_id: c.split.value for c in self.split_changes()})
            self._path_index = stamp, path_index.build(samples, read[1], GONE)
        return path_index.look_up(self._path_index[1], sample_ids, None if split is None else split.value)

    def files(self, among: Collection[str] | None = None) -> list[File]:
        """See `Catalog.files`."""
        wanted = None if among is None else set(among)
        if wanted is None or len(wanted) > MAX_IDS_IN_CONDITION:
            return _existing(file for file in self._files() if wanted is None or file.filepath in wanted)
        return _existing(self._files(one_of("filepath", wanted)) if wanted else [])

    def ids(self) -> list[str]:
        """See `Catalog.ids`."""
        rows = self._tables.read("samples", ["position", "sample_id"])
        return [] if rows is None else rows.sort_by("position").column("sample_id").to_pylist()

    def sample_at(self, filepath: str) -> str | None:
        """See `Catalog.sample_at`."""
        files = _existing(self._files(f"filepath = {quoted(filepath)}"))
        return files[0].sample_id if files else None

    def change_splits(self, changes: Sequence[SplitChange]) -> None:
        """See `Catalog.change_splits`."""
        if changes:
            with self._tables.open_for_writing(splits.TABLE, splits.schema()) as table:
                table.add(splits.to_table(changes))

    def split_changes(self) -> list[SplitChange]:
        """See `Catalog.split_changes`."""
        rows = self._tables.read(splits.TABLE, splits.schema().names)
        return [] if rows is None else splits.from_table(rows)

    def _look_up(self, sample_ids: Collection[str]) -> tuple[list[Sample], list[File]]:
        """Returns a few samples and the files that may hold them."""
        if not sample_ids:
            return [], []
        samples = self._samples(one_of("sample_id", sample_ids))
        files = self._files(one_of("filepath", [sample.filepath for sample in samples])) if samples else []
        content = {file.filepath: file.sample_id for file in files}
        moved = [s.sample_id for s in samples if content.get(s.filepath, s.sample_id) != s.sample_id]
        return samples, files + (self._files(one_of("sample_id", moved)) if moved else [])

    def _files(self, where: str | None = None) -> list[File]:
        names = files_schema().names
        rows = self._tables.read("files", names, where)
        if rows is None:
            return []
        columns = [rows.column(name).to_pylist() for name in names]
        return [File(filepath=p, sample_id=s, size=n, mtime_ns=t) for p, s, n, t in zip(*columns, strict=True)]

    def _samples(self, where: str | None = None) -> list[Sample]:
        names = [name for name in samples_schema().names if name != "position"]
        rows = self._tables.read("samples", ["position", *names], where)
        if rows is None:
            return []
        columns = [rows.sort_by("position").column(name).to_pylist() for name in names]
        samples = (
            Sample(sample_id=i, filepath=p, split=Split(s), width=w, height=h, fingerprint=f)
            for i, p, s, w, h, f in zip(*columns, strict=True)
        )
        return splits.apply(samples, self.split_changes())

    def _add_samples(self, samples: Sequence[Sample]) -> None:
        known = self._known("samples", "sample_id")
        new: dict[str, Sample] = {}
        for sample in samples:
            if sample.sample_id not in known:
                new.setdefault(sample.sample_id, sample)
        if not new:
            return
        import pyarrow as pa

        columns = {"position": list(range(len(known), len(known) + len(new))), **_columns(Sample, new.values())}
        with self._tables.open_for_writing("samples", samples_schema()) as table:
            table.add(pa.Table.from_pydict(columns, samples_schema()))
            keep_indices(table, ["sample_id"], INDEX_FROM)

    def _add_files(self, files: dict[str, File]) -> None:
        if not files:
            return
        import pyarrow as pa

        rows = pa.Table.from_pydict(_columns(File, files.values()), files_schema())
        known = self._known("files", "filepath")
        with self._tables.open_for_writing("files", files_schema()) as table:
            if known.isdisjoint(files):
                table.add(rows)
            else:
                table.merge_insert("filepath").when_matched_update_all().when_not_matched_insert_all().execute(rows)
            keep_indices(table, ["sample_id", "filepath"], INDEX_FROM)

    def _known(self, name: str, key: str) -> set[str]:
        rows = self._tables.read(name, [key])
        return set() if rows is None else set(rows.column(key).to_pylist())


def _is_wanted(sample: Sample | None, split: Split | None, among: Collection[str] | None) -> TypeGuard[Sample]:
    return sample is not None and split in (None, sample.split) and (among is None or sample.sample_id in among)


def _held(samples: Collection[Sample], files: Sequence[File]) -> list[Sample | None]:
    """Returns each sample with the path of a file that holds it, None for one that no file holds any more."""
    content = {file.filepath: file.sample_id for file in files}
    lost = {s.sample_id for s in samples if content.get(s.filepath, s.sample_id) != s.sample_id}
    others = {file.sample_id: file.filepath for file in reversed(_existing(files)) if file.sample_id in lost}
    result: list[Sample | None] = []
    for sample in samples:
        if sample.sample_id not in lost:
            result.append(sample)
        else:
            other = others.get(sample.sample_id)
            result.append(None if other is None else replace(sample, filepath=other))
    return result


def _in_order(samples: Iterable[Sample], files: Sequence[File], sample_ids: Sequence[str]) -> list[Sample]:
    wanted = set(sample_ids)
    by_id = {sample.sample_id: sample for sample in samples if sample.sample_id in wanted}
    held = dict(zip(by_id, _held(by_id.values(), files), strict=True))
    try:
        return [held[sample_id] or by_id[sample_id] for sample_id in sample_ids]
    except KeyError as error:
        raise ProjectError(
            f"sample {error.args[0]} is not in the catalogue: import its image, or correct the id"
        ) from None


def _existing(files: Iterable[File]) -> list[File]:
    return sorted((file for file in files if file.sample_id != GONE), key=lambda file: file.filepath)


def _columns(kind: type[Sample] | type[File], records: Collection[Sample | File]) -> dict[str, list[Any]]:
    return {name: [getattr(record, name) for record in records] for name in kind.__slots__}
