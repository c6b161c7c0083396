"""The commands that keep the book, as other programs call them: statuses, JSON keys, sentences."""

import json
from pathlib import Path

import pytest

from gradebook.pipelines import runs
from gradebook.pipelines.cli import maintenance
from gradebook.pipelines.curation.labelling import actor
from gradebook.pipelines.importing.import_images import import_images
from gradebook.pipelines.process.run_status import State, status_now, write_status
from gradebook.pipelines.reporting import run_comparison
from gradebook.pipelines.runs import Run, append_metrics
from gradebook.storage.events import Kind, event, replay
from gradebook.storage.project import Project, create_project, read_project
from gradebook.storage.store import open_store
from tests.pipelines.cli.cli_runner import done, gradebook
from tests.pipelines.importing.folders import put


@pytest.fixture
def root(tmp_path) -> Path:
    root = create_project(tmp_path / "project", ["cat", "dog"]).root
    for n in range(3):
        put(tmp_path / "images" / "cat" / f"{n}.png", n)
    import_images(open_store(root), tmp_path / "images", labels="folders")
    return root


def test_verify_exits_with_0_without_findings_1_with_findings_and_2_if_it_cannot_run(root, tmp_path):
    result = done("verify", root)
    assert "3 images, 3 events and 0 runs: all is well" in result.out
    assert done("verify", root, "--content", "--json").json["findings"] == []
    (tmp_path / "images/cat/1.png").unlink()
    result = gradebook("verify", root, "--json")
    assert result.status == maintenance.FINDINGS_REMAIN == 1
    (finding,) = result.json["findings"]
    assert {"check", "what", "where", "mend", "can_mend"} <= finding.keys()
    assert finding["where"] == [str(tmp_path / "images/cat/1.png")] and "gradebook relocate" in finding["mend"]
    assert gradebook("verify", root, "--mend").status == 1, "a user's file cannot be made again"
    result = gradebook("verify", tmp_path)
    assert (result.status, result.out, len(result.err.splitlines())) == (2, "", 1)


def test_log_and_undo_work_together(root):
    store = open_store(root)
    sample = store.catalog.samples()[0]
    done("label", root, "--sample", sample.sample_id, "--label", "dog")
    (top, first) = done("log", root, sample.filepath, "--json").json
    assert (top["kind"], top["label"], top["actor"], first["kind"]) == ("relabelled", "dog", actor(), "imported")
    assert top["filepath"] == sample.filepath and top["undone_by"] is None
    undone = done("undo", root, top["event_id"], "--json").json
    assert undone == {
        "event_id": undone["event_id"],
        "undone": top["event_id"],
        "sample_id": sample.sample_id,
        "label": "cat",
    }
    assert replay(store.log.read())[sample.sample_id] == "cat"
    assert len(done("log", root, "--limit", 2, "--json").json) == 2
    assert "[undone]" in done("log", root, "--actor", actor()).out
    again = gradebook("undo", root, top["event_id"])
    assert again.status == 2 and f"gradebook undo {root} {undone['event_id']}" in again.err


def test_relocate_prints_what_it_changed(root, tmp_path):
    (tmp_path / "images").rename(tmp_path / "moved")
    dry = done("relocate", root, tmp_path / "images", tmp_path / "moved", "--dry-run", "--json").json
    assert (dry["moved"], dry["dry_run"]) == (3, True)
    assert gradebook("verify", root).status == 1
    assert "3 files are now found below" in done("relocate", root, tmp_path / "images", tmp_path / "moved").out
    assert done("verify", root).status == 0
    assert gradebook("relocate", root, tmp_path / "images", tmp_path / "moved").status == 2


def begin(project: Project, name: str, state: State, accuracy: float | None) -> Run:
    path = project.runs / name
    path.mkdir(parents=True)
    (path / runs.CONFIG).write_text(json.dumps({"method": name.split("-")[0], "preset": "quick"}))
    (path / runs.LABELS).write_text(json.dumps({"s0": "cat", "s1": "dog"}))
    write_status(path, status_now(state, pid=0, step=3, steps=4))
    if accuracy is not None:
        for step in (1, 3):
            append_metrics(path, {"step": step, "validation_accuracy": accuracy * step / 3})
    return Run(path)


