"""Verdicts given just before the review page is left, in a real browser: none is lost, however one leaves."""

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from gradebook.app import outbox_component
from gradebook.app.context import PageContext
from gradebook.pipelines.curation import labelling
from gradebook.pipelines.importing.import_images import import_images
from gradebook.storage.project import create_project
from gradebook.storage.store import Store, open_store
from tests.app.browser import review, written
from tests.app.test_browser import open_page
from tests.attack.rounds import current_round, is_in_round

pytestmark = [pytest.mark.browser, pytest.mark.slow]

SEED = 20261130
KEYS = 6  # verdicts before the page is left
MOMENTS = (0, 1, 5, 20, 60, 150)  # milliseconds from the last key until then
IMAGES = 110  # a window that was closed leases eight for a minute
CLASSES = ("crow", "heron")


@pytest.fixture
def real_store(tmp_path: Path) -> Store:
    store = open_store(create_project(tmp_path / "birds", CLASSES).root)
    for n in range(IMAGES):
        path = tmp_path / "pictures" / f"{n}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.random.default_rng(n).integers(0, 256, (8, 8, 3), np.uint8)).save(path)
    import_images(store, tmp_path / "pictures")
    return store


def press_keys(page: Page, draw: random.Random) -> list[tuple[str, str]]:
    """Presses keys of classes 0.12 to 0.4 s apart and returns what each decided: sample and label."""
    decided = []
    for _ in range(KEYS):
        key = draw.choice("12")
        decided.append((page.locator(".review").get_attribute("data-current"), CLASSES[int(key) - 1]))
        page.keyboard.press(key)
        page.wait_for_timeout(draw.uniform(120, 400))
    return decided


def click_in_sidebar(page: Page) -> None:
    page.get_by_test_id("stSidebar").get_by_role("link", name="Overview").click()


def click_in_sidebar_and_back(page: Page) -> None:
    click_in_sidebar(page)
    open_page(page, "Review")


def reload(page: Page) -> None:
    page.reload(wait_until="commit")


def go_elsewhere(page: Page) -> None:
    page.goto("about:blank")


def close(page: Page) -> None:
    page.close(run_before_unload=True)


WAYS: list[Callable[[Page], None]] = [click_in_sidebar, click_in_sidebar_and_back, reload, go_elsewhere, close]


@pytest.mark.parametrize("leave", WAYS)
def test_verdicts_given_just_before_the_page_is_left_arrive(leave, page, address, real_store, record_property):
    draw, given, context = random.Random(f"{SEED} {current_round()} {leave.__name__}"), [], page.context
    for n, moment in enumerate(MOMENTS):
        if not is_in_round(n):
            continue
        current = context.new_page()
        current.goto(f"{address}/review")
        review(current)
        given += press_keys(current, draw)
        current.wait_for_timeout(moment)
        leave(current)
        answers = written(real_store, len(given))
        assert [(e.sample_id, e.label) for e in answers] == given
        if leave is not close:
            current.close()
    record_property("attempts", len(given))


STORE = """([project, id, sample, label]) => localStorage.setItem(`gradebook-action:${project}:${id}`, JSON.stringify({
    action: { action_id: id, action: "label", sample_id: sample, label, expected: null, batch: "" },
    owner: "", tab: "a window that is gone", at: 0, order: 0 }))"""


def test_the_next_page_says_which_verdicts_arrived_and_which_did_not(page, address, real_store):
    decided, free = real_store.catalog.ids()[:2]
    labelling.label_sample(real_store, decided, "crow")
    project = outbox_component.storage_name(PageContext(real_store, None, "ada"))
    page.goto(address)
    page.locator(".outbox").wait_for(state="attached")
    for n, sample_id in enumerate((decided, free)):
        page.evaluate(STORE, [project, f"{n:032x}", sample_id, "heron"])
    outbox = page.locator(".outbox")
    expect(outbox).to_contain_text("1 verdict given before you left the page is saved.")
    expect(outbox).to_contain_text("has decided this image before you: crow. Your verdict (heron) was not saved.")
    assert {e.sample_id: e.label for e in written(real_store, 2)} == {decided: "crow", free: "heron"}
    assert page.evaluate("Object.keys(localStorage).filter((key) => key.startsWith('gradebook-action:'))") == []
