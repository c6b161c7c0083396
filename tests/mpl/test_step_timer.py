import time

import torch

from gradebook.mpl.step_timer import REST, StepTimer, phase, running, saved_bytes


def test_a_phase_within_another_is_counted_once():
    stopwatch = StepTimer(torch.device("cpu"))
    with running(stopwatch), phase("student"):
        time.sleep(0.01)
        with phase("backward"):
            time.sleep(0.03)
    with phase("unwatched"):
        pass
    seconds = stopwatch.seconds()

    assert set(seconds) == {REST, "student", "student backward"}
    assert seconds["student backward"] >= 0.03 > seconds["student"] >= 0.01
    assert set(stopwatch.seconds()) == {REST}, "what was told is not told again"


def test_what_a_phase_keeps_for_the_backward_pass_is_counted_once_and_without_weights():
    stopwatch = StepTimer(torch.device("cpu"))
    layer, x = torch.nn.Linear(8, 8), torch.randn(4, 8, requires_grad=True)
    with running(stopwatch), saved_bytes(stopwatch) as kept, phase("forward"):
        layer(x).exp().sum().backward()
    assert dict(kept) == {"forward": (4 * 8 + 4 * 8) * 4}  # the layer's input and exp's output


def test_an_error_ends_its_phase():
    stopwatch = StepTimer(torch.device("cpu"))
    with running(stopwatch):
        try:
            with phase("step"):
                raise KeyError
        except KeyError:
            assert stopwatch.phase == REST
