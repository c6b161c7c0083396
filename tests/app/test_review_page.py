"""The review page without a browser: what it gives to the board, and what the board's presses become."""

import base64
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gradebook.app.context import Desk
from gradebook.app.review_actions import presses
from gradebook.pipelines.curation import review_queue
from gradebook.pipelines.curation.queue_items import Only
from gradebook.pipelines.curation.selections import save_selection
from gradebook.pipelines.runs import State
from gradebook.storage.events import Kind, event, replay
from gradebook.storage.project import create_project, read_project
from gradebook.storage.store import memory_store
from gradebook.storage.vectors import Space
from tests.app.conftest import HOSTILE, a_run
from tests.app.test_views import drawn, text, verdicts


def draw_review(desk, rank, board):
    from gradebook.app.views import review

    review.render(desk, rank=rank, draw=board)


def draw_review_as_it_is(desk, board):
    from gradebook.app.views import review

    review.render(desk, draw=board)


def test_a_press_writes_the_guess_that_was_shown_and_one_verdict(desk, rank, ids, board):
    page = drawn(draw_review, desk, rank, board)
    assert board.shown == ids
    press = board.press(page, "label", ids[1], "heron")
    _, proposal, answer = desk.store.log.read()
    assert (answer.kind, answer.sample_id, answer.label, answer.actor) == (Kind.ACCEPTED, ids[1], "heron", "ada")
    assert (answer.ref, answer.event_id) == (proposal.event_id, press)
    assert (proposal.actor, proposal.confidence, proposal.reasons["thin_margin"]) == ("run:mpl-001", 0.75, 0.9)
    assert board.shown == [ids[0], *ids[2:]]
    assert board.data["answers"] == {} and board.presses == []
    assert board.data["tally"] == {"given": 1, "guessed": 1, "agreed": 1, "a_minute": None, "labelled": 1}


def test_another_label_no_class_and_skip(desk, rank, ids, board):
    page = drawn(draw_review, desk, rank, board)
    board.press(page, "label", ids[0], "crow")
    board.press(page, "reject", ids[2])
    board.press(page, "skip", ids[3])
    assert [(e.kind, e.sample_id, e.label) for e in verdicts(desk)] == [
        (Kind.RELABELLED, ids[0], "crow"),
        (Kind.REJECTED, ids[2], None),
    ]
    assert board.shown == [ids[1], ids[4]]


def test_a_card_has_the_image_the_guess_its_reasons_in_words_and_its_history(desk, rank, ids, board):
    drawn(draw_review, desk, rank, board)
    card = board.card(ids[0])
    content = base64.b64decode(card["src"].removeprefix("data:image/jpeg;base64,"))
    assert Image.open(io.BytesIO(content)).size == (20, 10)
    assert (card["label"], card["sure"]) == ("heron", 0.75)
    assert card["why"] == [[0.9, "Two classes are almost level"], [0.2, card["why"][1][1]]]
    assert card["trail"]["points"] == [[0.75, 0.5, False], [0.75, 0.5, True]]
    words = "The teacher said heron at 1 of 2 looks, and changed its mind once. Before: crow."
    assert card["trail"]["words"] == words


def test_what_the_browser_has_is_not_sent_again(desk, rank, ids, board):
    page = drawn(draw_review, desk, rank, board)
    assert [card["id"] for card in board.data["cards"]] == ids
    board.have = ids
    board.press(page, "label", ids[0], "crow")
    assert board.data["cards"] == []
    assert board.data["answers"][ids[0]]["label"] == "crow"


def test_the_labelled_images_most_like_it_stand_beside_it(desk, rank, ids, board):
    desk.store.vectors.create(Space(backbone="b", weights="none", size=8, dim=2, weak=1, strong=0, seed=0))
    desk.store.vectors.add("b", ids, np.array([[[1, 0]], [[0, 1]], [[1, 0.1]], [[1, 0.2]], [[1, 1]]], np.float16))
    given = {ids[1]: "heron", ids[2]: "crow", ids[4]: HOSTILE}
    desk.store.log.append([event(Kind.RELABELLED, i, label, actor="bob") for i, label in given.items()])
    drawn(draw_review, desk, rank, board)
    assert [near["label"] for near in board.card(ids[0])["near"]] == ["crow", HOSTILE, "heron"]


def test_undo_takes_back_what_was_said_last_and_brings_the_image_back(desk, rank, ids, board):
    page = drawn(draw_review, desk, rank, board)
    first = board.press(page, "label", ids[0], "crow")
    second = board.press(page, "label", ids[1], "crow", over=None)
    press = board.press(page, "undo", over=second)
    assert board.data["undone"] == {press: ids[1]}
    assert board.shown == [ids[1], *ids[2:]]
    press = board.press(page, "undo")
    assert (verdicts(desk)[-1].kind, verdicts(desk)[-1].ref) == (Kind.RETRACTED, first)
    assert board.data["undone"] == {press: ids[0]} and board.shown[0] == ids[0]
    board.press(page, "undo")
    assert len(verdicts(desk)) == 4, "there is nothing left to take back"


