"""A run that is resumed on the page Train in a real browser: what the page shows moves on by itself."""

import sys
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from gradebook.pipelines.jobs import launcher
from gradebook.pipelines.process.run_status import State, status_now, write_status
from gradebook.storage.store import Store
from tests.app.browser import served
from tests.app.conftest import a_run

pytestmark = [pytest.mark.browser, pytest.mark.slow]

ASLEEP = f"""
from gradebook.app import shell
from gradebook.pipelines.jobs import launcher
launcher._launch = lambda: [{sys.executable!r}, "-c", "import time; time.sleep(120)"]
shell.main()
"""


def test_a_resumed_run_is_followed_without_a_reload(page: Page, real_store: Store, tmp_path: Path):
    run = a_run(real_store, state=State.STOPPED)
    (run.path / "checkpoints" / "step-000010").mkdir(parents=True)
    script = tmp_path / "asleep.py"
    script.write_text(ASLEEP)
    with served(real_store.project.root, script=script, folder=tmp_path) as address:
        page.goto(f"{address}/train")
        page.get_by_role("button", name="Resume", exact=True).click(delay=60)
        expect(page.locator("[class*='st-key-stop-'] button")).to_be_visible()
        job = launcher.find_job(run)
        try:
            for step in (11, 12):
                write_status(run.path, status_now(State.RUNNING, pid=job.pid, step=step, steps=20))
                expect(page.get_by_text(f"step {step} of 20", exact=True)).to_be_visible()
        finally:
            launcher.stop(job, timeout=0)
        expect(page.get_by_role("button", name="Resume", exact=True)).to_be_visible()