def test_runs_are_compared_in_a_table(root):
    assert done("runs", root).out == "No run yet.\n"
    project = read_project(root)
    one = begin(project, "mpl-001", State.FINISHED, 0.75)
    begin(project, "uda-001", State.STOPPED, None)
    (project.runs / "corrupt").mkdir()
    (project.runs / "corrupt" / runs.CONFIG).write_text("{")
    run_comparison.save_evaluation(one, {"on": "test split", "accuracy": 0.5, "n": 8, "ece": 0.1, "classes": []})
    rows = {row["run"]: row for row in done("runs", root, "--json").json}
    assert list(rows) == ["mpl-001", "uda-001", "corrupt"]
    first = {k: rows["mpl-001"][k] for k in ("method", "labels", "step", "steps", "state", "validation_accuracy")}
    assert first == {
        "method": "mpl", "labels": 2, "step": 3, "steps": 4, "state": "finished", "validation_accuracy": 0.75
    }  # fmt: skip
    assert (rows["mpl-001"]["test_accuracy"], rows["mpl-001"]["test_images"]) == (0.5, 8)
    assert rows["uda-001"]["validation_accuracy"] is rows["uda-001"]["test_accuracy"] is None
    assert rows["corrupt"]["state"] == "failed" and rows["corrupt"]["method"] == ""
    assert "50.0% of 8" in done("runs", root).out


def test_the_log_has_its_old_name_too(root):
    assert done("history", root, "--json").json == done("log", root, "--json").json


def test_a_lost_event_log_is_reported_and_the_rest_is_kept(root):
    store = open_store(root)
    store.log.append([event(Kind.RELABELLED, store.catalog.ids()[0], "dog", actor="zoe")])
    for path in (root / "lance" / "events.lance" / "data").iterdir():
        path.unlink()
    result = gradebook("verify", root, "--mend")
    assert result.status == 1 and "restore lance/events.lance from a backup" in result.out
    assert len(open_store(root).catalog.files()) == 3


def test_classes_are_listed_and_changed_and_changes_undone(root):
    rows = done("classes", root, "--details", "--json").json
    assert [row["name"] for row in rows] == done("classes", root, "--json").json
    assert [(row["name"], row["labels"], row["key"]) for row in rows] == [("cat", 3, "1"), ("dog", 0, "2")]
    assert len({row["color"] for row in rows}) == 2
    changed = done("classes", root, "--rename", "cat=tiger", "--json").json
    assert (changed["change"], changed["undecided"], changed["selection"]) == ("rename cat to tiger", 0, None)
    assert changed["classes"] == [rows[0] | {"name": "tiger"}, rows[1]]
    split = done("classes", root, "--split", "tiger=tiger,lion", "--json").json
    assert split["undecided"] == 3 and split["selection"]
    assert "undo: split" in done("classes", root, "--undo").out
    assert "merge tiger, dog into pet" in done("classes", root, "--merge", "tiger,dog=pet").out
    newest = done("log", root, "--json").json[0]["event_id"]
    assert done("undo", root, newest, "--json").json["change"] == "undo: merge tiger, dog into pet"
    assert done("verify", root, "--json").json["findings"] == []
    assert "rename cat to tiger" in done("log", root).out


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--rename", "cat"), "give it as old=new"),
        (("--merge", "cat,dog"), "give it as a,b=c"),
        (("--split", "cat=a"), "two classes or more"),
        (("--add", "a", "--remove", "cat"), "one thing at a time"),
        (("--undo",), "no change to undo"),
    ],
)
def test_what_cannot_be_done_with_classes_is_one_sentence(root, options, sentence):
    result = gradebook("classes", root, *options)
    assert result.status == 2 and sentence in result.err and len(result.err.splitlines()) == 1
