import shutil
from pathlib import Path

import pytest
import torch
from timm.utils.model_ema import ModelEmaV3
from torch import nn

from gradebook.mpl.step import Learner, Learners, SingleProcess
from gradebook.pipelines.training import checkpoints
from gradebook.pipelines.training.config import ConfigError


def learner(*, average: bool) -> Learner:
    net = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 3))
    optimizer = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9, nesterov=True)
    return Learner(net=net, optimizer=optimizer, average=ModelEmaV3(net, decay=0.5) if average else None)


def learners() -> Learners:
    return Learners(student=learner(average=True), teacher=learner(average=False), memory={"h": torch.tensor(1.5)})


def move(made: Learners) -> None:
    for one in (made.student, made.teacher):
        one.descend(one.net(torch.randn(6, 4)).square().mean(), SingleProcess())


def save(directory: Path, step: int, made: Learners, *, keep: int = 2) -> None:
    checkpoints.save(directory, step, made, keep=keep, process=0, wait=lambda: None)


def load(directory: Path, step: int, made: Learners) -> None:
    assert checkpoints.load(directory, step, made, process=0, processes=1, seed=0) == 1


def everything(made: Learners) -> list[torch.Tensor]:
    assert made.teacher is not None and made.student.average is not None
    states = [made.student.net, made.teacher.net, made.student.average.module]
    momenta = [s for one in (made.student, made.teacher) for s in one.optimizer.state.values()]
    return [
        *(value for net in states for value in net.state_dict().values()),
        *(state["momentum_buffer"] for state in momenta),
        *made.memory.values(),
    ]


def test_a_checkpoint_restores_everything_bit_for_bit(tmp_path):
    torch.manual_seed(0)
    made = learners()
    move(made)
    save(tmp_path, 1, made)
    kept = [value.clone() for value in everything(made)]
    move(made)
    after = [value.clone() for value in everything(made)]
    other = learners()
    other.memory.clear()
    load(tmp_path, 1, other)
    assert len(kept) == len(everything(other))
    assert all(map(torch.equal, kept, everything(other)))
    assert not all(map(torch.equal, kept, after)), "nothing moved: the test would be vacuous"
    move(other)
    assert all(map(torch.equal, after, everything(other))), "momentum and random numbers continue where they were"


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_the_newest_checkpoints_are_kept(tmp_path, keep):
    made = learners()
    assert checkpoints.newest_step(tmp_path) == 0
    for step in (5, 10, 200, 1_000_000):
        save(tmp_path, step, made, keep=keep)
        assert checkpoints.newest_step(tmp_path) == step
    assert [p.name for p in checkpoints.list_checkpoints(tmp_path)] == ["step-000010", "step-000200", "step-1000000"][
        -keep:
    ]


def test_a_temporary_directory_left_by_a_kill_is_no_checkpoint(tmp_path):
    made = learners()
    save(tmp_path, 5, made)
    draft = tmp_path / ".step-000010"
    draft.mkdir()
    (draft / "state.pt").write_bytes(b"half")
    assert checkpoints.newest_step(tmp_path) == 5
    save(tmp_path, 10, made)
    assert checkpoints.newest_step(tmp_path) == 10
    load(tmp_path, 10, made)


def test_a_full_disk_leaves_earlier_checkpoints(tmp_path, monkeypatch):
    made = learners()
    save(tmp_path, 5, made)

    def full(*_args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match=r"no checkpoint could be written .*No space left.*free some space"):
        save(tmp_path, 10, made)
    assert checkpoints.newest_step(tmp_path) == 5
    load(tmp_path, 5, made)


def flipped(data: bytes) -> bytes:
    """Returns the file with one bit of its largest tensor's bytes the other way."""
    place = len(data) // 2
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


@pytest.mark.parametrize("name", ["state.pt", "process-0.pt"])
@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: b"", lambda data: b"x" * 100])
def test_a_truncated_checkpoint_is_a_one_line_error(tmp_path, name, damage):
    made = learners()
    save(tmp_path, 5, made)
    path = tmp_path / "step-000005" / name
    path.write_bytes(damage(path.read_bytes()))
    before = [value.clone() for value in everything(made)]
    assert checkpoints.damaged_files(tmp_path / "step-000005", content=False) == [name]
    with pytest.raises(ConfigError, match=r"step-000005 is damaged: delete that directory and resume from the one"):
        load(tmp_path, 5, made)
    assert all(map(torch.equal, before, everything(made))), "and nothing was half loaded"


def test_a_flipped_bit_is_found(tmp_path):
    made = learners()
    made.memory["z"] = torch.zeros(10_000)
    save(tmp_path, 5, made)
    path = tmp_path / "step-000005" / "state.pt"
    path.write_bytes(flipped(path.read_bytes()))
    assert checkpoints.damaged_files(path.parent, content=False) == []
    assert checkpoints.damaged_files(path.parent, content=True) == ["state.pt"]


def test_the_newest_intact_checkpoint_is_used_and_damaged_ones_are_renamed(tmp_path):
    for step in (5, 10, 15, 20):
        save(tmp_path, step, learners(), keep=4)
    (tmp_path / "step-000020" / "checkpoint.json").unlink()
    (tmp_path / "step-000015" / "state.pt").unlink()
    (tmp_path / "step-000005" / "state.pt").unlink()
    messages = list(checkpoints.quarantine_damaged(tmp_path))
    assert [sentence.split("(")[1] for sentence in messages] == [
        "checkpoint.json) and is now damaged-step-000020: the run continues from step 15",
        "state.pt) and is now damaged-step-000015: the run continues from step 10",
    ]
    assert checkpoints.newest_step(tmp_path) == 10
    assert (tmp_path / "damaged-step-000020" / "state.pt").exists()
    assert (tmp_path / "step-000005").exists(), "older ones are nobody's concern"


def test_an_additional_process_draws_its_own_random_numbers(tmp_path):
    made = learners()
    move(made)
    save(tmp_path, 5, made)
    after = torch.rand(4)
    drawn = {}
    for process in (0, 1, 2):
        other = learners()
        assert checkpoints.load(tmp_path, 5, other, process=process, processes=3, seed=0) == 1
        assert all(map(torch.equal, everything(made), everything(other)))
        drawn[process] = torch.rand(4)
    assert torch.equal(drawn[0], after)
    assert len({tuple(numbers.tolist()) for numbers in drawn.values()}) == 3


def test_an_older_checkpoint_is_used_if_the_newest_was_deleted(tmp_path):
    made = learners()
    move(made)
    save(tmp_path, 5, made)
    kept = [value.clone() for value in everything(made)]
    move(made)
    save(tmp_path, 10, made)
    (tmp_path / "step-000010" / "state.pt").unlink()
    with pytest.raises(ConfigError, match="is damaged"):
        load(tmp_path, 10, made)
    assert checkpoints.newest_step(tmp_path) == 10
    shutil.rmtree(tmp_path / "step-000010")
    assert checkpoints.newest_step(tmp_path) == 5
    load(tmp_path, 5, made)
    assert all(map(torch.equal, kept, everything(made)))
