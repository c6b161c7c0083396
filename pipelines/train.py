"""Trains a student, by itself or under `accelerate launch pipelines/train.py PROJECT ...`.

The loop is a clock: it deals batches, sets rates, and asks whether it is time to record, log, validate or checkpoint.
What a step does stands in `mpl/methods/`; what others may want to know stands in the run's directory.
"""

import sys
from pathlib import Path

# Run as a file, Python looks in this folder first: there, no module of ours may hide an installed package.
sys.path[:] = [path for path in sys.path if Path(path).resolve() != Path(__file__).resolve().parent]

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from gradebook.pipelines.process.errors import exit_with_message
from gradebook.pipelines.process.progress import progress, say, silence_libraries, stage
from gradebook.pipelines.runs import State
from gradebook.pipelines.training import (
    checkpoints,
    finalize,
    fsdp,
    learners,
    precomputed_teacher,
    run_setup,
    trackers,
    xla,
)
from gradebook.pipelines.training.config import ConfigError
from gradebook.pipelines.training.cpu_setup import prepare_process
from gradebook.pipelines.training.data_modules import DataModule, open_data
from gradebook.pipelines.training.live_labels import apply_due_changes, open_live_labels, plan_change
from gradebook.pipelines.training.presets import TrainCommand, parse_command
from gradebook.pipelines.training.record_upload import run_address, start_upload, truncate_record
from gradebook.pipelines.training.recorder import Recorder
from gradebook.pipelines.training.shutdown import report_failure, stop_on_signal
from gradebook.pipelines.training.state import TrainState, fail_if_not_finite, log_metrics, update_status, validate
from gradebook.pipelines.training.student import save_student
from gradebook.storage.segments import delete_segments_after

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch import Tensor, nn

    from gradebook.mpl.step import StepReport
    from gradebook.storage.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a training answers."""

    run: str
    state: State
    steps: int  # done in all, those before a resume included
    seconds: float  # of this call's training, without reading data
    validation_accuracy: float | None  # of the student at its last look; None where no label was held out
    validation_labels: int  # how many were held out


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    silence_libraries()
    with exit_with_message():
        stage("Loading what trains")
        given = sys.argv[1:] if arguments is None else arguments
        call = parse_command(given, program="gradebook train", saved=run_setup.saved_config)
        result = train(run_setup.use_embedded_backbone(call, given))
        if result is not None:
            _say(result, call)
    return 0


def train(call: TrainCommand[Any], store: "Store | None" = None) -> Result | None:
    """Trains as told, in this process or as one of several; the main process returns the result.

    Args:
        call: what to train, and how.
        store: the project, where it is open already.

    Raises:
        ConfigError: the project or the settings do not allow it; the sentence says why.
    """
    from accelerate import Accelerator
    from accelerate.utils import AutocastKwargs

    # what autocast remembers of gathered weights would be as large as all of them, and old after a step
    remembers = AutocastKwargs(cache_enabled=call.config.sharding == "none")
    accelerator = Accelerator(mixed_precision=call.config.precision, kwargs_handlers=[remembers])
    prepare_process(accelerator.device, call.config.inputs)
    stage("Opening the images and their labels")
    with accelerator.main_process_first():  # one process makes or downloads what is not there yet
        place = open_data(call.project, call.config, store)
    name = run_setup.choose_run_name(call, place.project, accelerator)
    with report_failure(place.project.runs / name, call.config.steps):
        run_setup.check_processes(call.config, accelerator.num_processes)
        fsdp.check(call.config, accelerator.num_processes)
        xla.check(call.config, accelerator.device)
        trackers.check(call.config)
        training = _begin(replace(call, config=replace(call.config, run=name)), place, accelerator)
        with stop_on_signal(training.stop):
            _steps(training)
        return _end(training)


def _begin(call: TrainCommand[Any], place: DataModule, accelerator: "Accelerator") -> TrainState:
    """Reads the data, makes the networks, opens the run's directory, and goes back to the checkpoint if told to."""
    from gradebook.mpl.step_timer import Stopwatch

    config, path, rank = call.config, place.project.runs / call.config.run, accelerator.process_index
    training_set = place.saved_training_set(path) if call.resume else place.training_set()
    source = place.source(training_set, accelerator.device)
    done = _resumed_at(path, accelerator) if call.resume else 0
    stage("Making the networks")
    start = None if done else place.initial_model()
    made = learners.build(config, training_set, source, accelerator.device, start)
    if not done:
        made.memory |= precomputed_teacher.load_distributions(config, training_set, path.parent, accelerator.device)
    if accelerator.is_main_process:
        if not call.resume:
            run_setup.create_run_directory(path, config, training_set, accelerator)
            place.drop_record(config.run)
        if call.resume and config.record:
            truncate_record(path / "record", run_address(config.record, path.name), done)
        else:
            delete_segments_after(path / "record", done)
        run_setup.print_summary(config, training_set, accelerator, done)
    accelerator.wait_for_everyone()
    if done:
        processes = accelerator.num_processes
        made_by = checkpoints.load(
            path / "checkpoints", done, made, process=rank, processes=processes, seed=config.seed
        )
        if accelerator.is_main_process and made_by != processes:
            say(f"{made_by} processes began the run and {processes} go on with it: correctly, but not bit for bit")
    mirror = start_upload(config.record, path, rank)
    trackers.start(config, place.project.root.name, path, accelerator)
    recorder = Recorder(path / "record", training_set.classes, training_set.sample_ids, process=rank, mirror=mirror)
    listener = place.listener() if config.live and accelerator.is_main_process else None
    return TrainState(
        config=config,
        path=path,
        accelerator=accelerator,
        live=open_live_labels(training_set, config, path, done, accelerator, listener),
        source=source,
        hosts=_hosts(accelerator),
        learners=made,
        recorder=recorder,
        done=done,
        began_at=done,
        stopwatch=Stopwatch(accelerator.device),
    )


