"""Records a reviewer who labels while the model learns, in a real browser, and plots how the predictions get better.

    python -m docs.live_recording PROJECT --out DIR

The project has embeddings, and `truth.csv` (filepath,label) beside it has the true class of each training image. The
reviewer opens Review with the switch "Learn as I label" on, gives the true class of one image after the other by its
key, and pauses in between as a person does. DIR gets `recording.webp`, which is animated and has a frame for each
label, a screenshot of Review at the end, and `agreement.png`: the shares of right predictions, by the number of labels
given, among the last ten images that were labelled, and among all images without a label. The queue shows the most
uncertain images first, so the first share is lower. It is counted from the project's own log.

With `--fiftyone`, FiftyOne's App is open beside it. DIR also gets a screenshot of it, and the seconds from each
snapshot until the fields in FiftyOne were of that snapshot, or of a newer one, are printed.
"""

import csv
import io
import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from benchmarks.browser import answering, chromium, serving, serving_fiftyone
from benchmarks.session import is_up_to_date, wait_until
from gradebook.pipelines.curation.feature_classifier import read_predictions
from gradebook.pipelines.runs import newest_finished
from gradebook.pipelines.session.log_reader import LogReader
from gradebook.pipelines.session.snapshots import newest_number
from gradebook.pipelines.session.stop import stop_session
from gradebook.storage.events import VERDICTS, Event
from gradebook.storage.fiftyone_dataset import dataset_name
from gradebook.storage.mongodb import use_project_database
from gradebook.storage.samples import Split
from gradebook.storage.store import Store, open_store

WINDOW = 10  # images
SIZE = {"width": 1440, "height": 900}  # pixels
FRAME, FRAME_MS = (960, 600), 700  # pixels, milliseconds
TIMEOUT_MS, LOADING_MS = 180_000, 10_000  # of a page, and of its images
WATCH_INTERVAL_S = 0.1  # of snapshots and of FiftyOne's fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """What to record."""

    project: Annotated[Positional[Path], arg(help="the project, with truth.csv beside it")]
    out: Path = Path("recording")
    """Directory to write."""
    labels: int = 30
    """Labels to give."""
    pause: float = 2.0
    """Seconds between an image and its label."""
    wait: bool = False
    """Wait after each label until a snapshot includes it, as on an idle machine."""
    fiftyone: bool = False
    """Open FiftyOne's App beside it, and measure how soon its fields follow a snapshot."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Records, and prints the shares as JSON."""
    import tyro

    asked = tyro.cli(Recording, args=arguments, prog="docs.live_recording", description=__doc__)
    asked.out.mkdir(parents=True, exist_ok=True)
    store = open_store(asked.project)
    known = len(store.log.read())
    beside = fiftyone_beside(store) if asked.fiftyone else nullcontext()
    with serving(asked.project, learn=True) as address, beside as watch, chromium() as browser:
        page = browser.new_page(viewport=SIZE)
        page.set_default_timeout(TIMEOUT_MS)
        frames, unlabelled = _label(page, address, store, asked)
        page.screenshot(path=asked.out / "review.png")
        if watch is not None:
            _picture_fiftyone(browser, watch.page, asked.out / "fiftyone.png")
    _animate(frames, asked.out / "recording.webp")
    stop_session(store.project)
    right = predictions(store.log.read(), known)
    _plot(moving_share(right), unlabelled, asked.out / "agreement.png")
    delays = None if watch is None else [round(seconds, 1) for seconds in watch.delays]
    shares = {"last_ten": moving_share(right), "unlabelled": unlabelled}
    print(json.dumps({"right": right, **shares, "fiftyone_seconds": delays}))


@dataclass(slots=True)
class FiftyOneWatch:
    """FiftyOne's App, open on the project."""

    page: str  # address of the project's dataset
    delays: list[float] = field(default_factory=list)  # seconds from each snapshot to the fields in FiftyOne
    ended: threading.Event = field(default_factory=threading.Event)


@contextmanager
def fiftyone_beside(store: Store) -> Iterator[FiftyOneWatch]:
    """Opens FiftyOne's App while the block runs, and measures how soon its fields follow the snapshots."""
    root, name = store.project.root, dataset_name(store.project)
    with serving_fiftyone(root) as process:
        watch = FiftyOneWatch(answering(process, root).link(f"/datasets/{name}"))
        thread = threading.Thread(target=_measure_delays, args=(store, name, watch), daemon=True)
        thread.start()
        try:
            yield watch
        finally:
            watch.ended.set()
            thread.join()


