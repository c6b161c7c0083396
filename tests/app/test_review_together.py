"""Several people on the review page: whose image is whose, and whose answer counts."""

from dataclasses import replace

import pytest

from gradebook.app.context import Desk
from gradebook.app.views import review
from gradebook.pipelines.curation import leases
from gradebook.storage.events import Kind, event, replay
from gradebook.storage.project import ProjectError
from tests.app.conftest import HOSTILE
from tests.app.fake_component import Board
from tests.app.test_review_page import draw_review
from tests.app.test_views import drawn, verdicts


def draw_few(desk, rank, board, ahead):
    from gradebook.app.views import review

    review.AHEAD = ahead
    review.render(desk, rank=rank, draw=board)


@pytest.fixture(autouse=True)
def usual_number_ahead(monkeypatch):
    monkeypatch.setattr(review, "AHEAD", review.AHEAD)


def test_two_people_are_never_shown_the_same_image(desk, rank, ids):
    ada, bob = Board(), Board()
    first = drawn(draw_few, desk, rank, ada, 2)
    second = drawn(draw_few, Desk(desk.store, desk.run, "bob"), rank, bob, 2)
    assert (ada.shown, bob.shown) == (ids[:2], ids[2:4])
    ada.press(first, "label", ids[0], "crow")
    assert ada.shown == [ids[1], ids[4]]
    bob.press(second, "label", ids[2], "crow")
    assert bob.shown == [ids[3]], "the other two are being looked at"
    bob.press(second, "skip", ids[3])
    assert bob.shown == [] and "skipped" in bob.data["empty"]
    ada.press(first, "label", ids[1], "crow")
    assert ada.shown == [ids[3], ids[4]], "what bob does not want is ada's"


def test_two_people_who_take_turns_answer_each_image_once(desk, rank, ids):
    boards = {"ada": Board(), "bob": Board()}
    pages = {who: drawn(draw_few, Desk(desk.store, desk.run, who), rank, boards[who], 1) for who in boards}
    said = []
    while any(board.shown for board in boards.values()):
        for who, board in boards.items():
            if board.shown:
                said.append((who, board.shown[0]))
                board.press(pages[who], "label", board.shown[0], "crow")
    assert [(e.actor, e.sample_id) for e in verdicts(desk)] == said
    assert sorted(i for _, i in said) == sorted(ids)


def test_an_answer_is_changed_by_whoever_sees_it(desk, rank, ids, board):
    page = drawn(draw_review, desk, rank, board)
    first = board.press(page, "label", ids[0], "crow")
    board.press(page, "label", ids[0], "heron", over=first)
    assert replay(desk.store.log.read())[ids[0]] == "heron"


def test_a_press_that_comes_too_late_changes_nothing_and_says_so(desk, rank, ids, board):
    page = drawn(draw_review, desk, rank, board)
    desk.store.log.append([event(Kind.RELABELLED, ids[0], HOSTILE, actor="bob")])
    press = board.press(page, "label", ids[0], "crow")
    assert [(e.actor, e.label) for e in verdicts(desk)] == [("bob", HOSTILE)]
    by = f"bob had answered {HOSTILE} already: your crow was not written."
    assert board.data["refused"] == [{"id": ids[0], "press": press, "by": by}]


def test_a_label_in_question_that_somebody_changed_meanwhile_stays(desk, ids, rank, board):
    given = event(Kind.IMPORTED, ids[0], "crow", actor="import")
    row = replace(rank(desk.store, desk.run)[0], given="crow", decision=given.event_id)
    desk.store.log.append([given])
    page = drawn(draw_review, desk, lambda *_, **__: [row], board)
    desk.store.log.append([event(Kind.RELABELLED, ids[0], HOSTILE, actor="bob")])
    board.press(page, "label", ids[0], "heron", over=given.event_id)
    assert replay(desk.store.log.read())[ids[0]] == HOSTILE


def test_a_lock_that_another_holds_keeps_the_presses_until_they_are_said_again(desk, rank, ids, board, monkeypatch):
    page = drawn(draw_review, desk, rank, board)
    turn = leases.turn

    def taken(project):
        raise ProjectError("another process has been deciding")

    monkeypatch.setattr(leases, "turn", taken)
    monkeypatch.setattr(leases, "hold", lambda project, holder, wanted, most: list(wanted)[:most])
    board.press(page, "label", ids[0], "crow")
    assert "nother process" in page.toast[0].value
    assert len(board.presses) == 1 and verdicts(desk) == [], "the browser is not told that it was heard"
    monkeypatch.setattr(leases, "turn", turn)
    board.presses = [*board.presses, {"press": "b" * 32, "deed": "here"}]
    page.button(key="say").click().run()
    assert replay(desk.store.log.read())[ids[0]] == "crow" and board.presses == []
