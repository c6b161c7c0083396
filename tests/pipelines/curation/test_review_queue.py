"""What stands in the queue, in which order, and why."""

import os
from dataclasses import replace

import pyarrow.parquet as pq
import pytest

from gradebook.mpl.reasons import REASONS
from gradebook.pipelines.curation.queue_items import PredictionFilter, as_json, reason_text, sentences
from gradebook.pipelines.curation.review_queue import rank
from gradebook.pipelines.process.run_status import State, status_now, write_status
from gradebook.pipelines.runs import Run, find_run, newest_finished
from gradebook.pipelines.session.snapshots import Snapshot, write_snapshot
from gradebook.storage.events import Kind, event, replay
from gradebook.storage.project import ProjectError
from gradebook.storage.samples import Split
from gradebook.storage.store import Store
from gradebook.storage.vectors import MemoryVectors
from tests.pipelines.projects import CLASSES, LABELLED, TRAIN, class_of, run_of

ABOUT_OTHERS = {"mislabelled", "twin_differs"}  # no guess is a given label, and no picture here has a near-duplicate
FROM_VECTORS = {"feature_classifier", "neighbours_disagree", "outlier", "unlike_any_class"}


def test_the_queue_has_every_undecided_sample_once(store):
    rows = rank(store, run_of(store), limit=1000)
    unlabelled = store.catalog.samples(Split.TRAIN)[LABELLED:]
    assert {row.sample_id for row in rows} == {s.sample_id for s in unlabelled}
    assert len(rows) == TRAIN - LABELLED
    assert {row.filepath for row in rows} == {s.filepath for s in unlabelled}
    scores = [row.score for row in rows]
    assert scores == sorted(scores, reverse=True) and scores[0] > scores[-1]


def test_a_row_has_the_students_prediction_and_every_reason(store):
    student = pq.read_table(run_of(store).path / "predictions.parquet")
    predicted = dict(zip(student["sample_id"].to_pylist(), student["student"].to_pylist(), strict=True))
    for row in rank(store, run_of(store), limit=1000):
        p = predicted[row.sample_id]
        assert row.label == CLASSES[p.index(max(p))]
        assert row.probability == pytest.approx(max(p), abs=1e-4)
        assert set(row.reasons) == set(REASONS) - ABOUT_OTHERS
        assert all(0 <= score <= 1 for score in row.reasons.values())
        blend = (row.reasons["feature_classifier"] + row.reasons["neighbours_disagree"]) / 2
        assert row.score == pytest.approx(blend, abs=2e-4)
        assert {"sample_id", "filepath", "label", "probability", "reasons"} <= as_json(row).keys()
        assert as_json(row)["reasons"]["second_reader"] == row.reasons["feature_classifier"], "its name until now"


def test_a_row_names_the_class_that_a_linear_probe_predicts(store):
    rows = rank(store, run_of(store), reason="feature_classifier", limit=1000)
    doubted = [row for row in rows if row.probe != row.label]
    assert doubted and all(row.probe in CLASSES for row in rows)
    assert reason_text(doubted[0], "feature_classifier") == f"a linear probe predicts {doubted[0].probe}"
    assert all(row.reasons["feature_classifier"] >= 0.5 for row in doubted if len(CLASSES) == 2)


@pytest.mark.parametrize("reason", sorted(set(REASONS) - ABOUT_OTHERS))
def test_one_reason_can_order_the_queue(store, reason):
    rows = rank(store, run_of(store), reason=reason, limit=10)
    assert len(rows) == 10
    assert [row.score for row in rows] == sorted((row.reasons[reason] for row in rows), reverse=True)
    every = rank(store, run_of(store), limit=1000)
    assert rows[0].score == max(row.reasons[reason] for row in every)


def test_a_run_without_a_teacher_gives_the_reasons_that_need_none(store):
    rows = rank(store, run_of(store, "alone"), limit=1000)
    assert len(rows) == TRAIN - LABELLED
    assert all(set(row.reasons) == FROM_VECTORS | {"thin_margin", "entropy"} for row in rows)
    assert rank(store, run_of(store, "alone"), reason="flips", limit=3)[0].score == -1.0