def _measure_delays(store: Store, name: str, watch: FiftyOneWatch) -> None:
    use_project_database(store.project.root)
    import fiftyone as fo

    dataset, newest, published = fo.load_dataset(name), 0, dict[int, float]()  # number of a snapshot -> its time
    while not watch.ended.wait(WATCH_INTERVAL_S):
        run = newest_finished(store.project)
        number = 0 if run is None else newest_number(run)
        if number > newest:
            newest, published[number] = number, time.monotonic()
        dataset.reload()
        shown = dataset.info.get("snapshot", 0)
        for number in [n for n in published if n <= shown]:
            watch.delays.append(time.monotonic() - published.pop(number))


def _picture_fiftyone(browser: Any, address: str, path: Path) -> None:
    page = browser.new_page(viewport=SIZE)
    page.goto(address, timeout=TIMEOUT_MS)
    page.locator("[data-cy='looker']").first.wait_for(timeout=TIMEOUT_MS)
    page.wait_for_timeout(LOADING_MS)
    page.screenshot(path=path)


def predictions(events: Sequence[Event], known: int) -> list[bool | None]:
    """Returns for each verdict after the first `known` events whether the prediction was right; None without one."""
    proposals = {e.event_id: e.label for e in events}
    verdicts = [e for e in events[known:] if e.kind in VERDICTS]
    return [None if proposals.get(e.ref or "") is None else proposals[e.ref or ""] == e.label for e in verdicts]


def moving_share(right: Sequence[bool | None]) -> list[float | None]:
    """Returns the share of the last `WINDOW` verdicts with a prediction that agreed with it; None before the first."""
    shares: list[float | None] = []
    for end in range(1, len(right) + 1):
        window = [r for r in right[max(0, end - WINDOW) : end] if r is not None]
        shares.append(sum(window) / len(window) if window else None)
    return shares


def share_right(store: Store, truth: Mapping[str, str]) -> float | None:
    """Returns the share of images without a label whose prediction is right; None before the first snapshot.

    Args:
        store: the project.
        truth: file name -> class name.
    """
    run = newest_finished(store.project)
    if run is None:
        return None
    names = {s.sample_id: Path(s.filepath).name for s in store.catalog.samples(Split.TRAIN)}
    predicted = read_predictions(run.with_pinned_results())
    classes = [predicted.classes[k] for k in predicted.student.argmax(1)]
    right = [truth[names[i]] == label for i, label in zip(predicted.sample_ids, classes, strict=True)]
    return sum(right) / len(right) if right else None


def _label(page: Any, address: str, store: Store, asked: Recording) -> tuple[list[bytes], list[float | None]]:
    """Labels; returns a screenshot of each image before its label, and the share of right predictions after it."""
    from gradebook.app.review_actions import class_keys

    keys = {label: key for key, label in class_keys(store.project.styled_classes).items()}
    with (asked.project.parent / "truth.csv").open(newline="", encoding="utf-8") as file:
        truth = {Path(row["filepath"]).name: row["label"] for row in csv.DictReader(file)}
    page.goto(f"{address}/review")
    page.locator(".review figcaption").first.wait_for()
    frames, shares = list[bytes](), list[float | None]()
    for _ in range(asked.labels):
        at = page.locator(".review").get_attribute("data-current")
        name = page.locator(".review figcaption").first.inner_text()
        page.wait_for_timeout(1000 * asked.pause)
        frames.append(page.screenshot())
        page.keyboard.press(keys[truth[name]])
        page.locator(f".review:not([data-current='{at}'])").wait_for()
        if asked.wait:
            page.locator(".review[data-pending='0']").wait_for()
            _wait_for_snapshot(store)
        shares.append(share_right(store, truth))
    page.locator(".review[data-pending='0']").wait_for()
    page.wait_for_timeout(1000 * asked.pause)
    return frames, shares


def _animate(frames: Sequence[bytes], path: Path) -> None:
    """Writes screenshots as an animated WebP file."""
    from PIL import Image

    images = [Image.open(io.BytesIO(frame)).convert("RGB").resize(FRAME) for frame in frames]
    images[0].save(path, save_all=True, append_images=images[1:], duration=FRAME_MS, loop=0, quality=70)


def _wait_for_snapshot(store: Store) -> None:
    """Returns once a snapshot includes all labels; at once while they are of fewer than two classes."""
    reader = LogReader(store)
    reader.read()
    if len(reader.labelled_classes()) > 1:
        wait_until(store, is_up_to_date)


def _plot(last: Sequence[float | None], unlabelled: Sequence[float | None], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 3.5), dpi=120)
    curves = ((f"of the last {WINDOW} labelled", last, "#2C97A0"), ("of all without a label", unlabelled, "#A0522C"))
    for label, shares, color in curves:
        percent = [float("nan") if s is None else 100 * s for s in shares]
        axes.plot(range(1, len(shares) + 1), percent, color=color, label=label)
    axes.set(xlabel="labels given", ylabel="predictions right (%)", ylim=(0, 102), xlim=(0, len(last)))
    axes.legend(loc="upper left", frameon=False)
    figure.tight_layout()
    figure.savefig(path)


if __name__ == "__main__":
    main()
