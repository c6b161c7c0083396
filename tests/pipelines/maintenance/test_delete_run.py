"""Deleting a run."""

import os

import pytest

from gradebook.pipelines.maintenance import delete_run
from gradebook.pipelines.maintenance.verify import verify
from gradebook.pipelines.process.run_status import State, status_now, write_status
from gradebook.pipelines.runs import find_run, list_runs, new_run_name
from gradebook.storage.project import ProjectError
from tests.pipelines.cli.cli_runner import done, refused
from tests.pipelines.projects import make_project, run_of, trained


@pytest.fixture
def store(tmp_path):
    store = make_project(tmp_path)
    trained(store, run="mpl-001")
    store.record.fold("mpl-001", store.project.runs / "mpl-001" / "record")
    return store


def test_a_deleted_run_is_gone_from_disk_and_record_and_labels_stay(store):
    events = store.log.read()
    result = delete_run.delete(store, "mpl-001", actor="ada")
    assert result.deleted and result.files > 5
    assert list(store.project.runs.iterdir()) == [] and list_runs(store.project) == []
    assert store.record.runs() == [] and store.log.read() == events


def test_events_of_a_deleted_run_are_marked_and_no_other_run_gets_its_name(store):
    trained(store, run="mpl-002")
    delete_run.delete(store, "mpl-001", actor="ada")
    with pytest.raises(ProjectError, match=r"mpl-001 was deleted on .* by ada: choose one of mpl-002"):
        find_run(store.project, "mpl-001")
    delete_run.delete(store, "mpl-002", actor="ada")
    assert new_run_name(store.project, "mpl") == "mpl-003"
    with pytest.raises(ProjectError, match="nothing left of it to delete"):
        delete_run.plan(store, "mpl-002")


def test_a_training_run_is_not_deleted(store):
    run = run_of(store, "mpl-001")
    write_status(run.path, status_now(State.RUNNING, pid=os.getpid(), step=1, steps=2))
    with pytest.raises(ProjectError, match="mpl-001 is training: stop it first"):
        delete_run.delete(store, "mpl-001", actor="ada")
    assert run.path.is_dir()


@pytest.mark.parametrize("name", ["../pictures", "..", ".", "", "best", "/etc", "nothing"])
def test_only_a_run_of_the_project_is_deleted(store, name):
    with pytest.raises(ProjectError, match="there is no run"):
        delete_run.delete(store, name, actor="ada")
    assert (store.project.root.parent / "pictures").is_dir()


def test_a_link_is_not_followed(store, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    (store.project.runs / "mpl-001").rename(elsewhere)
    (store.project.runs / "mpl-001").symlink_to(elsewhere)
    with pytest.raises(ProjectError, match="is a link"):
        delete_run.delete(store, "mpl-001", actor="ada")
    (store.project.runs / "mpl-001").unlink()
    inside = trained(store, run="mpl-002")
    assert inside.run == "mpl-002"
    (store.project.runs / "mpl-002" / "link").symlink_to(elsewhere)
    delete_run.delete(store, "mpl-002", actor="ada")
    assert (elsewhere / "config.json").exists()


def test_a_deletion_that_was_killed_is_found_and_completed(store):
    path = store.project.runs / "mpl-001"
    path.rename(store.project.runs / ".mpl-001.deleted")
    assert list_runs(store.project) == []
    (finding,) = [f for f in verify(store.project.root).findings if f.check == "deletions_are_complete"]
    assert "gradebook delete-run" in finding.advice
    assert delete_run.delete(store, "mpl-001", actor="ada").deleted
    assert list(store.project.runs.iterdir()) == []


def test_the_command_asks_and_without_a_terminal_needs_yes(store):
    project = store.project.root
    assert "give --yes" in refused("delete-run", project, "mpl-001")
    result = done("delete-run", project, "mpl-001", "--yes", "--json").json
    assert result["run"] == "mpl-001" and result["deleted"]
    assert not {f.check for f in verify(project).findings} & {"runs_are_there", "deletions_are_complete"}
    assert "there is no run" in refused("delete-run", project, "x", "--yes")
