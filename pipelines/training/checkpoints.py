"""Checkpoints: the whole state of a run, saved atomically and restored bit for bit.

`checkpoints/step-000200/` has

    state.pt          networks, optimizers, averages and the method's state; with sharded weights state-RANK.pt
    process-RANK.pt   of each process: its random number generators and its BatchNorm statistics
    checkpoint.json   the sizes of the files

The files contain their own checksums. The sampler needs no state: its draws depend on the seed and the step alone.
"""

import json
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradebook.pipelines.training.config import ConfigError
from gradebook.pipelines.training.fsdp import load_optimizer_shards, load_shards, local_shards
from gradebook.pipelines.training.sampler import noise_seed

if TYPE_CHECKING:
    from torch import nn

    from gradebook.mpl.step import Learner, Learners

CONTENTS = "checkpoint.json"


def save(directory: Path, step: int, learners: "Learners", *, keep: int, process: int, wait: Any) -> None:
    """Saves a checkpoint after `step` steps; every process calls this.

    Args:
        directory: the run's `checkpoints`.
        step: steps done.
        learners: to save.
        keep: how many of the newest checkpoints to keep.
        process: rank of this process; 0 writes what all share.
        wait: barrier of all processes.

    Raises:
        OSError: it cannot be written; earlier checkpoints are unchanged.
    """
    import torch

    draft, final = directory / f".step-{step:06d}", directory / f"step-{step:06d}"
    if process == 0:
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
    wait()
    try:
        own = _random_state() | {"buffers": _buffers(learners)}
        torch.save(_on_cpu(own), draft / f"process-{process}.pt")
        if process == 0 or _is_sharded(learners):
            torch.save(_on_cpu(_state_of_all(learners)), draft / _file(process, learners))
        wait()
        if process == 0:
            sizes = {path.name: path.stat().st_size for path in sorted(draft.iterdir())}
            (draft / CONTENTS).write_text(json.dumps(sizes), encoding="utf-8")
    except (OSError, RuntimeError) as error:
        raise OSError(
            f"no checkpoint could be written to {directory} ({error}): free some space, then resume"
        ) from error
    if process == 0:
        if final.exists():
            _delete(final)
        draft.replace(final)
        for old in list_checkpoints(directory)[:-keep]:
            _delete(old)
    wait()


def _delete(checkpoint: Path) -> None:
    """Deletes a checkpoint; a kill in the middle leaves none that seems damaged, only a hidden directory."""
    hidden = checkpoint.with_name(f".{checkpoint.name}-old")
    shutil.rmtree(hidden, ignore_errors=True)
    checkpoint.replace(hidden)
    shutil.rmtree(hidden, ignore_errors=True)


def list_checkpoints(directory: Path) -> list[Path]:
    """Returns the checkpoints in a run's `checkpoints`, oldest first."""
    return sorted(directory.glob("step-*"), key=lambda path: int(path.name.removeprefix("step-")))


def newest_step(directory: Path) -> int:
    """Returns the steps of the newest checkpoint, 0 if there is none."""
    return max((int(path.name.removeprefix("step-")) for path in list_checkpoints(directory)), default=0)


def damaged_files(checkpoint: Path, *, content: bool) -> list[str]:
    """Returns the names of a checkpoint's files that are missing or damaged.

    Args:
        checkpoint: its directory.
        content: compare the checksums of each file too, not its size alone.
    """
    try:
        sizes = json.loads((checkpoint / CONTENTS).read_text(encoding="utf-8"))
        return [name for name, size in sizes.items() if not _is_intact(checkpoint / name, size, content=content)]
    except (OSError, ValueError, AttributeError):
        return [CONTENTS]


def quarantine_damaged(directory: Path) -> Iterator[str]:
    """Renames damaged checkpoints, from the newest to the first intact one; yields a message about each."""
    for checkpoint in reversed(list_checkpoints(directory)):
        bad = damaged_files(checkpoint, content=True)
        if not bad:
            return
        quarantine = directory / f"damaged-{checkpoint.name}"
        shutil.rmtree(quarantine, ignore_errors=True)
        checkpoint.replace(quarantine)
        step = newest_step(directory)
        start = f"from step {step}" if step else "from its beginning"
        yield f"{checkpoint} is damaged ({', '.join(bad)}) and is now {quarantine.name}: the run continues {start}"


