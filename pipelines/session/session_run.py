"""The run of a live session: how it starts, resumes from its last checkpoint, and hands over what it has learned."""

import os
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from gradebook.pipelines import runs
from gradebook.pipelines.process.progress import say
from gradebook.pipelines.process.run_status import State
from gradebook.pipelines.runs import CONFIG, Run, list_runs
from gradebook.pipelines.session.carry_over import carry_over
from gradebook.pipelines.session.log_reader import LogReader
from gradebook.pipelines.session.new_images import NewImages
from gradebook.pipelines.session.publisher import Publisher
from gradebook.pipelines.session.snapshots import CurvePoint, Snapshot, delete_snapshots, keep_newest, write_snapshot
from gradebook.pipelines.session.thinning import Thinning
from gradebook.pipelines.training import checkpoints, run_setup
from gradebook.pipelines.training.backend import open_backend
from gradebook.pipelines.training.cached_views import embedded_backbone
from gradebook.pipelines.training.config import ConfigError, TrainCommand, TrainConfig
from gradebook.pipelines.training.data_modules import ProjectData
from gradebook.pipelines.training.dataset import TrainingSet
from gradebook.pipelines.training.presets import config_from_json, preset_of
from gradebook.pipelines.training.state import TrainState, update_status
from gradebook.storage.checksums import write_json

if TYPE_CHECKING:
    from gradebook.storage.store import Store

NAME = "session"  # its runs are session-001 and following
BURST_STEPS = 120
FIRST_SHARE = 8  # the burst after a new label is so many times shorter, so that a snapshot soon includes the label


@dataclass(slots=True, kw_only=True)
class SessionRun:
    """The run that a session trains."""

    state: TrainState
    reader: LogReader
    publisher: Publisher
    new_images: NewImages
    published: TrainingSet | None = None  # of the newest snapshot that this process published

    @property
    def name(self) -> str:
        """The run's name."""
        return self.state.path.name

    @property
    def is_trainable(self) -> bool:
        """Whether two classes have a label."""
        training_set = self.state.training_set
        return len(set(training_set.labels[training_set.labelled].tolist())) > 1

    @property
    def is_behind(self) -> bool:
        """Whether labels have changed since the newest snapshot, or there is none yet."""
        return self.state.training_set is not self.published


def new_config(store: "Store", method: str, seed: int) -> TrainConfig[Any]:
    """Returns the settings of a session's run: those of the preset quick, with constant learning rates.

    No label is held out: the accuracy is measured by cross-validation.

    Raises:
        ConfigError: there is no such method, or the project has no embeddings.
    """
    preset = preset_of("quick", method)
    if not store.vectors.spaces():
        root = store.project.root
        raise ConfigError(f"a session trains on embeddings, and {root} has none: run: gradebook embed {root}")
    return replace(
        preset,
        seed=seed,
        backbone=embedded_backbone(store, preset.backbone),
        schedule="constant",
        validation_share=0.0,
        log_every=BURST_STEPS,
        checkpoint_every=BURST_STEPS,
    )


def run_to_continue(store: "Store", method: str) -> Run | None:
    """Returns the newest run of a session, if it has not finished and trains by this method; else None.

    Only the project's session calls this, so no run of a session is running.
    """
    earlier = [run for run in list_runs(store.project) if run.is_session]
    if not earlier or earlier[-1].status().state is State.FINISHED:
        return None
    run = earlier[-1]
    return run if checkpoints.newest_step(run.path / "checkpoints") and run.config()["method"] == method else None


def begin(store: "Store", config: TrainConfig[Any], reader: LogReader, before: SessionRun | None = None) -> SessionRun:
    """Begins a run.

    Args:
        store: the project.
        config: its settings; the run's name is chosen here.
        reader: of the project's log.
        before: a run on the first of the project's classes, whose weights and curve it continues.

    Raises:
        ConfigError: there is too little to train on.
    """
    config = replace(config, run=runs.new_run_name(store.project, NAME))
    curve = () if before is None else before.publisher.newest.curve
    session_run = _open(store, TrainCommand(project=store.project.root, config=config), reader, curve)
    if before is not None:
        carry_over(before.state.learners, session_run.state.learners)
    return session_run


def resume(store: "Store", run: Run, reader: LogReader) -> SessionRun:
    """Resumes a run from its last checkpoint, with the labels that it had read when it ended."""
    config = replace(config_from_json(run.config()), run=run.name)
    os.utime(run.path / CONFIG)  # the run is the newest one again
    session_run = _open(store, TrainCommand(project=store.project.root, config=config, resume=True), reader)
    _use_planned_labels(session_run.state)
    return session_run


def take_labels(session_run: SessionRun, *, at_once: bool = False) -> None:
    """Takes the labels that were given since the last call, for the next step.

    Args:
        session_run: the run.
        at_once: look now, also if the log was looked at a moment ago.
    """
    state, reader = session_run.state, session_run.reader
    if not state.live.has_news() and not at_once:
        return
    state.live.plan_change(state.step)
    _use_planned_labels(state)
    newest = session_run.publisher.newest
    if not session_run.is_behind and newest.number and newest.events != reader.events:  # events that change no label
        session_run.publisher.newest = replace(newest, events=reader.events)
        write_snapshot(Run(state.path).results, session_run.publisher.newest)


def pass_on(session_run: SessionRun) -> None:
    """Ends a run with its newest snapshot as its results."""
    state = session_run.state
    state.recorder.close()
    write_steps(state)
    run = Run(state.path)
    keep_newest(run)
    update_status(state, State.FINISHED if session_run.publisher.newest.number else State.STOPPED)
    delete_snapshots(run)


def write_steps(state: TrainState) -> None:
    """Writes into a run's settings how many steps it has done, as the steps that were planned."""
    state.planned = state.step
    about = Run(state.path).config()
    write_json(state.path / CONFIG, about | asdict(replace(state.config, steps=max(state.step, 1))), indent=2)


def _open(
    store: "Store", command: TrainCommand[Any], reader: LogReader, curve: tuple[CurvePoint, ...] = ()
) -> SessionRun:
    config = command.config
    backend = open_backend(config)
    backend.check(config)
    data = ProjectData(store, config, command.resume)
    state = run_setup.start_run(command, data, backend)
    state.live.listener, state.live.endless = reader.listener(), True
    state.planned = state.step
    state.recorder.thin = Thinning(state.training_set.sample_ids, state.live.changes)
    if not command.resume:
        write_snapshot(state.path, Snapshot(curve=curve))
    publisher = Publisher(store, state)
    say(f"{state.path.name} is live: it reads labels as they are given")
    return SessionRun(state=state, reader=reader, publisher=publisher, new_images=NewImages(store, state))


def _use_planned_labels(state: TrainState) -> None:
    """Uses all labels that are known from the next step on, whatever step they were planned for.

    The sampler starts again, so that a session of a day does not keep the steps of all its labels.
    """
    import torch

    from gradebook.pipelines.training.sampler import SamplerTimeline

    live = state.live
    if live.training_set is not live.planned:
        live.training_set = live.planned
        live.labels.copy_(torch.from_numpy(live.planned.labels))
    live.timeline = SamplerTimeline(replace(live.sampler(), first_step=state.step))
