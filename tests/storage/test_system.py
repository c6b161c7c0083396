"""What cannot work on Windows says so before it begins. Nothing runs on Windows here: the system is only pretended."""

import pytest

from gradebook.pipelines.jobs import launcher
from gradebook.storage import mongodb, system
from gradebook.storage.project import ProjectError, create_project
from tests.pipelines.cli.cli_runner import refused


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.setattr(system, "IS_WINDOWS", True)
    return create_project(tmp_path / "project", ["cat", "dog"])


def test_jobs_are_refused_and_leave_nothing(project):
    before = sorted(project.root.rglob("*"))
    for start in (
        lambda: launcher.start(project, ["gradebook", "status"]),
        lambda: launcher.start_training(project, preset="quick", method="mpl"),
    ):
        with pytest.raises(
            ProjectError, match="background jobs work on Linux and macOS only: run the command in a term"
        ):
            start()
    assert sorted(project.root.rglob("*")) == before


def test_a_live_session_is_refused(project):
    assert "live sessions work on Linux and macOS only: train with gradebook train" in refused("session", project.root)


def test_no_mongodb_is_started(project, monkeypatch):
    monkeypatch.delenv(mongodb.URI, raising=False)
    with pytest.raises(mongodb.NoDatabase, match="set FIFTYONE_DATABASE_URI to a server of yours"):
        mongodb.find_or_start(project.root)
    assert not (project.root / "mongo").exists()
