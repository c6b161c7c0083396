"""Makes the pictures of the documents from the demo's project, in a real browser.

gradebook demo && python docs/pictures.py demo/project
"""

import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

HERE = Path(__file__).parent
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
SIZE = {"width": 1440, "height": 900}  # pixels


def main(project: str) -> None:
    """Writes review.png, record.png and train.png beside this file."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", str(HERE.parent / "app" / "main.py")]
    options = ["--server.port", str(port), "--server.address", "127.0.0.1", "--server.headless", "true"]
    server = subprocess.Popen([*command, *options, "--", project])
    try:
        _wait(f"http://127.0.0.1:{port}/_stcore/health")
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
            page = browser.new_page(viewport=SIZE)
            _pictures(page, f"http://127.0.0.1:{port}")
            browser.close()
    finally:
        server.terminate()
        server.wait()


def _pictures(page: Page, address: str) -> None:
    for name in ("train", "review"):
        page.goto(f"{address}/{name}")
        _settled(page)
        page.screenshot(path=HERE / f"{name}.png")
    page.keyboard.press("h")
    _settled(page)
    page.screenshot(path=HERE / "record.png")


def _settled(page: Page) -> None:
    page.get_by_role("heading").first.wait_for(timeout=60_000)
    page.wait_for_function("!document.querySelector('[data-testid=\"stStatusWidget\"]')", timeout=60_000)
    page.wait_for_timeout(5_000)  # plots load and draw themselves in a moment of their own
    page.wait_for_function("!document.querySelector('[data-testid=\"stSkeleton\"]')", timeout=60_000)
    page.wait_for_timeout(1_000)


def _wait(address: str) -> None:
    for _ in range(300):
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    raise SystemExit("the app does not start: see what it printed above")


if __name__ == "__main__":
    main(sys.argv[1])
