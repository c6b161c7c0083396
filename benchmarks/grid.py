"""Measures how long a reviewer waits for a grid of 200 photographs, in Chromium, with and without cached thumbnails.

    python -m benchmarks.grid --visits 5

Makes a project of large photographs (`benchmarks.large_project`, which caches thumbnails as an import does) and opens
grids in new tabs, in turn with and without the thumbnails. The images of a grid are labelled afterwards, so that none
is shown twice from the server's memory.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from shutil import rmtree
from typing import Any

from benchmarks.browser import chromium, serving
from benchmarks.large_project import make_project
from gradebook.pipelines.curation import leases
from gradebook.pipelines.process.progress import silence_libraries
from gradebook.pipelines.studies.command_line import footer
from gradebook.storage.cache_files import thumbnails
from gradebook.storage.events import Kind, event, replay
from gradebook.storage.store import Store

IS_COMPLETE = """(count) => {
  const host = [...document.querySelectorAll('*')].find((e) => e.shadowRoot?.querySelector('.tiles'));
  const images = [...(host?.shadowRoot.querySelectorAll('.tiles img') ?? [])];
  return images.length === count && images.every((image) => image.complete && image.naturalWidth);
}"""
LABELLED = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class GridTime:
    """Options of the benchmark."""

    visits: int = 5
    """Grids with, and grids without thumbnails."""
    images: int = 200
    """Images of a grid: 24, 60, 120 or 200."""
    width: int = 4032
    """Width of the photographs, in pixels."""
    height: int = 3024
    """Height of the photographs, in pixels."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the figures; returns the exit status."""
    import tyro

    silence_libraries()
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = tyro.cli(GridTime, args=given, prog="python -m benchmarks.grid", description=__doc__)
    with tempfile.TemporaryDirectory() as directory:
        root, samples = Path(directory), (2 * options.visits + 1) * options.images + LABELLED
        store = make_project(root, samples, labelled=LABELLED, width=options.width, height=options.height)
        with serving(root) as address, chromium() as browser:
            address = f"{address}/review?layout=Grid&size={options.images}"
            open_grid = partial(visit, browser, address, options.images, store)
            open_grid()  # a warm-up: the server loads its libraries
            times = {"cached": list[float](), "not cached": list[float]()}
            for _ in range(options.visits):
                times["cached"].append(open_grid())
                with _moved_away(thumbnails(store.project).directory):
                    times["not cached"].append(open_grid())
    print(f"{footer('-m benchmarks.grid', given)}\n")
    pixels = f"{options.width} by {options.height} pixels"
    print(f"{options.images} photographs of {pixels}, {options.visits} grids of each kind\n")
    print("| thumbnails | seconds until the grid is complete, median | minimum | maximum |\n| --- | --- | --- | --- |")
    for name, taken in times.items():
        print(f"| {name} | {statistics.median(taken):.2f} | {min(taken):.2f} | {max(taken):.2f} |")
    ratio = statistics.median(a / b for a, b in zip(times["not cached"], times["cached"], strict=True))
    print(f"\nratio of not cached to cached, median of the pairs: {ratio:.2f}")
    return 0


def visit(browser: Any, address: str, images: int, store: Store) -> float:
    """Returns the seconds from opening the page until all images of its grid are decoded; then labels them."""
    page = browser.new_page(viewport={"width": 1440, "height": 1000})
    began = time.perf_counter()
    page.goto(address)
    page.wait_for_function(IS_COMPLETE, arg=images, timeout=120_000)
    taken = time.perf_counter() - began
    page.close()
    shown, labelled = leases.held_by_others(store.project, "nobody"), replay(store.log.read())
    label = store.project.classes[0]
    store.log.append([event(Kind.RELABELLED, i, label, actor="the benchmark") for i in shown if i not in labelled])
    return taken


@contextmanager
def _moved_away(directory: Path) -> Iterator[None]:
    """Moves a directory away until the end of the block."""
    aside = directory.rename(directory.with_name("aside"))
    try:
        yield
    finally:
        rmtree(directory, ignore_errors=True)  # files that were written meanwhile
        aside.rename(directory)


if __name__ == "__main__":
    sys.exit(main())