def test_samples_without_a_record_are_ranked_too(store):
    for path in (run_of(store).path / "record").iterdir():
        path.unlink()
    rows = rank(store, run_of(store), limit=1000)
    assert len(rows) == TRAIN - LABELLED
    assert all(set(row.reasons) == FROM_VECTORS | {"thin_margin", "entropy", "at_odds"} for row in rows)


def test_a_decided_sample_leaves_the_queue_and_comes_back_on_undo(store):
    first, second, third = (row.sample_id for row in rank(store, run_of(store), limit=3))
    given = [
        event(Kind.RELABELLED, first, CLASSES[0], actor="ada"),
        event(Kind.REJECTED, second, actor="ada"),
    ]
    store.log.append(given)
    assert rank(store, run_of(store), limit=1)[0].sample_id == third
    store.log.append([event(Kind.RETRACTED, first, actor="ada", ref=given[0].event_id)])
    assert rank(store, run_of(store), limit=1)[0].sample_id == first
    store.log.append([event(Kind.RELABELLED, s.sample_id, CLASSES[0], actor="ada") for s in store.catalog.samples()])
    assert rank(store, run_of(store)) == []
    assert rank(store, None) == []


def test_the_feature_classifiers_output_is_cached_and_computed_again_for_other_predictions(store):
    every = rank(store, run_of(store), limit=1000)
    kept = run_of(store).path / "reading.npz"
    before = kept.stat().st_mtime_ns
    assert rank(store, run_of(store), limit=1000) == every
    assert kept.stat().st_mtime_ns == before
    kept.write_bytes(kept.read_bytes()[:100])  # an incomplete copy
    assert rank(store, run_of(store), limit=1000) == every
    path = run_of(store).path / "predictions.parquet"
    table = pq.read_table(path)
    turned = table.set_column(2, "student", table["student"].take(list(reversed(range(len(table))))))
    pq.write_table(turned.set_column(1, "teacher", turned["student"]), path)
    before = kept.stat().st_mtime_ns
    assert rank(store, run_of(store), limit=1000) != every
    assert kept.stat().st_mtime_ns != before


def test_without_vectors_the_order_is_the_uncertainty_of_student_and_teacher(store):
    store = Store(store.project, store.catalog, store.log, MemoryVectors(), store.record)
    rows = rank(store, run_of(store), limit=1000)
    assert len(rows) == TRAIN - LABELLED
    assert all(not FROM_VECTORS & row.reasons.keys() for row in rows)
    assert all(
        row.score == pytest.approx((row.reasons["unsure"] + row.reasons["entropy"]) / 2, abs=2e-4) for row in rows
    )
    assert len({row.sample_id for row in rank(store, run_of(store), limit=9, spread=True)}) == 9
    with pytest.raises(ProjectError, match="checking given labels needs embeddings, and the images of r have none"):
        rank(store, run_of(store), reason="mislabelled")


def test_doubtful_labels_are_asked_once(store):
    """One picture of a crow is labelled an owl after the run."""
    crow = next(s for s in store.catalog.samples(Split.TRAIN)[LABELLED:] if class_of(s) == "crow")
    store.log.append([event(Kind.IMPORTED, crow.sample_id, "owl", actor="import")])
    rows = rank(store, run_of(store), reason="mislabelled", limit=1000)
    labels = replay(store.log.read())
    train = {s.sample_id for s in store.catalog.samples(Split.TRAIN)}
    assert {row.sample_id: row.given for row in rows} == {i: name for i, name in labels.items() if i in train}
    assert [row.score for row in rows] == sorted((row.reasons["mislabelled"] for row in rows), reverse=True)
    doubted = next(row for row in rows if row.sample_id == crow.sample_id)
    assert rows.index(doubted) < 4 and doubted.label != "owl"
    proposal = event(Kind.PROPOSED, crow.sample_id, "crow", actor="run:r", reasons=doubted.reasons)
    kept = event(Kind.RELABELLED, crow.sample_id, "owl", actor="ada", ref=proposal.event_id)
    store.log.append([proposal, kept])
    again = rank(store, run_of(store), reason="mislabelled", limit=1000)
    assert {row.sample_id for row in again} == {row.sample_id for row in rows} - {crow.sample_id}
    assert all(row.decision is not None for row in again)


