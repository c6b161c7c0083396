"""Tiny float64 problems on which the identities of Meta Pseudo Labels can be checked exactly."""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mpl.step import Batch, Learner, Learners

K = 3
D = 4


@dataclass
class Problem:
    teacher: nn.Module
    student: nn.Module
    batch: Batch
    rate: float = 0.3

    def learners(self, *, momentum: float = 0.0) -> Learners:
        """Copies, so that a test can step more than once from the same start."""
        nets = [copy.deepcopy(self.student), copy.deepcopy(self.teacher)]
        student, teacher = (
            Learner(net=n, optimizer=torch.optim.SGD(n.parameters(), self.rate, momentum=momentum)) for n in nets
        )
        return Learners(student=student, teacher=teacher)


def plain_net() -> nn.Module:
    return nn.Sequential(nn.Linear(D, 5), nn.Tanh(), nn.Linear(5, K))


def norm_net() -> nn.Module:
    return nn.Sequential(nn.Linear(D, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, K))


def noisy_net() -> nn.Module:
    return nn.Sequential(nn.Linear(D, 8), nn.BatchNorm1d(8), nn.Dropout(0.4), nn.Tanh(), nn.Linear(8, K))


def problem(make=plain_net, *, labelled: int = 5, unlabelled: int = 6, seed: int = 0) -> Problem:
    torch.manual_seed(seed)
    teacher, student = make().double(), make().double()

    def noise(n: int) -> Tensor:
        return torch.randn(n, D, dtype=torch.float64)

    weak = noise(unlabelled)
    batch = Batch(
        x_l=noise(labelled),
        y_l=torch.arange(labelled) % K,
        x_uw=weak,
        x_us=weak + 0.3 * noise(unlabelled),
        id_u=torch.arange(unlabelled),
    )
    return Problem(teacher=teacher, student=student, batch=batch)


def flat(net: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in net.parameters()])
