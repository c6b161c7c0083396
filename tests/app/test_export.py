"""The page Export: each button starts one job, and an exported classifier can be tried on an image."""

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gradebook.app.context import PageContext
from gradebook.app.views.export_downloads import zipped
from gradebook.pipelines.jobs import commands, launcher
from gradebook.pipelines.process.job_files import ANSWER, PROGRESS
from gradebook.pipelines.process.run_status import State
from gradebook.storage.project import create_project
from gradebook.storage.store import memory_store
from tests.app.conftest import CLASSES, HOSTILE, a_run, finish
from tests.app.test_views import drawn, text


def draw_export(context):
    from gradebook.app.views import export

    export.render(context)


def classifier(directory: Path) -> Path:
    """Makes an export whose network predicts the same for every image: the second class, 80 %."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    probabilities = numpy_helper.from_array(np.array([[0.1, 0.8, 0.1]], np.float32), "constant")
    images = helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", 3, 8, 8])
    out = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [1, 3])
    nodes = [helper.make_node("Identity", ["constant"], ["probabilities"])]
    graph = helper.make_graph(nodes, "constant", [images], [out], [probabilities])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    directory.mkdir()
    onnx.save(model, directory / "model.onnx")
    (directory / "classes.json").write_text(json.dumps({"classes": CLASSES, "size": 8}))
    (directory / "README.md").write_text("# Classifier `mpl-001`\n\n## Labels\n\nall of them")
    return directory


def test_an_export_can_be_followed_stopped_and_restarted(context, sleeping, tmp_path):
    page = drawn(draw_export, context)
    page.text_input(key="into-mpl-001").set_value(str(tmp_path / "out"))
    page.button(key="export").click().run()
    (job,) = sleeping
    assert commands.command_of(job) == ("export", str(tmp_path / "out"), "--run", "mpl-001")
    assert page.button(key="export").disabled
    (job.path / PROGRESS).write_text(json.dumps({"what": "Writing ONNX", "done": 2, "total": 5}))
    other = drawn(draw_export, context)
    assert "Writing ONNX" in other.get("progress")[0].proto.text.replace("\\", ""), "another page follows it as well"
    other.button(key=f"stop-{job.path.name}").click().run()
    launcher.stop(job, timeout=5)
    other.run()
    assert "Stopped" in other.info[0].value
    assert not other.button(key="export").disabled


def test_an_exported_classifier_is_tried_on_an_image(context, sleeping, tmp_path):
    page = drawn(draw_export, context)
    page.button(key="export").click().run()
    out = classifier(tmp_path / "out")
    finish(sleeping[0], {"dir": str(out), "files": [], "run": "mpl-001", "checked": 6, "largest_difference": 0.001})
    page.run()
    assert "On 6 images its probabilities differ" in page.success[0].value
    assert "### Classifier `mpl-001`" in text(page)
    content = io.BytesIO()
    Image.new("RGB", (20, 10), "red").save(content, "PNG")
    page.file_uploader(key="tried").set_value(("a.png", content.getvalue(), "image/png")).run()
    assert not page.exception
    assert "**heron** 80%" in text(page)
    assert "heron" in page.get("plotly_chart")[0].proto.spec
    page.file_uploader(key="tried").set_value(("a.png", b"no image", "image/png")).run()
    assert "not an image" in page.warning[0].value and not page.get("plotly_chart")


def test_a_failed_export_shows_its_error(context, sleeping):
    page = drawn(draw_export, context)
    page.button(key="export").click().run()
    finish(sleeping[0], {})
    (sleeping[0].path / ANSWER).unlink()
    (sleeping[0].path / "exit").write_text("2\n")
    sleeping[0].log.write_text("gradebook: /x holds other files: choose a new directory\n")
    page.run()
    assert "X holds other files" in page.error[0].value.replace("\\", "").replace("/x", "X")


def test_an_export_stopped_after_its_result_is_done(context, sleeping, tmp_path):
    page = drawn(draw_export, context)
    page.button(key="export").click().run()
    out = classifier(tmp_path / "out")
    finish(sleeping[0], {"dir": str(out), "files": [], "run": "mpl-001", "checked": 0, "largest_difference": 0.0})
    (sleeping[0].path / "exit").write_text("130\n")
    page.run()
    assert "mpl-001 exported to" in page.success[0].value.replace("\\", "") and not page.info


def test_the_address_has_the_run_to_export(context):
    a_run(context.store, "uda-001")
    assert drawn(draw_export, context, export="uda-001").selectbox(key="export-run").value == "uda-001"
    page = drawn(draw_export, context)
    assert page.selectbox(key="export-run").value == "mpl-001"
    page.selectbox(key="export-run").select("uda-001").run()
    assert page.query_params["export"] == "uda-001"


def test_predictions_and_an_exported_classifier_are_downloaded(context, tmp_path):
    page = drawn(draw_export, context)
    assert page.download_button(key="download-predictions").label == "Download predictions"
    folder = classifier(tmp_path / "mpl-001")
    with zipfile.ZipFile(io.BytesIO(zipped(folder))) as archive:
        assert archive.namelist() == [f"mpl-001/{name}" for name in ("README.md", "classes.json", "model.onnx")]
        assert archive.read("mpl-001/model.onnx") == (folder / "model.onnx").read_bytes()


def test_labels_are_downloaded_or_written_as_a_job(context, sleeping, tmp_path):
    page = drawn(draw_export, context)
    assert page.download_button(key="download").label == "Download 1 label"
    page.selectbox(key="form").select("folder").run()
    page.text_input(key="labels-into-folder").set_value(str(tmp_path / "out"))
    page.button(key="write-labels").click().run()
    assert commands.command_of(sleeping[0]) == ("export-labels", str(tmp_path / "out"), "--format", "folder")
    other = drawn(draw_export, context)  # a page that is reloaded, or opened elsewhere
    assert other.selectbox(key="form").value == "folder" and other.button(key=f"stop-{sleeping[0].path.name}")
    missing = [["/gone/<b>.png", "No such file"]]
    finish(sleeping[0], {"labels": 1, "out": str(tmp_path / "out"), "missing": 1, "missing_files": missing})
    page.run()
    assert "1 label" in page.success[0].value
    assert drawn(draw_export, context).selectbox(key="form").value == "csv", "it is done"
    assert page.dataframe[0].value.to_dict("records") == [{"file": "/gone/<b>.png", "reason": "No such file"}]


@pytest.mark.parametrize("state", [None, State.STOPPED])
def test_without_a_finished_run_or_labels_it_says_what_to_do(tmp_path, state):
    store = memory_store(create_project(tmp_path / "new", ["a"]))
    if state is not None:
        a_run(store, state=state)
    page = drawn(draw_export, PageContext(store, None, "ada"))
    assert "No run has finished" in page.info[0].value
    assert "Label some images" in text(page)
    assert not page.button and not page.get("download_button")


def test_names_in_a_model_card_are_escaped():
    from gradebook.pipelines.export.model_card import _cell

    assert _cell("a | b\n") == "a \\| b "
    assert all(sign not in _cell(HOSTILE).replace(f"\\{sign}", "") for sign in "<>[]*:$")
