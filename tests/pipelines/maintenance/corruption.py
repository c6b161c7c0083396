"""Ways to break a project, and the check that finds each."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa

from gradebook.pipelines.process.run_status import State, status_now, write_status
from gradebook.storage import checksums
from gradebook.storage.events import Kind, event
from gradebook.storage.lance_vectors import table_name
from gradebook.storage.samples import File
from gradebook.storage.store import open_store


def ids(root: Path) -> list[str]:
    return open_store(root).catalog.ids()


def image(root: Path) -> Path:
    return Path(open_store(root).catalog.files()[0].filepath)


def say(root: Path, *events) -> None:
    open_store(root).log.append(list(events))


def two_of_one_id(root: Path) -> None:
    first = event(Kind.RELABELLED, ids(root)[0], "cat", actor="zoe")
    say(root, first, replace(first, label="dog"))


def stranger(root: Path) -> None:
    say(root, event(Kind.RELABELLED, "nobody", "cat", actor="zoe"))


def unknown_class(root: Path) -> None:
    say(root, event(Kind.RELABELLED, ids(root)[0], "cow", actor="zoe"))


def event_from_the_future(root: Path) -> None:
    ahead = event(Kind.RELABELLED, ids(root)[0], "cat", actor="zoe")
    say(root, replace(ahead, at=ahead.at + timedelta(minutes=10)))


def loose_reference(root: Path) -> None:
    say(root, event(Kind.RETRACTED, ids(root)[0], actor="zoe", ref="nothing"))


def file_of_nobody(root: Path) -> None:
    path = image(root)
    stat = path.stat()
    row = File(filepath=str(path), sample_id="nobody", size=stat.st_size, mtime_ns=stat.st_mtime_ns)
    open_store(root).catalog.add([], [row])


def lost_file(root: Path) -> None:
    row = File(filepath=str(root / "gone.png"), sample_id=ids(root)[0], size=1, mtime_ns=1)
    open_store(root).catalog.add([], [row])


def changed_file(root: Path) -> None:
    (root / "other.png").write_bytes(b"something else")
    row = File(filepath=str(root / "other.png"), sample_id=ids(root)[0], size=1, mtime_ns=1)
    open_store(root).catalog.add([], [row])


def vectors_of_nobody(root: Path) -> None:
    open_store(root).vectors.add("tiny", ["nobody"], np.ones((1, 3, 4), np.float16))


def short_vectors(root: Path) -> None:
    import lancedb

    shutil.rmtree(root / "lance" / f"{table_name('tiny')}.lance")
    view = pa.FixedSizeListArray.from_arrays(pa.array(np.ones(18, np.float16)), 3)
    rows = {"sample_id": ids(root), **{f"view_{n}": view for n in range(3)}}
    lancedb.connect(root / "lance").create_table(table_name("tiny"), pa.table(rows))


def corrupt_segment(root: Path) -> None:
    path = root / "runs/one/record/rank0-000002.parquet"
    path.write_bytes(path.read_bytes()[:-20])


def lost_segment(root: Path) -> None:
    (root / "runs/one/record/rank0-000001.parquet").unlink()


def record_behind_its_checkpoint(root: Path) -> None:
    (root / "runs/one/record/rank0-000002.parquet").unlink()


def history_short_of_rows(root: Path) -> None:
    import lancedb

    lancedb.connect(root / "lance").open_table("history").delete("run = 'one' AND step = 2")


def history_that_says_otherwise(root: Path) -> None:
    import lancedb

    lancedb.connect(root / "lance").open_table("history").update(where="run = 'one'", values={"teacher_label": "dog"})


def corrupt_settings(root: Path) -> None:
    (root / "runs/one/config.json").write_text("{")


def corrupt_status(root: Path) -> None:
    (root / "runs/two/status.json").write_text("{")


def dead_run(root: Path) -> None:
    write_status(root / "runs/two", status_now(State.RUNNING, pid=2**22 + 1, step=3, steps=4))


def corrupt_beginning(root: Path) -> None:
    (root / "runs/two/samples.json").write_text("[")


def run_of_strangers(root: Path) -> None:
    (root / "runs/two/labels.json").write_text(json.dumps({"nobody": "cat"}))


def short_student(root: Path) -> None:
    path = root / "runs/one/student.safetensors"
    path.write_bytes(path.read_bytes()[:-1])


def no_predictions(root: Path) -> None:
    (root / "runs/one/predictions.parquet").unlink()


def corrupt_checkpoint(root: Path) -> None:
    path = root / "runs/two/checkpoints/step-000004/state.pt"
    path.write_bytes(path.read_bytes()[:-30])


def checkpoint_with_a_flipped_bit(root: Path) -> None:
    path = root / "runs/two/checkpoints/step-000004/state.pt"
    path.write_bytes(path.read_bytes().replace(b"1234", b"1235", 1))


def flip_a_bit(path: Path) -> None:
    """Of a file with a checksum."""
    checksums.append(path, path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def student_with_a_flipped_bit(root: Path) -> None:
    flip_a_bit(root / "runs/one/student.safetensors")


def segment_with_a_flipped_bit(root: Path) -> None:
    path = root / "runs/one/record/rank0-000002.parquet"
    at = path.stat().st_mtime_ns
    flip_a_bit(path)
    os.utime(path, ns=(at, at))


def corrupt_job(root: Path) -> None:
    (root / "jobs/0001").mkdir(parents=True)
    (root / "jobs/0001/job.json").write_text("{}")


def drafts(root: Path) -> None:
    (root / "runs/one/.predictions.parquet").write_bytes(b"half")
    (root / "runs/one/record/.rank0-000003.tmp").write_bytes(b"half")
    (root / "runs/two/checkpoints/.step-000006").mkdir()
    (root / "runs/two/checkpoints/.step-000006/state.pt").write_bytes(b"half")
    (root / "servers").mkdir()
    dead = 2**22 + 1  # above the largest id of a process
    for name in (
        *(f".gradebook.json.{dead}", f".leases.json.7.{dead}", f"servers/.app.json.7.{dead}"),
        f".near_leaks.json.7.{dead}",
        f"lance/.events.sha256.7.{dead}",
        *(f"runs/one/.{name}.7.{dead}" for name in ("labels.json", "student.safetensors", "predictions.parquet")),
        f"runs/one/record/.rank0-000003.parquet.7.{dead}",
    ):
        (root / name).write_bytes(b"half")


def run_that_never_began(root: Path) -> None:
    (root / "runs/three").mkdir()
    os.utime(root / "runs/three", (1, 1))


def corrupt_table(root: Path) -> None:
    for path in (root / "lance/samples.lance/data").iterdir():
        path.unlink()


def corrupt_history(root: Path) -> None:
    for path in (root / "lance/history.lance/data").iterdir():
        path.unlink()


def lost_log(root: Path) -> None:
    shutil.rmtree(root / "lance/events.lance")


def lost_manifest_of_the_log(root: Path) -> None:
    """The newest version's: the log is then as it was before the last label."""
    say(root, event(Kind.RELABELLED, ids(root)[0], "dog", actor="zoe"))
    labels = root / "runs/one/labels.json"
    labels.write_text(json.dumps(json.loads(labels.read_text()) | {ids(root)[0]: "dog"}))
    lose_newest_version(root, "events")