def test_presses_of_one_message_are_done_in_order_each_once(desk, rank, ids, board):
    page = drawn(draw_review, desk, rank, board)
    a, b, c = ("a" * 32, "b" * 32, "c" * 32)
    board.presses = [
        {"press": a, "deed": "label", "id": ids[0], "label": "crow"},
        {"press": b, "deed": "undo", "over": a},
        {"press": c, "deed": "label", "id": ids[0], "label": "heron"},
    ]
    said = list(board.presses)
    page.button(key="say").click().run()
    written = [(e.event_id, e.kind) for e in verdicts(desk)]
    assert written == [(a, Kind.RELABELLED), (b, Kind.RETRACTED), (c, Kind.ACCEPTED)]
    board.presses = said
    page.button(key="say").click().run()
    assert [(e.event_id, e.kind) for e in verdicts(desk)] == written, "what is said twice is written once"
    page = drawn(draw_review, desk, rank, board)
    board.presses = said
    page.button(key="say").click().run()
    assert [(e.event_id, e.kind) for e in verdicts(desk)] == written, "also after the server has forgotten it"


def test_another_choice_is_another_batch(desk, rank, ids, board):
    page = drawn(draw_review, desk, rank, board)
    before = board.data["batch"]
    page.run()
    assert board.data["batch"] == before
    page.selectbox(key="reason").select("entropy").run()
    assert board.data["batch"] != before


def test_filters_ask_the_queue_for_some_guesses_only(desk, rank, ids, board):
    asked = []

    def ranked(*args, only=None, **more):
        asked.append(only)
        return [replace(row, probability=k / 5) for k, row in enumerate(rank(*args, **more))]

    page = drawn(draw_review, desk, ranked, board)
    page.selectbox(key="class").select("heron").run()
    page.slider(key="sure").set_range(0, 50).run()
    assert asked[-1] == Only(label="heron", least=0.0, most=0.5)
    assert board.shown == ids[:3]


@pytest.mark.parametrize(("label", "kind"), [("heron", Kind.ACCEPTED), ("crow", Kind.RELABELLED)])
def test_a_label_in_question_is_changed_or_kept_by_whoever_has_seen_it(desk, ids, rank, board, label, kind):
    given = event(Kind.IMPORTED, ids[0], "crow", actor="import")
    row = replace(rank(desk.store, desk.run)[0], given="crow", decision=given.event_id, reasons={"mislabelled": 0.9})
    desk.store.log.append([given])
    page = drawn(draw_review, desk, lambda *_, **__: [row], board)
    card = board.card(ids[0])
    assert (card["given"], card["over"], board.data["answers"]) == ("crow", given.event_id, {})
    board.press(page, "label", ids[0], label, over=card["over"])
    proposal, answer = desk.store.log.read()[-2:]
    assert (answer.kind, answer.label, answer.ref) == (kind, label, proposal.event_id)
    assert proposal.reasons == {"mislabelled": 0.9}
    assert board.shown == [] and "No image" not in board.data["cards"]


def test_neighbours_of_an_answered_image_come_next_and_are_not_labelled(desk, rank, ids, board):
    desk.store.vectors.create(Space(backbone="b", weights="none", size=8, dim=2, weak=1, strong=0, seed=0))
    desk.store.vectors.add("b", ids, np.array([[[1, 0]], [[0, 1]], [[1, 0.1]], [[1, 0.2]], [[1, 1]]], np.float16))
    page = drawn(draw_review, desk, rank, board)
    board.press(page, "label", ids[0], "heron")
    before = replay(desk.store.log.read())
    board.press(page, "alike", ids[0])
    assert "4 images like it" in page.toast[0].value
    assert replay(desk.store.log.read()) == before
    near = [ids[2], ids[3], ids[4], ids[1]]
    assert board.shown == near
    rows = review_queue.rank(desk.store, None)
    assert [row.sample_id for row in rows] == near
    board.press(page, "label", ids[2], "heron")
    answer = desk.store.log.read()[-1]
    assert (answer.kind, answer.label, answer.ref) == (Kind.ACCEPTED, "heron", rows[0].proposal)


def test_without_vectors_the_neighbours_are_a_sentence(desk, rank, ids, board):
    page = drawn(draw_review, desk, rank, board)
    board.press(page, "label", ids[0], "crow")
    board.press(page, "alike", ids[0])
    assert "embed" in page.toast[0].value and len(verdicts(desk)) == 1


