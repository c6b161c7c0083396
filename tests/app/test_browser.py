"""The app in a real browser: open it, press a key, find the event in the log."""

import re
import time

import pytest
from playwright.sync_api import Locator, Page, expect

from gradebook.storage.events import Kind
from gradebook.storage.project import read_project
from tests.app.browser import review, written
from tests.app.conftest import HOSTILE, TRAIN

pytestmark = pytest.mark.browser


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


@pytest.mark.slow
def test_a_new_class_is_created_by_typing_it_and_undo_takes_back_a_skip(page, address, real_store):
    page.goto(f"{address}/review")
    first = review(page).get_attribute("data-current")
    page.keyboard.press("s")
    expect(page.locator(".review")).not_to_have_attribute("data-current", first)
    page.keyboard.press("u")
    expect(page.locator(".review")).to_have_attribute("data-current", first)
    page.keyboard.press("/")
    page.keyboard.type("wren")
    expect(page.locator(".review .finder button")).to_have_text("⏎Create wren")
    page.keyboard.press("Enter")
    (answer,) = written(real_store, 1)
    assert (answer.label, answer.sample_id) == ("wren", first)
    assert read_project(real_store.project.root).classes[-1] == "wren"
    expect(page.locator(".review .classes button").filter(has_text="wren")).to_be_visible()
    page.keyboard.press("ArrowLeft")
    expect(page.locator(".review")).to_have_attribute("data-current", first)


@pytest.mark.slow
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


@pytest.mark.slow
def test_two_reviewers_see_different_images_and_no_verdict_is_lost(browser, page, address, real_store):
    """Two browsers with sessions of their own, pressing in turns until the queue is at its end."""
    other = browser.new_page()
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_the_overview_draws_its_second_pass(page, address):
    page.goto(address)
    expect(page.get_by_test_id("stMetric").first).to_be_visible()
    expect(page.get_by_role("heading", name="Labels per class")).to_be_visible()
    open_page(page, "Map")
    open_page(page, "Overview", heading=page.get_by_role("heading", name="Runs"))


@pytest.mark.slow
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