def load(directory: Path, step: int, learners: "Learners", *, process: int, processes: int, seed: int) -> int:
    """Loads the checkpoint of `step` into the learners and this process's random number generators.

    Args:
        directory: the run's `checkpoints`.
        step: steps done when it was saved.
        learners: to load it into.
        process: rank of this process.
        processes: how many there are now.
        seed: for the generators of a process that did not exist then; it takes process 0's statistics.

    Returns:
        How many processes saved it: with as many as now, the run continues bit for bit.

    Raises:
        ConfigError: it cannot be read, or its weights were sharded over another number of processes.
    """
    import torch

    path = directory / f"step-{step:06d}"
    saved_by = len(list(path.glob("process-*.pt")))
    if saved_by != processes and _is_sharded(learners):
        raise ConfigError(
            f"the weights of {path} are sharded over {saved_by} processes, not {processes}: "
            "resume with as many as before"
        )
    existed = process < saved_by
    try:
        state = torch.load(path / _file(process, learners), map_location="cpu", weights_only=True)
        own = torch.load(path / f"process-{process if existed else 0}.pt", map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a damaged file
        raise ConfigError(f"{path} is damaged: delete that directory and resume from the one before") from error
    _restore(learners.student, state["student"])
    if learners.teacher is not None:
        _restore(learners.teacher, state["teacher"])
    for net, buffers in zip(_nets(learners), own["buffers"], strict=True):
        for name, buffer in net.named_buffers():
            buffer.copy_(buffers[name])
    device = next(learners.student.net.parameters()).device
    learners.memory = {name: value.to(device) for name, value in state["memory"].items()}
    if existed:
        _set_random_state(own)
    else:
        torch.manual_seed(noise_seed(seed, step, process))
    return saved_by


def _is_intact(path: Path, size: int, *, content: bool) -> bool:
    """Returns whether a file of `torch.save` has its size and, if `content`, its checksums."""
    try:
        with zipfile.ZipFile(path) as archive:
            return path.stat().st_size == size and (not content or archive.testzip() is None)
    except (OSError, zipfile.BadZipFile):
        return False


def _random_state() -> dict[str, Any]:
    import torch

    state = {
        "cpu": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }
    return state | ({"mps": torch.mps.get_rng_state()} if torch.backends.mps.is_available() else {})


def _set_random_state(state: dict[str, Any]) -> None:
    import torch

    torch.set_rng_state(state["cpu"])
    if state["cuda"]:
        torch.cuda.set_rng_state_all(state["cuda"])
    if "mps" in state and torch.backends.mps.is_available():
        torch.mps.set_rng_state(state["mps"])


def _on_cpu(state: Any) -> Any:
    """Returns a nested state with its tensors on the CPU."""
    from torch import Tensor
    from torch.utils._pytree import tree_map_only

    return tree_map_only(Tensor, Tensor.cpu, state)


def _nets(learners: "Learners") -> "list[nn.Module]":
    """Returns every network of a run, averages included."""
    both = [one for one in (learners.student, learners.teacher) if one is not None]
    averages: list[nn.Module] = [one.average.module for one in both if one.average is not None]
    return [*(one.net for one in both), *averages]


def _buffers(learners: "Learners") -> list[dict[str, Any]]:
    return [dict(net.named_buffers()) for net in _nets(learners)]


def _state_of_all(learners: "Learners") -> dict[str, Any]:
    teacher = learners.teacher
    return {
        "student": _state(learners.student),
        "teacher": _state(teacher) if teacher is not None else None,
        "memory": learners.memory,
    }


def _state(learner: "Learner") -> dict[str, Any]:
    return {
        "net": local_shards(learner.net.state_dict()),
        "optimizer": local_shards(learner.optimizer.state_dict()),
        "average": local_shards(learner.average.module.state_dict()) if learner.average is not None else None,
    }


def _restore(learner: "Learner", state: dict[str, Any]) -> None:
    load_shards(learner.net, state["net"])
    load_optimizer_shards(learner.optimizer, state["optimizer"])
    if learner.average is not None:
        load_shards(learner.average.module, state["average"])


def _file(process: int, learners: "Learners") -> str:
    return f"state-{process}.pt" if _is_sharded(learners) else "state.pt"


def _is_sharded(learners: "Learners") -> bool:
    from gradebook.mpl.sharding import is_sharded

    return is_sharded(learners.student.net)
