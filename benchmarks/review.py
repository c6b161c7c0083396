"""Measures how long a reviewer waits for the next image, in Chromium on a project of 10,000 samples.

    python -m benchmarks.review --presses 100

Makes the project (`benchmarks.large_project`), opens its review page and presses the keys of classes. It measures the
time from a key's time stamp to the frame that shows the next image, and to the server's acknowledgement that the
verdict is in the log.

    python -m benchmarks.review --presses 30 --samples 2000 --live

measures the same while a live session trains on each label.
"""

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.browser import chromium, serving
from benchmarks.large_project import make_project
from benchmarks.session import is_up_to_date, wait_until
from gradebook.pipelines.process.progress import silence_libraries
from gradebook.pipelines.studies.command_line import footer
from gradebook.storage.project import SETTINGS
from gradebook.storage.store import Store, open_store

KEYS = "123456789"
CLOCK = """async () => {
  const root = [...document.querySelectorAll('*')].find((e) => e.shadowRoot?.querySelector('.review')).shadowRoot;
  const review = root.querySelector('.review');
  window.times = [];
  window.addEventListener('keydown', (event) => {
    const before = review.dataset.current, given = event.timeStamp;
    const look = () => {
      const image = review.querySelector('figure img');
      if (review.dataset.current === before || !image?.complete) return requestAnimationFrame(look);
      image.decode().then(() => requestAnimationFrame(() => setTimeout(() => {
        window.times.push(performance.now() - given);
      })));
    };
    look();
  }, { capture: true });
}"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewTime:
    """Options of the benchmark."""

    presses: int = 100
    """Number of key presses."""
    samples: int = 10_000
    """Samples of the project."""
    pause: float = 0.5
    """Seconds between two key presses."""
    project: Path | None = None
    """Project to use instead of a temporary one; it gets the verdicts, and is made if it does not exist."""
    live: bool = False
    """Train in a live session meanwhile."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the figures; returns the exit status."""
    import tyro

    silence_libraries()
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = tyro.cli(ReviewTime, args=given, prog="python -m benchmarks.review", description=__doc__)
    with tempfile.TemporaryDirectory() if options.project is None else nullcontext(options.project) as directory:
        root = Path(directory)
        if not (root / SETTINGS).exists():
            make_project(root, options.samples)
        store = open_store(root)
        before = len(store.log.read())
        meanwhile = live_session(store) if options.live else nullcontext()
        with meanwhile, serving(root) as address, chromium() as browser:
            shown, acknowledged = measure(browser, f"{address}/review", options)
            load = os.getloadavg()[0]
        written = len({e.sample_id for e in store.log.read(before) if e.kind in ("accepted", "relabelled")})
    print(f"{footer('-m benchmarks.review', given)}\n")
    print(
        f"{options.samples:,} samples, {len(shown)} presses, {written} verdicts in the log; "
        f"{load:.1f} processes ran or waited for a core, mean of a minute\n"
    )
    print("| milliseconds from the key | median | 95 % | longest |\n| --- | --- | --- | --- |")
    print(_row("the next image is shown", shown))
    print(_row("the verdict is in the log", acknowledged))
    return 0 if written == len(shown) == options.presses else 1


@contextmanager
def live_session(store: Store) -> Iterator[None]:
    """Runs a session while the block runs, from its first snapshot on; it does not finish its run."""
    command = [sys.executable, "-P", "-m", "gradebook.pipelines.cli.main", "session", str(store.project.root)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            wait_until(store, is_up_to_date)
            yield
        finally:
            process.kill()


def measure(browser: Any, address: str, options: ReviewTime) -> tuple[list[float], list[float]]:
    """Returns the milliseconds of each key press until the next image is shown and until the server acknowledges it."""
    page = browser.new_page(viewport={"width": 1440, "height": 1000})
    page.goto(address)
    page.wait_for_selector(".review figure img", timeout=120_000)
    page.wait_for_timeout(2_000)
    page.evaluate(CLOCK)
    acknowledged = []
    for n in range(options.presses):
        page.keyboard.press(KEYS[n % len(KEYS)])
        acknowledged.append(
            page.evaluate(
                "async () => { const from = performance.now(), review = [...document.querySelectorAll('*')]"
                ".find((e) => e.shadowRoot?.querySelector('.review')).shadowRoot.querySelector('.review');"
                " while (review.dataset.pending !== '0') await new Promise((r) => setTimeout(r, 1));"
                " return performance.now() - from; }"
            )
        )
        page.wait_for_timeout(1000 * options.pause)
    return page.evaluate("window.times"), acknowledged


def _row(name: str, times: list[float]) -> str:
    percentile_95 = statistics.quantiles(times, n=20)[-1]
    return f"| {name} | {statistics.median(times):.0f} | {percentile_95:.0f} | {max(times):.0f} |"


if __name__ == "__main__":
    sys.exit(main())
