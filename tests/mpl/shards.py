"""What a process of a sharded step does, and how several are started."""

import copy
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from timm.utils.model_ema import ModelEmaV3
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from gradebook.mpl import sharding
from gradebook.mpl.methods import mpl
from gradebook.mpl.step import Batch, Learner, Learners, StepIndex, StepReport
from tests.forkserver import FORKS
from tests.mpl.toy_problems import INDEX, SPARE, D, K

B, U, STEPS = 8, 12, 2  # images a step, over all processes
RATE, CLIP = 0.3, 0.4


def plain_block() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 6), nn.Tanh())


def norm_block() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6), nn.Dropout(0.2), nn.Tanh())


def blocky(block) -> nn.Module:
    """A network of two blocks with something before and after them, as those of timm are."""
    return nn.Sequential(nn.Linear(D, 6), nn.Sequential(block(), block()), nn.Linear(6, K))


CASES: dict[str, dict[str, Any]] = {
    "difference": {"block": plain_block, "settings": {"feedback": "difference"}},
    "strong": {"block": plain_block, "settings": {"feedback": "difference", "view": "strong"}},
    "recomputed": {"block": plain_block, "settings": {"feedback": "difference"}, "recompute": True},
    "norm": {"block": norm_block, "settings": {"feedback": "difference"}},
    "norm recomputed": {"block": norm_block, "settings": {"feedback": "difference"}, "recompute": True},
    "none": {"block": norm_block, "settings": {"feedback": "none"}},
    "reinforce": {"block": norm_block, "settings": {"feedback": "reinforce"}},
}


class Gloo:
    """The runtime of processes that talk by gloo."""

    def backward(self, loss: Tensor) -> None:
        torch.autograd.backward(loss)

    def reduce(self, tensor: Tensor, reduction: str) -> Tensor:
        total = tensor.clone()
        dist.all_reduce(total)
        return total / dist.get_world_size() if reduction == "mean" else total


class Traffic(TorchDispatchMode):
    """Counts the elements that each collective of weights or gradients writes, scalars left out."""

    def __init__(self):
        super().__init__()
        self.written: dict[str, int] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.namespace == "c10d":
            result = next(t for t in tree_leaves(args) if isinstance(t, Tensor))
            name = func.__name__.split(".")[0]
            self.written[name] = self.written.get(name, 0) + (result.numel() if result.numel() > 1 else 0)
        return func(*args, **(kwargs or {}))


def batches(labelled: int = B, unlabelled: int = U) -> list[Batch]:
    random = torch.Generator().manual_seed(5)

    def noise(n: int) -> Tensor:
        return torch.randn(n, D, dtype=torch.float64, generator=random)

    made = []
    for _ in range(STEPS):
        weak = noise(unlabelled)
        made.append(
            Batch(
                x_l=noise(labelled),
                y_l=torch.arange(labelled) % K,
                x_uw=weak,
                x_us=weak + 0.3 * noise(unlabelled),
                id_u=SPARE + torch.arange(unlabelled),
            )
        )
    return made


def share(batch: Batch, rank: int, size: int) -> Batch:
    return Batch(**{f: getattr(batch, f).chunk(size)[rank] for f in ("x_l", "y_l", "x_uw", "x_us", "id_u")})


def learners(block, *, mesh=None, recompute: bool = False) -> Learners:
    torch.manual_seed(1)
    teacher, student = blocky(block).double(), blocky(block).double()
    average = copy.deepcopy(student)
    made = []
    for net in (student, teacher):
        if recompute:
            sharding.recompute(net)
        if mesh is not None:
            sharding.shard(net, mesh)
        optimizer = torch.optim.SGD(net.parameters(), RATE, momentum=0.9, nesterov=True, weight_decay=1e-2)
        made.append(Learner(net=net, optimizer=optimizer, clip=CLIP))
    made[0].average = ModelEmaV3(average, decay=0.5, foreach=mesh is None)
    if mesh is not None:
        sharding.shard(made[0].average.module.requires_grad_(True), mesh)
    return Learners(student=made[0], teacher=made[1], samples=U + SPARE, unlabelled=U)


def steps(made: Learners, runtime, settings: dict[str, Any], *, rank: int = 0, size: int = 1) -> list[StepReport]:
    torch.manual_seed(100 + rank)
    settings_given = mpl.Settings(**{"threshold": 0.3, **settings})
    return [
        mpl.step(made, share(batch, rank, size), runtime, settings_given, StepIndex(INDEX.step + at, INDEX.total))
        for at, batch in enumerate(batches())
    ]


def outcome(made: Learners, reports: list[StepReport]) -> dict[str, Any]:
    """What can be compared, with every weight in full."""
    nets = {"student": made.student.net, "teacher": made.teacher.net, "average": made.student.average.module}
    return {
        "weights": {who: {n: v.detach().clone() for n, v in sharding.whole(net).items()} for who, net in nets.items()},
        "scalars": [{n: float(v) for n, v in report.scalars.items()} for report in reports],
        "feedback": [report.predictions.feedback for report in reports],
        "finite": sharding.is_finite(made.student.net),
    }


def start(size: int, nodes: int, directory: Path, cases: Iterable[str] = tuple(CASES)) -> list[dict[str, Any]]:
    """Runs the cases in `size` processes of `nodes` nodes, sharded and not; returns what each process found."""
    running = [FORKS.Process(target=work, args=(rank, size, nodes, directory, cases)) for rank in range(size)]
    for process in running:
        process.start()
    for process in running:
        process.join(timeout=240)
    assert [process.exitcode for process in running] == [0] * size
    return [torch.load(directory / f"{rank}.pt", weights_only=False) for rank in range(size)]


def work(rank: int, size: int, nodes: int, directory: Path, cases: Iterable[str]) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{directory / 'meet'}", rank=rank, world_size=size)
    mesh = init_device_mesh("cpu", (nodes, size // nodes), mesh_dim_names=("nodes", "devices"))
    found: dict[str, Any] = {}
    for name in cases:
        case = CASES[name]
        sharded = learners(case["block"], mesh=mesh, recompute=case.get("recompute", False))
        plain = learners(case["block"])
        traffic = Traffic()
        with traffic:
            reports = steps(sharded, Gloo(), case["settings"], rank=rank, size=size)
        found[name] = {
            "sharded": outcome(sharded, reports),
            "plain": outcome(plain, steps(plain, Gloo(), case["settings"], rank=rank, size=size)),
            "held": sum(sharding.local(p).numel() for p in sharded.student.net.parameters()),
            "traffic": traffic.written,
        }
    torch.save(found, directory / f"{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()
