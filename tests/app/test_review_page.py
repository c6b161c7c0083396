"""The review page without a browser: the data of the component, and the events of its actions."""

import base64
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gradebook.app.context import PageContext
from gradebook.app.data_access import read_image
from gradebook.app.review_actions import parse_actions
from gradebook.app.review_component import IMAGE_PX, TILE_PX
from gradebook.pipelines.curation import review_queue
from gradebook.pipelines.curation.queue_items import PredictionFilter
from gradebook.pipelines.curation.selections import save_selection
from gradebook.pipelines.process.run_status import State
from gradebook.storage.events import Kind, event, replay
from gradebook.storage.project import create_project, read_project
from gradebook.storage.store import memory_store
from gradebook.storage.vectors import Space
from tests.app.conftest import HOSTILE, a_run
from tests.app.test_views import drawn, text, verdicts


def draw_review(context, rank, component):
    from gradebook.app.views import review

    review.render(context, rank=rank, mount=component)


def draw_review_as_it_is(context, component):
    from gradebook.app.views import review

    review.render(context, mount=component)


def test_an_action_writes_the_shown_prediction_and_one_verdict(context, rank, ids, component):
    page = drawn(draw_review, context, rank, component)
    assert component.shown == ids
    action_id = component.act(page, "label", ids[1], "heron")
    _, proposal, answer = context.store.log.read()
    assert (answer.kind, answer.sample_id, answer.label, answer.actor) == (Kind.ACCEPTED, ids[1], "heron", "ada")
    assert (answer.ref, answer.event_id) == (proposal.event_id, action_id)
    assert (proposal.actor, proposal.confidence, proposal.reasons["thin_margin"]) == ("run:mpl-001", 0.75, 0.9)
    assert component.shown == [ids[0], *ids[2:]]
    assert component.data["decisions"] == {} and component.actions == []
    assert component.data["stats"] == {
        "verdicts": 1,
        "predicted": 1,
        "correct": 1,
        "similar": 0,
        "similar_correct": 0,
        "per_minute": None,
        "labelled": 1,
    }


def test_another_label_a_rejection_and_a_skip(context, rank, ids, component):
    page = drawn(draw_review, context, rank, component)
    component.act(page, "label", ids[0], "crow")
    component.act(page, "reject", ids[2])
    component.act(page, "skip", ids[3])
    assert [(e.kind, e.sample_id, e.label) for e in verdicts(context)] == [
        (Kind.RELABELLED, ids[0], "crow"),
        (Kind.REJECTED, ids[2], None),
    ]
    assert component.shown == [ids[1], ids[4]]


def test_a_card_has_the_image_its_prediction_reasons_and_history(context, rank, ids, component):
    drawn(draw_review, context, rank, component)
    card = component.card(ids[0])
    content = base64.b64decode(card["src"].removeprefix("data:image/jpeg;base64,"))
    assert Image.open(io.BytesIO(content)).size == (20, 10)
    assert (card["label"], card["probability"]) == ("heron", 0.75)
    assert card["reasons"] == [[0.9, "Small margin"], [0.2, card["reasons"][1][1]]]
    assert card["history"]["points"] == [[0.75, 0.5, False], [0.75, 0.5, True]]
    sentence = (
        "The teacher predicted heron at 1 of 2 checkpoints; its prediction changed once. Previous prediction: crow."
    )
    assert card["history"]["text"].startswith(
        f"{sentence} Called crow, this image lowered the loss on your labels at 1"
    )


@pytest.mark.parametrize(("layout", "size"), [("Single", IMAGE_PX), ("Grid", TILE_PX)])
def test_a_card_says_that_its_file_was_replaced_or_deleted(context, rank, ids, component, layout, size):
    replaced, deleted, whole = context.store.catalog.get(ids[:3])
    assert all(read_image(context.store.project, sample, size) for sample in (replaced, deleted, whole))
    Image.new("RGB", (20, 10), "pink").save(replaced.filepath)
    Path(deleted.filepath).unlink()
    page = drawn(draw_review, context, rank, component)
    page.segmented_control(key="layout").set_value(layout).run()
    cards = [component.card(i) for i in ids[:3]]
    assert [card["src"] is None for card in cards] == [True, True, False]
    assert [card["problem"] for card in cards] == [
        "The file has changed since it was imported: import it again.",
        "It cannot be read (No such file or directory).",
        "",
    ]


def test_cards_that_the_browser_has_are_not_sent_again(context, rank, ids, component):
    page = drawn(draw_review, context, rank, component)
    assert [card["sample_id"] for card in component.data["cards"]] == ids
    component.cached = ids
    component.act(page, "label", ids[0], "crow")
    assert component.data["cards"] == []
    assert component.data["decisions"][ids[0]]["label"] == "crow"


