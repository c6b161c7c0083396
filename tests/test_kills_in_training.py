"""Training survives kill -9 at fifty random moments: what is resumed ends as what was never killed, bit for bit."""

import random
import signal
import time
from pathlib import Path

import pytest
import torch

from gradebook.pipelines.cli.train_command import parse_command
from gradebook.pipelines.importing.import_images import import_images
from gradebook.pipelines.maintenance.verify import verify
from gradebook.pipelines.process.run_status import State
from gradebook.pipelines.runs import CONFIG, Run
from gradebook.pipelines.training import run_setup
from gradebook.pipelines.training.trainer import train
from tests.attack.rounds import current_round, in_round
from tests.forkserver import FORKS
from tests.pipelines.projects import flags, make_project, rows, weights

SEED = 20261121
KILLS = 50
STEPS = 60
LONGEST = 1.0  # seconds until a kill, from the start or, three times of four, from the first step


def go_on(root: Path, given: list[str], run: str) -> None:
    """Starts a run, or resumes it where it has begun."""
    begun = (root / "runs" / run / CONFIG).exists()
    train(
        parse_command(
            [str(root), "--run", run, "--resume"] if begun else given, program="train", saved=run_setup.saved_config
        )
    )


def first_difference(store, run: str) -> str | None:
    """Returns in what a run differs from the one that was not killed."""
    whole, other = weights(store, "whole"), weights(store, run)
    unequal = [name for name in whole if not torch.equal(whole[name], other[name])]
    if unequal:
        return f"weights {unequal}"
    return None if rows(store, "whole") == rows(store, run) else "record"


def wait_for_steps(path: Path, process) -> None:
    """Returns when the process does its run's steps, or has ended."""
    while process.is_alive():
        status = Run(path).status()
        if status.state is State.RUNNING and status.pid == process.pid:
            return
        time.sleep(0.01)


@pytest.mark.slow
def test_training_that_is_killed_again_and_again_ends_as_one_that_was_not(tmp_path, record_property):
    store, draw = make_project(tmp_path, train=40), random.Random(SEED + current_round())
    root = store.project.root
    import_images(store, tmp_path / "pictures")
    options = ("--checkpoint-every", "4", "--log-every", "4", "--validate-every", "8")
    go_on(root, flags(store, *options, run="whole", steps=STEPS), "whole")
    kills, ended, resumed = 0, 0, set[int]()
    while kills < in_round(KILLS) or not ended:
        run = f"killed-{ended}"
        process = FORKS.Process(
            target=go_on, args=(root, flags(store, *options, run=run, steps=STEPS), run), daemon=True
        )
        process.start()
        if draw.random() < 0.75:
            wait_for_steps(root / "runs" / run, process)
        time.sleep(draw.uniform(0, LONGEST))
        process.kill()
        process.join()
        kills += process.exitcode == -signal.SIGKILL
        assert process.exitcode in (0, -signal.SIGKILL)
        if (root / "runs" / run).exists():
            resumed.add(Run(root / "runs" / run).status().step)
        verify(root, repair=True)
        assert verify(root).findings == ()
        if process.exitcode == 0:
            assert Run(root / "runs" / run).status().state is State.FINISHED
            assert first_difference(store, run) is None
            ended += 1
    record_property("attempts", kills)
    assert len(resumed) > in_round(6) - 1, "the kills came at different steps"
    assert verify(root, content=True).findings == ()
