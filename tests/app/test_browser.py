"""The whole way in a real browser: open, look, press a key, find the event in the log."""

import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect, sync_playwright

import app.main
from storage.events import Kind
from storage.project import create_project
from storage.store import Store, open_store
from tests.app.conftest import CLASSES, HOSTILE, fill

pytestmark = pytest.mark.browser

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]


@pytest.fixture
def real_store(tmp_path: Path) -> Store:
    store = open_store(create_project(tmp_path / "birds", CLASSES).root)
    fill(store, tmp_path / "pictures")
    return store


@pytest.fixture
def address(real_store: Store, tmp_path: Path) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", app.main.__file__, "--server.headless", "true"]
    command += ["--server.port", str(port), "--server.fileWatcherType", "none", "--", str(real_store.project.root)]
    server = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL)
    try:
        wait_for(server, f"http://127.0.0.1:{port}/_stcore/health")
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


@pytest.fixture
def page() -> Iterator:
    if CHROMIUM is None:
        pytest.skip("no Chromium: apt-get install chromium")
    expect.set_options(timeout=60_000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1440, "height": 1000})
        page.set_default_timeout(60_000)
        yield page
        browser.close()


def wait_for(server: subprocess.Popen, address: str) -> None:
    deadline = time.monotonic() + 60
    while server.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except OSError:
            time.sleep(0.1)
    pytest.fail("streamlit does not answer")


def settled(page: Page) -> None:
    """Waits until the page's script is not running any more: a key pressed before that may find no button."""
    expect(page.get_by_test_id("stStatusWidget")).to_have_count(0)


def test_a_key_labels_the_framed_image_and_undo_takes_it_back(page, address, real_store):
    said = []
    page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
    page.goto(address)
    page.get_by_role("heading", name="birds").wait_for()
    paper = "getComputedStyle(document.querySelector('.stApp')).backgroundColor"
    assert page.evaluate(paper) == "rgb(252, 250, 245)", "our settings are read wherever the server is started"
    page.get_by_role("link", name="Review").first.click()
    expect(page.locator(".st-key-grid [class*=st-key-tile-] img")).to_have_count(5)  # the page is drawn tile by tile
    settled(page)
    page.keyboard.press("3")
    page.wait_for_selector("[class*=st-key-undo-]")
    answer = real_store.log.read()[-1]
    assert (answer.kind, answer.label) == (Kind.RELABELLED, HOSTILE)
    tile = page.locator(f".st-key-tile-{answer.sample_id}")
    expect(tile).to_contain_text(HOSTILE)  # a label is shown as it is
    tile.get_by_text("Record").click()
    page.get_by_role("heading", name=HOSTILE).wait_for()
    assert f"sample={answer.sample_id}" in page.url
    page.get_by_text("Back to review").click()
    expect(page.locator(".st-key-grid [class*=st-key-tile-] img").first).to_be_visible()
    settled(page)
    page.keyboard.press("u")
    page.wait_for_selector("[class*=st-key-undo-]", state="detached")
    assert real_store.log.read()[-1].kind is Kind.RETRACTED
    assert said == [], "no script of a label ran"
