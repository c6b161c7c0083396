"""Training: every method learns, leaves what others read, and sees what it may see."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from gradebook.mpl.methods import METHODS
from gradebook.pipelines.process.run_status import State
from gradebook.pipelines.runs import Run
from gradebook.pipelines.training import dataset
from gradebook.pipelines.training.config import ConfigError
from gradebook.storage.events import Kind, event
from gradebook.storage.samples import Split
from gradebook.storage.store import Store
from tests.pipelines.projects import (
    CLASSES,
    LABELLED,
    TEST,
    TRAIN,
    copy_of,
    make_project,
    rows,
    saved,
    trained,
    weights,
)
from tests.pipelines.training.resuming import same_run, same_weights

# What a run is


@pytest.mark.parametrize("inputs", ["views", pytest.param("pixels", marks=pytest.mark.slow)])
@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains_on_views_and_on_pixels(store, method, inputs):
    result = trained(store, "--method", method, "--inputs", inputs, steps=4)
    assert (result.state, result.steps, result.validation_labels) == (State.FINISHED, 4, 2)
    assert all(torch.isfinite(value).all() for value in weights(store).values())
    table = pq.read_table(store.project.runs / "r" / "predictions.parquet")
    assert table.num_rows == TRAIN - LABELLED
    assert json.loads(table.schema.metadata[b"classes"]) == list(CLASSES)
    for who in ("student", "teacher") if METHODS[method].teacher else ("student",):
        assert np.array(table[who].to_pylist()).sum(1) == pytest.approx(1, abs=1e-5)
    assert table["teacher"].null_count == (0 if METHODS[method].teacher else len(table))
    assert {row["step"] for row in rows(store)} == {1, 2, 3, 4}
    assert len(rows(store)) == 4 * 16


def test_a_run_writes_the_files_that_others_read(store):
    result = trained(store, "--seed", "3")
    run = Run(store.project.runs / "r")
    assert sorted(p.name for p in run.path.iterdir()) == [
        *("SHA256SUMS", "checkpoints", "config.json", "labels.json", "metrics.jsonl", "predictions.parquet", "record"),
        *("samples.json", "status.json", "student.safetensors"),
    ], "no draft stays behind"
    status = run.status()
    assert (status.state, status.step, status.steps, status.message) == (State.FINISHED, 6, 6, "")
    assert status.images_per_second > 0
    config = run.config()
    assert (config["seed"], config["steps"], config["run"], config["classes"]) == (3, 6, "r", list(CLASSES))
    assert config["settings"]["feedback"] == "exact", "the method's own defaults included"
    given = {s.sample_id: CLASSES[n % 3] for n, s in enumerate(store.catalog.samples()[:LABELLED])}
    assert run.labels() == given
    steps = [row["step"] for row in run.metrics()]
    assert steps == sorted(set(steps)) and steps[-1] == 6
    assert {"student_loss", "teacher_loss", "feedback_rms", "agreement"} <= run.metrics()[-1].keys()
    assert run.metrics()[-1]["validation_accuracy"] == result.validation_accuracy


def test_a_run_gets_a_name_that_no_other_run_has(store):
    assert trained(store, run="", steps=2).run == "mpl-001"
    assert trained(store, run="", steps=2).run == "mpl-002"
    with pytest.raises(ConfigError, match=r"there is a run 'mpl-001' already.*--resume, or choose another --run"):
        trained(store, run="mpl-001", steps=2)


def test_the_record_of_a_run_without_a_teacher_has_no_teacher_columns(store):
    trained(store, "--method", "supervised", "--record-every", "2")
    found = rows(store)
    assert {row["step"] for row in found} == {2, 4, 6}
    unknown = {"teacher_label", "teacher_probability", "runner_up", "feedback", "best_label", "best_gain"}
    assert all(row[name] is None for row in found for name in unknown)
    assert all(0 <= row["student_label"] < 3 and 0 < row["student_probability"] <= 1 for row in found)


def test_supervised_training_needs_no_unlabelled_image(tmp_path):
    store = make_project(tmp_path, train=9, labelled=9)
    for inputs in ("views", "pixels"):
        result = trained(store, "--method", "supervised", "--inputs", inputs, run=inputs, steps=2)
        assert result.state is State.FINISHED
    with pytest.raises(ConfigError, match="every training image has a label, so mpl has nothing to learn from"):
        trained(store)


def test_a_training_improves_the_validation_accuracy(store):
    assert trained(store, "--student.lr", "0.3", "--teacher.lr", "0.3", steps=60).validation_accuracy == 1.0


# What a run may see


def test_validation_labels_are_held_out(store):
    trained(store, "--validation-share", "0.5", steps=8)
    held = saved(store, "samples.json")["validation"]
    labels = [n % 3 for n in held]
    assert len(held) == 6
    assert max(held) < LABELLED and len(set(held)) == 6
    assert all(labels.count(k) <= LABELLED // 3 - 1 for k in range(3)), "every class keeps a label to learn from"


def test_validation_labels_are_never_trained_on(store, template, tmp_path):
    """Permuting them changes no weight, though permuting the others does."""
    trained(store, "--validation-share", "0.5")
    held = saved(store, "samples.json")["validation"]
    ids = [s.sample_id for s in store.catalog.samples(Split.TRAIN)]

    def with_next_label(positions, name: str) -> Store:
        """Gives samples the next class, all samples' draws as they were."""
        other = copy_of(template, tmp_path / name)
        events = [event(Kind.RELABELLED, ids[n], CLASSES[(n + 1) % 3], actor="ada") for n in positions]
        other.log.append(events)
        return other

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dataset, "_draw_validation", lambda *_: np.array(held))
        moved = with_next_label(held, "moved")
        trained(moved, "--validation-share", "0.5")
        learned = [n for n in range(LABELLED) if n not in held]
        vacuous = with_next_label(learned, "vacuous")
        trained(vacuous, "--validation-share", "0.5")
    assert same_weights(store, moved)
    assert rows(store) == rows(moved)
    assert not same_weights(store, vacuous)


def test_test_labels_and_test_images_never_reach_training(store, template, tmp_path):
    trained(store)
    other = copy_of(template, tmp_path / "other")
    tests = other.catalog.samples(Split.TEST)
    assert len(tests) == TEST
    other.log.append([event(Kind.RELABELLED, s.sample_id, CLASSES[n // 4], actor="ada") for n, s in enumerate(tests)])
    trained(other)
    assert same_run(store, other)
    assert not {s.sample_id for s in tests} & {row["sample_id"] for row in rows(store)}
    assert not {s.sample_id for s in tests} & saved(store, "labels.json").keys()