def lose_newest_version(root: Path, table: str) -> None:
    min((root / f"lance/{table}.lance/_versions").glob("*.manifest")).unlink()  # the newest sorts first


def changed_event(root: Path) -> None:
    import lancedb

    lancedb.connect(root / "lance").open_table("events").update(where="label = 'cat'", values={"label": "dog"})


def lost_run(root: Path) -> None:
    shutil.rmtree(root / "runs/one")


def lost_status(root: Path) -> None:
    (root / "runs/one/status.json").unlink()


FOUND: list[tuple[Callable[[Path], None], str]] = [
    (two_of_one_id, "event_ids"),
    (stranger, "events_of_samples"),
    (unknown_class, "labels_are_classes"),
    (event_from_the_future, "times"),
    (loose_reference, "references"),
    (lost_log, "complete"),
    (lost_log, "labels_of_runs"),
    (changed_event, "complete"),
    (lost_manifest_of_the_log, "complete"),
    (lost_manifest_of_the_log, "labels_of_runs"),
    (lost_manifest_of_the_log, "table_versions"),
    (lost_run, "runs_are_there"),
    (file_of_nobody, "files_of_samples"),
    (lost_file, "files_are_there"),
    (changed_file, "files_hold_their_sample"),
    (vectors_of_nobody, "vectors_of_samples"),
    (short_vectors, "views_are_whole"),
    (corrupt_segment, "segments"),
    (lost_segment, "steps"),
    (record_behind_its_checkpoint, "steps"),
    (corrupt_settings, "settings"),
    (corrupt_beginning, "beginnings"),
    (run_of_strangers, "beginnings"),
    (short_student, "endings"),
    (no_predictions, "endings"),
    (corrupt_checkpoint, "checkpoints_load"),
    (corrupt_job, "jobs_are_readable"),
    (corrupt_table, "tables"),
]
REPAIRED: list[tuple[Callable[[Path], None], str]] = [
    (history_short_of_rows, "history"),
    (corrupt_history, "tables"),
    (corrupt_status, "status"),
    (lost_status, "status"),
    (dead_run, "status"),
    (drafts, "drafts"),
    (run_that_never_began, "empty_directories"),
]
