"""The training loop: it loads batches, sets learning rates, and does after each step what is due.

What a step computes is in `mpl/methods/`. What others may want to know of the run is in its directory.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from gradebook.pipelines.process.progress import progress
from gradebook.pipelines.process.run_status import State
from gradebook.pipelines.training import checkpoints, evaluation, learners
from gradebook.pipelines.training.config import ConfigError
from gradebook.pipelines.training.state import (
    TrainState,
    fail_if_not_finite,
    full_network,
    full_teacher,
    log_metrics,
    update_status,
    validate,
)

if TYPE_CHECKING:
    from gradebook.mpl.step import Batch, StepReport


def run(state: TrainState) -> None:
    """Trains until the last step or until somebody stops the run. Whichever step is the last ends in a checkpoint."""
    from gradebook.mpl.step_timer import running

    update_status(state, State.RUNNING)
    with progress(f"train {state.config.run}", state.config.steps) as show, running(state.stopwatch):
        train_until(state, state.config.steps, show)


def train_until(
    state: TrainState, end: int, show: Callable[[int], None], is_enough: Callable[[], bool] = lambda: False
) -> None:
    """Trains until `end` steps are done or somebody stops the run; ends in a checkpoint.

    Args:
        state: of the run.
        end: steps done at the end.
        show: is called with the number of steps done, after each step.
        is_enough: is called after each step; the training ends before `end` if it returns True.
    """
    from gradebook.mpl.step_timer import phase

    batches = _batches(state, end)
    while state.step < end:
        with phase("data"):
            batch = next(batches)
        report = _train_step(state, batch)
        show(state.step)
        stop, new_labels = _requests(state)
        last = stop or state.step == end or is_enough()
        with phase("record"):
            _after_step(state, report, batch, last=last)
        if last:
            break
        if new_labels:
            state.live.plan_change(state.step)
        state.live.apply_due_changes(state.step)


def _batches(state: TrainState, end: int) -> "Iterator[Batch]":
    backend, timeline = state.backend, state.live.timeline
    steps = range(state.step, end)
    draws = (timeline.draw(step, process=backend.process, processes=backend.processes) for step in steps)
    return state.inputs.batches(draws, state.live.labels)


def _train_step(state: TrainState, batch: "Batch") -> "StepReport":
    config, backend = state.config, state.backend
    backend.seed(config.seed, state.step)
    with _as_config_error(first=state.step == state.first_step):
        report = learners.train_step(state.learners, batch, backend.runtime, config, state.step, backend.accelerator)
    backend.end_step()
    state.step += 1
    return report


@contextmanager
def _as_config_error(*, first: bool) -> Iterator[None]:
    """Turns a ValueError of a method's first step, which says that settings do not go together, into a ConfigError."""
    try:
        yield
    except ValueError as error:
        if first:
            raise ConfigError(str(error)) from error
        raise


def _requests(state: TrainState) -> tuple[bool, bool]:
    """Returns whether somebody asks the run to stop, and whether there are new labels: the same on all processes."""
    stop, new_labels = state.backend.any_process(state.stop.is_set(), state.live.has_news())
    return stop, new_labels


def _after_step(state: TrainState, report: "StepReport", batch: "Batch", *, last: bool) -> None:
    """Records, logs, validates and saves a checkpoint, each when it is due."""
    config, step = state.config, state.step
    if step % config.record_every == 0 and len(batch.id_u):
        rows = report.predictions or evaluation.student_predictions(state.learners, batch.x_uw)
        state.recorder.put(step, batch.id_u, rows)
    checkpoint = step % config.checkpoint_every == 0 or last
    if step % config.log_every == 0 or checkpoint:
        log_metrics(state, report, batch.id_u)
    if step % config.validate_every == 0 or last:
        net, teacher = full_network(state, state.learners.student.best_net()), full_teacher(state)
        if state.backend.is_main:
            validate(state, net, teacher)
    if checkpoint:
        _save_checkpoint(state)


def _save_checkpoint(state: TrainState) -> None:
    fail_if_not_finite(state, learners.non_finite_weights(state.learners))
    state.recorder.flush()
    checkpoints.save(
        state.path / "checkpoints",
        state.step,
        state.learners,
        keep=state.config.checkpoints,
        process=state.backend.process,
        wait=state.backend.accelerator.wait_for_everyone,
    )
