"""Measures the start of the app in Chromium, from the command to the first page, next to an empty Streamlit page.

    python -m benchmarks.app_start PROJECT --rounds 5

Each round starts a new process of each, in turn; the browser is already running. There are no warm-up rounds, so the
first round may read files from disk and is shown in its own column. The last row is a second visit to the same server
from a browser without cache.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from benchmarks.browser import chromium, serving
from gradebook.pipelines.process.progress import silence_libraries
from gradebook.pipelines.studies.command_line import footer

EMPTY = """import streamlit as st

def page():
    st.metric("one", 1)

st.navigation([st.Page(page, title="One"), st.Page(page, title="Two", url_path="two")]).run()
"""

MILESTONES = (
    "the server answers",
    "the page's frame is shown",
    "the overview's numbers are shown",
    "the numbers are shown again (from the second visit)",
)
NUMBERS = "[data-testid=stMetric]"
PAUSE_S = 3.0  # between the two visits


@dataclass(frozen=True, slots=True, kw_only=True)
class AppStart:
    """Options of the benchmark."""

    project: Annotated[Positional[Path], arg(help="a project with images")]
    rounds: int = 5
    """Number of rounds."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the figures; returns the exit status."""
    import tyro

    silence_libraries()
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = tyro.cli(AppStart, args=given, prog="python -m benchmarks.app_start", description=__doc__)
    with chromium() as browser, tempfile.TemporaryDirectory() as folder:
        empty = Path(folder) / "empty.py"
        empty.write_text(EMPTY, encoding="utf-8")
        servers = partial(serving, options.project), partial(serving, script=empty)
        rounds = [[_time_start(browser, server) for server in servers] for _ in range(options.rounds)]
    print(f"{footer('-m benchmarks.app_start', given)}\n")
    print("| seconds from the command to | first | median | longest | empty page, median |")
    print("| --- | --- | --- | --- | --- |")
    for n, milestone in enumerate(MILESTONES):
        app, empty_page = ([one[server][n] for one in rounds] for server in (0, 1))
        medians = [statistics.median(times) for times in (app, empty_page)]
        print(f"| {milestone} | {app[0]:.1f} | {medians[0]:.1f} | {max(app):.1f} | {medians[1]:.1f} |")
    return 0


def _time_start(browser: Any, server: Callable[[], AbstractContextManager[str]]) -> tuple[float, ...]:
    """Returns the seconds to each of `MILESTONES`."""
    began = time.perf_counter()
    with server() as address:
        answers = time.perf_counter() - began
        page = browser.new_page()
        page.goto(address)
        page.wait_for_selector("[data-testid=stSidebar] a", timeout=60_000)
        frame = time.perf_counter() - began
        page.wait_for_selector(NUMBERS, timeout=60_000)
        numbers = time.perf_counter() - began
        page.wait_for_timeout(PAUSE_S * 1000)
        page.close()
        page, visited = browser.new_page(), time.perf_counter()
        page.goto(address)
        page.wait_for_selector(NUMBERS, timeout=60_000)
        again = time.perf_counter() - visited
        page.close()
    return answers, frame, numbers, again


if __name__ == "__main__":
    sys.exit(main())
