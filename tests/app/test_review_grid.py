"""The grid of the review page: many images at once."""

import base64
import io

from PIL import Image
from streamlit.testing.v1 import AppTest

from gradebook.pipelines.curation import leases
from gradebook.pipelines.image_cache import as_jpeg
from gradebook.storage.cache_files import thumbnails
from gradebook.storage.events import Kind
from tests.app.test_review_page import draw_review
from tests.app.test_views import drawn, verdicts


def as_grid(page: AppTest) -> AppTest:
    return page.segmented_control(key="layout").set_value("Grid").run()


def test_a_grid_shows_many_keeps_them_in_place_and_takes_many_answers_at_once(desk, rank, ids, board):
    page = as_grid(drawn(draw_review, desk, rank, board))
    assert board.data["grid"] and board.shown == ids
    reads = desk.store.log.version()
    board.presses = [{"press": f"{n:032}", "deed": "label", "id": i, "label": "heron"} for n, i in enumerate(ids[:4])]
    page.button(key="say").click().run()
    assert [e.kind for e in verdicts(desk)] == [Kind.ACCEPTED] * 4
    assert desk.store.log.version() == reads + 8, "proposals and answers"
    assert board.shown == ids, "nothing moves under the hand"
    assert {i: a["label"] for i, a in board.data["answers"].items()} == dict.fromkeys(ids[:4], "heron")
    before = board.data["batch"]
    board.press(page, "more")
    assert board.shown == [ids[4]] and board.data["batch"] != before


def test_a_grid_shows_the_thumbnail_of_a_large_image(desk, rank, ids, board):
    content = as_jpeg(Image.new("RGB", (300, 200), "red"), 300)
    thumbnails(desk.store.project).write(ids[0], content)
    as_grid(drawn(draw_review, desk, rank, board))
    shown = Image.open(io.BytesIO(base64.b64decode(board.card(ids[0])["src"].split(",")[1])))
    assert shown.size == (224, 149) and shown.getpixel((9, 9))[0] > 250


def test_a_grid_leaves_out_what_another_is_looking_at_also_at_the_end_of_the_queue(desk, rank, ids, board):
    others = [*ids[:2], *ids[3:]]
    leases.hold(desk.store.project, "bob elsewhere", others, len(others))
    page = as_grid(drawn(draw_review, desk, rank, board))
    assert board.shown == [ids[2]]
    board.press(page, "label", ids[2], "crow")
    assert board.shown == [ids[2]], "nothing moves under the hand"


def test_a_grid_of_which_all_is_being_looked_at_fills_once_it_is_free(desk, rank, ids, board):
    leases.hold(desk.store.project, "bob elsewhere", ids, len(ids))
    page = as_grid(drawn(draw_review, desk, rank, board))
    assert board.shown == [] and "somebody is looking at it" in board.data["empty"]
    leases.hold(desk.store.project, "bob elsewhere", [], 0)
    board.press(page, "here")
    assert board.shown == ids
