import torch

from gradebook.mpl import step_timer
from gradebook.mpl.step_timer import REST, StepTimer, phase, running, saved_bytes


def test_the_time_of_an_inner_phase_is_not_counted_in_the_outer_one(monkeypatch):
    now = 0.0
    monkeypatch.setattr(step_timer.time, "perf_counter", lambda: now)
    timer = StepTimer(torch.device("cpu"))
    with running(timer), phase("student"):
        now += 1
        with phase("backward"):
            now += 3
    with phase("not timed"):
        now += 5

    assert timer.seconds() == {REST: 5, "student backward": 3, "student": 1}
    assert timer.seconds() == {REST: 0}, "seconds are counted from the last call on"


def test_bytes_that_a_phase_saves_for_the_backward_pass_are_counted_once_and_without_weights():
    timer = StepTimer(torch.device("cpu"))
    layer, x = torch.nn.Linear(8, 8), torch.randn(4, 8, requires_grad=True)
    with running(timer), saved_bytes(timer) as kept, phase("forward"):
        layer(x).exp().sum().backward()
    assert dict(kept) == {"forward": (4 * 8 + 4 * 8) * 4}  # the layer's input and exp's output


def test_an_error_ends_its_phase():
    timer = StepTimer(torch.device("cpu"))
    with running(timer):
        try:
            with phase("step"):
                raise KeyError
        except KeyError:
            assert timer.phase == REST
