"""The review page during a live session: its switch, its line, and the order that follows snapshots."""

import json
import os
from dataclasses import asdict, replace

import numpy as np
import pytest

from gradebook.app.views import live_session as switch
from gradebook.app.views import review
from gradebook.pipelines.jobs import launcher
from gradebook.pipelines.process.owner import OWNER
from gradebook.pipelines.process.pids import this_process
from gradebook.pipelines.process.run_status import State, status_now, write_status
from gradebook.pipelines.reporting.project_stats import summarize_project
from gradebook.pipelines.runs import SESSION
from gradebook.pipelines.session import automatic
from gradebook.pipelines.session.effects import ChangedPrediction, Effect, Effects, VerdictFeedback, write_effects
from gradebook.pipelines.session.lock import DIRECTORY, Phase, session_lock, update_session
from gradebook.pipelines.session.snapshots import ClassAccuracy, CurvePoint, Snapshot, new_snapshot, write_snapshot
from gradebook.storage.events import Kind, event
from gradebook.storage.vectors import Space
from tests.app.conftest import a_run
from tests.app.test_review_page import draw_review
from tests.app.test_views import drawn


@pytest.fixture
def embedded(context, ids, monkeypatch):
    monkeypatch.delenv(automatic.VARIABLE)
    context.store.vectors.create(Space(backbone="b", weights="none", size=8, dim=2, weak=1, strong=0, seed=0))
    context.store.vectors.add("b", ids, np.zeros((len(ids), 1, 2), np.float16))
    return context


@pytest.fixture
def live(embedded):
    """A session that is live in this process, and its run with a first snapshot of the whole log."""
    store = embedded.store
    run = a_run(store, "session-001")
    write_status(run.path, status_now(State.RUNNING, pid=os.getpid(), step=20, steps=20))
    write_snapshot(run.path, Snapshot())
    publish(run, Snapshot(number=1, labels=1, events=len(store.log.read())))
    with session_lock(store.project):
        update_session(store.project, Phase.IDLE, run.name)
        yield replace(embedded, run=run)


def publish(run, snapshot):
    with new_snapshot(run, snapshot.number) as draft:
        write_snapshot(draft.results, snapshot)


def path_of(element, block):
    """Returns the indexes that lead from a block of a page to an element, None if it is elsewhere."""
    for index, child in getattr(block, "children", {}).items():
        below = [] if child is element else path_of(element, child)
        if below is not None:
            return [index, *below]
    return None


def captions(page):
    return [caption.value for caption in page.caption]


def test_without_embeddings_there_is_no_switch(context, rank, component):
    page = drawn(draw_review, context, rank, component)
    assert not page.toggle


def test_the_switch_starts_a_session_as_a_job(embedded, rank, component, sleeping):
    automatic.switch(embedded.store.project, on=False)
    page = drawn(draw_review, embedded, rank, component)
    assert page.toggle(key=switch.SWITCH).value is False
    page.toggle(key=switch.SWITCH).set_value(True).run()
    (job,) = sleeping
    assert job.command[-3:] == ("session", str(embedded.store.project.root), "--json")
    assert page.toggle(key=switch.SWITCH).value is True and "Starting" in captions(page)
    assert not automatic.is_switched_off(embedded.store.project)
    launcher.kill(job)


def test_the_first_label_starts_a_session_and_the_page_says_so(embedded, rank, ids, component, sleeping):
    page = drawn(draw_review, embedded, rank, component)
    assert page.toggle(key=switch.SWITCH).value is True and "Starts with your next label" in captions(page)
    component.act(page, "skip", ids[0])
    assert not sleeping
    component.act(page, "label", ids[1], "crow")
    (job,) = sleeping
    assert page.toast[0].value.replace("\\", "") == switch.STARTS
    component.act(page, "label", ids[2], "crow")
    assert sleeping == [job], "one is enough"
    launcher.kill(job)
    component.act(page, "label", ids[3], "crow")
    assert sleeping == [job], "one that failed is not started again and again"


def switch_off(project, monkeypatch):
    automatic.switch(project, on=False)


def switch_off_everywhere(project, monkeypatch):
    monkeypatch.setenv(automatic.VARIABLE, automatic.OFF)


def make_read_only(project, monkeypatch):
    monkeypatch.setattr("gradebook.storage.lance_tables.Tables.is_read_only", lambda tables: True)


def run_elsewhere(project, monkeypatch):
    process = replace(this_process(), host="elsewhere")
    (project.root / DIRECTORY).mkdir()
    (project.root / DIRECTORY / OWNER).write_text(json.dumps({"processes": [asdict(process)]}))


@pytest.mark.parametrize("prevent", [switch_off, switch_off_everywhere, make_read_only, run_elsewhere])
def test_no_session_starts_by_itself(embedded, rank, ids, component, sleeping, monkeypatch, prevent):
    prevent(embedded.store.project, monkeypatch)
    page = drawn(draw_review, embedded, rank, component)
    component.act(page, "label", ids[0], "crow")
    assert not page.exception and not sleeping


