"""Tiny float64 problems on which the identities of the methods can be checked exactly."""

import copy
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from timm.utils.model_ema import ModelEmaV3
from torch import Tensor, nn

from gradebook.mpl.methods import METHODS
from gradebook.mpl.step import Batch, Learner, Learners, SingleProcess, StepIndex, StepReport
from gradebook.mpl.wide_resnet import WideResNet

K = 3
D = 4
INDEX = StepIndex(5, 10)
SPARE = 3  # samples of a run that are not unlabelled; they come first


@dataclass
class Problem:
    teacher: nn.Module
    student: nn.Module
    batch: Batch
    rate: float = 0.3

    def learners(self, *, momentum: float = 0.0, device: str | torch.device = "cpu") -> Learners:
        """Copies, so that a test can step more than once from the same start."""
        average = ModelEmaV3(self.student, decay=0.5)  # on the processor first, as the trainer's: XLA has no generator
        nets = [copy.deepcopy(net).to(device) for net in (self.student, self.teacher)]
        student, teacher = (
            Learner(net=n, optimizer=torch.optim.SGD(n.parameters(), self.rate, momentum=momentum)) for n in nets
        )
        student.average = average.to(device)
        unlabelled = len(self.batch.id_u)
        return Learners(student=student, teacher=teacher, samples=unlabelled + SPARE, unlabelled=unlabelled)


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
        id_u=SPARE + torch.arange(unlabelled),
    )
    return Problem(teacher=teacher, student=student, batch=batch)


class ImageNet(nn.Module):
    """Takes images as they are stored, as `gradebook.mpl.networks.ImageClassifier` does."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.AdaptiveAvgPool2d(2), nn.Flatten())
        self.classifier = nn.Linear(16, K)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.layers(x.to(self.classifier.weight.dtype) / 255))


def image_problem(*, labelled: int = 5, unlabelled: int = 6, seed: int = 0) -> Problem:
    """The same on images, uint8 (N, 3, 6, 6)."""
    p = problem(ImageNet, labelled=labelled, unlabelled=unlabelled, seed=seed)
    x_l, x_uw, x_us = (torch.randint(256, (n, 3, 6, 6), dtype=torch.uint8) for n in (labelled, unlabelled, unlabelled))
    return replace(p, batch=replace(p.batch, x_l=x_l, x_uw=x_uw, x_us=x_us))


def convolution_problem(drop_rate: float = 0.3) -> Problem:
    """The same with norms, convolutions and sums, as of a residual network, on images (N, 3, 8, 8)."""
    p = problem(lambda: WideResNet(10, 1, num_classes=K, drop_rate=drop_rate))
    x_l, x_uw, x_us = (torch.randn(len(x), 3, 8, 8, dtype=torch.float64) for x in (p.batch.x_l, *2 * [p.batch.x_uw]))
    return replace(p, batch=replace(p.batch, x_l=x_l, x_uw=x_uw, x_us=x_us))


class Pair:
    """The runtime of two processes, played by two threads that take turns, each with random numbers of its own."""

    def __init__(self):
        self._meet = threading.Barrier(2, timeout=60)
        self._turn = threading.Lock()  # forward-mode differentiation and the random generator are global
        self._sent: list[Tensor | None] = [None, None]
        self._rank = threading.local()

    def backward(self, loss: Tensor) -> None:
        torch.autograd.backward(loss)

    def reduce(self, tensor: Tensor, reduction: str) -> Tensor:
        assert not tensor.requires_grad
        self._sent[self._rank.value] = tensor
        noise = torch.get_rng_state()
        self._turn.release()
        self._meet.wait()
        total = self._sent[0] + self._sent[1]
        self._meet.wait()
        self._turn.acquire()
        torch.set_rng_state(noise)
        return total / 2 if reduction == "mean" else total

    def run(self, work: Callable[[int], None]) -> None:
        """Does work(0) and work(1) side by side, both from the same random numbers on."""
        noise, errors = torch.get_rng_state(), []

        def process(rank: int) -> None:
            self._rank.value = rank
            with self._turn:
                torch.set_rng_state(noise)
                try:
                    work(rank)
                except threading.BrokenBarrierError:
                    self._turn.acquire(blocking=False)
                except BaseException as error:
                    errors.append(error)
                    self._meet.abort()

        threads = [threading.Thread(target=process, args=(rank,)) for rank in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]


def half(batch: Batch, rank: int) -> Batch:
    """One process's slice of a batch of even sizes."""
    parts = {f: getattr(batch, f).chunk(2)[rank] for f in ("x_l", "y_l", "x_uw", "x_us", "id_u")}
    return Batch(**parts)


def step(name: str, learners: Learners, batch: Batch, index: StepIndex = INDEX, **settings) -> StepReport:
    method = METHODS[name]
    return method.step(learners, batch, SingleProcess(), method.settings(**settings), index)


def slope(learners: Learners, work: Callable[[], object]) -> Tensor:
    """Returns the gradient that the student went down in `work`: its update over minus its rate (no momentum)."""
    before = flat(learners.student.net)
    work()
    return (flat(learners.student.net) - before) / -learners.student.rate


def gradient(loss: Tensor, net: nn.Module) -> Tensor:
    """Returns the gradient of a loss by autograd, as one vector; zero where a weight has no part in it."""
    weights = list(net.parameters())
    parts = torch.autograd.grad(loss, weights, allow_unused=True, retain_graph=True)
    return torch.cat([(torch.zeros_like(w) if g is None else g).flatten() for w, g in zip(weights, parts, strict=True)])


def flat(net: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in net.parameters()])