def test_the_page_says_when_nothing_is_left(desk, rank, ids, board):
    page = drawn(draw_review, desk, rank, board)
    for sample_id in ids:
        board.press(page, "label", sample_id, "heron")
    assert board.shown == [] and "Nothing is left to review" in board.data["empty"]
    desk.store.log.append([event(Kind.RETRACTED, ids[0], actor="bob", ref=verdicts(desk)[0].event_id)])
    board.press(page, "more")
    assert board.shown == [ids[0]]


def test_without_a_run_there_are_classes_but_no_guess(desk, rank, ids, board):
    page = drawn(draw_review, Desk(desk.store, None, "ada"), rank, board)
    assert board.card(ids[0])["label"] is None
    board.press(page, "label", ids[0], "crow")
    (only,) = verdicts(desk)
    assert (only.kind, only.ref) == (Kind.RELABELLED, None)


def test_a_run_that_has_not_finished_leaves_the_images_without_guesses(desk, rank, ids, board):
    run = a_run(desk.store, "mpl-002", State.STOPPED)
    page = drawn(draw_review, Desk(desk.store, run, "ada"), rank, board)
    assert "has not finished" in page.info[0].value
    board.press(page, "label", ids[0], "crow")
    assert [(e.kind, e.label) for e in verdicts(desk)] == [(Kind.RELABELLED, "crow")]


def test_the_real_queue_takes_the_place_of_ours(desk, ids, board):
    """What the app uses, on a project before its first run."""
    page = drawn(draw_review_as_it_is, Desk(desk.store, None, "ada"), board)
    board.press(page, "label", ids[0], "crow")
    assert replay(desk.store.log.read())[ids[0]] == "crow"


def test_a_selection_in_the_address_is_reviewed_and_nothing_else(desk, ids, board):
    chosen = save_selection(desk.store.project, [ids[3], ids[1]], "chosen on the map")
    page = drawn(draw_review_as_it_is, Desk(desk.store, None, "ada"), board, selection=chosen)
    assert "**2 images** chosen on the map" in text(page)
    assert board.shown == [ids[3], ids[1]]
    board.press(page, "label", ids[3], "crow")
    assert replay(desk.store.log.read())[ids[3]] == "crow"
    assert board.shown == [ids[1]]
    board.press(page, "label", ids[1], "crow")
    assert board.data["empty"] == "All of these have their answer."


@pytest.mark.parametrize("nonsense", ["../../etc/passwd", "0" * 16])
def test_a_selection_that_is_not_there_is_a_sentence(desk, board, nonsense):
    page = drawn(draw_review_as_it_is, desk, board, selection=nonsense)
    assert "choose the images again" in page.warning[0].value
    assert board.data == {}


def test_a_file_that_is_gone_does_not_take_the_page_with_it(desk, rank, ids, board):
    Path(desk.store.catalog.get(ids[:1])[0].filepath).unlink()
    page = drawn(draw_review, desk, rank, board)
    assert board.card(ids[0])["src"] is None
    board.press(page, "reject", ids[0])
    assert len(verdicts(desk)) == 1


def test_a_project_without_images_leads_to_where_they_come_in(tmp_path, rank, board):
    desk = Desk(memory_store(create_project(tmp_path / "new", ["crow"])), None, "ada")
    assert "no images" in drawn(draw_review, desk, rank, board).info[0].value


def test_a_project_without_classes_asks_for_them(tmp_path, rank, board):
    project = create_project(tmp_path / "new", [])
    page = drawn(draw_review, Desk(memory_store(project), None, "ada"), rank, board)
    page.form_submit_button[0].click().run()
    assert "Say what" in page.error[0].value and read_project(project.root).classes == ()
    page.text_input(key="class-names").set_value("crow, heron,")
    page.form_submit_button[0].click().run()
    assert read_project(project.root).classes == ("crow", "heron") and board.data == {}


@pytest.mark.parametrize("nonsense", [{"id": "../../etc/passwd"}, {"label": "no class of ours"}, {"press": "../x"}])
def test_a_browser_that_is_not_ours_writes_nothing(desk, rank, ids, board, nonsense):
    page = drawn(draw_review, desk, rank, board)
    board.presses = [{"press": "a" * 32, "deed": "label", "id": ids[0], "label": "crow", **nonsense}]
    page.button(key="say").click().run()
    assert not page.exception and verdicts(desk) == []


@pytest.mark.parametrize("said", [None, "x", [None, 1, {}], [{"press": "a" * 32, "deed": "delete"}], [{"press": 3}]])
def test_what_is_no_press_is_left_out(said):
    assert presses(said) == []
