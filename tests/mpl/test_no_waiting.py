"""No step waits for the device: none asks the host for a value, or has a shape that hangs on one (XLA, CUDA graphs)."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from gradebook.mpl.augment import strong, weak
from tests.mpl.test_every_method import HARD, VARIANTS, problems, steps

aten = torch.ops.aten
WAITS = {  # those that hand a value to the host, and those whose result's shape is only known there
    aten._local_scalar_dense,
    aten.equal,
    aten.is_nonzero,
    aten.nonzero,
    aten.masked_select,
    aten.repeat_interleave,
    aten.bincount,
    aten._unique,
    aten._unique2,
    aten.unique_dim,
    aten.unique_consecutive,
}
BY_INDEX = {aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_}


class NoWaiting(TorchDispatchMode):
    """Fails where an operation has to wait for what the device computes."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        packet = func.overloadpacket
        assert packet not in WAITS, f"{packet} waits for the device"
        if packet in BY_INDEX:
            masks = [index for index in args[1] if index is not None and index.dtype in {torch.bool, torch.uint8}]
            assert not masks, f"{packet} by a mask waits for the device"
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(("name", "settings"), VARIANTS + HARD)
@pytest.mark.parametrize("kind", ["batchnorm", "dropout", "images"])
def test_no_step_of_any_method_synchronises_with_the_device(name, settings, kind):
    p = problems()[kind]
    learners = p.learners(momentum=0.9)
    learners.student.clip = 1.0
    steps(learners, p.batch, name, settings, last=1)  # what the first step sets up may wait, once
    with NoWaiting():
        steps(learners, p.batch, name, settings, first=1, last=3)


@pytest.mark.parametrize("view", [weak, strong])
def test_no_view_synchronises_with_the_device(view):
    images = torch.randint(0, 256, (8, 3, 16, 16), dtype=torch.uint8)
    view(images, range(8))  # the table of operations is made once
    with NoWaiting():
        view(images, range(8))


@pytest.mark.parametrize(
    "ask", [lambda x: x.sum().item(), lambda x: bool((x > 0).any()), lambda x: x[x > 0], lambda x: x.unique()]
)
def test_synchronising_operations_are_detected(ask):
    with pytest.raises(AssertionError, match="waits for the device"), NoWaiting():
        ask(torch.randn(5))