def test_without_embeddings_no_session_starts_by_itself(context, rank, ids, component, sleeping, monkeypatch):
    monkeypatch.delenv(automatic.VARIABLE)
    component.act(drawn(draw_review, context, rank, component), "label", ids[0], "crow")
    assert not sleeping


def test_the_switch_asks_a_live_session_to_stop(live, rank, component, monkeypatch):
    stopped = []
    monkeypatch.setattr(switch, "request_stop", stopped.append)
    page = drawn(draw_review, live, rank, component)
    page.toggle(key=switch.SWITCH).set_value(False).run()
    assert stopped == [live.store.project]
    assert automatic.is_switched_off(live.store.project), "the next label starts none"


def test_a_line_says_how_far_behind_the_labels_the_session_is(live, rank, ids, component):
    page = drawn(draw_review, live, rank, component)
    assert "Up to date with your label" in captions(page)
    component.act(page, "label", ids[0], "crow")
    component.act(page, "label", ids[1], "crow")
    page.run()
    assert "2 labels behind" in captions(page)
    publish(live.run, Snapshot(number=2, labels=3, events=len(live.store.log.read())))
    page.run()
    assert "Up to date with all your 3 labels" in captions(page)


def test_a_newer_snapshot_reorders_what_the_browser_has_not_loaded(live, rank, ids, component, monkeypatch):
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
    publish(live.run, Snapshot(number=2, labels=1, events=1))
    component.act(page, "heartbeat")
    assert component.shown == ids[1:3], "what the browser holds stays"
    component.act(page, "label", ids[1], "crow")
    assert component.shown == [ids[2], ids[4]]


def test_verdicts_of_others_count_too(live, rank, ids, component):
    live.store.log.append_now([event(Kind.RELABELLED, ids[0], "crow", actor="bob")])
    assert "1 label behind" in captions(drawn(draw_review, live, rank, component))


def test_the_review_stays_in_its_place_when_the_panel_appears(live, rank, component):
    """Elsewhere on the page, the browser would mount it anew, and lose keys that are pressed meanwhile."""
    paths = []
    for run in (None, live.run):
        page = drawn(draw_review, replace(live, run=run), rank, component)
        paths.append(path_of(page.selectbox[0], page.main))
    assert paths[0] == paths[1] is not None


def test_a_panel_shows_what_the_model_has_learned(live, rank, ids, component):
    changed = tuple(ChangedPrediction(sample_id=i, before="crow", after="heron") for i in ids[2:4])
    verdict = VerdictFeedback(sample_id=ids[0], label="crow", pseudo_label="heron", probability=0.6, feedback=-0.1)
    effects = Effects(last=Effect(labels=1, changed=changed[:1]), recent=Effect(labels=3, changed=changed))
    snapshot = Snapshot(
        number=2,
        labels=4,
        accuracy=0.75,
        interval=(0.3, 0.95),
        agreement=0.9,
        classes=(ClassAccuracy("heron", 1, 2), ClassAccuracy("crow", 2, 2)),
        curve=(CurvePoint(3, 0.5, 0.8), CurvePoint(4, 0.75, 0.9)),
    )
    with new_snapshot(live.run, 2) as draft:
        write_effects(draft.results, replace(effects, verdict=verdict))
        write_snapshot(draft.results, snapshot)
    page = drawn(draw_review, live, rank, component)
    assert [(m.label, m.value, m.delta) for m in page.metric if m.value in ("75%", "90%")] == [
        ("Accuracy, cross-validated", "75%", "30% to 95%, by 4 labels"),
        ("Student and teacher agree", "90%", "of the images without a label"),
    ]
    texts = [text.value for text in page.markdown]
    assert "The last label changed the predictions of **1 image**." in texts
    assert "The last 3 labels changed the predictions of **2 images**." in texts
    assert any("heron: 1 of 2 labels predicted" in text and "crow" not in text for text in texts)
    assert verdict.sentence in [caption.replace("\\", "") for caption in captions(page)]
    page.button(key="changed-review").click().run()
    (saved,) = (live.store.project.root / "selections").glob("*.json")
    assert json.loads(saved.read_text())["sample_ids"] == ids[2:4]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"number": "x", "events": 1}'])
def test_corrupt_files_of_a_session_are_a_sentence_beside_the_queue(live, rank, ids, component, content):
    page = drawn(draw_review, live, rank, component)
    (live.run.results / SESSION).write_text(content)
    page.run()
    assert not page.exception and "cannot be read" in page.warning[0].value
    (live.store.project.root / DIRECTORY / OWNER).write_text(content)
    page.run()
    assert not page.exception and "delete it" in page.warning[0].value
    assert component.shown == ids
    assert "delete it" in summarize_project(live.store)["session"]["line"]