def test_without_a_run_no_label_is_doubtful(store):
    with pytest.raises(ProjectError, match="checking given labels needs a finished run, and there is none"):
        rank(store, None, reason="mislabelled")


@pytest.mark.parametrize("spread", [True, False])
@pytest.mark.parametrize("reason", [None, "entropy"])
def test_the_queue_can_be_filtered_by_prediction(store, reason, spread):
    every = rank(store, run_of(store), reason=reason, limit=1000)
    middle = sorted(row.probability for row in every)[len(every) // 2]
    some = PredictionFilter(label=every[0].label, min_probability=0.0, max_probability=middle)
    wanted = {row.sample_id for row in every if row.label == some.label and row.probability <= middle}
    assert 0 < len(wanted) < len(every)
    found = rank(store, run_of(store), reason=reason, limit=1000, spread=spread, only=some)
    assert {row.sample_id for row in found} == wanted
    scores = {row.sample_id: row for row in every}
    assert all(row == scores[row.sample_id] for row in found), "reasons are scored among all samples"
    nothing = PredictionFilter(label="no such class")
    assert rank(store, run_of(store), reason=reason, spread=spread, only=nothing) == []
    assert rank(store, None, only=some) == [], "without a run there are no guesses"


def test_before_any_run_the_queue_is_in_order_of_import(store):
    rows = rank(store, None, limit=4)
    assert [row.sample_id for row in rows] == [s.sample_id for s in store.catalog.samples()[LABELLED : LABELLED + 4]]
    assert all((row.label, row.probability, row.reasons) == (None, None, {}) for row in rows)


def test_a_reason_can_be_asked_for_by_its_older_name(store):
    older, now = (rank(store, run_of(store), reason=name, limit=5) for name in ("second_reader", "feature_classifier"))
    assert older == now != []


def test_the_newest_run_that_finished_counts(store):
    assert newest_finished(store.project) == run_of(store, "alone")
    status = run_of(store, "alone").status()
    write_status(run_of(store, "alone").path, replace(status, state=State.STOPPED))
    assert newest_finished(store.project) == run_of(store)


def test_a_live_session_with_a_snapshot_is_the_newest_run(store):
    live = run_of(store)  # it began before the run "alone"
    write_snapshot(live.path, Snapshot(number=1))
    write_status(live.path, status_now(State.RUNNING, pid=os.getpid(), step=6, steps=12))
    assert newest_finished(store.project) == find_run(store.project, None) == live
    write_status(live.path, status_now(State.STOPPED, pid=0, step=6, steps=12))
    assert newest_finished(store.project) == run_of(store, "alone")
    assert live.has_results


def test_impossible_requests_are_one_line_errors(store):
    with pytest.raises(ProjectError, match="there is no reason 'luck': choose one of feature_classifier, "):
        rank(store, run_of(store), reason="luck")
    with pytest.raises(ProjectError, match="there is no reason 'luck'"):
        rank(store, None, reason="luck")
    with pytest.raises(ProjectError, match="limit=0 must be at least 1"):
        rank(store, run_of(store), limit=0)
    path = store.project.runs / "going"
    path.mkdir()
    write_status(path, status_now(State.STOPPED, pid=0, step=1, steps=2))
    with pytest.raises(ProjectError, match="run going has not finished, so it has no predictions yet: resume it"):
        rank(store, Run(path))


def test_every_reason_has_a_sentence_for_the_reviewer():
    assert sentences() == {name: reason.sentence for name, reason in REASONS.items()}
