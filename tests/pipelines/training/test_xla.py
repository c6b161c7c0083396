"""A run on XLA: a program a step, and resumed bit for bit. Only where torch_xla is installed: see docs/scale.md."""

from dataclasses import replace

import pytest
import torch
from accelerate import Accelerator

from gradebook.pipelines.process.run_status import State
from gradebook.pipelines.runs import Run
from gradebook.pipelines.training import xla
from gradebook.pipelines.training.backend import Backend
from gradebook.pipelines.training.config import ConfigError
from gradebook.pipelines.training.presets import preset_of
from tests.pipelines.projects import rows, timeless, trained, weights
from tests.pipelines.training.resuming import resume

STEPS = 8
BACKBONE = "wrn_10_1"
KINDS = {
    "views": (),
    "pixels": ("--inputs", "pixels", "--backbone", BACKBONE, "--dropout", "0.3", "--view", "strong"),
    "bf16": ("--inputs", "pixels", "--backbone", BACKBONE, "--precision", "bf16"),
    "difference": ("--inputs", "pixels", "--backbone", BACKBONE, "--dropout", "0.3", "--feedback", "difference"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_is_a_program_a_step_and_resumes_bit_for_bit(xla_device, store, monkeypatch, kind):
    import torch_xla.debug.metrics as met
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state()  # of another precision
    compiled, end_step = [], xla.end_step

    def counted():
        before = met.counter_value("UncachedCompile") or 0
        end_step()
        compiled.append((met.counter_value("UncachedCompile") or 0) - before)

    monkeypatch.setattr(xla, "end_step", counted)
    assert trained(store, *KINDS[kind], run="whole", steps=STEPS).state is State.FINISHED
    assert Run(store.project.runs / "whole").config()["device"] == str(xla_device)
    assert compiled[2:STEPS] == [0] * (STEPS - 2), "the second step has momentum, later ones are the same program"

    with monkeypatch.context() as patch:
        patch.setattr("gradebook.pipelines.training.loop._requests", lambda state: (state.step == 3, False))
        assert trained(store, *KINDS[kind], run="stopped", steps=STEPS).state is State.STOPPED
    assert resume(store, run="stopped").state is State.FINISHED
    whole, resumed = weights(store, "whole"), weights(store, "stopped")
    assert all(torch.equal(resumed[name], value) for name, value in whole.items())
    assert rows(store, "stopped") == rows(store, "whole")
    assert timeless(store, "stopped") == timeless(store, "whole")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"sharding": "hybrid"}, "--sharding none"),
        ({"recompute": True}, "leave --recompute"),
        ({"accumulate": 2}, "leave --recompute and --accumulate out"),
    ],
)
def test_settings_that_xla_does_not_support_are_one_line_errors(change, sentence):
    with pytest.raises(ConfigError, match=sentence):
        xla.check(replace(preset_of("finetune", "mpl"), **change))


def test_noisy_student_is_refused():
    with pytest.raises(ConfigError, match="choose another method"):
        xla.check(preset_of("finetune", "noisy_student"))


@pytest.mark.parametrize("change", [{"recompute": True}, {"accumulate": 2}, {"method": "noisy_student"}])
def test_other_devices_support_these_settings(change):
    config = replace(preset_of("finetune", "mpl"), **change)
    Backend(Accelerator(cpu=True), torch.device("cpu")).check(config)
    with pytest.raises(ConfigError):
        Backend(Accelerator(cpu=True), torch.device("xla")).check(config)
