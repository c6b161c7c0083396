"""Reduced Meta Pseudo Labels with another run's predictions for a teacher: one network, and errors in a sentence."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from gradebook.pipelines.cli.train_command import parse_command
from gradebook.pipelines.process.run_status import State
from gradebook.pipelines.training import checkpoints, loop
from gradebook.pipelines.training.config import ConfigError
from gradebook.storage.samples import Split
from gradebook.storage.store import Store, open_store
from tests.class_changes import add_classes
from tests.pipelines.projects import (
    BACKBONE,
    CLASSES,
    DIM,
    STRONG,
    TEST,
    TRAIN,
    WEAK,
    copy_of,
    flags,
    make_project,
    number_of,
    rows,
    saved,
    trained,
    weights,
)
from tests.pipelines.training.resuming import resume

REDUCED = ("--method", "reduced_mpl", "--distributions", "large")


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> Store:
    store = make_project(tmp_path_factory.mktemp("template"))
    trained(store, "--method", "supervised", run="large")
    return store


def predictions(store: Store, run: str = "large") -> pa.Table:
    return pq.read_table(store.project.runs / run / "predictions.parquet")


def probabilities_of(store: Store) -> dict[str, list[float]]:
    table = predictions(store)
    return dict(zip(table["sample_id"].to_pylist(), table["student"].to_pylist(), strict=True))


def test_the_other_runs_student_is_the_teacher_without_a_second_network(store):
    """Without feedback nothing corrects the stored predictions, so the record repeats them to the end."""
    trained(store, *REDUCED, "--feedback", "none")
    given = probabilities_of(store)
    found = rows(store)
    assert {row["step"] for row in found} == {1, 2, 3, 4, 5, 6}
    for row in found:
        assert row["teacher_label"] == int(np.argmax(given[row["sample_id"]]))
        assert row["teacher_probability"] == pytest.approx(max(given[row["sample_id"]]), abs=1e-5)
    state = torch.load(store.project.runs / "r" / "checkpoints" / "step-000006" / "state.pt", weights_only=True)
    assert state["teacher"] is None
    assert predictions(store, "r")["teacher"].null_count == len(given)
    kept = state["memory"]["distributions"]
    ids = saved(store, "samples.json")["sample_ids"]
    assert {ids[n] for n in kept.sum(1).nonzero()[:, 0].tolist()} == set(given)


def test_feedback_corrects_the_predictions_of_the_other_run(store):
    trained(store, *REDUCED, "--calibrator-rate", "20")
    given = probabilities_of(store)
    moved = [row["teacher_probability"] - max(given[row["sample_id"]]) for row in rows(store) if row["step"] == 6]
    assert max(map(abs, moved)) > 1e-4


def test_classes_in_another_order_are_reordered(store):
    table = predictions(store)
    turned = pa.array([row[::-1] for row in table["student"].to_pylist()], table["student"].type)
    other = table.set_column(2, "student", turned)
    other = other.replace_schema_metadata({b"classes": json.dumps(CLASSES[::-1]).encode()})
    trained(store, *REDUCED)
    pq.write_table(other, store.project.runs / "large" / "predictions.parquet")
    trained(store, *REDUCED, run="turned")
    assert all(torch.equal(value, weights(store, "turned")[name]) for name, value in weights(store).items())


@pytest.mark.parametrize("at", [2, 4], ids=["before the first checkpoint", "after it"])
def test_a_killed_run_resumes_to_the_same_weights(store, template, tmp_path, at):
    """After a checkpoint not even the other run is needed any more."""
    trained(store, *REDUCED)
    other = copy_of(template, tmp_path / "other")
    after_step = loop._after_step

    def kill(state, *args, **kwargs):
        if state.step == at:
            raise KeyboardInterrupt
        after_step(state, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(loop, "_after_step", kill)
        trained(other, *REDUCED)
    assert checkpoints.newest_step(other.project.runs / "r" / "checkpoints") == (3 if at == 4 else 0)
    if at == 4:
        (other.project.runs / "large" / "predictions.parquet").unlink()
    assert resume(other).state is State.FINISHED
    assert all(torch.equal(value, weights(other)[name]) for name, value in weights(store).items())
    assert rows(store) == rows(other)


def refused(store: Store, says: str, *extra: str) -> None:
    with pytest.raises(ConfigError, match=says):
        trained(store, *(extra or REDUCED), run="refused")
    assert not (store.project.runs / "refused" / "config.json").exists(), (
        "a run that cannot be leaves nothing to resume"
    )


def test_the_other_run_must_exist(store):
    refused(store, "no run 'lage'.*choose one of large", "--method", "reduced_mpl", "--distributions", "lage")


def test_the_other_run_must_have_finished(store):
    (store.project.runs / "large" / "predictions.parquet").unlink()
    refused(store, "run large has not finished.*--resume --run large")


def test_the_other_run_must_have_the_same_classes(store):
    add_classes(store.project, ["raven"])
    refused(open_store(store.project.root), "has the classes crow, heron, owl, and this run crow, heron, owl, raven")


def test_the_other_run_must_have_predictions_of_every_unlabelled_sample(store, tmp_path):
    larger = make_project(tmp_path / "larger", train=TRAIN + TEST + 2)
    new = [s for s in larger.catalog.samples(Split.TRAIN) if number_of(s) >= TRAIN + TEST]
    store.catalog.add(new, [])
    store.vectors.add(BACKBONE, [s.sample_id for s in new], np.ones((2, WEAK + STRONG, DIM), np.float16))
    refused(store, "run large has no predictions of 2 of the 50 images without a label")


def test_only_reduced_mpl_takes_distributions(store):
    with pytest.raises(ConfigError, match="for --method reduced_mpl, not uda"):
        parse_command(flags(store, "--method", "uda", *REDUCED[2:]), program="train", saved=lambda project, name: {})