def _hosts(accelerator: "Accelerator") -> Any:
    """Returns a group in which the processes' hosts talk, so that no word between them waits for a device."""
    if accelerator.num_processes == 1:
        return None
    import torch

    return torch.distributed.new_group(backend="gloo")


def _resumed_at(path: Path, accelerator: "Accelerator") -> int:
    """Returns the steps of the newest checkpoint that is whole, 0 if there is none; says what was damaged."""
    if accelerator.is_main_process:
        for sentence in checkpoints.quarantine_damaged(path / "checkpoints"):
            say(sentence)
    accelerator.wait_for_everyone()
    return checkpoints.newest_step(path / "checkpoints")


def _steps(t: TrainState) -> None:
    """Does the run's steps until it is over or asked to stop; the last one ends in a checkpoint."""
    from gradebook.mpl.methods import METHODS
    from gradebook.mpl.step import Clock
    from gradebook.mpl.step_timer import phase, running

    step, steps, runtime = METHODS[t.config.method].step, t.config.steps, xla.runtime(t.accelerator)
    rank, processes = t.accelerator.process_index, t.accelerator.num_processes
    draws = (t.live.deck.draw(at, process=rank, processes=processes) for at in range(t.done, steps))
    update_status(t, State.RUNNING)
    batches = t.source.batches(draws, t.live.labels)
    with progress(f"train {t.config.run}", steps) as show, running(t.stopwatch):
        while t.done < steps:
            with phase("data"):
                batch = next(batches)
            clock = Clock(t.done, steps)
            learners.set_learning_rates(t.learners, t.config, clock)
            xla.seed(t.accelerator.device, t.config.seed, t.done, rank)
            with t.accelerator.autocast(), _settings_refused(first=t.done == t.began_at):
                report = step(t.learners, batch, runtime, t.config.settings, clock)
            xla.send(t.accelerator.device)
            t.done += 1
            show(t.done)
            stop, heard = _asked(t)
            over = stop or t.done == steps
            with phase("record"):
                _after_step(t, report, batch.id_u, batch.x_uw, over=over)
            if over:
                break
            if heard:
                plan_change(t.live, t.config, t.path, t.done, t.accelerator)
            apply_due_changes(t.live, t.done)


