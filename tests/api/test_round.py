"""What a notebook does: from images to a classifier, with tables in between."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import gradebook
from tests.pipelines.cli.cli_runner import done
from tests.pipelines.cli.finished_round import CLASSES


def test_samples_and_labels_are_tables(project):
    assert project.samples.split.value_counts().to_dict() == {"train": 20, "test": 4}
    labels = project.labels
    assert len(labels) == 12
    assert labels.groupby("by").size().to_dict() == {"ann": 8, "import": 4}
    assert set(labels.label) == set(CLASSES)


def test_the_queue_is_a_table_with_a_column_for_each_reason(project):
    queue = project.queue(limit=5)
    assert len(queue) == 5
    assert {"sample_id", "filepath", "label", "probability", "reasons.disagreement"} <= set(queue.columns)
    assert queue.probability.between(0, 1).all()
    rows = done("queue", project.path, "--limit", 5, "--json").json
    assert list(queue.sample_id) == [row["sample_id"] for row in rows], "the same queue as the command's"
    assert len(project.queue(labelled=True)) == 8


def test_a_label_is_a_verdict_that_refers_to_what_the_queue_showed(project):
    first = project.queue().iloc[0]
    result = project.label({first.sample_id: first.label}, actor="bob")
    assert result.taken.kind.tolist() == ["accepted"]
    kinds = project.log(first.sample_id).kind.tolist()
    assert kinds == ["accepted", "proposed"]
    assert first.sample_id in set(project.labels.sample_id)


def test_a_table_labels_by_path_and_what_has_the_label_already_is_unchanged(project):
    queue = project.queue(limit=3)
    table = pd.DataFrame({"filepath": queue.filepath, "label": "dog"})
    assert len(project.label(table).taken) == 3
    again = project.label(table)
    assert (len(again.taken), len(again.conflicts), len(again.unchanged)) == (0, 0, 3)


def test_an_image_that_somebody_else_decided_meanwhile_is_a_conflict_and_can_be_labelled_again(project):
    sample_id = project.queue(limit=1).sample_id[0]
    gradebook.open(project.path).label({sample_id: "cat"}, actor="bob")
    result = project.label({sample_id: "dog"}, actor="ann")
    assert len(result.taken) == 0
    assert result.conflicts[["label", "current_label", "by"]].values.tolist() == [["dog", "cat", "bob"]]
    assert len(project.label({sample_id: "dog"}, actor="ann").taken) == 1


def test_a_verdict_can_be_undone(project):
    sample_id = project.queue(limit=1).sample_id[0]
    event_id = project.label({sample_id: "cat"}).taken.event_id[0]
    assert project.undo(event_id) is None
    assert sample_id not in set(project.labels.sample_id)


def test_a_run_has_metrics_a_record_predictions_and_an_evaluation(project):
    run = project.run()
    assert (run.name, run.status.state, run.config["student"]["lr"]) == ("one", "finished", 0.02)
    assert run.metrics.step.tolist()[-1] == 4
    sample_id = project.queue(limit=1).sample_id[0]
    record = run.record(sample_id)
    assert set(record.step) <= {2, 4} and {"teacher_label", "feedback"} <= set(record.columns)
    predictions = run.predictions
    assert len(predictions) == 12
    np.testing.assert_allclose(predictions[list(CLASSES)].sum(axis=1), 1, atol=1e-6)
    scores = run.evaluate()
    assert scores.n == 4 and scores.accuracy_interval[0] <= scores.accuracy <= scores.accuracy_interval[1]
    assert scores.confusion.loc["cat"].sum() == scores.per_class.n["cat"] == 2
    assert done("runs", project.path, "--json").json[0]["test_accuracy"] == scores.accuracy


def test_an_exported_classifier_predicts_files_images_and_arrays_alike(project, photos, tmp_path):
    classifier = project.run().export(tmp_path / "classifier")
    path = photos / "train" / "003.png"
    image = Image.open(path)
    predictions = classifier.predict([path, str(path), image, np.asarray(image.convert("RGB"))])
    assert len({p.label for p in predictions}) == 1
    for one in predictions[1:]:
        assert one.probabilities == pytest.approx(predictions[0].probabilities, abs=1e-6)
    assert [p.filepath for p in predictions] == [str(path), str(path), "", ""]
    assert classifier.predict(path)[0] == predictions[0], "one image needs no list"
    assert gradebook.load_classifier(tmp_path / "classifier").predict([path])[0] == predictions[0]
    assert classifier.predict([]) == []


def test_labels_and_predictions_are_exported(project, tmp_path):
    assert project.export_labels(tmp_path / "labels.parquet", "parquet")["labels"] == 12
    assert project.export_labels(tmp_path / "predicted.csv", what="predictions", run="best")["labels"] == 12
    table = pd.read_csv(tmp_path / "predicted.csv")
    assert table.label.tolist() == project.run().predictions.label.tolist()


def test_a_labelled_folder_gives_the_classes(photos, tmp_path):
    project = gradebook.create(tmp_path / "new", images=photos / "held-out", labels="folders")
    assert project.classes == CLASSES
    assert project.add_classes(["bird"]) == (*CLASSES, "bird")
    first = project.samples.sample_id[0]
    assert len(project.label({first: "bird"}).taken) == 1
