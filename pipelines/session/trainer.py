"""The resident trainer: it trains in bursts while labels come in, publishes snapshots, and sleeps in between."""

import os
import threading
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradebook.pipelines.process.progress import say, stage
from gradebook.pipelines.process.run_status import State
from gradebook.pipelines.runs import Run
from gradebook.pipelines.session import session_run as runs_of_session
from gradebook.pipelines.session.lock import Phase, session_lock, update_session
from gradebook.pipelines.session.log_reader import POLL_INTERVAL_S, LogReader
from gradebook.pipelines.session.session_run import BURST_STEPS, FIRST_SHARE, SessionRun
from gradebook.pipelines.session.snapshots import delete_snapshots, write_snapshot
from gradebook.pipelines.training import finalize, loop
from gradebook.pipelines.training.shutdown import report_failure, stop_on_signal
from gradebook.pipelines.training.state import update_status
from gradebook.storage.project import ProjectError, read_project
from gradebook.storage.store import open_store

if TYPE_CHECKING:
    from gradebook.storage.store import Store

MAX_STEPS = 600  # since the last label, as the preset quick does in all
SETTLED_SHARE = 0.005  # of the images: training continues while a burst changes the prediction of more


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionResult:
    """The outcome of a session."""

    run: str  # its last run; empty if there were too few labels for one
    state: str  # of the run
    steps: int
    labels: int
    validation_accuracy: float | None  # cross-validated on the labels
    reason: str  # why the session ended


@dataclass(slots=True)
class _Clock:
    """When a session ends by itself."""

    idle_minutes: float  # without a new label; 0 for never
    stop: threading.Event
    last_label: float = 0.0

    def restart(self) -> None:
        """Starts to count the idle time."""
        self.last_label = time.monotonic()

    def end(self, *, sleeps: bool) -> str:
        """Returns why the session is to end, empty while it continues; one that trains ends only if it is stopped."""
        if self.stop.is_set():
            return "stopped"
        idle = time.monotonic() - self.last_label
        return "idle" if sleeps and self.idle_minutes and idle > 60 * self.idle_minutes else ""


def run_session(
    project: Path,
    *,
    method: str = "mpl",
    seed: int = 0,
    idle_minutes: float = 60.0,
    stop: threading.Event | None = None,
) -> SessionResult:
    """Trains on a project's labels as they are given, until it is stopped; then finishes the run.

    Args:
        project: its directory.
        method: a name of `gradebook.mpl.methods`.
        seed: random seed of a new run.
        idle_minutes: end after so many minutes without a new label; 0 for never.
        stop: ends the session once it is set, as SIGINT and SIGTERM do.

    Raises:
        ProjectError: another session is live, several processes were launched, or the project has no embeddings or too
            few images.
    """
    _check_single_process(project)
    clock = _Clock(idle_minutes, stop or threading.Event())
    with session_lock(read_project(project)), stop_on_signal(clock.stop):
        stage("Opening the project")
        store = open_store(project)
        config = runs_of_session.new_config(store, method, seed)
        clock.restart()
        reader = LogReader(store)
        reason = _wait_for_two_classes(store, reader, clock)
        if reason:
            return SessionResult(run="", state="", steps=0, labels=0, validation_accuracy=None, reason=reason)
        earlier = runs_of_session.run_to_continue(store, method)
        if earlier is None:
            session_run = runs_of_session.begin(store, config, reader)
        else:
            session_run = runs_of_session.resume(store, earlier, reader)
        return _train(store, session_run, clock)


def _check_single_process(project: Path) -> None:
    """Checks that `accelerate launch` did not start several processes: heads on cached views gain nothing from them."""
    if (launched := int(os.environ.get("WORLD_SIZE", "1"))) > 1:
        raise ProjectError(
            f"{launched} processes were launched, and a session trains in one: start it with: gradebook session "
            f"{project}, or with accelerate launch --num_processes 1"
        )


def _wait_for_two_classes(store: "Store", reader: LogReader, clock: _Clock) -> str:
    """Waits until training images of two classes are labelled; returns why the session must end before, if it must."""
    listener = reader.listener()
    while not (reason := clock.end(sleeps=True)):
        if listener.has_news() and listener.take() is not None:
            clock.restart()
            if len(reader.labelled_classes()) > 1:
                return ""
            update_session(store.project, Phase.WAITING)
            say("waiting for labels of two classes: the queue shows which images to label first")
        time.sleep(POLL_INTERVAL_S)
    return reason


