"""The app in a real browser: open it, press a key, find the event in the log."""

import re
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from benchmarks.browser import CHROMIUM, chromium, serving
from gradebook.storage.events import VERDICTS, Event, Kind
from gradebook.storage.project import create_project
from gradebook.storage.store import Store, open_store
from tests.app.conftest import CLASSES, HOSTILE, TRAIN, fill

pytestmark = pytest.mark.browser

served = partial(serving, quiet=False)  # a test that fails shows what the server complained of


@pytest.fixture
def real_store(tmp_path: Path) -> Store:
    store = open_store(create_project(tmp_path / "birds", CLASSES).root)
    fill(store, tmp_path / "pictures")
    return store


@pytest.fixture
def address(real_store: Store, tmp_path: Path) -> Iterator[str]:
    with served(real_store.project.root, folder=tmp_path) as address:
        yield address


@pytest.fixture
def page() -> Iterator:
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed: apt-get install chromium")
    expect.set_options(timeout=60_000)
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1440, "height": 1000})
        page.set_default_timeout(60_000)
        yield page


def review(page: Page) -> Locator:
    """Returns the review component once it shows an image."""
    page.locator(".review img").first.wait_for()
    return page.locator(".review")


def written(store: Store, many: int) -> list[Event]:
    """Returns the verdicts in the log once there are so many."""
    deadline = time.monotonic() + 30
    while len(verdicts := [e for e in store.log.read() if e.kind in VERDICTS]) < many and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(verdicts) == many
    return verdicts


def test_a_key_labels_the_image_and_undo_retracts_the_label(page, address, real_store):
    dialogs = []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    page.goto(address)
    page.get_by_role("heading", name="birds").wait_for()
    paper = "getComputedStyle(document.querySelector('.stApp')).backgroundColor"
    assert page.evaluate(paper) == "rgb(252, 250, 245)", "our settings are read wherever the server is started"
    page.get_by_role("link", name="Review").first.click()
    first = review(page).get_attribute("data-current")
    expect(page.locator(".review figcaption").first).to_contain_text("<b>&.png")  # a file's name is shown as it is
    page.keyboard.press("3")
    expect(page.locator(".review")).not_to_have_attribute("data-current", first)
    (answer,) = written(real_store, 1)
    assert (answer.kind, answer.label, answer.sample_id) == (Kind.RELABELLED, HOSTILE, first)
    page.keyboard.press("ArrowLeft")
    expect(page.locator(".review .big")).to_have_text(HOSTILE)  # a label is shown as it is
    page.keyboard.press("h")
    page.get_by_role("heading", name=HOSTILE).wait_for()
    assert f"sample={first}" in page.url
    page.get_by_text("Back to review").click()
    second = review(page).get_attribute("data-current")
    assert second != first
    page.keyboard.press("u")
    expect(page.locator(".review")).to_have_attribute("data-current", first)
    deadline = time.monotonic() + 30
    while real_store.log.read()[-1].kind is not Kind.RETRACTED and time.monotonic() < deadline:
        time.sleep(0.05)
    assert real_store.log.read()[-1].ref == answer.event_id
    assert dialogs == [], "no script of a label or of a file's name ran"
    assert page.locator("[onerror]").count() == 0


def test_a_grid_is_labelled_by_keyboard_alone(page, address, real_store):
    page.goto(f"{address}/review")
    review(page)
    page.get_by_role("radio", name="Grid").click()
    expect(page.locator(".review .tile")).to_have_count(TRAIN)
    tiles = [tile.get_attribute("data-focus") for tile in page.locator(".review .tile").all()]
    for key in ("ArrowRight", " ", "ArrowRight", " ", "2"):
        page.keyboard.press(key)
    answers = written(real_store, 2)
    assert {(e.sample_id, e.label) for e in answers} == {(tiles[1], "heron"), (tiles[2], "heron")}
    expect(page.locator(".review .tile.decided")).to_have_count(2)
    page.keyboard.press("Tab")
    focused = "getComputedStyle(document.querySelector('.stApp')).colorScheme"
    assert page.evaluate(focused)


def test_two_reviewers_see_different_images_and_no_verdict_is_lost(page, address, real_store):
    """Two browsers with sessions of their own, pressing in turns until the queue is at its end."""
    other = page.context.browser.new_page()
    reviewers = {"ada": page, "bob": other}
    for name, one in reviewers.items():
        one.goto(f"{address}/review")
        field = one.get_by_role("textbox", name="Your name")
        field.fill(name)
        field.press("Enter")
        field.blur()
        if name == "ada":
            review(one)
    shown = []
    while page.locator(".review").get_attribute("data-current"):
        at = page.locator(".review").get_attribute("data-current")
        shown.append(at)
        page.keyboard.press("1")
        expect(page.locator(".review")).not_to_have_attribute("data-current", at)
        page.wait_for_timeout(100)  # a key that comes sooner than an eye can see is a bounce, and decides nothing
    answers = written(real_store, TRAIN)
    assert [e.sample_id for e in answers] == shown and {e.actor for e in answers} == {"ada"}
    expect(other.locator(".review .empty")).to_contain_text("another reviewer's screen")
    other.close()


def test_filters_survive_other_pages_and_reloads(page, address):
    page.goto(f"{address}/review")
    review(page)
    page.get_by_role("combobox", name="Order by").click()
    page.get_by_role("option", name="Small margin").click()
    page.get_by_role("radio", name="Grid").click()
    page.wait_for_url(re.compile("reason=.*layout=Grid|layout=Grid.*reason="))
    page.locator(".review .tile").first.wait_for()
    for leave in ("Map", "Evolution"):
        open_page(page, leave)
        open_page(page, "Review")
        chosen_are_kept(page)
    page.reload()
    chosen_are_kept(page)


def chosen_are_kept(page: Page) -> None:
    expect(page.get_by_role("combobox", name="Order by")).to_have_value("Small margin")
    expect(page.get_by_role("radio", name="Grid")).to_be_checked()


def test_the_overview_draws_its_second_pass(page, address):
    page.goto(address)
    expect(page.get_by_test_id("stMetric").first).to_be_visible()
    expect(page.get_by_role("heading", name="Labels per class")).to_be_visible()
    open_page(page, "Map")
    open_page(page, "Overview", heading=page.get_by_role("heading", name="Runs"))


def test_the_sidebar_link_of_a_page_resets_it(page, address, real_store):
    sample = real_store.catalog.samples()[0].sample_id
    page.goto(f"{address}/evolution?sample={sample}")
    expect(page.get_by_role("radio", name="Image")).to_be_checked()
    open_page(page, "Evolution")
    expect(page.get_by_role("radio", name="Run")).to_be_checked()
    assert "sample" not in page.url


def open_page(page: Page, name: str, heading: Locator | None = None) -> None:
    page.get_by_test_id("stSidebar").get_by_role("link", name=name).click()
    (heading or page.get_by_role("heading", name=name, exact=True)).first.wait_for()
