"""Cached reasons equal recomputed ones, whatever was labelled, recorded or killed since."""

import os

import numpy as np
import pyarrow as pa
import pytest

from gradebook.mpl import reasons as of
from gradebook.pipelines.curation import reason_cache
from gradebook.pipelines.curation.evidence import collect_evidence
from gradebook.pipelines.curation.queue_items import GIVEN
from gradebook.pipelines.curation.reason_cache import reasons
from gradebook.pipelines.curation.review_queue import rank
from gradebook.pipelines.process.run_status import State, status_now, write_status
from gradebook.pipelines.runs import PREDICTIONS
from gradebook.pipelines.session.snapshots import Snapshot, write_snapshot
from gradebook.storage.events import Kind, decisions, event, replay
from gradebook.storage.samples import Split
from gradebook.storage.store import Store
from tests.pipelines.projects import CLASSES, LABELLED, class_of, copy_of, run_of


@pytest.fixture
def store(template, tmp_path, monkeypatch) -> Store:
    """A copy in which samples 3n + 1 and 3n + 2 are near-duplicates of sample 3n."""

    def duplicates(_store, ids):
        return np.array([-1 if n % 3 == 0 else n - n % 3 for n in range(len(ids))], np.int32)

    monkeypatch.setattr("gradebook.pipelines.curation.feature_classifier.find_duplicates", duplicates)
    return copy_of(template, tmp_path / "project")


@pytest.fixture
def made(monkeypatch) -> list[str]:
    """The tables that were worked out."""
    found: list[str] = []
    worked_out = reason_cache.compute_table

    def counted(store, run, given, live=None):
        found.append("guessed" if given is None else "given")
        return worked_out(store, run, given, live)

    monkeypatch.setattr(reason_cache, "compute_table", counted)
    return found


def anew(store: Store, given: dict[str, str] | None = None) -> dict[str, dict[str, float]]:
    """Returns every reason of every sample without a table: sample -> reason -> score, NaN left out."""
    ids = [s.sample_id for s in store.catalog.samples(Split.TRAIN) if given is None or s.sample_id in given]
    found = collect_evidence(store, run_of(store), ids, given or {})
    columns = of.score(found.evidence)
    columns["doubt"] = of.doubt(columns)
    return {
        i: {name: pytest.approx(float(c[k]), abs=1e-4) for name, c in columns.items() if not np.isnan(c[k])}
        for k, i in enumerate(found.sample_ids)
    }


def from_table(store: Store, given: dict[str, str] | None = None) -> dict[str, dict[str, float]]:
    kept, labels = reasons(store, run_of(store), given), replay(store.log.read())
    places = np.arange(kept.table.num_rows)
    doubt = kept.scores(None, labels).tolist()
    rows = zip(kept.ids(places), kept.rows(places, labels), doubt, strict=True)
    return {i: {**row["reasons"], "doubt": score} for i, row, score in rows}


def label(store: Store, *numbers: int, shift: int = 0, **fields) -> list:
    samples = [store.catalog.samples(Split.TRAIN)[n] for n in numbers]
    names = [CLASSES[(CLASSES.index(class_of(s)) + shift) % len(CLASSES)] for s in samples]
    events = [
        event(Kind.RELABELLED, s.sample_id, name, actor="ada", **fields) for s, name in zip(samples, names, strict=True)
    ]
    store.log.append(events)
    return events


def test_cached_reasons_equal_recomputed_ones_whatever_gets_a_label(store, made):
    assert from_table(store) == anew(store)
    assert any("twin_differs" in row for row in from_table(store).values())
    before = {i: row.get("twin_differs") for i, row in from_table(store).items()}
    given = label(store, 12, 16, 17, 30, shift=1)
    store.log.append([event(Kind.REJECTED, store.catalog.samples()[20].sample_id, actor="ada")])
    assert from_table(store) == anew(store)
    assert before != {i: row.get("twin_differs") for i, row in from_table(store).items()}, "labels change some"
    store.log.append([event(Kind.RETRACTED, given[0].sample_id, actor="ada", ref=given[0].event_id)])
    assert from_table(store) == anew(store)
    assert made == ["guessed"], "and no label needs a new table"


def test_the_ranked_queue_reads_the_cached_table_and_follows_labels(store, made):
    run, every = run_of(store), rank(store, run_of(store), limit=1000)
    label(store, *(k for k, s in enumerate(store.catalog.samples()) if s.sample_id == every[0].sample_id))
    assert [row.sample_id for row in rank(store, run, limit=1000)] == [row.sample_id for row in every[1:]]
    table = anew(store)
    for reason in set(of.REASONS) - {GIVEN}:
        rows = rank(store, run, reason=reason, limit=1000)
        waiting = {i for i in table if i not in decisions(store.log.read())}
        assert {row.sample_id for row in rows} == waiting
        assert [row.score for row in rows] == sorted((r.score for r in rows), reverse=True)
        assert all(row.score == table[row.sample_id].get(reason, -1.0) for row in rows)
        assert [r.sample_id for r in rank(store, run, reason=reason, limit=7)] == [r.sample_id for r in rows[:7]]
    assert made == ["guessed"]


