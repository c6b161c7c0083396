"""Verdicts that arrive after their page was left, without a browser."""

import asyncio
import json
import uuid
from dataclasses import replace

import pytest
from starlette.requests import Request

from gradebook.app import late_actions, outbox_component, screens
from gradebook.app.review_actions import Action, ReviewAction, describe_failures
from gradebook.storage.events import Kind
from gradebook.storage.project import ProjectError
from tests.app.test_review_page import draw_review
from tests.app.test_views import drawn


def action(sample_id: str, label: str, batch: str, expected: str | None = None) -> ReviewAction:
    return ReviewAction(
        action_id=uuid.uuid4().hex,
        action=Action.LABEL,
        sample_id=sample_id,
        label=label,
        expected=expected,
        batch=batch,
    )


def body(*actions: ReviewAction, page: str = "") -> bytes:
    names = ("action_id", "action", "sample_id", "label", "expected", "batch")
    return json.dumps({"page": page, "actions": [{name: getattr(a, name) for name in names} for a in actions]}).encode()


def posted(content: bytes) -> tuple[int, dict]:
    """Returns the status and the answer of the endpoint."""
    parts = [content[:10], content[10:]]

    async def receive() -> dict:
        return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}

    scope = {"type": "http", "method": "POST", "path": late_actions.PATH, "headers": [], "query_string": b""}
    response = asyncio.run(late_actions.receive(Request(scope, receive)))
    return response.status_code, json.loads(response.body)


def draw_outbox(context) -> None:
    from gradebook.app import outbox_component

    outbox_component.draw(context)


def acknowledged(*actions: ReviewAction, problem: str | None = None, **notices: str) -> dict:
    return {"acknowledged": [a.action_id for a in actions], "notices": notices, "problem": problem}


@pytest.fixture
def batch(context, rank, component) -> str:
    """The name of the batch that a review page shows."""
    drawn(draw_review, context, rank, component)
    return component.data["batch"]


def test_a_late_verdict_is_logged_once_with_what_was_on_the_screen(context, ids, batch):
    late = action(ids[1], "heron", batch)
    for _ in range(2):
        assert posted(body(late)) == (200, acknowledged(late))
    _, proposal, answer = context.store.log.read()
    assert (answer.kind, answer.label, answer.actor) == (Kind.ACCEPTED, "heron", "ada")
    assert (answer.event_id, answer.ref) == (late.action_id, proposal.event_id)
    assert (proposal.actor, proposal.confidence) == ("run:mpl-001", 0.75)


def test_a_late_verdict_does_not_override_one_that_was_not_on_the_screen(context, ids, batch):
    first, second = action(ids[0], "heron", batch), action(ids[0], "crow", batch)
    text = "ada has decided this image before you: heron. Your verdict (crow) was not saved."
    assert posted(body(first, second))[1] == acknowledged(first, second, **{second.action_id: text})
    assert [e.event_id for e in context.store.log.read() if e.actor == "ada"] == [first.action_id]


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff", b'{"actions": 3}', b'{"actions": [{}]}'])
def test_the_endpoint_ignores_what_is_not_its_own(context, batch, content):
    before = context.store.log.read()
    assert posted(content) == (200, acknowledged())
    assert context.store.log.read() == before


@pytest.mark.parametrize("page", ["", "None", "0" * 32])
def test_nobody_writes_without_the_name_of_a_batch_or_a_page(context, ids, batch, page):
    before, asked = context.store.log.read(), (action(ids[0], "heron", name) for name in ("", uuid.uuid4().hex))
    problem = "Not yet saved: this page is older than the server. Reload it."
    assert posted(body(*asked, page=page)) == (200, acknowledged(problem=problem))
    assert context.store.log.read() == before


def test_the_outbox_of_a_page_writes_verdicts_of_batches_that_the_server_has_forgotten(context, ids, monkeypatch):
    drawn_with = []
    monkeypatch.setattr(outbox_component, "component", lambda _: lambda *, key, data: drawn_with.append(data))
    drawn(draw_outbox, context)
    late = action(ids[0], "heron", "of an earlier server")
    assert posted(body(late, page=drawn_with[0]["page"])) == (200, acknowledged(late))
    (answer,) = context.store.log.read()[1:]
    assert (answer.kind, answer.label, answer.actor, answer.ref) == (Kind.RELABELLED, "heron", "ada", None)


def test_a_request_that_is_too_large_is_refused(batch):
    assert posted(b" " * (late_actions.MAX_BYTES + 20))[0] == 413


def test_an_unknown_batch_is_logged_without_a_prediction(context, ids):
    screens.apply(context.store, "ada", [action(ids[0], "heron", "of an earlier server")])
    (answer,) = context.store.log.read()[1:]
    assert (answer.kind, answer.label, answer.ref) == (Kind.RELABELLED, "heron", None)


def test_a_verdict_on_what_is_no_longer_there_is_reported(context, ids, batch):
    lost = [action("0" * 32, "heron", batch), action(ids[0], "dodo", batch)]
    failures = describe_failures(screens.apply(context.store, "ada", lost))
    assert [failure["action_id"] for failure in failures] == [a.action_id for a in lost]
    assert "was not saved: the project no longer has this image" in failures[0]["text"]
    assert "was not saved: dodo is no class of the project" in failures[1]["text"]


def test_each_project_has_its_own_place_in_the_browsers_storage(context, tmp_path):
    other = replace(context, store=replace(context.store, project=replace(context.store.project, root=tmp_path)))
    assert outbox_component.storage_name(context) != outbox_component.storage_name(other)


def test_a_verdict_that_cannot_be_written_now_stays_with_the_browser(context, ids, batch, monkeypatch):
    def taken(*_):
        raise ProjectError("another process has been deciding")

    monkeypatch.setattr(screens, "apply_actions", taken)
    problem = "Not yet saved: another process has been deciding"
    assert posted(body(action(ids[0], "heron", batch))) == (200, acknowledged(problem=problem))
    assert len(context.store.log.read()) == 1
