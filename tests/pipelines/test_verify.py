"""Verifying: a sound project passes, each thing broken on purpose is found, and mending mends what it may."""

import json
import os
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipelines import runs
from pipelines.importing.images import import_images
from pipelines.runs import State, status_now, write_status
from pipelines.verify import report_words, verify, verify_store
from storage.events import Kind, event
from storage.project import ProjectError, create_project
from storage.samples import File
from storage.segments import SAID, segment_schema
from storage.store import Store, memory_store, open_store
from storage.vectors import Space, table_name

SPACE = Space(backbone="tiny", weights="none", size=8, dim=4, weak=2, strong=1, seed=0)
IMAGES = 6


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> Path:
    """A project with six images, two of them labelled, vectors, a run that finished and one that was stopped."""
    root = tmp_path_factory.mktemp("verify")
    for n in range(IMAGES):
        path = root / "images" / ("cat" if n < 2 else "") / f"{n}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(n).integers(0, 256, (8, 8, 3), np.uint8)).save(path)
    store = open_store(create_project(root / "project", ["cat", "dog"]).root)
    import_images(store, root / "images")
    ids = [s.sample_id for s in store.catalog.samples()]
    store.log.append([event(Kind.IMPORTED, i, "cat", actor="import") for i in ids[-2:]])
    store.vectors.create(SPACE)
    store.vectors.add("tiny", ids, np.ones((IMAGES, 3, 4), np.float16))
    for name, state in (("one", State.FINISHED), ("two", State.STOPPED)):
        begin_run(store, name, state, ids)
        store.record.fold(name, store.project.runs / name / "record")
        store.record.signals(name)
    return root


