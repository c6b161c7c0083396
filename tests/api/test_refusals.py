"""Whatever a caller can correct is a ProjectError with the sentence of the command, and nothing is written."""

import numpy as np
import pandas as pd
import pytest

import gradebook
from tests.pipelines.cli.cli_runner import refused


def sentence(call, *arguments, **named):
    with pytest.raises(gradebook.ProjectError) as error:
        call(*arguments, **named)
    return str(error.value)


def test_the_sentence_is_the_command_s(tmp_path):
    assert f"gradebook: {sentence(gradebook.open, tmp_path)}\n" == refused("status", tmp_path)


def test_a_project_is_not_made_for_images_that_are_not_there(tmp_path):
    assert "there is nothing at" in sentence(gradebook.create, tmp_path / "new", images=tmp_path / "none")
    assert not (tmp_path / "new").exists()


def test_a_string_is_not_a_list_of_classes(tmp_path):
    assert "give a list" in sentence(gradebook.create, tmp_path / "new", classes="cat,dog")


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        ({"nobody": "cat"}, "neither a sample's id nor an imported file"),
        ({"SAMPLE": "cow"}, "is not a class of this project"),
        ({"SAMPLE": None}, "give the name of a class"),
        (pd.DataFrame({"sample_id": ["SAMPLE"], "label": [np.nan]}), "give the name of a class"),
        (pd.DataFrame({"sample_id": ["SAMPLE", "SAMPLE"], "label": ["cat", "dog"]}), "give one label"),
        (pd.DataFrame({"image": ["SAMPLE"]}), "the columns image"),
        (["cat"], "give a dict"),
    ],
)
def test_labels_that_cannot_be_used_write_nothing(project, labels, says):
    sample_id = project.queue(limit=1).sample_id[0]
    events = len(project.log())
    if isinstance(labels, dict):
        labels = {key.replace("SAMPLE", sample_id): name for key, name in labels.items()}
    elif isinstance(labels, pd.DataFrame):
        labels = labels.replace("SAMPLE", sample_id)
    assert says in sentence(project.label, labels)
    assert len(project.log()) == events


def test_settings_that_do_not_exist_or_fit_are_named(project):
    assert "there is no setting 'lr' of mpl" in sentence(project.train, settings={"lr": 1})
    assert "student.lr" in sentence(project.train, settings={"student.lr": "high"})
    assert "there is no method 'nothing'" in sentence(project.train, method="nothing")
    assert "there is no preset" in sentence(project.train, preset="nothing")
    assert "steps=0" in sentence(project.train, steps=0)
    assert len(project.runs) == 1


def test_other_refusals(project, tmp_path):
    assert "there is no run 'two'" in sentence(project.run, "two")
    assert "there is no reason" in sentence(project.queue, reason="nothing")
    assert "labelled=True" in sentence(project.queue, reason="flips", labelled=True)
    assert "there is no split" in sentence(project.import_images, tmp_path, split="validation")
    assert "there is no split" in sentence(project.run().evaluate, "validation")
    assert "there is no format" in sentence(project.export_labels, tmp_path / "out", "xml")
    assert "cannot be exported" in sentence(project.export_labels, tmp_path / "out", what="everything")
    assert "there is no event" in sentence(project.undo, "nothing")
    assert "holds no exported classifier" in sentence(gradebook.load_classifier, tmp_path)


@pytest.mark.slow
def test_what_is_no_image_is_named(project, tmp_path):
    classifier = project.run().export(tmp_path / "classifier")
    assert "images[1] is an array float64" in sentence(
        classifier.predict, [np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4, 3))]
    )
    assert "without pixels" in sentence(classifier.predict, [np.zeros((0, 4, 3), np.uint8)])
    assert "images[0] is a int" in sentence(classifier.predict, [3])
    with pytest.raises(gradebook.BrokenImage, match="cannot be read"):
        classifier.predict([tmp_path / "none.png"])
