"""TwoMoon: the data, the table, and that runs side by side are the methods of `mpl`, each run as if by itself."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from gradebook.mpl import feedback as fb
from gradebook.mpl.methods import METHODS
from gradebook.mpl.step import SingleProcess, StepIndex
from gradebook.pipelines.studies import side_by_side
from gradebook.pipelines.studies.two_moon import (
    TwoMoon,
    accuracy,
    as_markdown,
    batches,
    compare_seeds,
    learners_of,
    main,
    moons,
    settings_of,
    share,
    train,
)
from gradebook.pipelines.studies.two_moon_figure import typical_run

SMALL = TwoMoon(seeds=3, first_seed=5, steps=30, batch=16)


def weights(learner, run: int) -> torch.Tensor:
    return torch.cat([p.detach()[run].flatten() for p in learner.net.parameters()])


def test_moons_are_two_balanced_half_circles_with_three_labels_each():
    data = moons(SMALL)
    assert data.points.shape == (3, 2000, 2)
    assert (data.truth.sum(1) == 1000).all()
    for truth, labels in zip(data.truth, data.labels, strict=True):
        assert truth[labels].tolist() == [0, 0, 0, 1, 1, 1]
        assert len(set(labels.tolist())) == 6
    centre = torch.where(data.truth[..., None] == 1, torch.tensor([1.0, 0.5]), torch.tensor([0.0, 0.0]))
    radius = (data.points - centre).norm(dim=-1)
    assert radius.mean().item() == pytest.approx(1, abs=0.02)
    assert radius.std().item() == pytest.approx(SMALL.noise, rel=0.05)


def test_a_seed_draws_the_same_whatever_runs_beside_it():
    alone = replace(SMALL, seeds=1, first_seed=6)
    data, own = moons(SMALL), moons(alone)
    assert torch.equal(data.points[1], own.points[0]) and torch.equal(data.labels[1], own.labels[0])
    assert not torch.equal(data.points[0], data.points[1])
    many, one = learners_of(SMALL, teacher=True), learners_of(alone, teacher=True)
    assert torch.equal(weights(many.student, 1), weights(one.student, 0))
    assert not torch.equal(weights(many.student, 1), weights(many.teacher, 1))
    assert weights(many.student, 1).abs().max() <= 0.1
    for together, single in zip(batches(SMALL, data), batches(alone, own), strict=True):
        assert torch.equal(side_by_side.by_run(together.x_us, 3)[1], single.x_us)
        assert torch.equal(side_by_side.by_run(together.id_u, 3)[1], single.id_u)


def test_every_method_sees_the_same_first_weights_and_no_labelled_point_among_the_unlabelled():
    assert torch.equal(
        weights(learners_of(SMALL, teacher=False).student, 2), weights(learners_of(SMALL, teacher=True).student, 2)
    )
    data = moons(SMALL)
    drawn = side_by_side.by_run(torch.cat([b.id_u for b in batches(replace(SMALL, steps=300), data)]), 3)
    for run in range(3):
        assert set(drawn[run].tolist()).isdisjoint(data.labels[run].tolist())
        assert len(set(drawn[run].tolist())) > 1500


@pytest.mark.parametrize("name", TwoMoon.__dataclass_fields__["methods"].default)
def test_runs_side_by_side_are_each_run_by_itself(name, monkeypatch):
    # what reinforce draws depends on how many runs draw: here it takes the likeliest label
    monkeypatch.setattr(fb, "sampled_labels", lambda logits: logits.argmax(-1))
    many = train(SMALL, name, moons(SMALL))
    for run in range(3):
        alone = replace(SMALL, seeds=1, first_seed=5 + run)
        one = train(alone, name, moons(alone))
        torch.testing.assert_close(weights(many.student, run), weights(one.student, 0), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("options", [{}, {"normalise": False, "feedback_weight": 100.0}, {"feedback": "reinforce"}])
def test_one_run_takes_the_step_of_the_method_itself(options):
    asked = replace(SMALL, seeds=1, steps=20)
    settings = METHODS["mpl"].settings(**{**settings_of(asked, "mpl"), **options})
    ours, theirs, off = (learners_of(asked, teacher=True) for _ in range(3))
    for at, batch in enumerate(batches(asked, moons(asked))):
        torch.manual_seed(at)
        side_by_side.step(ours, batch, SingleProcess(), settings)
        torch.manual_seed(at)
        METHODS["mpl"].step(theirs, batch, SingleProcess(), settings, StepIndex(at, asked.steps))
        METHODS["mpl"].step(off, batch, SingleProcess(), replace(settings, feedback="none"), StepIndex(at, asked.steps))
    for mine, its in ((ours.student, theirs.student), (ours.teacher, theirs.teacher)):
        torch.testing.assert_close(weights(mine, 0), weights(its, 0), rtol=1e-5, atol=1e-7)
    assert not torch.allclose(weights(ours.teacher, 0), weights(off.teacher, 0), rtol=1e-5, atol=1e-7)


def test_accuracy_is_each_runs_share_of_right_points():
    data = moons(SMALL)
    nets = learners_of(SMALL, teacher=False).student.net
    with torch.no_grad():
        nets.biases[-1].copy_(torch.tensor([[[9.0, -9.0]], [[-9.0, 9.0]], [[9.0, -9.0]]]))
    data.truth[2] = 0
    assert accuracy(nets, data).tolist() == [0.5, 0.5, 1.0]


def test_a_share_comes_with_wilsons_interval():
    """For 10 of 50, by hand: centre (10 + z²/2) / (50 + z²), half width z √(10·40/50 + z²/4) / (50 + z²), z = 1.96."""
    z = 1.959964
    centre, half = (10 + z * z / 2) / (50 + z * z), z * (10 * 40 / 50 + z * z / 4) ** 0.5 / (50 + z * z)
    assert share(10, 50) == f"20 ({100 * (centre - half):.0f} to {100 * (centre + half):.0f})"
    assert share(0, 50).startswith("0 (0 to ") and share(50, 50).endswith(" to 100)")


def test_the_table_counts_runs_above_95_percent_and_pairs_the_seeds():
    off = np.array([0.96, 0.95, 0.80, 0.80, 0.99])
    on = np.array([0.96, 0.97, 0.99, 0.80, 0.80])
    text = as_markdown({"uda": on, "mpl:none": off, "mpl": on}, {"mpl:none": off, "mpl": off}, ["--seeds", "5"])
    assert "| mpl:none | 2 of 5 | 40 (" in text
    assert "| 90.4 | 2 of 5 |" in text, "a method with teachers says how many of them succeed"
    assert "| 90.4 |  |" in text, "and one without says nothing"
    assert "| mpl | 3 of 5 | 60 (" in text
    assert "- mpl against mpl:none: seeds that succeed only with it 2, only without it 1 (" in text
    assert "two_moon.py --seeds 5" in text
    assert compare_seeds(off, off).startswith(
        "seeds that succeed only with it 0, only without it 0 (exact sign test, p = 1)"
    )


def test_the_figure_shows_the_first_seed_of_the_commonest_outcome():
    found = {"uda": np.array([0.99, 0.5, 0.99, 0.99]), "mpl": np.array([0.5, 0.5, 0.99, 0.99])}
    assert typical_run(found) == 2


def test_the_script_prints_a_table_and_draws_a_figure(tmp_path, capsys):
    path = tmp_path / "moons.png"
    assert main(["--seeds", "2", "--steps", "3", "--methods", "supervised", "mpl", "--figure", str(path)]) == 0
    assert "| supervised | 0 of 2 |" in capsys.readouterr().out
    assert path.read_bytes().startswith(b"\x89PNG")
