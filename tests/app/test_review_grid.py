"""The grid of the review page: many images at once."""

import base64
import io

import numpy as np
from PIL import Image
from streamlit.testing.v1 import AppTest

from gradebook.pipelines.curation import leases
from gradebook.pipelines.image_cache import as_jpeg
from gradebook.storage.cache_files import thumbnails
from gradebook.storage.events import Kind
from gradebook.storage.vectors import Space
from tests.app.test_review_page import draw_review
from tests.app.test_views import drawn, verdicts


def as_grid(page: AppTest) -> AppTest:
    return page.segmented_control(key="layout").set_value("Grid").run()


def test_a_grid_keeps_its_images_in_place_and_takes_many_verdicts_at_once(context, rank, ids, component):
    page = as_grid(drawn(draw_review, context, rank, component))
    assert component.data["grid"] and component.shown == ids
    reads = context.store.log.version()
    component.actions = [
        {"action_id": f"{n:032}", "action": "label", "sample_id": i, "label": "heron"} for n, i in enumerate(ids[:4])
    ]
    page.button(key="send").click().run()
    assert [e.kind for e in verdicts(context)] == [Kind.ACCEPTED] * 4
    assert context.store.log.version() == reads + 8, "proposals and answers"
    assert component.shown == ids, "nothing moves under the hand"
    assert {i: a["label"] for i, a in component.data["decisions"].items()} == dict.fromkeys(ids[:4], "heron")
    before = component.data["batch"]
    component.act(page, "more")
    assert component.shown == [ids[4]] and component.data["batch"] != before


def test_a_grid_shows_the_thumbnail_of_a_large_image(context, rank, ids, component):
    content = as_jpeg(Image.new("RGB", (300, 200), "red"), 300)
    thumbnails(context.store.project).write(ids[0], content)
    as_grid(drawn(draw_review, context, rank, component))
    shown = Image.open(io.BytesIO(base64.b64decode(component.card(ids[0])["src"].split(",")[1])))
    assert shown.size == (224, 149) and shown.getpixel((9, 9))[0] > 250


def test_a_grid_leaves_out_images_leased_to_others(context, rank, ids, component):
    others = [*ids[:2], *ids[3:]]
    leases.hold(context.store.project, "bob elsewhere", others, len(others))
    page = as_grid(drawn(draw_review, context, rank, component))
    assert component.shown == [ids[2]]
    component.act(page, "label", ids[2], "crow")
    assert component.shown == [ids[2]], "nothing moves under the hand"


def test_an_empty_grid_fills_once_the_leases_end(context, rank, ids, component):
    leases.hold(context.store.project, "bob elsewhere", ids, len(ids))
    page = as_grid(drawn(draw_review, context, rank, component))
    assert component.shown == [] and "another reviewer's screen" in component.data["empty_text"]
    leases.hold(context.store.project, "bob elsewhere", [], 0)
    component.act(page, "heartbeat")
    assert component.shown == ids


def test_similar_images_are_marked_in_a_grid_in_their_places_and_the_others_added_at_its_end(
    context, rank, ids, component
):
    def first_three(store, run, *, limit, **options):
        return rank(store, run, limit=min(limit, 3), **options)

    context.store.vectors.create(Space(backbone="b", weights="none", size=8, dim=2, weak=1, strong=0, seed=0))
    context.store.vectors.add("b", ids, np.array([[[1, 0]], [[0, 1]], [[1, 0.1]], [[1, 0.2]], [[1, 1]]], np.float16))
    page = as_grid(drawn(draw_review, context, first_three, component))
    assert component.shown == ids[:3]
    component.cached = list(component.shown)
    component.act(page, "label", ids[0], "crow")
    component.act(page, "similar", ids[0])
    assert component.shown == [*ids[:3], ids[3], ids[4]], "nothing moves under the hand"
    assert "2 similar images marked in the grid, 2 added at its end" in page.toast[0].value.replace("\\", "")
    cards = {card["sample_id"]: card for card in component.data["cards"]}
    assert cards.keys() == set(ids[1:]), "the browser gets a new card of each"
    assert {(card["source"], card["label"], card["probability"]) for card in cards.values()} == {
        ("neighbours", "crow", None)
    }
