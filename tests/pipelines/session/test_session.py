"""A live session: it trains while labels come in, publishes snapshots, and leaves a finished run."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from gradebook.pipelines.curation.feature_classifier import read_predictions
from gradebook.pipelines.curation.review_queue import rank
from gradebook.pipelines.process.run_status import State
from gradebook.pipelines.reporting.project_stats import summarize_project
from gradebook.pipelines.runs import Run, list_runs, newest_finished
from gradebook.pipelines.session import session_run, trainer
from gradebook.pipelines.session.effects import read_effects
from gradebook.pipelines.session.lock import live_session
from gradebook.pipelines.session.snapshots import newest_number, read_snapshot
from gradebook.pipelines.session.status import live_status
from gradebook.pipelines.session.trainer import SessionResult, run_session
from gradebook.storage.checksums import corrupt_files
from gradebook.storage.events import Kind, event, retraction
from gradebook.storage.project import ProjectError
from gradebook.storage.samples import Sample, Split
from gradebook.storage.store import Store, open_store
from tests.class_changes import add_classes
from tests.pipelines.projects import CLASSES, LABELLED, TRAIN, add_images, class_of, copy_of, make_project
from tests.pipelines.session.small_session import BURST, MAX, small_config
from tests.polling import until


@pytest.fixture(autouse=True)
def short_bursts(monkeypatch):
    """Bursts, and the training that follows a label, that take no time."""
    for module in (session_run, trainer):
        monkeypatch.setattr(module, "BURST_STEPS", BURST)
    monkeypatch.setattr(trainer, "MAX_STEPS", MAX)
    monkeypatch.setattr("gradebook.pipelines.session.log_reader.POLL_INTERVAL_S", 0.02)
    monkeypatch.setattr(trainer, "POLL_INTERVAL_S", 0.02)
    monkeypatch.setattr(session_run, "new_config", small_config(session_run.new_config))


@dataclass
class Live:
    """A session in a thread of this process."""

    store: Store
    stop: threading.Event = field(default_factory=threading.Event)
    result: SessionResult | None = None
    error: BaseException | None = None
    thread: threading.Thread | None = None

    def start(self) -> None:
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        try:
            self.result = run_session(self.store.project.root, stop=self.stop)
        except BaseException as error:
            self.error = error

    def end(self) -> SessionResult:
        self.stop.set()
        assert self.thread is not None
        self.thread.join(120)
        if self.error is not None:
            raise self.error
        assert self.result is not None
        return self.result

    @property
    def run(self) -> Run:
        session = live_session(self.store.project)
        return Run(self.store.project.runs / (session.run if session else ""))

    def wait_for_labels(self, count: int) -> None:
        """Waits until a snapshot includes all `count` labels."""

        events = self.store.log.read()

        def known() -> bool:
            assert self.error is None, self.error
            time.sleep(0.2)  # leaves the time to the session's thread
            status = live_status(self.store.project, events)
            return status is not None and status.snapshot.labels == count and status.behind == 0

        until(known)


@contextmanager
def session_of(store: Store) -> Iterator[Live]:
    live = Live(store)
    live.start()
    try:
        yield live
    finally:
        live.stop.set()
        assert live.thread is not None
        live.thread.join(120)


def unlabelled(store: Store) -> list[Sample]:
    decided = {e.sample_id for e in store.log.read()}
    return [s for s in store.catalog.samples(Split.TRAIN) if s.sample_id not in decided]


def label(store: Store, *samples: Sample) -> None:
    store.log.append_now([event(Kind.RELABELLED, s.sample_id, class_of(s), actor="ann") for s in samples])


def test_a_session_takes_each_label_and_leaves_a_finished_run(store):
    with session_of(store) as live:
        live.wait_for_labels(LABELLED)
        assert newest_finished(store.project) == live.run
        first = read_snapshot(live.run)
        assert first.accuracy is not None and first.agreement is not None
        chosen = unlabelled(store)[:2]
        label(store, *chosen)
        live.wait_for_labels(LABELLED + 2)
        assert read_snapshot(live.run).number > first.number
        predicted = set(read_predictions(live.run).sample_ids)
        assert not predicted & {s.sample_id for s in chosen}
        assert len(predicted) == TRAIN - LABELLED - 2
        effects = read_effects(live.run)
        assert {row.sample_id for row in effects.last.changed} <= predicted
        assert (effects.last.labels, effects.recent.labels) == (2, 2)
        assert effects.verdict is not None and effects.verdict.sample_id == chosen[-1].sample_id
        assert effects.verdict.pseudo_label in CLASSES
        newest = read_snapshot(live.run)
        assert sum(row.labels for row in newest.classes) == newest.labels == newest.curve[-1].labels
        assert newest.interval is not None and newest.interval[0] <= newest.accuracy <= newest.interval[1]
        rows = rank(store, newest_finished(store.project), limit=5)
        assert all(row.label in CLASSES and row.reasons for row in rows)
        line = summarize_project(store)["session"]["line"]
        assert line == f"session-001 is live: up to date with all your {LABELLED + 2} labels"
        name = live.run.name
        result = live.end()
    assert (result.run, result.state, result.labels, result.reason) == (name, "finished", LABELLED + 2, "stopped")
    run = Run(store.project.runs / name)
    assert run.status().state is State.FINISHED
    assert (run.path / "student.safetensors").exists()
    assert run.config()["steps"] == result.steps == read_snapshot(run).step
    assert len(run.labels()) == LABELLED + 2
    assert corrupt_files(run.path) == []
    assert live_session(store.project) is None
    assert summarize_project(store)["session"] is None


@pytest.mark.slow
def test_the_label_of_the_last_image_is_learned_too(tmp_path):
    store = make_project(tmp_path, train=15, labelled=12)
    with session_of(store) as live:
        live.wait_for_labels(12)
        label(store, *unlabelled(store))
        live.wait_for_labels(15)
        assert rank(store, newest_finished(store.project), limit=5) == []
        result = live.end()
    assert (result.state, result.labels) == ("finished", 15)
    assert rank(store, newest_finished(store.project), limit=5) == []


@pytest.mark.slow
def test_an_undone_label_is_unlearned(store):
    with session_of(store) as live:
        live.wait_for_labels(LABELLED)
        (sample,) = unlabelled(store)[:1]
        label(store, sample)
        live.wait_for_labels(LABELLED + 1)
        store.log.append_now([retraction(store.log.read()[-1], actor="ann")])
        live.wait_for_labels(LABELLED)
        assert sample.sample_id in read_predictions(live.run).sample_ids
        assert sample.sample_id not in live.run.labels()


@pytest.mark.slow
def test_a_session_waits_for_labels_of_two_classes(tmp_path):
    store = make_project(tmp_path, train=24, labelled=0)
    with session_of(store) as live:
        until(lambda: (s := live_session(store.project)) is not None and s.phase == "waiting")
        assert newest_finished(store.project) is None
        label(store, unlabelled(store)[0])
        status = live_status(store.project, store.log.read())
        assert status is not None and status.sentence == "waiting for labels of two classes"
        label(store, *unlabelled(store)[:2])
        live.wait_for_labels(3)


def test_a_second_session_is_refused_by_naming_the_first(store):
    with session_of(store) as live:
        live.wait_for_labels(LABELLED)
        with pytest.raises(ProjectError, match=r"session-001 \(process \d+ on .*\) trains .*--stop"):
            run_session(store.project.root)


@pytest.mark.slow
def test_a_class_that_is_added_ends_the_run_and_starts_a_wider_one_from_its_weights(store):
    with session_of(store) as live:
        live.wait_for_labels(LABELLED)
        add_classes(store.project, ["wren"])
        (sample,) = unlabelled(store)[:1]
        store.log.append_now([event(Kind.RELABELLED, sample.sample_id, "wren", actor="ann")])
        live.wait_for_labels(LABELLED + 1)
        assert live.run.name == "session-002"
        assert read_predictions(live.run).classes == [*CLASSES, "wren"]
        assert Run(store.project.runs / "session-001").status().state is State.FINISHED
        assert [point.labels for point in read_snapshot(live.run).curve] == [LABELLED, LABELLED + 1]
        result = live.end()
    assert (result.run, result.state, result.labels) == ("session-002", "finished", LABELLED + 1)


@pytest.mark.slow
def test_images_that_are_embedded_meanwhile_are_taken_in_by_a_run_that_goes_on(store, monkeypatch):
    monkeypatch.setattr("gradebook.pipelines.session.new_images.POLL_INTERVAL_S", 0.05)
    with session_of(store) as live:
        live.wait_for_labels(LABELLED)
        before = read_predictions(live.run)
        new = add_images(store, 3)
        until(lambda: live.run.name == "session-002" and newest_number(live.run) > 0)
        after = read_predictions(live.run)
        assert set(after.sample_ids) == {*before.sample_ids, *(s.sample_id for s in new)}
        label(store, new[0])
        live.wait_for_labels(LABELLED + 1)
        result = live.end()
    assert (result.run, result.state, result.labels) == ("session-002", "finished", LABELLED + 1)


def test_a_session_ends_by_itself_after_idle_minutes(store):
    result = run_session(store.project.root, idle_minutes=0.01)
    assert (result.run, result.state, result.reason) == ("session-001", "finished", "idle")


def test_a_session_needs_embeddings(tmp_path):
    from gradebook.storage.project import create_project

    root = create_project(tmp_path / "project", CLASSES).root
    with pytest.raises(ProjectError, match="gradebook embed"):
        run_session(root)
    assert list_runs(open_store(root).project) == []


def test_train_refuses_to_resume_a_sessions_run(store):
    from gradebook.pipelines.training.run_setup import saved_config

    run_session(store.project.root, idle_minutes=0.01)
    with pytest.raises(ProjectError, match="gradebook session"):
        saved_config(store.project.root, "session-001")


@pytest.mark.slow
def test_a_session_that_was_killed_goes_on_from_its_checkpoint(store, monkeypatch, tmp_path):
    """What a kill leaves: a run that is marked as running, and a checkpoint; labels came in meanwhile."""

    class Killed(BaseException):
        pass

    def kill(*arguments: object, **options: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("gradebook.pipelines.training.shutdown._write", lambda *_: None)
        patch.setattr(trainer, "_finish", kill)
        with pytest.raises(Killed):
            run_session(store.project.root, idle_minutes=0.01)
    before = read_snapshot(Run(store.project.runs / "session-001"))
    after = copy_of(store, tmp_path / "after")
    label(after, unlabelled(after)[0])
    result = run_session(after.project.root, idle_minutes=0.01)
    assert (result.run, result.labels) == ("session-001", LABELLED + 1)
    assert result.steps > before.step
    assert read_snapshot(Run(after.project.runs / "session-001")).number > before.number + 1
