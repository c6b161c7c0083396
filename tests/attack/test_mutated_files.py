"""Each file of a small project is flipped, cut or deleted: `verify` notices, or the file is derived.

A run takes one kind of damage for each file. Three rounds of `python -m tests.attack` damage each file once.
"""

import fnmatch
import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from gradebook.pipelines.maintenance.verify import verify
from gradebook.storage import checksums, table_checksums
from gradebook.storage.events import Kind, event
from gradebook.storage.project import ProjectError
from gradebook.storage.store import open_store, tables_of
from tests.attack.rounds import current_round, in_round, is_in_round
from tests.pipelines.cli.cli_runner import gradebook
from tests.pipelines.maintenance.conftest import root, template  # noqa: F401

pytestmark = pytest.mark.slow

DERIVED = {  # files whose loss or damage changes no result -> why
    "*.lock": "an empty file that is locked",
    "overview.json": "counted again",
    "lance/*.sha256": "checksums, which the next write notes again",
    "*/SHA256SUMS": "checksums; a file without one is checked as before there were any",
    "lance/events.chain.json": "the log's chain, which the next label starts again",
    "lance/*/_transactions/*": "LanceDB's note of a commit that is done",
    "lance/*/latest_version_hint.json": "rewritten by the next commit",
    "runs/*/status.json": "made again from the run's other files, as is one that cannot be read",
}
READING = ("status", "queue", "log", "runs", "export-labels", "verify")


def flip(content: bytes, draw: random.Random) -> bytes:
    """Changes one bit."""
    at = draw.randrange(len(content))
    return content[:at] + bytes([content[at] ^ 1 << draw.randrange(8)]) + content[at + 1 :]


def cut(content: bytes, draw: random.Random) -> bytes:
    """Leaves the beginning."""
    return content[: draw.randrange(len(content))]


def delete(content: bytes, draw: random.Random) -> None:
    """Leaves nothing."""


MUTATIONS: tuple[Callable[[bytes, random.Random], bytes | None], ...] = (flip, cut, delete)


@pytest.fixture
def whole(root: Path) -> Path:  # noqa: F811
    """A project whose runs have the checksums that a training writes, and whose log a person has written to."""
    for name in ("predictions.parquet", "student.safetensors"):
        (root / "runs" / "two" / name).unlink()  # it was stopped
    for path in [*root.glob("runs/*/*"), *root.glob("runs/*/record/*")]:
        if path.suffix in (".parquet", ".safetensors") or path.name in ("config.json", "samples.json", "labels.json"):
            checksums.append(path, path)
    store = open_store(root)
    store.log.append_now([event(Kind.RELABELLED, store.catalog.ids()[0], "dog", actor="zoe")])
    for path in (root / "lance").glob("*.lance"):
        tables_of(store.project).open(path.stem).optimize(cleanup_older_than=timedelta(0))  # leaves the newest version
        table_checksums.note(path)
    assert verify(root, content=True).findings == ()
    return root


def why_derived(name: str) -> str | None:
    """Returns why a file's loss or damage changes no result, None if it does."""
    return next((why for pattern, why in DERIVED.items() if fnmatch.fnmatch(name, pattern)), None)


def damaged(whole: Path, copy: Path) -> Iterator[tuple[str, str]]:
    """Makes a copy with one damaged file after the other; yields the file and the kind of damage."""
    names = sorted(str(p.relative_to(whole)) for p in whole.rglob("*") if p.is_file())
    for number, name in enumerate(names):
        if not is_in_round(number // len(MUTATIONS)):
            continue
        content = (whole / name).read_bytes()
        mutation = MUTATIONS[(number + current_round()) % len(MUTATIONS)] if content else delete
        changed = mutation(content, random.Random(f"{current_round()} {number}"))
        shutil.copytree(whole, copy)
        (copy / name).unlink()
        if changed is not None:
            (copy / name).write_bytes(changed)
        yield name, mutation.__name__
        shutil.rmtree(copy)


def noticed_by(project: Path) -> str | None:
    """Returns the command that notices damage."""
    for name, content in (("verify", False), ("verify --content", True)):
        try:
            findings = verify(project, content=content).findings
        except ProjectError:
            return name
        if findings:
            assert all(finding.advice for finding in findings), "each says what to do"
            return name
    return None


def test_no_damage_goes_unnoticed(whole, tmp_path, record_property):
    counts, missed = Counter[str](), []
    for name, mutation in damaged(whole, tmp_path / "copy"):
        by = noticed_by(tmp_path / "copy") or ("derived" if why_derived(name) else "nothing")
        counts[by] += 1
        missed += [f"{mutation} {name}"] if by == "nothing" else []
    record_property("attempts", counts.total())
    record_property("outcome", ", ".join(f"{by}: {number}" for by, number in counts.most_common()))
    assert missed == []
    assert counts.total() > in_round(60)


def test_damage_is_a_sentence_in_every_command_that_reads(whole, tmp_path, record_property):
    raised, attempts = [], 0
    for number, (name, mutation) in enumerate(damaged(whole, tmp_path / "copy")):
        command = READING[(number + current_round()) // len(MUTATIONS) % len(READING)]
        out = tmp_path / f"{number}.csv"
        attempts += 1
        try:
            gradebook(command, tmp_path / "copy", *([out] if command == "export-labels" else []))
        except Exception as error:
            raised.append(f"{command} after {mutation} {name}: {type(error).__name__}: {str(error)[:200]}")
    record_property("attempts", attempts)
    assert raised == []