def test_a_card_has_the_most_similar_labelled_images(context, rank, ids, component):
    context.store.vectors.create(Space(backbone="b", weights="none", size=8, dim=2, weak=1, strong=0, seed=0))
    context.store.vectors.add("b", ids, np.array([[[1, 0]], [[0, 1]], [[1, 0.1]], [[1, 0.2]], [[1, 1]]], np.float16))
    given = {ids[1]: "heron", ids[2]: "crow", ids[4]: HOSTILE}
    context.store.log.append([event(Kind.RELABELLED, i, label, actor="bob") for i, label in given.items()])
    drawn(draw_review, context, rank, component)
    assert [near["label"] for near in component.card(ids[0])["similar"]] == ["crow", HOSTILE, "heron"]


def test_undo_retracts_the_last_verdict_and_shows_its_image_again(context, rank, ids, component):
    page = drawn(draw_review, context, rank, component)
    first = component.act(page, "label", ids[0], "crow")
    second = component.act(page, "label", ids[1], "crow", expected=None)
    action_id = component.act(page, "undo", expected=second)
    assert component.data["undone"] == {action_id: ids[1]}
    assert component.shown == [ids[1], *ids[2:]]
    action_id = component.act(page, "undo")
    assert (verdicts(context)[-1].kind, verdicts(context)[-1].ref) == (Kind.RETRACTED, first)
    assert component.data["undone"] == {action_id: ids[0]} and component.shown[0] == ids[0]
    component.act(page, "undo")
    assert len(verdicts(context)) == 4, "there is nothing left to take back"


def test_actions_of_one_message_are_applied_in_order_and_once(context, rank, ids, component):
    page = drawn(draw_review, context, rank, component)
    a, b, c = ("a" * 32, "b" * 32, "c" * 32)
    component.actions = [
        {"action_id": a, "action": "label", "sample_id": ids[0], "label": "crow"},
        {"action_id": b, "action": "undo", "expected": a},
        {"action_id": c, "action": "label", "sample_id": ids[0], "label": "heron"},
    ]
    sent = list(component.actions)
    page.button(key="send").click().run()
    written = [(e.event_id, e.kind) for e in verdicts(context)]
    assert written == [(a, Kind.RELABELLED), (b, Kind.RETRACTED), (c, Kind.ACCEPTED)]
    component.actions = sent
    page.button(key="send").click().run()
    assert [(e.event_id, e.kind) for e in verdicts(context)] == written, "an action sent twice is written once"
    page = drawn(draw_review, context, rank, component)
    component.actions = sent
    page.button(key="send").click().run()
    assert [(e.event_id, e.kind) for e in verdicts(context)] == written, "also after the server has forgotten it"


def test_another_filter_starts_another_batch(context, rank, ids, component):
    page = drawn(draw_review, context, rank, component)
    before = component.data["batch"]
    page.run()
    assert component.data["batch"] == before
    page.selectbox(key="reason").select("entropy").run()
    assert component.data["batch"] != before


def test_filters_are_passed_to_the_queue(context, rank, ids, component):
    asked = []

    def ranked(*args, only=None, **more):
        asked.append(only)
        return [replace(row, probability=k / 5) for k, row in enumerate(rank(*args, **more))]

    page = drawn(draw_review, context, ranked, component)
    page.selectbox(key="class").select("heron").run()
    page.slider(key="sure").set_range(0, 50).run()
    assert asked[-1] == PredictionFilter(label="heron", min_probability=0.0, max_probability=0.5)
    assert component.shown == ids[:3]


@pytest.mark.parametrize(("label", "kind"), [("heron", Kind.ACCEPTED), ("crow", Kind.RELABELLED)])
def test_a_questioned_label_is_changed_or_kept_by_a_reviewer_who_saw_it(context, ids, rank, component, label, kind):
    given = event(Kind.IMPORTED, ids[0], "crow", actor="import")
    row = replace(
        rank(context.store, context.run)[0], given="crow", decision=given.event_id, reasons={"mislabelled": 0.9}
    )
    context.store.log.append([given])
    page = drawn(draw_review, context, lambda *_, **__: [row], component)
    card = component.card(ids[0])
    assert (card["given"], card["expected"], component.data["decisions"]) == ("crow", given.event_id, {})
    component.act(page, "label", ids[0], label, expected=card["expected"])
    proposal, answer = context.store.log.read()[-2:]
    assert (answer.kind, answer.label, answer.ref) == (kind, label, proposal.event_id)
    assert proposal.reasons == {"mislabelled": 0.9}
    assert component.shown == [] and "No image" not in component.data["cards"]


def test_similar_images_come_next_and_are_not_labelled(context, rank, ids, component):
    context.store.vectors.create(Space(backbone="b", weights="none", size=8, dim=2, weak=1, strong=0, seed=0))
    context.store.vectors.add("b", ids, np.array([[[1, 0]], [[0, 1]], [[1, 0.1]], [[1, 0.2]], [[1, 1]]], np.float16))
    page = drawn(draw_review, context, rank, component)
    component.act(page, "label", ids[0], "heron")
    before = replay(context.store.log.read())
    component.act(page, "similar", ids[0])
    assert "4 similar images come next" in page.toast[0].value
    assert replay(context.store.log.read()) == before
    near = [ids[2], ids[3], ids[4], ids[1]]
    assert component.shown == near
    rows = review_queue.rank(context.store, None)
    assert [row.sample_id for row in rows] == near
    component.act(page, "label", ids[2], "heron")
    answer = context.store.log.read()[-1]
    assert (answer.kind, answer.label, answer.ref) == (Kind.ACCEPTED, "heron", rows[0].proposal)


