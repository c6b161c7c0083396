"""Checkpoints: everything that a run moves, written whole or not at all, newest kept, read back bit for bit.

`checkpoints/step-000200/` holds `state.pt` (networks, optimisers, averages, what the method remembers), or one
`state-RANK.pt` a process where weights are shared out, and one `random-RANK.pt` a process (its generators' states).
What a step draws is a function of the seed and the step alone.
"""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.config import ConfigError
from pipelines.sharded import put_back, put_back_momentum, shards_of

if TYPE_CHECKING:
    from mpl.step import Learner, Learners

KEPT = 2


def save(directory: Path, step: int, learners: "Learners", *, process: int, wait: Any) -> None:
    """Writes a checkpoint after `step` steps; every process calls this.

    Args:
        directory: the run's `checkpoints`.
        step: steps done.
        learners: what to keep.
        process: rank of this process; 0 writes what all share.
        wait: a barrier over all processes.

    Raises:
        OSError: it cannot be written; the checkpoints before it are as they were.
    """
    import torch

    draft, final = directory / f".step-{step:06d}", directory / f"step-{step:06d}"
    if process == 0:
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
    wait()
    try:
        torch.save(_random_state(), draft / f"random-{process}.pt")
        if process == 0 or _shared_out(learners):
            torch.save(_state(learners), draft / _file(process, learners))
    except (OSError, RuntimeError) as error:
        raise OSError(
            f"no checkpoint could be written to {directory} ({error}): free some space, then resume"
        ) from error
    wait()
    if process == 0:
        shutil.rmtree(final, ignore_errors=True)
        draft.replace(final)
        for old in _all(directory)[:-KEPT]:
            shutil.rmtree(old, ignore_errors=True)
    wait()


def newest(directory: Path) -> int:
    """Returns the steps of the newest checkpoint, 0 if there is none."""
    return max((int(path.name.removeprefix("step-")) for path in _all(directory)), default=0)


def load(directory: Path, step: int, learners: "Learners", *, process: int, processes: int) -> None:
    """Puts the checkpoint of `step` into the learners and this process's generators.

    Raises:
        ConfigError: it cannot be read, or was made by another number of processes.
    """
    import torch

    path = directory / f"step-{step:06d}"
    made_by = len(list(path.glob("random-*.pt")))
    if made_by != processes:
        raise ConfigError(f"{path} was made by {made_by} processes, not {processes}: resume with as many as before")
    try:
        state = torch.load(path / _file(process, learners), map_location="cpu", weights_only=True)
        random = torch.load(path / f"random-{process}.pt", weights_only=True)
    except Exception as error:  # whatever torch makes of a damaged file; its words are for programmers
        raise ConfigError(f"{path} is damaged: delete that directory and resume from the one before") from error
    _restore(learners.student, state["student"])
    if learners.teacher is not None:
        _restore(learners.teacher, state["teacher"])
    device = next(learners.student.net.parameters()).device
    learners.memory = {name: value.to(device) for name, value in state["memory"].items()}
    torch.set_rng_state(random["cpu"])
    if random["cuda"]:
        torch.cuda.set_rng_state_all(random["cuda"])


def _all(directory: Path) -> list[Path]:
    return sorted(directory.glob("step-*"), key=lambda path: int(path.name.removeprefix("step-")))


def _random_state() -> dict[str, Any]:
    import torch

    return {
        "cpu": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def _state(learners: "Learners") -> dict[str, Any]:
    teacher = learners.teacher
    return {
        "student": _of(learners.student),
        "teacher": _of(teacher) if teacher is not None else None,
        "memory": learners.memory,
    }


def _of(learner: "Learner") -> dict[str, Any]:
    return {
        "net": shards_of(learner.net.state_dict()),
        "optimizer": shards_of(learner.optimizer.state_dict()),
        "average": shards_of(learner.average.module.state_dict()) if learner.average is not None else None,
    }


def _restore(learner: "Learner", state: dict[str, Any]) -> None:
    put_back(learner.net, state["net"])
    put_back_momentum(learner.optimizer, state["optimizer"])
    if learner.average is not None:
        put_back(learner.average.module, state["average"])


def _file(process: int, learners: "Learners") -> str:
    return f"state-{process}.pt" if _shared_out(learners) else "state.pt"


def _shared_out(learners: "Learners") -> bool:
    from mpl.sharding import is_sharded

    return is_sharded(learners.student.net)
