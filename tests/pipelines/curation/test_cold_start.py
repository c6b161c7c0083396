"""Which samples come first while no run has an opinion."""

import numpy as np
import pytest

from gradebook.pipelines.curation import cold_start
from gradebook.pipelines.curation.cold_start import first_to_label
from gradebook.pipelines.curation.review_queue import rank
from gradebook.storage.events import Kind, event
from gradebook.storage.samples import Split
from gradebook.storage.store import Store
from gradebook.storage.vectors import Space
from tests.pipelines.projects import BACKBONE, CLASSES, DIM, TRAIN, class_of, make_project


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> Store:
    return make_project(tmp_path_factory.mktemp("template"), labelled=0)


def ids(store: Store) -> list[str]:
    return [s.sample_id for s in store.catalog.samples(Split.TRAIN)]


def test_the_first_images_cover_every_class_without_any_label(store):
    """Import goes class by class, as with folders: the first images imported are all of one class."""
    samples = {s.sample_id: s for s in store.catalog.samples(Split.TRAIN)}
    in_folders = sorted(samples, key=lambda i: CLASSES.index(class_of(samples[i])))
    assert {class_of(samples[i]) for i in in_folders[:3]} == {CLASSES[0]}
    assert {class_of(samples[i]) for i in first_to_label(store, in_folders, [], 3)} == set(CLASSES)
    assert {class_of(row_of) for row_of in (samples[r.sample_id] for r in rank(store, None, limit=3, spread=True))} == (
        set(CLASSES)
    )


@pytest.mark.parametrize("name", CLASSES)
def test_the_class_without_a_label_comes_first(store, name):
    samples = store.catalog.samples(Split.TRAIN)
    others = [next(s for s in samples if class_of(s) == other) for other in CLASSES if other != name]
    store.log.append([event(Kind.RELABELLED, s.sample_id, class_of(s), actor="ada") for s in others])
    (row,) = rank(store, None, limit=1, spread=True)
    assert {s.sample_id: class_of(s) for s in samples}[row.sample_id] == name


def test_every_undecided_sample_comes_once_and_reproducibly(store):
    every = first_to_label(store, ids(store), [], 1000)
    assert sorted(every) == sorted(ids(store)) and len(every) == TRAIN
    assert every == first_to_label(store, ids(store), [], 1000)
    assert first_to_label(store, ids(store), [], 7) == every[:7], "a longer page begins as a shorter one"
    assert first_to_label(store, [], ids(store), 5) == []


def test_samples_without_vectors_come_last_and_without_any_the_order_stays(store, tmp_path):
    known = ids(store)
    found = first_to_label(store, ["stranger", *known], [], TRAIN + 1)
    assert found[-1] == "stranger" and set(found[:-1]) == set(known)
    assert first_to_label(store, ["a", "b", "c"], [], 2) == ["a", "b"]
    bare = make_project(tmp_path / "bare", labelled=0, train=6)
    bare = Store(bare.project, bare.catalog, bare.log, type(store.vectors)(tmp_path / "nothing"), bare.record)
    assert [row.sample_id for row in rank(bare, None, limit=6, spread=True)] == ids(bare)


def test_only_a_limited_number_of_samples_is_compared(store, monkeypatch):
    monkeypatch.setattr(cold_start, "MAX_SAMPLES", 20)
    found = first_to_label(store, ids(store), [], 30)
    assert len(found) == len(set(found)) == 30


def test_the_newest_backbone_is_used(store):
    """In the new space the first sample is alone and all others are equal: it and one of them come first."""
    space = Space(backbone="other", weights="none", size=32, dim=DIM, weak=1, strong=1, seed=0)
    store.vectors.create(space)
    views = np.tile(np.eye(2, DIM, dtype=np.float16)[1], (TRAIN, 2, 1))
    views[0] = np.eye(2, DIM)[0]
    store.vectors.add("other", ids(store), views)
    assert ids(store)[0] in first_to_label(store, ids(store), [], 2)
    assert BACKBONE != "other"