def test_a_batch_for_one_reason_is_the_same_with_and_without_the_cache(store, made, monkeypatch):
    from gradebook.mpl import ranking

    monkeypatch.setattr("gradebook.pipelines.curation.ranked_queue.LOOKAHEAD", 4)
    found = collect_evidence(
        store, run_of(store), [s.sample_id for s in store.catalog.samples(Split.TRAIN)[LABELLED:]], {}
    )
    for reason in ("entropy", "feature_classifier", "twin_differs"):
        scores = np.nan_to_num(of.score(found.evidence)[reason], nan=-1.0)
        for limit in (2, 5):
            expected = ranking.spread(scores, limit, space=found.space, classes=found.guess, groups=found.groups)
            rows = rank(store, run_of(store), reason=reason, limit=limit, spread=True)
            assert [row.sample_id for row in rows] == [found.sample_ids[k] for k in expected]


def test_given_labels_are_judged_again_only_if_one_is_not_in_the_table(store, made):
    run, named = run_of(store), {s.sample_id: class_of(s) for s in store.catalog.samples(Split.TRAIN)[:LABELLED]}
    assert from_table(store, named) == anew(store, named)
    rows = rank(store, run, reason=GIVEN, limit=5)
    assert made == ["given", "given"], "test samples have labels too"
    made.clear()
    assert rank(store, run, reason=GIVEN, limit=5) == rows and made == [], "which no run has seen"
    asked = event(Kind.PROPOSED, rows[0].sample_id, rows[0].given, actor="run:r", reasons={GIVEN: rows[0].score})
    answer = event(Kind.RELABELLED, rows[0].sample_id, CLASSES[0], actor="ada", ref=asked.event_id)
    store.log.append([asked, answer])
    assert [r.sample_id for r in rank(store, run, reason=GIVEN, limit=4)] == [r.sample_id for r in rows[1:5]]
    assert made == [], "an answer is no new label to doubt"
    label(store, 1, shift=1)
    found = {row.sample_id: row for row in rank(store, run, reason=GIVEN, limit=100)}
    assert found[store.catalog.samples()[1].sample_id].given == CLASSES[2]
    assert made == ["given"]


def test_changed_predictions_or_record_invalidate_the_table(store, made):
    run = run_of(store)
    from_table(store)
    next((run.path / "record").glob("*.parquet")).unlink()
    assert from_table(store) == anew(store) and made == ["guessed"] * 2
    predictions = run.path / "predictions.parquet"
    predictions.write_bytes(predictions.read_bytes())
    from_table(store)
    assert made == ["guessed"] * 3
    kept = run.path / reason_cache.PREDICTED
    whole = kept.read_bytes()
    for content in (b"", whole[:100], whole[: len(whole) // 2]):
        kept.write_bytes(content)
        assert from_table(store) == anew(store)
    assert made == ["guessed"] * 6


def test_samples_are_looked_up_by_position(store):
    table = reasons(store, run_of(store))
    some = table.ids(np.array([3, 0, 7]))
    assert table.indices([some[0], "nobody", *some[1:]]).tolist() == [3, -1, 0, 7]
    assert table.indices(["nobody"]).tolist() == [-1] and not len(table.indices([]))


def test_a_kill_while_writing_leaves_the_old_table(store, made, monkeypatch):
    from_table(store)
    label(store, 14)
    path, before = run_of(store).path / reason_cache.PREDICTED, from_table(store)
    whole = path.read_bytes()

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as dead:
        dead.setattr("pathlib.Path.replace", killed)
        with pytest.raises(KeyboardInterrupt):
            reason_cache.write_table(path, "other", pa.table({"a": [1]}).replace_schema_metadata({b"classes": b"[]"}))
    assert path.read_bytes() == whole and from_table(store) == before


def test_verify_finds_and_repairs_corrupt_tables(store):
    from gradebook.pipelines.maintenance.verify import verify_store

    def found() -> list[str]:
        return [f.check for f in verify_store(store, content=True).findings if f.check == "reasons"]

    rank(store, run_of(store), limit=5)
    rank(store, run_of(store), reason=GIVEN, limit=5)
    label(store, 14)
    assert found() == []
    for name in (reason_cache.PREDICTED, reason_cache.GIVEN):
        path = run_of(store).path / name
        whole, table = path.read_bytes(), reason_cache.open_table(path)
        assert table is not None
        other = table.set_column(table.schema.get_field_index("doubt"), "doubt", table["late"])
        of = reason_cache.fingerprint(store, run_of(store))
        reason_cache.write_table(path, of, other)
        assert found() == ["reasons"]
        path.write_bytes(whole[:200])
        (finding,) = [f for f in verify_store(store).findings if f.check == "reasons"]
        assert finding.where == (str(path),)
        assert finding.repair is not None
        finding.repair()
        assert found() == [] and not path.exists()


def test_the_table_of_a_live_session_is_computed_by_the_session_alone(store, made):
    run = run_of(store)
    reasons(store, run)
    write_snapshot(run.path, Snapshot(number=1))
    write_status(run.path, status_now(State.RUNNING, pid=os.getpid(), step=6, steps=12))
    os.utime(run.path / PREDICTIONS)
    made.clear()
    reasons(store, run)
    assert made == [], "a reader takes the table of the newest snapshot as it is"
    reason_cache.refresh(store, run)
    write_status(run.path, status_now(State.FINISHED, pid=0, step=12, steps=12))
    reasons(store, run)
    assert made == ["guessed"], "once the session has ended, its last table is like any other run's"
