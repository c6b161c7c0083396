"""The result of an import, as `gradebook import --json` prints it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Conflict = tuple[tuple[str, str], ...]  # files with the same bytes, and the label of each
Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportReport:
    """Counts and lists. Each file counts once among imported, already_known, duplicates, moved and broken."""

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
    near_leaks: int  # new samples that look like an earlier one in the other split
    converted: int  # new samples of more than 8 bits
    stacks: int  # new samples from a file with several pictures, of which the first is taken
    uniform: int  # new samples on which hardly anything can be seen
    quality: int  # new samples that are dark, bright, blurred, nearly uniform or of an odd size or aspect ratio
    quality_measured: bool  # whether that was looked for, which needs cleanvision
    labelled: int  # labels written
    label_problems: int  # rows and files without a label that can be used
    classes: tuple[str, ...]  # of the project, now
    duplicate_files: Pairs  # the file, and the first with its bytes
    moved_files: Pairs  # where the file is now, and where it was
    broken_files: Pairs  # the file, and why
    changed_files: tuple[str, ...]
    near_duplicate_pairs: Pairs  # the new file, and the earlier one
    conflict_files: tuple[Conflict, ...]
    leak_files: Pairs  # the file, and the split that it stays in
    near_leak_pairs: Pairs  # the new file, and the earlier one
    level_ranges: Mapping[str, tuple[float, float]]  # of the project, by kind of levels; empty: each file by itself
    converted_files: Pairs  # the file, and the levels that became black and white
    stack_files: Pairs  # the file, and which of how many pictures is taken
    uniform_files: tuple[str, ...]
    quality_files: Pairs  # the file, and what is wrong with it
    label_problem_places: Pairs  # where, and why

    def as_json(self) -> dict[str, Any]:
        """Returns the report as plain dicts and lists."""
        return {name: _plain(getattr(self, name)) for name in ImportReport.__slots__}


def _plain(value: Any) -> Any:
    return [_plain(part) for part in value] if isinstance(value, tuple) else value
