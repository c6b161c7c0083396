"""The page Images: imports and embeddings are started as asked, and the results are shown."""

import json
from pathlib import Path

import pytest

from gradebook.app.context import PageContext
from gradebook.pipelines.jobs import commands, launcher
from gradebook.pipelines.process.job_files import PROGRESS
from gradebook.storage.project import create_project, read_project
from gradebook.storage.store import memory_store
from gradebook.storage.vectors import Space
from tests.app.conftest import finish
from tests.app.test_views import app, drawn, text

FOUND = {
    "imported": 3,
    "already_known": 1,
    "labelled": 2,
    "broken": 1,
    "duplicate_files": [["/p/b.png", "/p/a.png"]],
    "near_duplicate_pairs": [],
    "conflict_files": [[["/p/c.png", "crow"], ["/p/d.png", "heron"]]],
    "broken_files": [["/p/<b>.png", "the file is empty"]],
    "leak_files": [],
    "moved_files": [],
    "changed_files": ["/p/e.png"],
    "label_problem_places": [],
}


def draw_images(context):
    from gradebook.app.views import images

    images.render(context)


def test_an_import_is_a_job_that_is_followed_and_stopped(context, sleeping, tmp_path):
    page = drawn(draw_images, context)
    page.button(key="import").click().run()
    assert "where the images are" in page.error[0].value and not sleeping
    page.text_input(key="images").set_value(str(tmp_path / "pictures")).run()
    page.selectbox(key="labels").select("folders")
    page.radio(key="split").set_value("test")
    page.button(key="import").click().run()
    (job,) = sleeping
    asked = ("import", str(tmp_path / "pictures"), "--labels", "folders", "--split", "test")
    assert commands.command_of(job) == asked
    (job.path / PROGRESS).write_text(json.dumps({"what": "import", "done": 50, "total": 200}))
    other = drawn(draw_images, context)
    bar = other.get("progress")[0].proto
    assert (bar.value, bar.text) == (25, r"Reading images\: 50 of 200")
    assert other.button(key="embed").disabled, "one at a time"
    other.button(key=f"stop-{job.path.name}").click().run()
    launcher.stop(job, timeout=5)
    other.run()
    assert "Press Continue" in other.info[0].value
    drawn(draw_images, context).button(key="import-again").click().run()
    (_, again) = sleeping
    assert commands.command_of(again) == asked
    assert not [b for b in drawn(draw_images, context).button if b.key == "import-again"], "it is running already"


def test_a_fiftyone_dataset_is_imported_by_its_name(context, sleeping):
    page = drawn(draw_images, context)
    page.segmented_control(key="from").set_value("FiftyOne dataset").run()
    page.button(key="import").click().run()
    assert "name of the dataset" in page.error[0].value and not sleeping
    page.text_input(key="dataset").set_value("my birds").run()
    page.button(key="import").click().run()
    page.text_input(key="field").set_value("truth").run()
    (job,) = sleeping
    assert commands.command_of(job) == ("import", "fiftyone:my birds", "--labels", "none", "--split", "train")
    launcher.stop(job, timeout=5)
    page.run()
    page.button(key="import").click().run()
    assert commands.command_of(sleeping[1])[1:4] == ("fiftyone:my birds", "--labels", "truth")


def test_the_results_of_an_import_are_shown(context, sleeping, tmp_path):
    page = drawn(draw_images, context)
    page.text_input(key="images").set_value(str(tmp_path)).run()
    page.button(key="import").click().run()
    finish(sleeping[0], FOUND)
    page = drawn(draw_images, context)
    numbers = {metric.label: metric.value for metric in page.metric}
    assert numbers == {"New": "3", "Known": "1", "Labels": "2", "Unreadable": "1"}
    tables = [table.value.to_dict("records") for table in page.dataframe]
    (reasons,) = (html.proto.body for html in page.get("html") if "reasons" in html.proto.body)
    assert "<dt>&lt;b&gt;.png</dt><dd>the file is empty</dd>" in reasons, "a hostile name is shown, not run"
    assert tables == [
        [{"image": "c.png", "labels": "c.png: crow, d.png: heron"}],
        [{"file": "b.png", "same as": "a.png"}],
        [{"file": "e.png"}],
    ]
    finish(sleeping[0], {key: [] if isinstance(value, list) else value for key, value in FOUND.items()})
    assert "No problems found" in drawn(draw_images, context).success[0].value