def _train(store: "Store", session_run: SessionRun, clock: _Clock) -> SessionResult:
    """Trains one run after the other, a new one whenever the project gets a class or images, until the session ends."""
    while True:
        state = session_run.state
        with report_failure(state.path, state.config.steps):
            reason = _train_run(store, session_run, clock)
            if reason:
                return _finish(store, session_run, reason)
            runs_of_session.pass_on(session_run)
        store = open_store(store.project.root)
        say(f"the project has new classes or images: {session_run.name} ends, and another run continues from it")
        session_run = runs_of_session.begin(store, state.config, session_run.reader, session_run)


def _train_run(store: "Store", session_run: SessionRun, clock: _Clock) -> str:
    """Trains a run; returns why the session is to end, empty if the project has new classes or images."""
    state, settled = session_run.state, False
    state.stop, newest = clock.stop, state.training_set
    update_status(state, State.RUNNING)
    while not (reason := clock.end(sleeps=settled or not session_run.is_trainable)):
        classes, known = read_project(store.project.root).classes, state.training_set.classes
        if classes[: len(known)] != known:
            raise ProjectError("the classes of the project were changed while the session trained: start it again")
        if len(classes) > len(known) or session_run.new_images.are_there():
            return ""
        runs_of_session.take_labels(session_run)
        if state.training_set is not newest:
            newest = state.training_set
            clock.restart()
        settled = settled and not session_run.is_behind
        if settled or not session_run.is_trainable:
            phase = Phase.IDLE if settled else Phase.WAITING
            update_session(store.project, phase, session_run.name)
            time.sleep(POLL_INTERVAL_S)
            continue
        update_session(store.project, Phase.TRAINING, session_run.name)
        train_burst(session_run)
        if session_run.is_trainable and not clock.stop.is_set():
            settled = publish(session_run)
    return reason


def train_burst(session_run: SessionRun) -> None:
    """Trains for a burst of steps, in which labels are taken as they come in; ends in a checkpoint.

    It ends early once it has trained some steps on labels that no snapshot includes.
    """
    from gradebook.mpl.step_timer import running

    state, start = session_run.state, session_run.state.step
    state.planned = start + BURST_STEPS

    def is_urgent() -> bool:
        if session_run.published is None or not session_run.is_behind:
            return False
        begun = max(start, state.live.changes[-1].step if state.live.changes else 0)
        return state.step - begun >= BURST_STEPS // FIRST_SHARE

    with running(state.stopwatch):
        loop.train_until(state, state.planned, lambda step: None, is_urgent)


def publish(session_run: SessionRun) -> bool:
    """Publishes a snapshot; returns whether more training would change little."""
    state = session_run.state
    trained_on = state.training_set
    reader = session_run.reader
    snapshot = session_run.publisher.publish(state, reader.events, reader.newest_verdict)
    session_run.published = trained_on
    say(
        f"snapshot {snapshot.number} at step {snapshot.step} has {snapshot.labels} labels; it changed the prediction "
        f"of {snapshot.changed} images"
    )
    changes = state.live.changes
    steps = state.step - (changes[-1].step if changes else 0)
    few = snapshot.number > 1 and snapshot.changed <= SETTLED_SHARE * len(trained_on.sample_ids)
    return steps >= MAX_STEPS or (few and steps >= BURST_STEPS)


def _finish(store: "Store", session_run: SessionRun, reason: str) -> SessionResult:
    """Finishes the run like an ordinary training, with the labels given so far."""
    state, publisher = session_run.state, session_run.publisher
    update_session(store.project, Phase.FINISHING, session_run.name)
    runs_of_session.take_labels(session_run)
    if session_run.is_behind and session_run.is_trainable:
        train_burst(session_run)  # one step, where the session was stopped
    if not state.step:
        runs_of_session.pass_on(session_run)
        return _result(session_run, State.STOPPED, reason)
    say(f"finishing {session_run.name}: the student is fine-tuned and cross-validated, as at the end of a training")
    write_snapshot(state.path, publisher.newest)  # while the snapshots have the results, nobody reads it
    result = finalize.finish(state, at_any_step=True)
    assert result is not None, "a session is one process"
    runs_of_session.write_steps(state)
    update_status(state, State.FINISHED)
    newest = replace(publisher.newest, events=session_run.reader.events, step=state.step)
    labels = int((state.training_set.labels >= 0).sum())
    write_snapshot(state.path, replace(newest, number=newest.number + 1, labels=labels, accuracy=state.accuracy))
    delete_snapshots(Run(state.path))
    return _result(session_run, State.FINISHED, reason)


def _result(session_run: SessionRun, outcome: State, reason: str) -> SessionResult:
    state = session_run.state
    return SessionResult(
        run=session_run.name,
        state=str(outcome),
        steps=state.step,
        labels=int((state.training_set.labels >= 0).sum()),
        validation_accuracy=state.accuracy,
        reason=reason,
    )


def as_json(result: SessionResult) -> dict[str, Any]:
    """Returns a result as plain data."""
    return asdict(result)