@contextmanager
def _settings_refused(*, first: bool) -> Iterator[None]:
    """Takes a ValueError of a method's first step for what it is: a sentence on settings that do not go together."""
    try:
        yield
    except ValueError as error:
        if first:
            raise ConfigError(str(error)) from error
        raise


def _after_step(t: TrainState, report: "StepReport", samples: "Tensor", weak: "Tensor", *, over: bool) -> None:
    """Records, logs, validates and checkpoints, each when it is time to."""
    if t.done % t.config.record_every == 0 and len(samples):
        t.recorder.put(t.done, samples, report.opinions or finalize.student_predictions(t.learners, weak))
    checkpoint = t.done % t.config.checkpoint_every == 0 or over
    if t.done % t.config.log_every == 0 or checkpoint:
        log_metrics(t, report, samples)
    if t.done % t.config.validate_every == 0 or over:
        net = _whole(t, t.learners.student.best_net())
        if t.accelerator.is_main_process:
            validate(t, net)
    if checkpoint:
        fail_if_not_finite(t, learners.non_finite_weights(t.learners))
        t.recorder.flush()
        checkpoints.save(
            t.path / "checkpoints",
            t.done,
            t.learners,
            keep=t.config.checkpoints,
            process=t.accelerator.process_index,
            wait=t.accelerator.wait_for_everyone,
        )


def _end(t: TrainState) -> Result | None:
    """Finishes the student, unless the run was stopped before its last step; leaves all that others need."""
    stage("Writing down what it has learned")
    t.recorder.close()
    finished = t.done == t.config.steps
    if finished:
        net = _whole(t, finalize.finetuned_student(t.learners, t.config, t.training_set, t.source, t.accelerator))
        teacher = _whole_teacher(t)
    if not t.accelerator.is_main_process:
        return None
    seconds = time.perf_counter() - t.began
    if finished:
        save_student(net, t.path)
        finalize.write_predictions(net, teacher, t.source, t.training_set, t.path)
        validate(t, net)
    trackers.finish(t.accelerator)
    state = State.FINISHED if finished else State.STOPPED
    update_status(t, state)
    return Result(
        run=t.config.run,
        state=state,
        steps=t.done,
        seconds=round(seconds, 3),
        validation_accuracy=t.accuracy,
        validation_labels=len(t.training_set.validation),
    )


def _whole(t: TrainState, net: "nn.Module") -> "nn.Module":
    """Returns the student's network to evaluate, gathered by all processes where its weights are shared out."""
    return fsdp.gathered(net, t.config.backbone, len(t.training_set.classes), t.config.size)


def _whole_teacher(t: TrainState) -> "nn.Module | None":
    if t.learners.teacher is None:
        return None
    backbone = t.config.teacher_backbone or t.config.backbone
    return fsdp.gathered(t.learners.teacher.best_net(), backbone, len(t.training_set.classes), t.config.size)


def _asked(t: TrainState) -> tuple[bool, bool]:
    """Returns whether any process was asked to stop, and whether labels came in: the same on all processes."""
    heard = t.live.listener is not None and t.live.listener.waiting()
    if t.accelerator.num_processes == 1:
        return t.stop.is_set(), heard
    import torch

    asked = torch.tensor([t.stop.is_set(), heard], dtype=torch.int32)
    torch.distributed.all_reduce(asked, group=t.hosts)
    stop, heard_by_any = (asked > 0).tolist()
    return stop, heard_by_any


def _say(result: Result, call: TrainCommand[Any]) -> None:
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