def begin_run(store: Store, name: str, state: State, ids: list[str]) -> None:
    """Writes what a training of four steps leaves: it records and checkpoints every other one."""
    path = store.project.runs / name
    (path / "record").mkdir(parents=True)
    config = {"classes": ["cat", "dog"], "processes": 1, "record_every": 2, "steps": 4, "method": "mpl"}
    (path / runs.CONFIG).write_text(json.dumps(config))
    (path / "samples.json").write_text(json.dumps({"sample_ids": ids, "validation": []}))
    (path / runs.LABELS).write_text(json.dumps(dict.fromkeys(ids[-2:], "cat")))
    for step in (2, 4):
        rows = [{"step": step, "sample_id": i, **dict.fromkeys(SAID), "teacher_label": 0} for i in ids[:4]]
        pq.write_table(
            pa.Table.from_pylist(rows, segment_schema(["cat", "dog"])), path / f"record/rank0-{step // 2:06}.parquet"
        )
        checkpoint = path / f"checkpoints/step-{step:06}"
        checkpoint.mkdir(parents=True)
        for file in ("state.pt", "process-0.pt"):
            with zipfile.ZipFile(checkpoint / file, "w") as archive:
                archive.writestr("weights", b"1234" * 100)
        sizes = {file.name: file.stat().st_size for file in checkpoint.iterdir()}
        (checkpoint / "checkpoint.json").write_text(json.dumps(sizes))
    pq.write_table(pa.table({"sample_id": ids[:4]}), path / runs.PREDICTIONS)
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    (path / "student.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"1234")
    write_status(path, status_now(state, pid=0, step=4, steps=4))


@pytest.fixture
def root(template, tmp_path) -> Path:
    """A copy of it; the images are the template's own, and are put back."""
    shutil.copytree(template / "project", tmp_path / "project")
    return tmp_path / "project"


def ids(root: Path) -> list[str]:
    return open_store(root).catalog.ids()


def image(root: Path) -> Path:
    return Path(open_store(root).catalog.files()[0].filepath)


def found(root: Path, **how: bool) -> list[str]:
    return [finding.check for finding in verify(root, **how).findings]


def tree(root: Path) -> dict[str, tuple[int, int]]:
    return {str(p): (p.stat().st_size, p.stat().st_mtime_ns) for p in root.rglob("*") if p.is_file()}


def test_a_sound_project_passes_every_check_and_is_left_as_it_was(root):
    before = tree(root)
    report = verify(root, content=True)
    assert report.findings == ()
    assert (report.samples, report.events, report.runs) == (6, 2, 2)
    assert tree(root) == before
    assert "all is well" in report_words(report)


def test_what_a_training_leaves_is_sound(tmp_path):
    from tests.pipelines.projects import make_project, trained

    store = make_project(tmp_path, train=24)
    import_images(store, tmp_path / "pictures")
    trained(store, steps=4)
    store.record.fold("r", store.project.runs / "r" / "record")
    assert verify(store.project.root, content=True).findings == ()


def test_a_store_in_memory_can_be_verified_too(tmp_path):
    store = memory_store(create_project(tmp_path, ["cat"]))
    store.log.append([event(Kind.IMPORTED, "nobody", "cow", actor="import")])
    assert [f.check for f in verify_store(store).findings] == ["events_of_samples", "labels_are_classes"]


def say(root: Path, *events) -> None:
    open_store(root).log.append(list(events))


def two_of_one_id(root: Path) -> None:
    first = event(Kind.RELABELLED, ids(root)[0], "cat", actor="zoe")
    say(root, first, replace(first, label="dog"))


def stranger(root: Path) -> None:
    say(root, event(Kind.RELABELLED, "nobody", "cat", actor="zoe"))


def unknown_class(root: Path) -> None:
    say(root, event(Kind.RELABELLED, ids(root)[0], "cow", actor="zoe"))


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


def torn_segment(root: Path) -> None:
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


def torn_settings(root: Path) -> None:
    (root / "runs/one/config.json").write_text("{")


def torn_status(root: Path) -> None:
    (root / "runs/two/status.json").write_text("{")


def dead_run(root: Path) -> None:
    write_status(root / "runs/two", status_now(State.RUNNING, pid=2**22 + 1, step=3, steps=4))


def torn_beginning(root: Path) -> None:
    (root / "runs/two/samples.json").write_text("[")


def run_of_strangers(root: Path) -> None:
    (root / "runs/two/labels.json").write_text(json.dumps({"nobody": "cat"}))


def short_student(root: Path) -> None:
    path = root / "runs/one/student.safetensors"
    path.write_bytes(path.read_bytes()[:-1])


def no_predictions(root: Path) -> None:
    (root / "runs/one/predictions.parquet").unlink()


def torn_checkpoint(root: Path) -> None:
    path = root / "runs/two/checkpoints/step-000004/state.pt"
    path.write_bytes(path.read_bytes()[:-30])


def checkpoint_with_a_flipped_bit(root: Path) -> None:
    path = root / "runs/two/checkpoints/step-000004/state.pt"
    path.write_bytes(path.read_bytes().replace(b"1234", b"1235", 1))


def torn_job(root: Path) -> None:
    (root / "jobs/0001").mkdir(parents=True)
    (root / "jobs/0001/job.json").write_text("{}")


def drafts(root: Path) -> None:
    (root / "runs/one/.predictions.parquet").write_bytes(b"half")
    (root / "runs/one/record/.rank0-000003.tmp").write_bytes(b"half")
    (root / "runs/two/checkpoints/.step-000006").mkdir()
    (root / "runs/two/checkpoints/.step-000006/state.pt").write_bytes(b"half")
    (root / f".gradebook.json.{2**22 + 1}").write_bytes(b"half")


def run_that_never_began(root: Path) -> None:
    (root / "runs/three").mkdir()
    os.utime(root / "runs/three", (1, 1))


def torn_table(root: Path) -> None:
    for path in (root / "lance/samples.lance/data").iterdir():
        path.unlink()


def torn_history(root: Path) -> None:
    for path in (root / "lance/history.lance/data").iterdir():
        path.unlink()


FOUND: list[tuple[Callable[[Path], None], str]] = [
    (two_of_one_id, "event_ids"),
    (stranger, "events_of_samples"),
    (unknown_class, "labels_are_classes"),
    (loose_reference, "references"),
    (file_of_nobody, "files_of_samples"),
    (lost_file, "files_are_there"),
    (changed_file, "files_hold_their_sample"),
    (vectors_of_nobody, "vectors_of_samples"),
    (short_vectors, "views_are_whole"),
    (torn_segment, "segments"),
    (lost_segment, "steps"),
    (record_behind_its_checkpoint, "steps"),
    (torn_settings, "settings"),
    (torn_beginning, "beginnings"),
    (run_of_strangers, "beginnings"),
    (short_student, "endings"),
    (no_predictions, "endings"),
    (torn_checkpoint, "checkpoints_load"),
    (torn_job, "jobs_are_readable"),
    (torn_table, "tables"),
]


@pytest.mark.parametrize(("harm", "check"), FOUND, ids=lambda value: getattr(value, "__name__", ""))
def test_what_is_broken_is_found_and_left_to_a_person(root, harm, check):
    harm(root)
    before = tree(root)
    assert check in found(root)
    assert tree(root) == before, "looking changes nothing"
    report = verify(root, mend=True)
    assert check in [finding.check for finding in report.findings]
    assert report.mended == ()
    assert all(finding.mend for finding in report.findings)


MENDED: list[tuple[Callable[[Path], None], str]] = [
    (history_short_of_rows, "history"),
    (torn_history, "tables"),
    (torn_status, "status"),
    (dead_run, "status"),
    (drafts, "drafts"),
    (run_that_never_began, "empty_directories"),
]


@pytest.mark.parametrize(("harm", "check"), MENDED, ids=lambda value: getattr(value, "__name__", ""))
def test_what_can_be_derived_is_mended_when_asked(root, harm, check):
    events, samples = open_store(root).log.read(), open_store(root).catalog.samples()
    history = open_store(root).record.history(ids(root)[0])
    harm(root)
    before = tree(root)
    assert found(root) == [check]
    assert tree(root) == before, "looking changes nothing"
    report = verify(root, mend=True)
    assert (report.findings, [finding.check for finding in report.mended]) == ((), [check])
    assert found(root, content=True) == []
    store = open_store(root)
    assert (store.log.read(), store.catalog.samples(), store.record.history(ids(root)[0])) == (events, samples, history)


@pytest.mark.parametrize(
    ("harm", "check"), [(history_that_says_otherwise, "signals"), (checkpoint_with_a_flipped_bit, "checkpoints_load")]
)
def test_what_only_the_content_tells_is_found_with_content(root, harm, check):
    harm(root)
    assert found(root) == []
    assert found(root, content=True) == [check]


def test_a_file_that_was_touched_holds_its_sample_and_one_of_the_same_size_and_time_is_read_with_content(
    root, tmp_path
):
    store = open_store(root)
    path = shutil.copyfile(image(root), tmp_path / "copy.png")
    held = store.catalog.files()[0].sample_id
    store.catalog.add([], [File(filepath=str(path), sample_id=held, size=path.stat().st_size, mtime_ns=7)])
    assert found(root) == []
    path.write_bytes(path.read_bytes()[::-1])
    os.utime(path, ns=(7, 7))
    assert found(root) == []
    assert found(root, content=True) == ["files_hold_their_sample"]


def test_a_sample_whose_file_a_killed_import_did_not_list_is_listed(root, tmp_path):
    Image.new("RGB", (9, 9), "red").save(tmp_path / "red.png")
    whole = memory_store(create_project(tmp_path / "other", []))
    import_images(whole, tmp_path / "red.png")
    open_store(root).catalog.add(whole.catalog.samples(), [])
    assert found(root) == ["samples_have_files"]
    assert verify(root, mend=True).findings == ()
    assert set(whole.catalog.files()) < set(open_store(root).catalog.files())


def test_a_run_that_goes_on_keeps_its_drafts(root):
    write_status(root / "runs/two", status_now(State.RUNNING, pid=os.getpid(), step=3, steps=4))
    (root / "runs/two/.predictions.parquet").write_bytes(b"half")
    assert found(root, mend=True) == []
    assert (root / "runs/two/.predictions.parquet").exists()


def test_a_torn_gradebook_json_is_a_finding_that_names_the_classes(root):
    (root / "gradebook.json").write_text('{"version": 1, "clas')
    (finding,) = verify(root, mend=True).findings
    assert "gradebook.json cannot be read" in finding.what
    assert "two knew the classes cat, dog" in finding.mend


def test_what_is_no_project_is_one_sentence(tmp_path):
    with pytest.raises(ProjectError, match="gradebook init"):
        verify(tmp_path)


def test_the_report_is_json_and_words_name_a_few_places(root):
    say(root, *(event(Kind.RELABELLED, f"nobody {n}", "cat", actor="zoe") for n in range(9)))
    report = verify(root)
    (told,) = json.loads(json.dumps(report.as_json()))["findings"]
    assert told["check"] == "events_of_samples" and len(told["where"]) == 9 and told["can_mend"] is False
    assert "nobody 2 and 6 more" in report_words(report)
