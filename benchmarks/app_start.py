"""How long the app takes from its command to its first page: measured in Chromium, beside an empty page of Streamlit's.

    python -m benchmarks.app_start PROJECT --rounds 5

Each round starts a process of its own for either, in turns; the browser runs before. Without rounds of warming up,
files may come from disk in the first one, which is why it is told apart. The last row is a second visit to the same
server, whose modules are loaded by then, in a browser that has kept nothing.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from benchmarks.browser import chromium, serving
from gradebook.pipelines.process.progress import silence_libraries
from gradebook.pipelines.studies.method_comparison import machine

EMPTY = """import streamlit as st

def page():
    st.metric("one", 1)

st.navigation([st.Page(page, title="One"), st.Page(page, title="Two", url_path="two")]).run()
"""

WHAT = (
    "the server answers",
    "the page's frame is drawn",
    "the overview's numbers are drawn",
    "(from asking for the page a second time) the numbers are drawn",
)
NUMBERS = "[data-testid=stMetric]"
PAUSE = 3.0  # seconds between the two visits


@dataclass(frozen=True, slots=True, kw_only=True)
class AppStart:
    """What to measure."""

    project: Annotated[Positional[Path], arg(help="a project with images")]
    rounds: int = 5


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the figures; returns the exit status."""
    import tyro

    silence_libraries()
    given = list(sys.argv[1:] if arguments is None else arguments)
    asked = tyro.cli(AppStart, args=given, prog="benchmarks.app_start", description=__doc__)
    with chromium() as browser, tempfile.TemporaryDirectory() as folder:
        empty = Path(folder) / "empty.py"
        empty.write_text(EMPTY, encoding="utf-8")
        sides = partial(serving, asked.project), partial(serving, script=empty)
        rounds = [[_started(browser, side) for side in sides] for _ in range(asked.rounds)]
    print(f"python -m benchmarks.app_start {' '.join(given)}, {date.today()}, {machine()}\n")
    print("| seconds from the command to | first | median | longest | empty page, median |")
    print("| --- | --- | --- | --- | --- |")
    for n, what in enumerate(WHAT):
        ours, bare = ([one[side][n] for one in rounds] for side in (0, 1))
        middle = [statistics.median(times) for times in (ours, bare)]
        print(f"| {what} | {ours[0]:.1f} | {middle[0]:.1f} | {max(ours):.1f} | {middle[1]:.1f} |")
    return 0


def _started(browser: Any, served: Callable[[], AbstractContextManager[str]]) -> tuple[float, ...]:
    began = time.perf_counter()
    with served() as address:
        answers = time.perf_counter() - began
        page = browser.new_page()
        page.goto(address)
        page.wait_for_selector("[data-testid=stSidebar] a", timeout=60_000)
        frame = time.perf_counter() - began
        page.wait_for_selector(NUMBERS, timeout=60_000)
        drawn = time.perf_counter() - began
        page.wait_for_timeout(PAUSE * 1000)
        page.close()
        page, asked = browser.new_page(), time.perf_counter()
        page.goto(address)
        page.wait_for_selector(NUMBERS, timeout=60_000)
        again = time.perf_counter() - asked
        page.close()
    return answers, frame, drawn, again


if __name__ == "__main__":
    sys.exit(main())
