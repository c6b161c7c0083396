"""The classifier that a run on cached views leaves: fitted to the pooled opinions of its student and of others."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from gradebook.pipelines.runs import Run
from gradebook.pipelines.training.cached_views import CachedViews
from gradebook.pipelines.training.config import ConfigError
from gradebook.pipelines.training.dataset import TrainingSet
from gradebook.pipelines.training.final_classifier import fit_final_classifier
from gradebook.pipelines.training.presets import preset_of
from gradebook.storage.events import Kind, event
from gradebook.storage.samples import Split
from tests.pipelines.projects import CLASSES, LABELLED, rows, trained, weights

POOLED = ("--classifier", "pooled")


def last_row(store, run: str = "r") -> dict:
    return Run(store.project.runs / run).metrics()[-1]


def test_the_default_training_ends_with_a_pooled_classifier():
    assert preset_of("quick", "mpl").classifier == "pooled"
    assert preset_of("finetune", "mpl").classifier == "student"


def test_a_run_leaves_a_linear_classifier_of_which_its_student_is_one_member(store):
    result = trained(store, *POOLED)
    assert set(weights(store)) == {"classifier.weight", "classifier.bias", "scale"}
    row = last_row(store)
    assert set(row["member_weights"]) == set(row["member_accuracies"])
    assert set(row["held_out_calibration_error"]) == {"before", "after"}
    assert "mpl student" in row["member_weights"]
    assert row["validation_accuracy"] == result.validation_accuracy
    assert (row["cross_validated_labels"], result.validation_labels) == (LABELLED, LABELLED)
    assert sum(row["class_shares"].values()) == pytest.approx(1)


def test_the_pooled_classifier_changes_no_step_and_no_record(store):
    trained(store, run="student")
    trained(store, *POOLED, run="pooled")
    assert rows(store, "student") == rows(store, "pooled")
    assert not torch.equal(
        weights(store, "student")["classifier.weight"], weights(store, "pooled")["classifier.weight"]
    )


def test_predictions_and_weights_are_the_same_classifier(store):
    import pyarrow.parquet as pq

    trained(store, *POOLED)
    table = pq.read_table(store.project.runs / "r" / "predictions.parquet")
    state = weights(store)
    space = store.vectors.spaces()[-1]
    features = store.vectors.read(space.backbone, table["sample_id"].to_pylist(), 1)[:, 0].astype(np.float32)
    logits = features @ state["classifier.weight"].numpy().T + state["classifier.bias"].numpy()
    expected = torch.from_numpy(logits).softmax(-1).numpy()
    np.testing.assert_allclose(np.array(table["student"].to_pylist()), expected, atol=1e-4)


def test_two_runs_are_equal(store):
    for run in ("a", "b"):
        trained(store, *POOLED, run=run)
    assert all(torch.equal(value, weights(store, "b")[name]) for name, value in weights(store, "a").items())


def test_a_student_with_hidden_units_is_a_member_too_and_the_classifier_is_linear(store):
    trained(store, *POOLED, "--student-hidden", "4", "--method", "uda")
    assert "classifier.weight" in weights(store)
    assert "uda student" in last_row(store)["member_weights"]


def test_images_rejected_from_all_classes_are_excluded(store):
    samples = [s.sample_id for s in store.catalog.samples(Split.TRAIN)]
    labelled = {e.sample_id for e in store.log.read()}
    outsider = next(i for i in samples if i not in labelled)
    trained(store, *POOLED, run="before")
    store.log.append([event(Kind.REJECTED, outsider, actor="ada")])
    trained(store, *POOLED, run="after")
    assert not torch.equal(weights(store, "before")["classifier.weight"], weights(store, "after")["classifier.weight"])


def test_labels_of_one_class_give_no_pooled_classifier(store):
    """A run does not start with one class, but labels can be retracted while it trains."""
    labels = np.array([0, 0, -1, -1])
    training_set = TrainingSet(
        classes=CLASSES,
        sample_ids=list("abcd"),
        labels=labels,
        labelled=np.array([0, 1]),
        validation=np.array([], np.int64),
        unlabelled=np.array([2, 3]),
    )
    inputs = CachedViews(torch.zeros(4, 2, 3, dtype=torch.float16), 1)
    state = SimpleNamespace(inputs=inputs, training_set=training_set, config=preset_of("quick", "mpl"))
    assert fit_final_classifier(state, torch.nn.Identity()) is None


def test_networks_on_pixels_have_no_pooled_classifier(store):
    with pytest.raises(ConfigError, match="give --classifier student with pixels"):
        trained(store, *POOLED, "--inputs", "pixels")
