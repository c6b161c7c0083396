"""The Overview of a project that `gradebook start` has just made: jobs that run, and classes to name."""

import pytest

from gradebook.app.context import PageContext
from gradebook.app.views import overview
from gradebook.pipelines.jobs import commands
from gradebook.pipelines.jobs.launcher import JobState
from gradebook.storage.project import create_project, read_project
from gradebook.storage.samples import Sample, Split
from gradebook.storage.store import Store, memory_store
from tests.app.test_views import draw_overview, drawn, text


@pytest.fixture
def new(tmp_path) -> Store:
    """A project without classes, whose images are in a folder for each animal."""
    store = memory_store(create_project(tmp_path / "photos-project", []))
    paths = [f"/photos/{name}/{n}.jpg" for n, name in enumerate(("cats", "dogs", "dogs"))]
    samples = [
        Sample(sample_id=f"{n:032}", filepath=path, split=Split.TRAIN, width=9, height=9, fingerprint=bytes(200))
        for n, path in enumerate(paths)
    ]
    store.catalog.add(samples, [])
    return store


@pytest.fixture
def running(monkeypatch):
    """Lets jobs of these commands seem to run."""

    def let(*names: str) -> None:
        monkeypatch.setattr(commands, "newest", lambda project, *asked: next((n for n in asked if n in names), None))
        monkeypatch.setattr(commands, "job_state", lambda job: JobState.RUNNING)
        monkeypatch.setattr(overview, "follow", lambda job, **named: followed.append(job))

    followed: list[str] = []
    let.followed = followed
    return let


def test_names_of_folders_are_in_the_form_and_can_be_changed(new):
    page = drawn(draw_overview, PageContext(new, None, "ada"))
    assert page.text_input(key="class-names").value == "cats,dogs"
    page.text_input(key="class-names").set_value("cat, dog")
    page.button[0].click().run()
    assert read_project(new.project.root).classes == ("cat", "dog")


def test_while_images_are_imported_their_progress_is_shown_and_no_import_is_offered(tmp_path, running):
    running("import")
    page = drawn(draw_overview, PageContext(memory_store(create_project(tmp_path / "p", [])), None, "ada"))
    assert running.followed == ["import"]
    assert page.info == []


def test_while_images_are_embedded_the_first_can_be_labelled(context, running):
    running("embed")
    page = drawn(draw_overview, context)
    assert "Label the first images. Their embeddings are computed meanwhile." in text(page).replace("\\", "")
    assert running.followed == ["embed"]
