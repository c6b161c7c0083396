"""Training uses the cached views that there are: plain ones alone, or those of another backbone than the default."""

from dataclasses import replace

import numpy as np
import pytest

from gradebook.mpl.methods import METHODS
from gradebook.pipelines import runs
from gradebook.pipelines.process.run_status import State, write_status
from gradebook.pipelines.train import main
from gradebook.storage.store import Store
from gradebook.storage.vectors import Space
from tests.pipelines.projects import BACKBONE, STRONG, WEAK, flags, saved, trained, weights

PLAIN = "plain"  # a backbone of which there are plain views
DIM = 16


@pytest.fixture
def partly(store: Store) -> Store:
    """The project with the plain views of another backbone, and augmented ones for a few samples."""
    samples = store.catalog.samples()
    store.vectors.create(Space(backbone=PLAIN, weights="none", size=32, dim=DIM, weak=2, strong=1, seed=0))
    views = store.vectors.read(BACKBONE, [s.sample_id for s in samples], views=3)
    store.vectors.add(PLAIN, [s.sample_id for s in samples], views[:, :1])
    store.vectors.add_augmented(PLAIN, [s.sample_id for s in samples[:5]], views[:5, 1:])
    return store


@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains_on_plain_views_alone(partly, method):
    result = trained(partly, "--method", method, "--backbone", PLAIN, steps=4)
    assert result.steps == 4
    assert all(np.isfinite(value).all() for value in weights(partly).values())


def test_training_on_plain_views_alone_is_reported_and_continues_after_a_resume(partly, capsys):
    """Augmented views that came in between would make a resumed run another one."""
    trained(partly, "--backbone", PLAIN, "--method", "uda")
    assert "55 of 60 training images have no augmented views yet" in capsys.readouterr().err
    assert saved(partly, "samples.json")["views"] == 1
    ids = [s.sample_id for s in partly.catalog.samples()]
    partly.vectors.add_augmented(PLAIN, ids, partly.vectors.read(BACKBONE, ids, views=3)[:, 1:])
    before = weights(partly)
    status = runs.Run(partly.project.runs / "r").status()
    write_status(partly.project.runs / "r", replace(status, state=State.STOPPED))
    assert main([str(partly.project.root), "--resume", "--run", "r"]) == 0
    assert "(the plain view alone)" in capsys.readouterr().err
    assert all((weights(partly)[name] == value).all() for name, value in before.items())


def test_the_number_of_views_is_reported(store, capsys):
    trained(store)
    assert f"cached views of {BACKBONE} ({WEAK + STRONG} of each image)" in capsys.readouterr().err


def test_without_a_backbone_the_one_that_was_embedded_last_is_taken(store, capsys):
    given = flags(store)
    at = given.index("--backbone")
    assert main([*given[:at], *given[at + 2 :]]) == 0
    assert f"cached views of {BACKBONE}" in capsys.readouterr().err
    assert runs.Run(store.project.runs / "r").config()["backbone"] == BACKBONE


def test_a_backbone_that_is_asked_for_is_not_replaced(store, capsys):
    with pytest.raises(SystemExit):
        main(flags(store, "--backbone", "resnet18"))
    assert "no cached views of resnet18" in capsys.readouterr().err
