"""How long a reviewer waits for a grid of 200 photographs: measured in Chromium, with thumbnails kept and without.

    python -m benchmarks.grid --visits 5

Makes a project of a telephone's photographs (`benchmarks.large_project`, which keeps thumbnails as an import does) and
asks for grids in new tabs, in turn with the thumbnails there and with them away, as they are for images imported
before there were any. What a grid showed is labelled then, so that no image comes twice, out of the server's memory.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path
from shutil import rmtree
from typing import Any

from benchmarks.browser import chromium, serving
from benchmarks.large_project import make_project
from gradebook.pipelines.curation import leases
from gradebook.pipelines.process.progress import silence_libraries
from gradebook.pipelines.studies.method_comparison import machine
from gradebook.storage.cache_files import thumbnails
from gradebook.storage.events import Kind, event, replay
from gradebook.storage.store import Store

STANDS = """(many) => {
  const host = [...document.querySelectorAll('*')].find((e) => e.shadowRoot?.querySelector('.board'));
  const images = [...(host?.shadowRoot.querySelectorAll('img') ?? [])];
  return images.length === many && images.every((image) => image.complete && image.naturalWidth);
}"""
LABELLED = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class GridTime:
    """What to measure."""

    visits: int = 5
    """Grids of each kind."""
    images: int = 200
    """Of a grid: 24, 60, 120 or 200."""
    width: int = 4032
    """Pixels of each photograph."""
    height: int = 3024


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the figures; returns the exit status."""
    import tyro

    silence_libraries()
    given = list(sys.argv[1:] if arguments is None else arguments)
    asked = tyro.cli(GridTime, args=given, prog="benchmarks.grid", description=__doc__)
    with tempfile.TemporaryDirectory() as directory:
        root, samples = Path(directory), (2 * asked.visits + 1) * asked.images + LABELLED
        store = make_project(root, samples, labelled=LABELLED, width=asked.width, height=asked.height)
        with serving(root) as address, chromium() as browser:
            address = f"{address}/review?layout=Grid&size={asked.images}"
            look = partial(visit, browser, address, asked.images, store)
            look()  # the first loads the server's libraries
            times = {"kept": list[float](), "not kept": list[float]()}
            for _ in range(asked.visits):
                times["kept"].append(look())
                with _away(thumbnails(store.project).directory):
                    times["not kept"].append(look())
    print(f"python -m benchmarks.grid {' '.join(given)}, {date.today()}, {machine()}\n")
    print(f"{asked.images} photographs of {asked.width} by {asked.height} pixels, {asked.visits} grids of each kind\n")
    print("| thumbnails | seconds until the grid stands, median | least | most |\n| --- | --- | --- | --- |")
    for name, taken in times.items():
        print(f"| {name} | {statistics.median(taken):.2f} | {min(taken):.2f} | {max(taken):.2f} |")
    ratio = statistics.median(a / b for a, b in zip(times["not kept"], times["kept"], strict=True))
    print(f"\nnot kept over kept, median of the pairs: {ratio:.2f}")
    return 0


def visit(browser: Any, address: str, images: int, store: Store) -> float:
    """Returns the seconds from asking for a page to a grid of so many images on it, all decoded; labels them then."""
    page = browser.new_page(viewport={"width": 1440, "height": 1000})
    began = time.perf_counter()
    page.goto(address)
    page.wait_for_function(STANDS, arg=images, timeout=120_000)
    taken = time.perf_counter() - began
    page.close()
    seen, labelled = leases.held_by_others(store.project, "nobody"), replay(store.log.read())
    label = store.project.classes[0]
    store.log.append([event(Kind.RELABELLED, i, label, actor="the benchmark") for i in seen if i not in labelled])
    return taken


@contextmanager
def _away(kept: Path) -> Iterator[None]:
    """Takes what an import kept away until the end of the block."""
    aside = kept.rename(kept.with_name("aside"))
    try:
        yield
    finally:
        rmtree(kept, ignore_errors=True)  # what was kept meanwhile
        aside.rename(kept)


if __name__ == "__main__":
    sys.exit(main())
