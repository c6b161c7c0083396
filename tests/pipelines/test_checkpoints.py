import shutil
from pathlib import Path

import pytest
import torch
from timm.utils.model_ema import ModelEmaV3
from torch import nn

from mpl.step import Learner, Learners, Solo
from pipelines import checkpoints
from pipelines.config import ConfigError


def learner(*, average: bool) -> Learner:
    net = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 3))
    optimizer = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9, nesterov=True)
    return Learner(net=net, optimizer=optimizer, average=ModelEmaV3(net, decay=0.5) if average else None)


def learners() -> Learners:
    return Learners(student=learner(average=True), teacher=learner(average=False), memory={"h": torch.tensor(1.5)})


def move(made: Learners) -> None:
    for one in (made.student, made.teacher):
        one.descend(one.net(torch.randn(6, 4)).square().mean(), Solo())


def save(directory: Path, step: int, made: Learners) -> None:
    checkpoints.save(directory, step, made, process=0, wait=lambda: None)


def load(directory: Path, step: int, made: Learners) -> None:
    checkpoints.load(directory, step, made, process=0, processes=1)


def everything(made: Learners) -> list[torch.Tensor]:
    assert made.teacher is not None and made.student.average is not None
    states = [made.student.net, made.teacher.net, made.student.average.module]
    momenta = [s for one in (made.student, made.teacher) for s in one.optimizer.state.values()]
    return [
        *(value for net in states for value in net.state_dict().values()),
        *(state["momentum_buffer"] for state in momenta),
        *made.memory.values(),
    ]


def test_a_checkpoint_brings_everything_back_bit_for_bit(tmp_path):
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
    assert all(map(torch.equal, after, everything(other))), "momentum and random numbers go on where they were"


def test_two_are_kept(tmp_path):
    made = learners()
    assert checkpoints.newest(tmp_path) == 0
    for step in (5, 10, 200, 1_000_000):
        save(tmp_path, step, made)
        assert checkpoints.newest(tmp_path) == step
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-000200", "step-1000000"]


def test_a_draft_that_a_kill_left_is_no_checkpoint(tmp_path):
    made = learners()
    save(tmp_path, 5, made)
    draft = tmp_path / ".step-000010"
    draft.mkdir()
    (draft / "state.pt").write_bytes(b"half")
    assert checkpoints.newest(tmp_path) == 5
    save(tmp_path, 10, made)
    assert checkpoints.newest(tmp_path) == 10
    load(tmp_path, 10, made)


def test_a_full_disk_leaves_the_checkpoints_before(tmp_path, monkeypatch):
    made = learners()
    save(tmp_path, 5, made)

    def full(*_args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match=r"no checkpoint could be written .*No space left.*free some space"):
        save(tmp_path, 10, made)
    assert checkpoints.newest(tmp_path) == 5
    load(tmp_path, 5, made)


@pytest.mark.parametrize("name", ["state.pt", "random-0.pt"])
@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: b"", lambda data: b"x" * 100])
def test_a_torn_checkpoint_is_a_sentence(tmp_path, name, damage):
    made = learners()
    save(tmp_path, 5, made)
    path = tmp_path / "step-000005" / name
    path.write_bytes(damage(path.read_bytes()))
    before = [value.clone() for value in everything(made)]
    with pytest.raises(ConfigError, match=r"step-000005 is damaged: delete that directory and resume from the one"):
        load(tmp_path, 5, made)
    assert all(map(torch.equal, before, everything(made))), "and nothing was half loaded"


def test_what_another_number_of_processes_made_is_refused(tmp_path):
    made = learners()
    save(tmp_path, 5, made)
    with pytest.raises(ConfigError, match="made by 1 processes, not 2: resume with as many as before"):
        checkpoints.load(tmp_path, 5, made, process=1, processes=2)


def test_an_older_checkpoint_serves_where_the_newest_was_deleted(tmp_path):
    made = learners()
    move(made)
    save(tmp_path, 5, made)
    kept = [value.clone() for value in everything(made)]
    move(made)
    save(tmp_path, 10, made)
    (tmp_path / "step-000010" / "state.pt").unlink()
    with pytest.raises(ConfigError, match="is damaged"):
        load(tmp_path, 10, made)
    assert checkpoints.newest(tmp_path) == 10
    shutil.rmtree(tmp_path / "step-000010")
    assert checkpoints.newest(tmp_path) == 5
    load(tmp_path, 5, made)
    assert all(map(torch.equal, kept, everything(made)))
