"""How long a reviewer waits for the next image: measured in Chromium on a project of 10,000 samples.

    python -m benchmarks.review --presses 100

Makes the project (`benchmarks.large_project`), opens its review page and presses keys of classes. From the key's own
time stamp to the frame that shows the next image, decoded, is one time; to the server's word that the verdict is in the
log is another. Pauses between presses are a reviewer's.
"""

import statistics
import sys
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from benchmarks.browser import chromium, serving
from benchmarks.large_project import make_project
from gradebook.pipelines.process.progress import silence_libraries
from gradebook.pipelines.studies.method_comparison import machine
from gradebook.storage.project import SETTINGS
from gradebook.storage.store import open_store

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
    """What to measure."""

    presses: int = 100
    samples: int = 10_000
    pause: float = 0.5
    """Seconds between two presses."""
    project: Path | None = None
    """A project to keep and use again, which gets the verdicts; made if it is not there."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the figures; returns the exit status."""
    import tyro

    silence_libraries()
    given = list(sys.argv[1:] if arguments is None else arguments)
    asked = tyro.cli(ReviewTime, args=given, prog="benchmarks.review", description=__doc__)
    with tempfile.TemporaryDirectory() if asked.project is None else nullcontext(asked.project) as directory:
        root = Path(directory)
        if not (root / SETTINGS).exists():
            make_project(root, asked.samples)
        log = open_store(root).log
        before = len(log.read())
        with serving(root) as address, chromium() as browser:
            shown, heard = measured(browser, f"{address}/review", asked)
        written = len({e.sample_id for e in log.read(before) if e.kind in ("accepted", "relabelled")})
    print(f"python -m benchmarks.review {' '.join(given)}, {date.today()}, {machine()}\n")
    print(f"{asked.samples:,} samples, {len(shown)} presses, {written} verdicts in the log\n")
    print("| milliseconds from the key | median | 95 % | longest |\n| --- | --- | --- | --- |")
    print(_line("the next image is painted", shown))
    print(_line("the verdict is in the log", heard))
    return 0 if written == len(shown) == asked.presses else 1


def measured(browser: Any, address: str, asked: ReviewTime) -> tuple[list[float], list[float]]:
    """Returns for each press how long it took until the next image was painted, and until the server had heard."""
    page = browser.new_page(viewport={"width": 1440, "height": 1000})
    page.goto(address)
    page.wait_for_selector(".review figure img", timeout=120_000)
    page.wait_for_timeout(2_000)
    page.evaluate(CLOCK)
    heard = []
    for n in range(asked.presses):
        page.keyboard.press(KEYS[n % len(KEYS)])
        heard.append(
            page.evaluate(
                "async () => { const from = performance.now(), review = [...document.querySelectorAll('*')]"
                ".find((e) => e.shadowRoot?.querySelector('.review')).shadowRoot.querySelector('.review');"
                " while (review.dataset.pending !== '0') await new Promise((r) => setTimeout(r, 1));"
                " return performance.now() - from; }"
            )
        )
        page.wait_for_timeout(1000 * asked.pause)
    return page.evaluate("window.times"), heard


def _line(name: str, times: list[float]) -> str:
    ninety_five = statistics.quantiles(times, n=20)[-1]
    return f"| {name} | {statistics.median(times):.0f} | {ninety_five:.0f} | {max(times):.0f} |"


if __name__ == "__main__":
    sys.exit(main())
