"""Trains a student, by itself or under `accelerate launch pipelines/train.py PROJECT ...`.

The loop is a clock: it deals batches, sets rates, and asks whether it is time to record, log, validate or checkpoint.
What a step does stands in `mpl/methods/`; what others may want to know stands in the run's directory.
"""

import json
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines import checkpoints, data, learners, outcome, runs
from pipelines.config import ConfigError, TrainConfig, as_json
from pipelines.errors import one_sentence
from pipelines.presets import Call, parse
from pipelines.progress import hush, progress, say
from pipelines.recorder import Recorder, cut_after
from pipelines.runs import State
from storage.project import ProjectError, read_project

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch import Tensor

    from mpl.step import Learners, StepReport
    from storage.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a training answers."""

    run: str
    state: State
    steps: int  # done in all, those before a resume included
    seconds: float  # of this call's training, without reading data
    validation_accuracy: float | None  # of the student at its last look; None where no label was held out
    validation_labels: int  # how many were held out


@dataclass(slots=True, kw_only=True)
class Training:
    """One run, in one process."""

    config: TrainConfig[Any]
    path: Path  # the run's directory
    accelerator: "Accelerator"
    people: data.Population
    source: data.Source
    learners: "Learners"
    recorder: Recorder
    done: int  # steps
    began: float = field(default_factory=time.perf_counter)  # seconds
    began_at: int = 0  # steps done when this process began
    accuracy: float | None = None  # the newest on the validation labels
    stop: threading.Event = field(default_factory=threading.Event)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    hush()
    with one_sentence():
        call = parse(sys.argv[1:] if arguments is None else arguments, program="gradebook train", saved=_saved)
        result = train(call)
        if result is not None:
            _say(result, call)
    return 0


def train(call: Call[Any]) -> Result | None:
    """Trains as told, in this process or as one of several; the main process returns the result.

    Raises:
        ConfigError: the project or the settings do not allow it; the sentence says why.
    """
    import torch
    from accelerate import Accelerator

    from storage.store import open_store

    accelerator = Accelerator(mixed_precision=call.config.precision)
    if call.config.inputs == "views" and accelerator.device.type == "cpu":
        torch.set_num_threads(1)  # layers this small lose more to waiting for each other than they gain
    store = open_store(call.project)
    name = _name(call, store, accelerator)
    with _failures_told(store.project.runs / name, call.config):
        _check_processes(call.config, accelerator.num_processes)
        training = _begin(replace(call, config=replace(call.config, run=name)), store, accelerator)
        with _stoppable(training):
            _steps(training)
        return _end(training)


def _begin(call: Call[Any], store: "Store", accelerator: "Accelerator") -> Training:
    """Reads the data, makes the networks, opens the run's directory, and goes back to the checkpoint if told to."""
    config, path, rank = call.config, store.project.runs / call.config.run, accelerator.process_index
    people = data.saved_population(store, path) if call.resume else data.population(store, config)
    source = data.open_source(store, config, people, accelerator.device)
    made = learners.build(config, people, source, accelerator.device)
    done = checkpoints.newest(path / "checkpoints") if call.resume else 0
    if accelerator.is_main_process:
        if not call.resume:
            _found(path, config, people, accelerator)
            store.record.forget(config.run)
        cut_after(path / "record", done)
        _greet(config, people, accelerator, done)
    accelerator.wait_for_everyone()
    if done:
        checkpoints.load(path / "checkpoints", done, made, process=rank)
    recorder = Recorder(path / "record", people.classes, people.sample_ids, process=rank)
    return Training(
        config=config,
        path=path,
        accelerator=accelerator,
        people=people,
        source=source,
        learners=made,
        recorder=recorder,
        done=done,
        began_at=done,
    )


