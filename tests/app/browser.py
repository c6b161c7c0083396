"""The app in a real browser: one Chromium for the tests of a module, a context and a server for each test."""

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from benchmarks.browser import CHROMIUM, chromium, serving
from gradebook.storage.events import VERDICTS, Event
from gradebook.storage.store import Store

served = partial(serving, quiet=False)  # prints the server's errors if a test fails


@pytest.fixture
def address(real_store: Store, tmp_path: Path) -> Iterator[str]:
    with served(real_store.project.root, folder=tmp_path) as address:
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed: apt-get install chromium")
    expect.set_options(timeout=60_000)
    with chromium() as browser:
        yield browser


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page without cookies or storage of an earlier test."""
    with browser.new_context(viewport={"width": 1440, "height": 1000}) as context:
        context.set_default_timeout(60_000)
        yield context.new_page()


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
