"""`gradebook start`: from a folder to the app, and what happens where it is called again."""

import pytest

from gradebook.pipelines.cli import serve_app
from gradebook.pipelines.jobs import commands, start_project
from gradebook.pipelines.jobs.launcher import JobState
from gradebook.pipelines.process import servers
from gradebook.storage.project import create_project, read_project
from tests.pipelines.cli.cli_runner import done, refused
from tests.pipelines.cli.finished_round import picture


@pytest.fixture
def photos(tmp_path):
    for n in range(4):
        picture(tmp_path / "photos" / ("cats", "dogs")[n % 2] / f"{n}.png", n, n % 2)
    return tmp_path / "photos"


@pytest.fixture
def opened(monkeypatch) -> list:
    """The apps that were opened: root, port and token."""
    calls = []
    monkeypatch.setattr(serve_app, "open_app", lambda *given, **named: calls.append((*given, named["token"])) or 0)
    return calls


@pytest.fixture
def jobs(monkeypatch) -> list:
    """The jobs that were started, with their arguments."""
    calls = []
    monkeypatch.setattr(commands, "_start", lambda project, *given: calls.append(given))
    return calls


def test_it_makes_a_project_beside_the_images_and_opens_it_while_jobs_import_and_embed(photos, opened, jobs):
    done("start", photos, "--classes", "cat,dog", "--no-token")
    project = read_project(photos.with_name("photos-project"))
    assert project.classes == ("cat", "dog")
    assert [call[0] for call in jobs] == ["import"] and "--embed" in jobs[0] and str(photos) in jobs[0]
    ((root, port, token),) = opened
    assert (root, token) == (project.root, False) and port > 0
    assert sorted(path.name for path in photos.iterdir()) == ["cats", "dogs"], "nothing is written among the images"


def test_asked_again_it_opens_what_is_there(photos, opened, jobs, monkeypatch):
    done("start", photos)
    finished = {"import": ("import", str(photos)), "embed": ("embed",)}
    monkeypatch.setattr(commands, "newest", lambda project, name: finished[name])
    monkeypatch.setattr(commands, "job_state", lambda job: JobState.DONE)
    monkeypatch.setattr(commands, "command_of", lambda job: job)
    again = done("start", photos, "--classes", "bird")
    assert len(jobs) == 1, "the first call's"
    assert len(opened) == 2 and opened[0][0] == opened[1][0]
    assert read_project(opened[0][0]).classes == ("bird",), "classes that are given later are added"
    assert "gradebook import" in again.err


def test_a_job_that_was_stopped_starts_again(photos, opened, jobs, monkeypatch):
    done("start", photos)
    states = {"import": JobState.DONE, "embed": JobState.FAILED}
    monkeypatch.setattr(commands, "newest", lambda project, name: name)
    monkeypatch.setattr(commands, "job_state", lambda job: states[job])
    monkeypatch.setattr(commands, "command_of", lambda job: (job, str(photos)))
    done("start", photos)
    assert jobs[-1] == ("embed",)
    states["import"] = JobState.FAILED
    done("start", photos)
    assert jobs[-1][0] == "import"


def test_the_project_is_never_among_the_images(photos, opened, jobs):
    for directory in (photos, photos / "cats", photos / "new" / "project"):
        assert "--project DIR" in refused("start", photos, "--project", directory)
    assert opened == jobs == []
    assert not (photos / "new").exists()


def test_without_images_nothing_is_made(tmp_path, opened):
    assert "there is nothing at" in refused("start", tmp_path / "none")
    assert not (tmp_path / "none-project").exists()


def test_a_directory_that_cannot_be_written_to_names_the_option(photos, opened, jobs, monkeypatch):
    def denied(root, classes):
        raise PermissionError(13, "Permission denied", str(root))

    monkeypatch.setattr(start_project, "create_project", denied)
    assert "choose another directory with --project DIR" in refused("start", photos)


def test_a_port_that_is_taken_gives_way_unless_it_was_asked_for(tmp_path):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert servers.free_port_near(port) != port


@pytest.mark.slow
def test_the_jobs_import_and_then_embed(tmp_path, photos, monkeypatch):
    """The real jobs; the weights are the packaged ones."""
    from tests.polling import until

    project = create_project(tmp_path / "project", ["cat"])
    commands.start_import(project, photos, labels="none", split="train", embed=True)
    until(lambda: (job := commands.newest(project, "embed")) and commands.job_state(job) is not JobState.RUNNING)
    job = commands.newest(project, "embed")
    assert commands.job_state(job) is JobState.DONE, commands.failure_message(job)
    assert commands.result(job)["embedded"] == 4
    assert commands.result(commands.newest(project, "import"))["imported"] == 4
