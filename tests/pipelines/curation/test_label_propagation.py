import pytest

from gradebook.pipelines.curation.label_propagation import neighbours, propose, requested_proposals
from gradebook.pipelines.curation.queue_items import sentence_of
from gradebook.pipelines.curation.review_queue import rank
from gradebook.storage.events import VERDICTS, Kind, event, replay
from gradebook.storage.project import ProjectError
from gradebook.storage.samples import Split
from gradebook.storage.store import Store
from tests.pipelines.projects import BACKBONE, LABELLED


def test_the_nearest_unlabelled_images_are_found_with_the_label_as_a_proposal(store):
    samples = store.catalog.samples(Split.TRAIN)
    unlabelled = [s.sample_id for s in samples[LABELLED:]]
    found = neighbours(store, samples[0].sample_id, limit=5)
    assert [n.sample_id for n in found] == [
        i for i, _ in store.vectors.nearest(BACKBONE, samples[0].sample_id, 5, among=unlabelled)
    ]
    assert {n.label for n in found} == {"crow"}
    similar = [n.similarity for n in found]
    assert similar == sorted(similar, reverse=True) and similar[0] <= 1


def test_proposing_labels_nothing_and_puts_them_first(store):
    before = replay(store.log.read())
    found = neighbours(store, store.catalog.samples(Split.TRAIN)[0].sample_id, limit=3)
    assert propose(store, found, actor="ada") == 3
    assert propose(store, found, actor="ada") == 0  # they are open already
    events = store.log.read()
    assert replay(events) == before and not any(e.kind in VERDICTS for e in events)
    rows = rank(store, None, limit=5)
    assert [(row.sample_id, row.label) for row in rows[:3]] == [(n.sample_id, "crow") for n in found]
    assert {row.proposal for row in rows[:3]} == {e.event_id for e in requested_proposals(events)}
    assert rows[3].proposal is rows[3].label is None
    assert [row.source for row in rows[:4]] == ["neighbours"] * 3 + [None], "no model has predicted it"
    assert {row.sample_id for row in rows[3:]}.isdisjoint(n.sample_id for n in found)
    assert [row.sample_id for row in rank(store, None, limit=2)] == [n.sample_id for n in found[:2]]
    assert rows[0].reasons == {"alike": pytest.approx(found[0].similarity)} and "alike" not in sentence_of("alike")


def test_any_verdict_ends_a_proposal(store):
    found = neighbours(store, store.catalog.samples(Split.TRAIN)[0].sample_id, limit=2)
    propose(store, found, actor="ada")
    first, second = requested_proposals(store.log.read())
    store.log.append([event(Kind.ACCEPTED, first.sample_id, "crow", actor="ada", ref=first.event_id)])
    store.log.append([event(Kind.REJECTED, second.sample_id, actor="bob")])
    assert requested_proposals(store.log.read()) == []
    assert {row.sample_id for row in rank(store, None, limit=99)}.isdisjoint({first.sample_id, second.sample_id})


def test_of_two_proposals_for_one_image_the_newer_counts(store):
    samples = store.catalog.samples(Split.TRAIN)
    for k in (0, 1):
        propose(store, neighbours(store, samples[k].sample_id, limit=48), actor="ada")
    rows = rank(store, None, limit=99)
    assert len(rows) == 48 and {row.label for row in rows} == {"heron"}


def test_impossible_requests_are_one_line_errors(store):
    samples = store.catalog.samples(Split.TRAIN)
    with pytest.raises(ProjectError, match="has no label to propose: label it first"):
        neighbours(store, samples[-1].sample_id)
    with pytest.raises(ProjectError, match="limit=0 must be at least 1"):
        neighbours(store, samples[0].sample_id, limit=0)


def test_without_vectors_there_is_nothing_to_compare(store):
    from gradebook.storage.vectors import MemoryVectors

    bare = Store(store.project, store.catalog, store.log, MemoryVectors(), store.record)
    with pytest.raises(ProjectError, match="there are no embeddings to compare: run: gradebook embed"):
        neighbours(bare, store.catalog.samples()[0].sample_id)
