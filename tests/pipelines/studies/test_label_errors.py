import numpy as np
import pytest

from gradebook.pipelines.runs import Run
from gradebook.pipelines.studies import label_errors
from gradebook.pipelines.studies.label_errors import Trial, as_markdown, auroc, score_given_labels, score_predictions
from gradebook.storage.samples import Split
from gradebook.storage.store import Store
from tests.pipelines.projects import TRAIN, class_of, make_project, trained


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Store:
    store = make_project(tmp_path_factory.mktemp("planted"), labelled=30)
    trained(store, "--unlabelled", "16", "--validation-share", "0", steps=20)
    return store


def test_auroc_is_the_share_of_pairs_in_the_right_order():
    random = np.random.default_rng(0)
    score, wrong = random.integers(5, size=60).astype(float), random.random(60) < 0.3
    pairs = [(a > b) + (a == b) / 2 for a in score[wrong] for b in score[~wrong]]
    assert auroc(score, wrong) == pytest.approx(np.mean(pairs))
    assert auroc(np.array([np.nan, 0.0]), np.array([True, False])) == 0.0  # unknown is lowest


def test_the_table_has_auroc_and_precision():
    scores = {"good": np.array([0.9, 0.8, 0.1, 0.2]), "bad": np.array([0.1, 0.2, 0.9, 0.8])}
    wrong = np.array([True, True, False, False])
    trial = Trial(wrong=wrong, scores=scores, batches={"last": lambda budget: np.arange(4)[-budget:]})
    lines = as_markdown("Wrong", "words", [trial], [1, 3], "good").splitlines()
    assert lines[-3:] == [
        "| good | 100.0 | 0.0 | 100.0 | 66.7 |",
        "| bad | 0.0 | -100.0 | 0.0 | 33.3 |",
        "| last | | | 0.0 | 33.3 |",
    ]


def test_wrong_guesses_are_those_that_differ_from_the_truth(world, monkeypatch):
    train = world.catalog.samples(Split.TRAIN)
    monkeypatch.setattr(label_errors, "_truth", lambda store: {s.sample_id: class_of(s) for s in train})
    trial = score_predictions(world, Run(world.project.runs / "r"))
    assert len(trial.wrong) == TRAIN - 30 and all(len(score) == TRAIN - 30 for score in trial.scores.values())
    from gradebook.pipelines.curation.review_queue import rank

    rows = {row.sample_id: row for row in rank(world, Run(world.project.runs / "r"), limit=99)}
    right = [rows[s.sample_id].label == class_of(s) for s in train[30:]]
    assert trial.wrong.tolist() == [not r for r in right]
    assert trial.scores["`flips`"] == pytest.approx([rows[s.sample_id].reasons["flips"] for s in train[30:]], abs=1e-4)
    for name, batch in trial.batches.items():
        assert len(set(batch(5).tolist())) == 5, name


def test_wrong_labels_are_those_that_differ_from_the_truth(world, monkeypatch):
    """Swaps two labels, by giving their images another true class."""
    train = world.catalog.samples(Split.TRAIN)
    truth = {s.sample_id: class_of(s) for s in train}
    truth |= {s.sample_id: "owl" if class_of(s) == "crow" else "crow" for s in train[:2]}
    monkeypatch.setattr(label_errors, "_truth", lambda store: truth)
    trial = score_given_labels(world, Run(world.project.runs / "r"))
    assert trial.wrong.tolist() == [True] * 2 + [False] * 28
    assert "**`mislabelled`**" in trial.scores
    assert all(np.isfinite(trial.scores["**`mislabelled`**"]))
