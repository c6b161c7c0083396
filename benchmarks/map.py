"""Measures the map with many points: the time to compute it, and the page in Chromium.

    python -m benchmarks.map --work DIR [--samples 100000] [--no-make]

The samples have synthetic vectors of 40 overlapping clusters, a record of one run, and share a few images. With
--no-make the coordinates are random and only the page is measured.
"""

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks import large_project
from benchmarks.browser import chromium, serving
from gradebook.pipelines.embedding import map_projection
from gradebook.storage.project import create_project
from gradebook.storage.samples import Sample, Split
from gradebook.storage.store import Store, open_store
from gradebook.storage.vectors import Space

CLUSTERS, D, IMAGES, WRITE_BATCH = 40, 1280, 200, 5_000
REPEATS = 5


def main() -> None:
    """Prints the figures as JSON."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.map", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True, help="directory of the project; later calls use it again")
    parser.add_argument("--samples", type=int, default=100_000, help="number of points (default: 100000)")
    parser.add_argument("--no-make", action="store_true", help="use random coordinates instead of computing the map")
    options = parser.parse_args()
    root = options.work / f"map-{options.samples}"
    store = open_store(root) if (root / "gradebook.json").is_file() else _project(root, options.samples)
    results: dict[str, Any] = {"samples": options.samples}
    if options.no_make:
        ids = [s.sample_id for s in store.catalog.samples()]
        xy = np.random.default_rng(0).normal(size=(len(ids), 2)).astype(np.float32)
        map_projection._write_map(store.project, ids, xy, large_project.BACKBONE, 0, "1 0000000000000000 0")
    else:
        before = time.process_time()
        results["make_seconds"] = map_projection.compute_map(store).seconds
        results["make_cpu_seconds"] = round(time.process_time() - before, 1)
    with serving(root) as address, chromium() as browser:
        results |= _page(browser, address)
    print(json.dumps(results))


def _project(root: Path, samples: int) -> Store:
    random = np.random.default_rng(0)
    store = open_store(create_project(root, [f"class {k}" for k in range(large_project.K)]).root)
    images = [root / "pictures" / f"{n}.jpg" for n in range(IMAGES)]
    images[0].parent.mkdir()
    for path in images:
        Image.fromarray(random.integers(0, 256, (64, 64, 3), np.uint8)).save(path)
    ids = [random.bytes(16).hex() for _ in range(samples)]
    store.catalog.add(
        [
            Sample(
                sample_id=i,
                filepath=str(images[n % IMAGES]),
                split=Split.TRAIN,
                width=64,
                height=64,
                fingerprint=bytes(200),
            )
            for n, i in enumerate(ids)
        ],
        [],
    )
    space = Space(backbone=large_project.BACKBONE, weights="none", size=64, dim=D, weak=1, strong=0, seed=0)
    store.vectors.create(space)
    centres, cluster = random.normal(size=(CLUSTERS, D)), random.integers(0, CLUSTERS, samples)
    for first in range(0, samples, WRITE_BATCH):
        some = slice(first, first + WRITE_BATCH)
        vectors = 0.5 * centres[cluster[some]] + random.normal(size=(len(ids[some]), D))
        store.vectors.add(space.backbone, ids[some], vectors[:, None].astype(np.float16))
    large_project.write_run(store, ids, cluster % large_project.K, 300, random)
    return store


def _page(browser: Any, address: str) -> dict[str, Any]:
    """Returns the milliseconds to open the page, to redraw it and to count a lasso's images, and the bytes sent."""
    tab = browser.new_page(viewport={"width": 1440, "height": 1000})
    tab.set_default_timeout(180_000)
    sent = [0]
    tab.on(
        "websocket", lambda socket: socket.on("framereceived", lambda data: sent.__setitem__(0, sent[0] + len(data)))
    )
    tab.goto(f"{address}/map")
    tab.locator("[data-drawn]").wait_for()
    tab.wait_for_timeout(5_000)
    loads, bytes_sent = [], []
    for _ in range(REPEATS):
        sent[0], began = 0, time.monotonic()
        tab.goto(f"{address}/map")
        tab.locator("[data-drawn]").wait_for()
        loads.append(time.monotonic() - began)
        tab.wait_for_timeout(3_000)
        bytes_sent.append(sent[0])
    paints = []
    for key in ("+", "-") * REPEATS:  # zooming redraws every point
        tab.locator("canvas.top").focus()
        paints.append(
            tab.evaluate(
                """(key) => new Promise((done) => {
                const canvas = document.activeElement.shadowRoot?.activeElement ?? document.activeElement;
                const began = performance.now();
                canvas.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true }));
                requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now() - began)));
            })""",
                key,
            )
        )
    sent[0], delays, counts = 0, [], []
    for n in range(REPEATS):
        before = tab.locator(".stMarkdown", has_text="selected on the map")
        was = before.inner_text() if before.count() else ""
        _lasso(tab, 120 + 15 * n)
        began = time.monotonic()
        tab.wait_for_function(
            "(was) => [...document.querySelectorAll('.stMarkdown')].some("
            "(m) => m.innerText.includes('selected on the map') && m.innerText !== was)",
            arg=was,
        )
        delays.append(time.monotonic() - began)
        tab.wait_for_timeout(2_500)
        counts.append(before.inner_text())
    return {
        "open_ms": _median_ms(loads),
        "sent_bytes_to_open": int(np.median(bytes_sent)),
        "redraw_ms": round(float(np.median(paints))),
        "lasso_to_count_ms": _median_ms(delays),
        "sent_bytes_a_lasso": sent[0] // REPEATS,
        "selected": counts[-1],
    }


def _lasso(tab: Any, radius: float) -> None:
    box = tab.locator("canvas.top").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    tab.mouse.move(x + radius, y)
    tab.mouse.down()
    for k in range(1, 40):
        tab.mouse.move(x + radius * math.cos(k / 40 * math.tau), y + radius * math.sin(k / 40 * math.tau))
    tab.mouse.up()


def _median_ms(seconds: list[float]) -> int:
    return round(1000 * float(np.median(seconds)))


if __name__ == "__main__":
    main()