def test_similar_images_need_embeddings(context, rank, ids, component):
    page = drawn(draw_review, context, rank, component)
    component.act(page, "label", ids[0], "crow")
    component.act(page, "similar", ids[0])
    assert "embed" in page.toast[0].value and len(verdicts(context)) == 1


def test_the_page_says_when_all_images_are_reviewed(context, rank, ids, component):
    page = drawn(draw_review, context, rank, component)
    for sample_id in ids:
        component.act(page, "label", sample_id, "heron")
    assert component.shown == [] and "All training images have been reviewed" in component.data["empty_text"]
    context.store.log.append([event(Kind.RETRACTED, ids[0], actor="bob", ref=verdicts(context)[0].event_id)])
    component.act(page, "more")
    assert component.shown == [ids[0]]


def test_without_a_run_there_is_no_prediction(context, rank, ids, component):
    page = drawn(draw_review, PageContext(context.store, None, "ada"), rank, component)
    assert component.card(ids[0])["label"] is None
    component.act(page, "label", ids[0], "crow")
    (only,) = verdicts(context)
    assert (only.kind, only.ref) == (Kind.RELABELLED, None)


def test_an_unfinished_run_has_no_predictions(context, rank, ids, component):
    run = a_run(context.store, "mpl-002", State.STOPPED)
    page = drawn(draw_review, PageContext(context.store, run, "ada"), rank, component)
    assert "has not finished" in page.info[0].value
    component.act(page, "label", ids[0], "crow")
    assert [(e.kind, e.label) for e in verdicts(context)] == [(Kind.RELABELLED, "crow")]


def test_the_page_works_with_the_real_queue(context, ids, component):
    """What the app uses, on a project before its first run."""
    page = drawn(draw_review_as_it_is, PageContext(context.store, None, "ada"), component)
    component.act(page, "label", ids[0], "crow")
    assert replay(context.store.log.read())[ids[0]] == "crow"


def test_only_the_selection_in_the_address_is_reviewed(context, ids, component):
    chosen = save_selection(context.store.project, [ids[3], ids[1]], "selected on the map")
    page = drawn(draw_review_as_it_is, PageContext(context.store, None, "ada"), component, selection=chosen)
    assert "**2 images** selected on the map" in text(page)
    assert component.shown == [ids[3], ids[1]]
    component.act(page, "label", ids[3], "crow")
    assert replay(context.store.log.read())[ids[3]] == "crow"
    assert component.shown == [ids[1]]
    component.act(page, "label", ids[1], "crow")
    assert component.data["empty_text"] == "All images of this selection have been reviewed."


@pytest.mark.parametrize("nonsense", ["../../etc/passwd", "0" * 16])
def test_an_unknown_selection_is_a_warning(context, component, nonsense):
    page = drawn(draw_review_as_it_is, context, component, selection=nonsense)
    assert "select the images again" in page.warning[0].value
    assert component.data == {}


def test_the_page_survives_a_missing_file(context, rank, ids, component):
    Path(context.store.catalog.get(ids[:1])[0].filepath).unlink()
    page = drawn(draw_review, context, rank, component)
    assert component.card(ids[0])["src"] is None
    component.act(page, "reject", ids[0])
    assert len(verdicts(context)) == 1


def test_a_project_without_images_links_to_the_import(tmp_path, rank, component):
    context = PageContext(memory_store(create_project(tmp_path / "new", ["crow"])), None, "ada")
    assert "no images" in drawn(draw_review, context, rank, component).info[0].value


def test_a_project_without_classes_asks_for_them(tmp_path, rank, component):
    project = create_project(tmp_path / "new", [])
    page = drawn(draw_review, PageContext(memory_store(project), None, "ada"), rank, component)
    page.form_submit_button[0].click().run()
    assert "Enter the names" in page.error[0].value and read_project(project.root).classes == ()
    page.text_input(key="class-names").set_value("crow, heron,")
    page.form_submit_button[0].click().run()
    assert read_project(project.root).classes == ("crow", "heron") and component.data == {}


@pytest.mark.parametrize(
    "nonsense", [{"sample_id": "../../etc/passwd"}, {"label": "no class of ours"}, {"action_id": "../x"}]
)
def test_a_forged_action_writes_nothing(context, rank, ids, component, nonsense):
    page = drawn(draw_review, context, rank, component)
    component.actions = [{"action_id": "a" * 32, "action": "label", "sample_id": ids[0], "label": "crow", **nonsense}]
    page.button(key="send").click().run()
    assert not page.exception and verdicts(context) == []


@pytest.mark.parametrize(
    "message", [None, "x", [None, 1, {}], [{"action_id": "a" * 32, "action": "delete"}], [{"action_id": 3}]]
)
def test_invalid_actions_are_dropped(message):
    assert parse_actions(message) == []
