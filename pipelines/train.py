"""Trains a student, by itself or under `accelerate launch pipelines/train.py PROJECT ...`.

The loop is a clock: it deals batches, sets rates, and asks whether it is time to record, log, validate or checkpoint.
What a step does stands in `mpl/methods/`; what others may want to know stands in the run's directory.
"""

import json
import math
import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines import checkpoints, data, distributions, founding, learners, outcome, runs
from pipelines.config import ConfigError, TrainConfig
from pipelines.endings import failures_told, stoppable
from pipelines.errors import one_sentence
from pipelines.places import Place, open_place
from pipelines.presets import Call, parse
from pipelines.progress import hush, progress
from pipelines.recorder import Recorder, cut_after
from pipelines.runs import State

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
        given = sys.argv[1:] if arguments is None else arguments
        call = parse(given, program="gradebook train", saved=founding.saved_settings)
        result = train(call)
        if result is not None:
            _say(result, call)
    return 0


def train(call: Call[Any], store: "Store | None" = None) -> Result | None:
    """Trains as told, in this process or as one of several; the main process returns the result.

    Args:
        call: what to train, and how.
        store: the project, where it is open already.

    Raises:
        ConfigError: the project or the settings do not allow it; the sentence says why.
    """
    import torch
    from accelerate import Accelerator

    accelerator = Accelerator(mixed_precision=call.config.precision)
    if call.config.inputs == "views" and accelerator.device.type == "cpu":
        torch.set_num_threads(1)  # layers this small lose more to waiting for each other than they gain
    with accelerator.main_process_first():  # one process makes or downloads what is not there yet
        place = open_place(call.project, call.config, store)
    name = founding.name_of(call, place.project, accelerator)
    with failures_told(place.project.runs / name, call.config.steps):
        founding.check_processes(call.config, accelerator.num_processes)
        training = _begin(replace(call, config=replace(call.config, run=name)), place, accelerator)
        with stoppable(training.stop):
            _steps(training)
        return _end(training)


def _begin(call: Call[Any], place: Place, accelerator: "Accelerator") -> Training:
    """Reads the data, makes the networks, opens the run's directory, and goes back to the checkpoint if told to."""
    config, path, rank = call.config, place.project.runs / call.config.run, accelerator.process_index
    people = place.saved_population(path) if call.resume else place.population()
    source = place.source(people, accelerator.device)
    made = learners.build(config, people, source, accelerator.device)
    done = checkpoints.newest(path / "checkpoints") if call.resume else 0
    if not done:
        made.memory |= distributions.given(config, people, path.parent, accelerator.device)
    if accelerator.is_main_process:
        if not call.resume:
            founding.found(path, config, people, accelerator)
            place.forget(config.run)
        cut_after(path / "record", done)
        founding.greet(config, people, accelerator, done)
    accelerator.wait_for_everyone()
    if done:
        checkpoints.load(path / "checkpoints", done, made, process=rank, processes=accelerator.num_processes)
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
            with t.accelerator.autocast(), _settings_refused(first=t.done == t.began_at):
                report = step(t.learners, batch, t.accelerator, t.config.settings, clock)
            t.done += 1
            show(t.done)
            over = t.done == steps or _asked_to_stop(t)
            _after_step(t, report, batch.id_u, batch.x_uw, over=over)
            if over:
                break


@contextmanager
def _settings_refused(*, first: bool) -> Iterator[None]:
    """Takes a ValueError of a method's first step for what it is: a sentence on settings that do not go together."""
    try:
        yield
    except ValueError as error:
        if first:
            raise ConfigError(str(error)) from error
        raise


def _after_step(t: Training, report: "StepReport", samples: "Tensor", weak: "Tensor", *, over: bool) -> None:
    """Records, logs, validates and checkpoints, each when it is time to."""
    if t.done % t.config.record_every == 0 and len(samples):
        t.recorder.put(t.done, samples, report.opinions or outcome.student_alone(t.learners, weak))
    checkpoint = t.done % t.config.checkpoint_every == 0 or over
    if t.done % t.config.log_every == 0 or checkpoint:
        _log(t, report, samples)
    if t.accelerator.is_main_process and (t.done % t.config.validate_every == 0 or over):
        t.accuracy = outcome.validation_accuracy(t.learners.student.best_net(), t.source, t.people)
        if t.accuracy is not None:
            runs.append_metrics(t.path, {"step": t.done, "validation_accuracy": t.accuracy})
    if checkpoint:
        _refuse(t, learners.not_finite(t.learners))
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


def _log(t: Training, report: "StepReport", samples: "Tensor") -> None:
    """Adds a row to the metrics, means over the processes: the loop's only wait for the device."""
    import torch

    found = report.scalars | outcome.pseudo_label_accuracy(t.people, report.opinions, samples)
    mean = t.accelerator.reduce(torch.stack([value.float() for value in found.values()]), "mean")
    scalars = dict(zip(found, mean.tolist(), strict=True))
    _refuse(t, [name for name, value in scalars.items() if not math.isfinite(value)])
    if t.accelerator.is_main_process:
        seconds = time.perf_counter() - t.began
        runs.append_metrics(
            t.path, {"step": t.done, "seconds": seconds, **scalars, "images_per_second": _images_per_second(t)}
        )
        _tell(t, State.RUNNING)


def _refuse(t: Training, bad: list[str]) -> None:
    """Ends the run where something is not a number any more, so that no checkpoint keeps it."""
    if bad:
        kept = checkpoints.newest(t.path / "checkpoints")
        raise ConfigError(
            f"{', '.join(bad)} is not a number any more at step {t.done}: lower the learning rate "
            f"(--student.lr, --teacher.lr) in a new run" + (f"; the checkpoint of step {kept} is kept" if kept else "")
        )


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
