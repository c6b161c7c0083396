"""Stopping a training after a step, resuming it, and whether two projects' runs are the same."""

import signal

import pytest
import torch

from gradebook.pipelines.cli.train_command import parse_command
from gradebook.pipelines.training import loop
from gradebook.pipelines.training import trainer as module
from gradebook.pipelines.training.finalize import Result
from gradebook.pipelines.training.run_setup import saved_config
from gradebook.storage.store import Store
from tests.pipelines.projects import rows, timeless, trained, weights

PIXELS = ("--inputs", "pixels")


def resume(store: Store, *extra: str, run: str = "r") -> Result:
    call = parse_command(
        [str(store.project.root), "--resume", "--run", run, *extra], program="train", saved=saved_config
    )
    result = module.train(call)
    assert result is not None
    return result


def same_weights(one: Store, other: Store, run: str = "r", other_run: str = "r") -> bool:
    a, b = weights(one, run), weights(other, other_run)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def same_run(one: Store, other: Store) -> bool:
    return same_weights(one, other) and rows(one) == rows(other) and timeless(one) == timeless(other)


def stopped_after(step: int, store: Store, *extra: str) -> Result:
    """Trains, and asks the trainer to stop after a step, as Ctrl-C does."""
    after_step = loop._after_step
    with pytest.MonkeyPatch.context() as patch:

        def ask(state, *args, **kwargs):
            if state.step == step - 1:
                signal.raise_signal(signal.SIGINT)
            after_step(state, *args, **kwargs)

        patch.setattr(loop, "_after_step", ask)
        return trained(store, *extra)