def test_every_list_of_a_report_is_shown_or_counted():
    from gradebook.app.views.import_results import PROBLEMS
    from gradebook.pipelines.importing.import_images import ImportReport

    lists = {name for name in ImportReport.__slots__ if name.endswith(("_files", "_pairs", "_places"))}
    assert {problem.key for problem in PROBLEMS} == lists


@pytest.mark.parametrize("typed", ["labels.csv", "ABSOLUTE"])
def test_labels_from_a_table_in_the_folder_or_anywhere(context, sleeping, tmp_path, typed):
    table = tmp_path / "pictures" / "labels.csv"
    table.write_text("filepath,label\n")
    page = drawn(draw_images, context)
    page.text_input(key="images").set_value(str(table.parent)).run()
    page.selectbox(key="labels").select("csv").run()
    page.button(key="import").click().run()
    assert "where the labels are" in page.error[0].value and not sleeping
    page.text_input(key="csv").set_value(str(table) if typed == "ABSOLUTE" else typed).run()
    page.button(key="import").click().run()
    assert commands.command_of(sleeping[0])[2:4] == ("--labels", str(table))


def test_embeddings_are_computed_with_the_settings_of_the_earlier_ones(context, sleeping):
    page = drawn(draw_images, context)
    assert "0 of 6 images have embeddings" in text(page)
    page.button(key="embed").click().run()
    assert commands.command_of(sleeping[0]) == ("embed",)
    launcher.stop(sleeping[0], timeout=0)
    space = Space(backbone="net", weights="random, 1", size=8, dim=2, weak=2, strong=2, seed=0)
    context.store.vectors.create(space)
    page = drawn(draw_images, context)
    page.button(key="embed").click().run()
    assert commands.command_of(sleeping[1]) == (*("embed", "--backbone", "net", "--views", "4", "--weights", "random"),)


def test_without_missing_embeddings_there_is_no_button(context):
    import numpy as np

    ids = [sample.sample_id for sample in context.store.catalog.samples()]
    context.store.vectors.create(Space(backbone="net", weights="x", size=8, dim=2, weak=2, strong=0, seed=0))
    context.store.vectors.add("net", ids, np.ones((len(ids), 2, 2), np.float16))
    page = drawn(draw_images, context)
    assert "All 6 images have embeddings" in text(page)
    assert "embed" not in [button.key for button in page.button]


def test_an_empty_project_says_what_to_do(tmp_path):
    page = drawn(draw_images, PageContext(memory_store(create_project(tmp_path / "new", [])), None, "ada"))
    assert "no images yet" in page.info[0].value


def test_a_project_created_on_the_welcome_page_opens_on_images(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    page = app(monkeypatch).run()
    page.text_input(key="new-path").set_value(str(tmp_path / "birds"))
    page.text_input(key="new-classes").set_value("crow, heron,")
    page.button(key="make-project").click().run()
    assert not page.exception
    assert read_project(tmp_path / "birds").classes == ("crow", "heron")
    assert page.title[0].value == "Images"
    assert page.query_params["project"] == str(tmp_path / "birds")


@pytest.mark.parametrize(
    ("path", "classes", "message"), [("", "", "where"), ("birds", "a,a", "twice"), ("here", "", "already")]
)
def test_a_project_that_cannot_be_created_is_an_error(monkeypatch, tmp_path, path, classes, message):
    monkeypatch.chdir(tmp_path)
    create_project(tmp_path / "here", [])
    page = app(monkeypatch).run()
    page.text_input(key="new-path").set_value(path and str(tmp_path / path))
    page.text_input(key="new-classes").set_value(classes)
    page.button(key="make-project").click().run()
    assert message in page.error[0].value
    assert not (Path(tmp_path) / "birds").exists()