def _steps(t: Training) -> None:
    """Does the run's steps until it is over or asked to stop; the last one ends in a checkpoint."""
    import torch

    from mpl.methods import METHODS
    from mpl.step import Clock

    step, steps = METHODS[t.config.method].step, t.config.steps
    labels = torch.from_numpy(t.people.labels).to(t.accelerator.device)
    sampler = t.people.sampler(t.config)
    rank, processes = t.accelerator.process_index, t.accelerator.num_processes
    draws = (sampler.draw(at, process=rank, processes=processes) for at in range(t.done, steps))
    _tell(t, State.RUNNING)
    with progress(f"train {t.config.run}", steps) as show:
        for batch in t.source.batches(draws, labels):
            clock = Clock(t.done, steps)
            learners.set_rates(t.learners, t.config, clock)
            with t.accelerator.autocast():
                report = step(t.learners, batch, t.accelerator, t.config.settings, clock)
            t.done += 1
            show(t.done)
            over = t.done == steps or _asked_to_stop(t)
            _after_step(t, report, batch.id_u, batch.x_uw, over=over)
            if over:
                break


def _after_step(t: Training, report: "StepReport", samples: "Tensor", weak: "Tensor", *, over: bool) -> None:
    """Records, logs, validates and checkpoints, each when it is time to."""
    if t.done % t.config.record_every == 0 and len(samples):
        t.recorder.put(t.done, samples, report.opinions or outcome.student_alone(t.learners, weak))
    if t.done % t.config.log_every == 0 or over:
        _log(t, report)
    if t.accelerator.is_main_process and (t.done % t.config.validate_every == 0 or over):
        t.accuracy = outcome.validation_accuracy(t.learners.student.best_net(), t.source, t.people)
        if t.accuracy is not None:
            runs.append_metrics(t.path, {"step": t.done, "validation_accuracy": t.accuracy})
    if t.done % t.config.checkpoint_every == 0 or over:
        t.recorder.flush()
        checkpoints.save(
            t.path / "checkpoints",
            t.done,
            t.learners,
            process=t.accelerator.process_index,
            wait=t.accelerator.wait_for_everyone,
        )


def _end(t: Training) -> Result | None:
    """Finishes the student, unless the run was stopped before its last step; leaves all that others need."""
    t.recorder.close()
    finished = t.done == t.config.steps
    if finished:
        net = outcome.finetuned(t.learners, t.config, t.people, t.source, t.accelerator)
    if not t.accelerator.is_main_process:
        return None
    seconds = time.perf_counter() - t.began
    if finished:
        learners.save_student(net, t.path)
        outcome.write_predictions(net, t.learners.teacher, t.source, t.people, t.path)
        t.accuracy = outcome.validation_accuracy(net, t.source, t.people)
        if t.accuracy is not None:
            runs.append_metrics(t.path, {"step": t.done, "validation_accuracy": t.accuracy})
    state = State.FINISHED if finished else State.STOPPED
    _tell(t, state)
    return Result(
        run=t.config.run,
        state=state,
        steps=t.done,
        seconds=round(seconds, 3),
        validation_accuracy=t.accuracy,
        validation_labels=len(t.people.validation),
    )


def _log(t: Training, report: "StepReport") -> None:
    """Adds a row to the metrics: the loop's only wait for the device."""
    scalars = {name: value.item() for name, value in report.scalars.items()}
    bad = [name for name, value in scalars.items() if not math.isfinite(value)]
    if bad:
        raise ConfigError(
            f"{', '.join(bad)} is not a number any more at step {t.done}: lower the learning rate "
            "(--student.lr, --teacher.lr); the last checkpoint is kept"
        )
    if t.accelerator.is_main_process:
        seconds = time.perf_counter() - t.began
        runs.append_metrics(
            t.path, {"step": t.done, "seconds": seconds, **scalars, "images_per_second": _images_per_second(t)}
        )
        _tell(t, State.RUNNING)


def _tell(t: Training, state: State) -> None:
    if t.accelerator.is_main_process:
        status = runs.status_now(
            state, pid=os.getpid(), step=t.done, steps=t.config.steps, images_per_second=_images_per_second(t)
        )
        runs.write_status(t.path, status)


def _images_per_second(t: Training) -> float:
    images = (t.done - t.began_at) * (t.config.labelled + t.config.unlabelled)
    return round(images / max(time.perf_counter() - t.began, 1e-9), 1)


def _asked_to_stop(t: Training) -> bool:
    """Returns whether any process was asked to stop, the same answer on all of them."""
    if t.accelerator.num_processes == 1:
        return t.stop.is_set()
    import torch

    asked = torch.tensor(float(t.stop.is_set()), device=t.accelerator.device)
    return float(t.accelerator.reduce(asked, "sum")) > 0


