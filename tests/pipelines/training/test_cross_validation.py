"""The student as a member of the pooled classifier: trained without each fold's labels, in processes or in turn."""

from dataclasses import replace

import numpy as np
import pytest

from gradebook.mpl.pooled_classifier import FOLDS
from gradebook.pipelines.process import forks
from gradebook.pipelines.training import cross_validation
from gradebook.pipelines.training.config import OptimConfig
from gradebook.pipelines.training.presets import preset_of
from tests.pipelines.projects import trained, weights


def test_a_fold_has_half_the_steps_and_half_the_warm_up():
    optim = OptimConfig(lr=0.1, warmup_steps=9, wait_steps=4)
    config = replace(preset_of("quick", "mpl"), steps=601, teacher=optim)
    short = cross_validation.shortened(config)
    assert (short.steps, short.teacher.warmup_steps, short.teacher.wait_steps) == (301, 4, 2)
    assert replace(short, steps=601, teacher=optim) == config


def test_folds_trained_in_processes_and_in_turn_make_the_same_classifier(store, monkeypatch):
    trained(store, "--classifier", "pooled", run="forked")
    monkeypatch.setattr(cross_validation, "can_fork", lambda: False)
    trained(store, "--classifier", "pooled", run="in-turn")
    forked, in_turn = weights(store, "forked"), weights(store, "in-turn")
    assert all(forked[name].equal(in_turn[name]) for name in forked)


def test_no_fold_sees_the_labels_that_are_left_out(store, monkeypatch):
    seen = []
    train = cross_validation.train_student

    def spy(state, training_set, config):
        seen.append((training_set.labels.copy(), training_set.labelled, training_set.unlabelled))
        return train(state, training_set, config)

    monkeypatch.setattr(cross_validation, "can_fork", lambda: False)
    monkeypatch.setattr(cross_validation, "train_student", spy)
    trained(store, "--classifier", "pooled")
    left_out = [np.flatnonzero((labels < 0) & (seen[0][0] >= 0)) for labels, _, _ in seen[1:]]
    assert len(seen) == FOLDS and all(len(rows) for rows in left_out)
    for labels, labelled, unlabelled in seen:
        assert set(labelled) == set(np.flatnonzero(labels >= 0))
        assert not set(labelled) & set(unlabelled)


def test_results_come_in_order_and_memory_stays_as_it_was():
    changed = []

    def square(number: int) -> int:
        changed.append(number)
        return number**2

    assert forks.map_in_forks(square, range(5)) == [0, 1, 4, 9, 16]
    assert not changed


def test_a_process_that_dies_is_reported():
    import os

    with pytest.raises(RuntimeError, match="exit code 3"):
        forks.map_in_forks(lambda _: os._exit(3), [1])
