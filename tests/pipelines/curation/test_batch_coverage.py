"""A batch of the queue: what it covers, without near-duplicates, of some guesses alone."""

from dataclasses import replace

import numpy as np
import pytest

from gradebook.pipelines.curation.queue_items import PredictionFilter
from gradebook.pipelines.curation.reason_cache import reasons
from gradebook.pipelines.curation.review_queue import rank
from gradebook.storage.catalog import MemoryCatalog
from gradebook.storage.events import Kind, decisions, event
from gradebook.storage.samples import Split
from gradebook.storage.store import Store
from tests.pipelines.projects import CLASSES, LABELLED, make_project, run_of, trained


def test_a_batch_for_one_reason_covers_the_classes_and_repeats(store):
    rows = rank(store, run_of(store), reason="entropy", limit=6, spread=True)
    again = rank(store, run_of(store), reason="entropy", limit=6, spread=True)
    assert rows == again and len({row.sample_id for row in rows}) == 6
    guesses = [row.label for row in rank(store, run_of(store), limit=1000)]
    assert {row.label for row in rows} == set(guesses)
    assert rows[0] == rank(store, run_of(store), reason="entropy", limit=1)[0]


def test_a_batch_in_the_default_order_covers_uncertain_samples(store):
    """The sum of `gradebook.mpl.facility_location`, written out: no other choice for one place adds as much."""
    from gradebook.pipelines.curation.feature_classifier import classify_features, read_predictions

    rows = rank(store, run_of(store), limit=5, spread=True)
    assert rows == rank(store, run_of(store), limit=5, spread=True)
    doubt = {row.sample_id: row.score for row in rank(store, run_of(store), limit=1000)}
    read = classify_features(store, run_of(store), read_predictions(run_of(store)))
    space = read.space.astype(float) - read.space.astype(float).mean(0)
    space /= np.linalg.norm(space, axis=1, keepdims=True)
    place = {i: k for k, i in enumerate(read.sample_ids.tolist())}
    labelled = [k for i, k in place.items() if i not in doubt]
    kernel = np.exp(2 * space @ space.T - 2)
    waiting, weights = [place[i] for i in doubt], np.array(list(doubt.values()))
    assert len(labelled) == LABELLED

    def covered(chosen: list[str]) -> float:
        return float(weights @ kernel[np.ix_(waiting, [*labelled, *(place[i] for i in chosen)])].max(1))

    first = [row.sample_id for row in rows]
    for k in range(5):
        best = max(covered([*first[:k], i]) for i in doubt)
        assert covered(first[: k + 1]) == pytest.approx(best, rel=1e-3)
    assert first != [row.sample_id for row in rank(store, run_of(store), limit=5)]


def test_a_batch_after_new_labels_equals_one_chosen_from_scratch(store, monkeypatch):
    """Against `gradebook.mpl.facility_location.cover` of all that waits and is known, also where a few alone are
    looked at.
    """
    from gradebook.mpl.facility_location import cover
    from gradebook.mpl.reasons import doubt, score
    from gradebook.pipelines.curation.evidence import collect_evidence

    def anew(limit: int) -> list[str]:
        decided = decisions(store.log.read())
        waiting = [s.sample_id for s in store.catalog.samples(Split.TRAIN) if s.sample_id not in decided]
        found = collect_evidence(store, run_of(store), waiting, {})
        order = np.argsort(-doubt(score(found.evidence)), kind="stable")
        doubts, drawn = doubt(score(found.evidence))[order], np.random.default_rng(0)
        return [
            found.sample_ids[order[k]] for k in cover(found.space[order], found.other_features, doubts, limit, drawn)
        ]

    def shown(limit: int) -> list[str]:
        return [row.sample_id for row in rank(store, run_of(store), limit=limit, spread=True)]

    first = shown(6)
    assert first == anew(6)
    given = [event(Kind.RELABELLED, i, CLASSES[0], actor="ada") for i in [*first[:3], *shown(20)[12:]]]
    store.log.append([*given, event(Kind.REJECTED, first[4], actor="ada")])
    monkeypatch.setattr("gradebook.mpl.facility_location.INITIAL_POOL", 2)
    monkeypatch.setattr("gradebook.mpl.facility_location.GAINS_BATCH", 1)
    after = shown(6)
    assert after == anew(6) and not {e.sample_id for e in given} & set(after)
    assert [i for i in first if i in after] != first
    store.log.append([event(Kind.RETRACTED, e.sample_id, actor="ada", ref=e.event_id) for e in given])
    assert shown(6) == anew(6)


def test_very_large_pools_are_subsampled(store, monkeypatch):
    monkeypatch.setattr("gradebook.pipelines.curation.batch_coverage.CANDIDATES", 20)
    monkeypatch.setattr("gradebook.mpl.facility_location.MAX_GOALS", 12)
    rows = rank(store, run_of(store), limit=3, spread=True)
    assert rows == rank(store, run_of(store), limit=3, spread=True)
    again = []
    for _ in range(3):
        label = event(Kind.ACCEPTED, rows[0].sample_id, rows[0].label, actor="ada")
        store.log.append([label])
        again.append(rows[0].sample_id)
        rows = rank(store, run_of(store), limit=2, spread=True)
    kept = reasons(store, run_of(store))
    drawn = set(kept.ids(np.flatnonzero(~np.isnan(kept.table["gain"].to_numpy()))))
    assert len(drawn) == 20 < kept.table.num_rows and set(again) <= drawn
    every = rank(store, run_of(store), limit=1000)
    few = [row for row in every if row.label == every[0].label]
    found = rank(store, run_of(store), limit=len(few), spread=True, only=PredictionFilter(label=every[0].label))
    assert {row.sample_id for row in found} == {row.sample_id for row in few}, "where too few were drawn, all count"


def test_near_duplicates_are_marked_and_only_one_is_shown(tmp_path):
    """Two pictures of one fingerprint, predicted as different classes; a file that is gone gets no second look."""
    store = make_project(tmp_path)
    before = store.catalog.samples()
    pair = [s for s in before if s.split is Split.TRAIN][-2:]
    catalog = MemoryCatalog()
    duplicate = replace(pair[1], fingerprint=pair[0].fingerprint, filepath=str(tmp_path / "gone.png"))
    catalog.add([duplicate if s == pair[1] else s for s in before], [])
    store = Store(store.project, catalog, store.log, store.vectors, store.record)
    trained(store, "--unlabelled", "24")
    rows = {row.sample_id: row for row in rank(store, run_of(store), limit=1000)}
    a, b = (rows[s.sample_id] for s in pair)
    marked = {i for i, row in rows.items() if "twin_differs" in row.reasons}
    assert marked == {a.sample_id, b.sample_id}
    assert a.reasons["twin_differs"] == b.reasons["twin_differs"] == float(a.label != b.label)
    shown = {row.sample_id for row in rank(store, run_of(store), limit=1000, spread=True)}
    assert len(shown) == len(rows) - 1 and len(shown & marked) == 1