@contextmanager
def _stoppable(t: Training) -> Iterator[None]:
    """Turns the first Ctrl-C into a stop after the step at hand; a second one ends the process as usual."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: object) -> None:
        t.stop.set()
        signal.signal(number, before[signal.Signals(number)])

    before = {s: signal.signal(s, stop) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _failures_told(path: Path, config: TrainConfig[Any]) -> Iterator[None]:
    """Leaves a failure's sentence in the status of a run that has a directory, for whoever follows it from there."""
    try:
        yield
    except BaseException as error:
        if (path / runs.STATUS).exists():
            said = str(error) if isinstance(error, (ProjectError, OSError)) else f"{type(error).__name__}: {error}"
            done = checkpoints.newest(path / "checkpoints")
            runs.write_status(path, runs.status_now(State.FAILED, pid=0, step=done, steps=config.steps, message=said))
        raise


def _name(call: Call[Any], store: "Store", accelerator: "Accelerator") -> str:
    """Returns the run's name, the same on every process."""
    from accelerate.utils import broadcast_object_list

    config, project = call.config, store.project
    name = config.run or runs.new_run_name(project, config.method)
    if not call.resume and (project.runs / name / runs.CONFIG).exists():
        raise ConfigError(f"there is a run {name!r} already: go on with it by --resume, or choose another --run")
    if accelerator.num_processes > 1:
        name = broadcast_object_list([name])[0]
    return name


def _found(path: Path, config: TrainConfig[Any], people: data.Population, accelerator: "Accelerator") -> None:
    """Makes the run's directory with what it begins with."""
    path.mkdir(parents=True, exist_ok=True)
    runs.write_status(path, runs.status_now(State.STARTING, pid=os.getpid(), step=0, steps=config.steps))
    data.save_population(people, path)
    about = {
        "classes": people.classes,
        "device": str(accelerator.device),
        "processes": accelerator.num_processes,
    }
    (path / runs.CONFIG).write_text(json.dumps(as_json(config) | about, indent=2), encoding="utf-8")


def _greet(config: TrainConfig[Any], people: data.Population, accelerator: "Accelerator", done: int) -> None:
    fed = f"cached views of {config.backbone}" if config.inputs == "views" else f"images at {config.size} px"
    say(
        f"{config.run}: {config.method} on {fed}; {len(people.labelled)} labels to learn from, "
        f"{len(people.validation)} held out, {len(people.unlabelled)} images without; "
        f"{accelerator.num_processes} process on {accelerator.device}, precision {config.precision}"
        + (f"; goes on from step {done}" if done else "")
    )
    missing = data.missing_classes(people)
    if missing:
        say(f"no training label says {', '.join(missing)}: the student cannot learn what nobody showed it")


def _check_processes(config: TrainConfig[Any], processes: int) -> None:
    for name, batch in (("labelled", config.labelled), ("unlabelled", config.unlabelled)):
        if batch % processes:
            raise ConfigError(f"{name}={batch} does not divide by {processes} processes: choose a multiple")


def _saved(project: Path, name: str) -> dict[str, Any]:
    """Returns the config of the run to resume: the one of that name, else the newest that has not finished."""
    opened = read_project(project)
    open_runs = [run for run in runs.list_runs(opened) if run.status().state is not State.FINISHED]
    if not name and not open_runs:
        raise ConfigError(f"{opened.root} has no run that stopped before its end: start a new one without --resume")
    return (runs.find_run(opened, name) if name else open_runs[-1]).config()


def _say(result: Result, call: Call[Any]) -> None:
    if call.json:
        print(json.dumps(asdict(result)))
        return
    accuracy = (
        "no label held out for validation"
        if result.validation_accuracy is None
        else f"validation accuracy {result.validation_accuracy:.1%} of {result.validation_labels} held-out labels"
    )
    print(f"{result.run} {result.state} at step {result.steps} after {result.seconds:.1f} s, {accuracy}")
    if result.state is State.STOPPED:
        print(f"go on with: gradebook train {call.project} --resume --run {result.run}")


if __name__ == "__main__":
    sys.exit(main())
