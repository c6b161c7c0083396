"""Several reviewers on the review page: leases and conflicts."""

from dataclasses import replace

import pytest

from gradebook.app.context import PageContext
from gradebook.app.views import review
from gradebook.pipelines.curation import leases
from gradebook.storage.events import Kind, event, replay
from gradebook.storage.project import ProjectError
from tests.app.conftest import HOSTILE
from tests.app.fake_component import FakeComponent
from tests.app.test_review_page import draw_review
from tests.app.test_views import drawn, verdicts


def draw_few(context, rank, component, ahead):
    from gradebook.app.views import review

    review.PREFETCHED = ahead
    review.render(context, rank=rank, mount=component)


@pytest.fixture(autouse=True)
def usual_number_ahead(monkeypatch):
    monkeypatch.setattr(review, "PREFETCHED", review.PREFETCHED)


def test_two_reviewers_never_see_the_same_image(context, rank, ids):
    ada, bob = FakeComponent(), FakeComponent()
    first = drawn(draw_few, context, rank, ada, 2)
    second = drawn(draw_few, PageContext(context.store, context.run, "bob"), rank, bob, 2)
    assert (ada.shown, bob.shown) == (ids[:2], ids[2:4])
    ada.act(first, "label", ids[0], "crow")
    assert ada.shown == [ids[1], ids[4]]
    bob.act(second, "label", ids[2], "crow")
    assert bob.shown == [ids[3]], "the other two are being looked at"
    bob.act(second, "skip", ids[3])
    assert bob.shown == [] and "skipped" in bob.data["empty_text"]
    ada.act(first, "label", ids[1], "crow")
    assert ada.shown == [ids[3], ids[4]], "what bob does not want is ada's"


def test_two_reviewers_in_turns_label_each_image_once(context, rank, ids):
    components = {"ada": FakeComponent(), "bob": FakeComponent()}
    pages = {
        who: drawn(draw_few, PageContext(context.store, context.run, who), rank, components[who], 1)
        for who in components
    }
    labelled = []
    while any(component.shown for component in components.values()):
        for who, component in components.items():
            if component.shown:
                labelled.append((who, component.shown[0]))
                component.act(pages[who], "label", component.shown[0], "crow")
    assert [(e.actor, e.sample_id) for e in verdicts(context)] == labelled
    assert sorted(i for _, i in labelled) == sorted(ids)


def test_a_verdict_is_changed_by_a_reviewer_who_saw_it(context, rank, ids, component):
    page = drawn(draw_review, context, rank, component)
    first = component.act(page, "label", ids[0], "crow")
    component.act(page, "label", ids[0], "heron", expected=first)
    assert replay(context.store.log.read())[ids[0]] == "heron"


def test_a_late_verdict_is_a_conflict_and_not_written(context, rank, ids, component):
    page = drawn(draw_review, context, rank, component)
    context.store.log.append([event(Kind.RELABELLED, ids[0], HOSTILE, actor="bob")])
    action_id = component.act(page, "label", ids[0], "crow")
    assert [(e.actor, e.label) for e in verdicts(context)] == [("bob", HOSTILE)]
    text = f"bob has decided this image before you: {HOSTILE}. Your verdict (crow) was not saved."
    assert component.data["conflicts"] == [{"sample_id": ids[0], "action_id": action_id, "text": text}]


def test_a_questioned_label_that_was_changed_meanwhile_stays(context, ids, rank, component):
    given = event(Kind.IMPORTED, ids[0], "crow", actor="import")
    row = replace(rank(context.store, context.run)[0], given="crow", decision=given.event_id)
    context.store.log.append([given])
    page = drawn(draw_review, context, lambda *_, **__: [row], component)
    context.store.log.append([event(Kind.RELABELLED, ids[0], HOSTILE, actor="bob")])
    component.act(page, "label", ids[0], "heron", expected=given.event_id)
    assert replay(context.store.log.read())[ids[0]] == HOSTILE


def test_actions_wait_while_another_process_holds_the_lock(context, rank, ids, component, monkeypatch):
    page = drawn(draw_review, context, rank, component)
    turn = leases.turn

    def taken(project):
        raise ProjectError("another process has been writing verdicts")

    monkeypatch.setattr(leases, "turn", taken)
    monkeypatch.setattr(leases, "hold", lambda project, holder, wanted, most: list(wanted)[:most])
    component.act(page, "label", ids[0], "crow")
    assert "nother process" in page.toast[0].value
    assert len(component.actions) == 1 and verdicts(context) == [], "the browser gets no acknowledgement"
    monkeypatch.setattr(leases, "turn", turn)
    component.actions = [*component.actions, {"action_id": "b" * 32, "action": "heartbeat"}]
    page.button(key="send").click().run()
    assert replay(context.store.log.read())[ids[0]] == "crow" and component.actions == []
