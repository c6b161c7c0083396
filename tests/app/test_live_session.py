"""The review page during a live session: its switch, its line, and the order that follows snapshots."""

from dataclasses import replace

import numpy as np
import pytest

from gradebook.app.views import live_session as switch
from gradebook.app.views import review
from gradebook.pipelines.jobs import launcher
from gradebook.pipelines.runs import State, status_now, write_status
from gradebook.pipelines.session.lock import Phase, session_lock, update_session
from gradebook.pipelines.session.snapshots import Snapshot, write_snapshot
from gradebook.storage.events import Kind, event
from gradebook.storage.vectors import Space
from tests.app.conftest import a_run
from tests.app.test_review_page import draw_review
from tests.app.test_views import drawn


@pytest.fixture
def embedded(context, ids):
    context.store.vectors.create(Space(backbone="b", weights="none", size=8, dim=2, weak=1, strong=0, seed=0))
    context.store.vectors.add("b", ids, np.zeros((len(ids), 1, 2), np.float16))
    return context


@pytest.fixture
def live(embedded):
    """A session that is live in this process, and its run with a first snapshot that knows the whole log."""
    store = embedded.store
    run = a_run(store, "session-001")
    write_status(run.path, status_now(State.FINISHED, pid=0, step=20, steps=20))
    write_snapshot(run.path, Snapshot(number=1, labels=1, events=len(store.log.read())))
    with session_lock(store.project):
        update_session(store.project, Phase.IDLE, run.name)
        yield replace(embedded, run=run)


def captions(page):
    return [caption.value for caption in page.caption]


def test_without_embeddings_there_is_no_switch(context, rank, component):
    page = drawn(draw_review, context, rank, component)
    assert not page.toggle


def test_the_switch_starts_a_session_as_a_job(embedded, rank, component, sleeping):
    page = drawn(draw_review, embedded, rank, component)
    assert page.toggle(key=switch.SWITCH).value is False
    page.toggle(key=switch.SWITCH).set_value(True).run()
    (job,) = sleeping
    assert job.command[-3:] == ("session", str(embedded.store.project.root), "--json")
    assert page.toggle(key=switch.SWITCH).value is True and "Starting" in captions(page)
    launcher.kill(job)


def test_the_switch_asks_a_live_session_to_stop(live, rank, component, monkeypatch):
    stopped = []
    monkeypatch.setattr(switch, "request_stop", stopped.append)
    page = drawn(draw_review, live, rank, component)
    page.toggle(key=switch.SWITCH).set_value(False).run()
    assert stopped == [live.store.project]


def test_a_line_says_how_far_behind_the_labels_the_session_is(live, rank, ids, component):
    page = drawn(draw_review, live, rank, component)
    assert "Up to date with your label" in captions(page)
    component.act(page, "label", ids[0], "crow")
    component.act(page, "label", ids[1], "crow")
    page.run()
    assert "2 labels behind" in captions(page)
    write_snapshot(live.run.path, Snapshot(number=2, labels=3, events=len(live.store.log.read())))
    page.run()
    assert "Up to date with all your 3 labels" in captions(page)


def test_a_newer_snapshot_orders_anew_what_the_browser_does_not_hold(live, rank, ids, component, monkeypatch):
    monkeypatch.setattr(review, "PREFETCHED", 2)
    backwards = False

    def ranked(*arguments, **options):
        rows = rank(*arguments, **options)
        return rows[::-1] if backwards else rows

    page = drawn(draw_review, live, ranked, component)
    assert component.shown == ids[:2]
    backwards = True
    component.act(page, "skip", ids[0])
    assert component.shown == ids[1:3], "the order stays until there is a newer snapshot"
    write_snapshot(live.run.path, Snapshot(number=2, labels=1, events=1))
    component.act(page, "heartbeat")
    assert component.shown == ids[1:3], "what the browser holds stays"
    component.act(page, "label", ids[1], "crow")
    assert component.shown == [ids[2], ids[4]]


def test_verdicts_of_others_count_too(live, rank, ids, component):
    live.store.log.append_now([event(Kind.RELABELLED, ids[0], "crow", actor="bob")])
    assert "1 label behind" in captions(drawn(draw_review, live, rank, component))
