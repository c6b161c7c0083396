"""A GPU is used where there is one. Without an Apple machine, what torch would answer there is put in its place."""

from pathlib import Path

import pytest
import torch

from gradebook.mpl import devices, rng_state
from gradebook.pipelines.embedding.backbone_setup import DEFAULT_IMAGES
from gradebook.pipelines.embedding.feature_extractor import PASS_PIXELS
from gradebook.pipelines.training import checkpoints

ROOT = Path(__file__).parents[2]


def pretend(monkeypatch, *, cuda: bool, mps: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


@pytest.mark.parametrize(
    ("cuda", "mps", "expected"),
    [(True, False, "cuda"), (False, True, "mps"), (False, False, "cpu"), (True, True, "cuda")],
)
def test_the_fastest_device_is_chosen(monkeypatch, cuda, mps, expected):
    pretend(monkeypatch, cuda=cuda, mps=mps)
    assert devices.best_device() == torch.device(expected)
    assert DEFAULT_IMAGES[expected] > 0 and PASS_PIXELS[expected] > 0


def test_no_other_code_chooses_between_gpu_and_cpu():
    chosen = [
        path.name
        for folder in ("mpl", "pipelines", "storage")
        for path in (ROOT / folder).rglob("*.py")
        if '"cuda" if' in path.read_text(encoding="utf-8")
    ]
    assert chosen == []


def test_a_checkpoint_has_the_generator_of_an_apple_gpu_and_opens_elsewhere(monkeypatch):
    generator = torch.Generator().manual_seed(7)
    before = generator.get_state()
    monkeypatch.setattr(torch.mps, "get_rng_state", generator.get_state)
    monkeypatch.setattr(torch.mps, "set_rng_state", generator.set_state)
    pretend(monkeypatch, cuda=False, mps=True)
    state = checkpoints._random_state()
    with rng_state.replay_rng(before, torch.device("mps")):
        torch.rand(3, generator=generator)
    torch.rand(3, generator=generator)
    checkpoints._set_random_state(state)
    assert torch.equal(generator.get_state(), before)
    pretend(monkeypatch, cuda=False, mps=False)
    torch.rand(3, generator=generator)
    moved = generator.get_state()
    checkpoints._set_random_state(state)
    assert torch.equal(generator.get_state(), moved), "a machine without such a GPU leaves it alone"
    assert "mps" not in checkpoints._random_state()
