"""A sound project passes every check, each kind of corruption is found, and what is derived is repaired."""

import json
import os
import shutil
from pathlib import Path

import pytest
from PIL import Image

from gradebook.pipelines.importing.import_images import import_images
from gradebook.pipelines.maintenance.forget import forget
from gradebook.pipelines.maintenance.verify import format_report, verify, verify_store
from gradebook.pipelines.process.run_status import State, status_now, write_status
from gradebook.pipelines.runs import Run
from gradebook.storage.events import Kind, event
from gradebook.storage.project import ProjectError, create_project
from gradebook.storage.samples import File
from gradebook.storage.store import memory_store, open_store
from tests.pipelines.cli.cli_runner import done
from tests.pipelines.maintenance.corruption import (
    FOUND,
    REPAIRED,
    checkpoint_with_a_flipped_bit,
    history_that_says_otherwise,
    ids,
    image,
    lose_newest_version,
    lost_log,
    lost_run,
    say,
    segment_with_a_flipped_bit,
    student_with_a_flipped_bit,
)


def found(root: Path, **how: bool) -> list[str]:
    return [finding.check for finding in verify(root, **how).findings]


def tree(root: Path) -> dict[str, tuple[int, int]]:
    return {str(p): (p.stat().st_size, p.stat().st_mtime_ns) for p in root.rglob("*") if p.is_file()}


def test_a_healthy_project_passes_every_check_and_is_unchanged(root):
    before = tree(root)
    report = verify(root, content=True)
    assert report.findings == ()
    assert (report.samples, report.events, report.runs) == (6, 2, 2)
    assert tree(root) == before
    assert "all is well" in format_report(report)


def test_a_project_after_a_training_passes_every_check(tmp_path):
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


@pytest.mark.parametrize(("harm", "check"), FOUND, ids=lambda value: getattr(value, "__name__", ""))
def test_damage_that_needs_a_decision_is_reported_and_left(root, harm, check):
    harm(root)
    before = tree(root)
    assert check in found(root)
    assert tree(root) == before, "looking changes nothing"
    report = verify(root, repair=True)
    assert check in [finding.check for finding in report.findings]
    assert report.repaired == ()
    assert all(finding.advice for finding in report.findings)


@pytest.mark.parametrize(("harm", "check"), REPAIRED, ids=lambda value: getattr(value, "__name__", ""))
def test_derived_data_is_repaired_on_request(root, harm, check):
    events, samples = open_store(root).log.read(), open_store(root).catalog.samples()
    history = open_store(root).record.history(ids(root)[0])
    harm(root)
    before = tree(root)
    assert found(root) == [check]
    assert tree(root) == before, "looking changes nothing"
    report = verify(root, repair=True)
    assert (report.findings, [finding.check for finding in report.repaired]) == ((), [check])
    assert found(root, content=True) == []
    store = open_store(root)
    assert (store.log.read(), store.catalog.samples(), store.record.history(ids(root)[0])) == (events, samples, history)


@pytest.mark.parametrize(
    ("harm", "check"), [(history_that_says_otherwise, "signals"), (checkpoint_with_a_flipped_bit, "checkpoints_load")]
)
def test_changed_bytes_are_found_with_the_option_content(root, harm, check):
    harm(root)
    assert found(root) == []
    assert found(root, content=True) == [check]


@pytest.mark.parametrize(
    ("harm", "check"),
    [
        (student_with_a_flipped_bit, "results_are_unchanged"),
        (segment_with_a_flipped_bit, "segments_are_unchanged"),
    ],
)
def test_a_flipped_bit_is_found_and_a_repair_keeps_other_derived_data(root, harm, check):
    history = open_store(root).record.history(ids(root)[0])
    harm(root)
    assert check in found(root, content=True)
    assert check in found(root, content=True, repair=True)
    assert open_store(root).record.history(ids(root)[0]) == history


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
    assert verify(root, repair=True).findings == ()
    assert set(whole.catalog.files()) < set(open_store(root).catalog.files())


@pytest.mark.parametrize("table", ["events", "samples", "files", "spaces", "vectors-tiny", "history", "folded"])
def test_a_table_whose_newest_version_was_deleted_is_found(root, table):
    lose_newest_version(root, table)
    assert "table_versions" in found(root)


def test_a_lost_log_is_reported_with_the_file_that_still_has_its_labels(root):
    labels = open_store(root).log.read()
    lost_log(root)
    finding = next(f for f in verify(root).findings if f.check == "labels_of_runs")
    assert set(finding.where) == {e.sample_id for e in labels}
    assert str(root / "runs/one/labels.json") in finding.advice
    open_store(root).log.append(labels)
    assert "labels_of_runs" not in found(root)


def test_a_run_that_was_deleted_on_purpose_is_forgotten(root):
    lost_run(root)
    assert found(root) == ["runs_are_there"]
    assert forget(open_store(root), root / "runs/one", dry_run=True) == [str(root / "runs/one")]
    assert found(root) == ["runs_are_there"]
    assert forget(open_store(root), root / "runs/one") == [str(root / "runs/one")]
    assert found(root) == []
    with pytest.raises(ProjectError, match="nothing was imported from"):
        forget(open_store(root), root / "runs/two")  # it is there


def test_a_deleted_status_is_rebuilt_from_the_files_of_the_run(root):
    for name, weights, state in (("one", True, State.FINISHED), ("two", False, State.STOPPED)):
        (root / "runs" / name / "status.json").unlink()
        if not weights:
            (root / "runs" / name / "student.safetensors").unlink()
        assert found(root) == ["status"]
        assert verify(root, repair=True).findings == ()
        status = Run(root / "runs" / name).status()
        assert (status.state, status.step, status.steps) == (state, 4, 4)


def test_a_live_run_keeps_its_temporary_files(root):
    write_status(root / "runs/two", status_now(State.RUNNING, pid=os.getpid(), step=3, steps=4))
    (root / "runs/two/.predictions.parquet").write_bytes(b"half")
    assert found(root, repair=True) == []
    assert (root / "runs/two/.predictions.parquet").exists()


def test_a_corrupt_gradebook_json_is_a_finding_that_names_the_classes(root):
    (root / "gradebook.json").write_text('{"version": 1, "clas')
    (finding,) = verify(root, repair=True).findings
    assert "gradebook.json cannot be read" in finding.problem
    assert "two has the classes cat, dog" in finding.advice


def test_a_folder_that_is_no_project_is_a_one_line_error(tmp_path):
    with pytest.raises(ProjectError, match="gradebook init"):
        verify(tmp_path)


def test_the_report_is_json_and_the_text_names_a_few_places(root):
    say(root, *(event(Kind.RELABELLED, f"nobody {n}", "cat", actor="zoe") for n in range(9)))
    report = verify(root)
    (finding,) = json.loads(json.dumps(report.as_json()))["findings"]
    assert finding["check"] == "events_of_samples" and len(finding["where"]) == 9 and finding["can_mend"] is False
    assert "nobody 2 and 6 more" in format_report(report)


def test_status_says_that_events_of_the_log_are_missing(root):
    store = open_store(root)
    store.log.append_now([event(Kind.RELABELLED, store.catalog.ids()[0], "dog", actor="zoe")])
    events = store.log.version()
    assert done("status", root, "--json").json["lost_events"] == 0
    shutil.rmtree(root / "lance" / "events.lance")
    assert done("status", root, "--json").json["lost_events"] == events
    assert f"{events} events of the log are missing" in done("status", root).out
