"""Makes the pictures of the README and the tour from a project, in a real browser.

    gradebook demo && python -m docs.pictures demo/project

The directory of the project has the images in `images/train/` and `images/test/CLASS/`, as the demo's has. The pictures
in the documents show photographs of waste (TrashNet, MIT licence, (c) 2017 Gary Thung), six classes with five labels
each, in the same layout. `truth.csv` there (filepath,label) has the true class of each training image, which the
reviewer gives; without it the reviewer accepts each prediction.

Pages are shown as they are. The map, the export and the import that they need are made with their own buttons. Verdicts
stay in the project; the project made for the picture of an import is deleted.
"""

import csv
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from benchmarks.browser import answering, chromium, serving, serving_fiftyone
from gradebook.pipelines.process.servers import Server

HERE = Path(__file__).parent
HEIGHT = 900  # pixels
VERDICTS = 12  # given before the review page is drawn
PAUSE_MS = 1_500  # between two verdicts, as a person takes
LARGE = 400_000  # bytes of a picture
TIMEOUT_MS = 180_000  # for a job


@dataclass(frozen=True, slots=True, kw_only=True)
class Pictures:
    """What to draw."""

    project: Annotated[Positional[Path], arg(help="the project, with `images` beside it")]
    out: Path = HERE
    width: int = 1440
    """Pixels."""
    dark: bool = False


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes one PNG file a page."""
    import tyro

    asked = tyro.cli(Pictures, args=arguments, prog="docs.pictures", description=__doc__)
    asked.out.mkdir(parents=True, exist_ok=True)
    with chromium() as browser:
        page = browser.new_page(
            viewport={"width": asked.width, "height": HEIGHT}, color_scheme="dark" if asked.dark else "light"
        )
        page.set_default_timeout(TIMEOUT_MS)
        with serving(asked.project) as address:
            for draw in (_train, _review, _evolution, _run, _map, _export):
                _quiet(draw(page, address, asked.project))
                _save(page, asked.out / f"{draw.__name__[1:]}.png")
            with serving_fiftyone(asked.project) as server:
                _fiftyone(page, answering(server, asked.project), asked.project)
                _save(page, asked.out / "fiftyone.png")
        _images(browser, page, asked)


def _train(page: Any, address: str, project: Path) -> Any:
    page.goto(f"{address}/train")
    page.locator(".js-plotly-plot").first.wait_for()
    return page


def _review(page: Any, address: str, project: Path) -> Any:
    from gradebook.app.review_actions import class_keys
    from gradebook.storage.project import read_project

    keys = {label: key for key, label in class_keys(read_project(project).classes).items()}
    truth = _truth(project.parent / "truth.csv")
    page.goto(f"{address}/review")
    page.locator(".review figcaption").first.wait_for()
    for _ in range(VERDICTS):
        at = page.locator(".review").get_attribute("data-current")
        name = page.locator(".review figcaption").first.inner_text()
        page.wait_for_timeout(PAUSE_MS)
        page.keyboard.press(keys[truth[name]] if name in truth else "Enter")
        page.locator(f".review:not([data-current='{at}'])").wait_for()
    page.locator(".review[data-pending='0']").wait_for()
    return page


def _truth(table: Path) -> dict[str, str]:
    """Returns the true class of each file name, where it is known."""
    if not table.exists():
        return {}
    with table.open(newline="", encoding="utf-8") as file:
        return {Path(row["filepath"]).name: row["label"] for row in csv.DictReader(file)}


def _evolution(page: Any, address: str, project: Path) -> Any:
    page.keyboard.press("h")
    page.locator(".js-plotly-plot").first.wait_for()
    return page


def _run(page: Any, address: str, project: Path) -> Any:
    page.goto(f"{address}/evolution?tab=run")
    page.locator(".js-plotly-plot .heatmaplayer").wait_for()
    return page


def _map(page: Any, address: str, project: Path) -> Any:
    page.goto(f"{address}/map?colour=student")
    make = page.get_by_role("button", name="Compute the map")
    field = page.locator("canvas.overlay")
    make.or_(field).first.wait_for()
    if make.is_visible():
        make.click()
    field.wait_for()
    _quiet(page)
    box = field.bounding_box()
    x, y, r = box["x"] + 0.5 * box["width"], box["y"] + 0.5 * box["height"], 0.2 * box["height"]
    corners = [(x + r * a, y + r * b) for a, b in ((-1, -0.4), (0, -1), (1, -0.5), (0.9, 0.6), (0, 1), (-0.9, 0.5))]
    page.mouse.move(*corners[0])
    page.mouse.down()
    for corner in corners[1:]:
        page.mouse.move(*corner, steps=6)
    page.mouse.up()
    page.locator(".gallery img").first.wait_for()
    return page


def _export(page: Any, address: str, project: Path) -> Any:
    page.goto(f"{address}/export")
    tried, press = page.locator("input[type=file]"), page.get_by_role("button", name="Export", exact=True)
    press.wait_for()
    _quiet(page)
    if not tried.count():
        press.click()
    tried.wait_for(state="attached")
    tried.set_input_files(sorted((project.parent / "images" / "test").glob("*/*"))[0])
    page.locator(".js-plotly-plot").wait_for()
    return page


def _images(browser: Any, page: Any, asked: Pictures) -> None:
    """Draws an import as it is for a new project."""
    from gradebook.storage.project import create_project

    images, root = asked.project.parent / "images", asked.project.parent / "new"
    shutil.rmtree(root, ignore_errors=True)
    create_project(root, sorted(path.name for path in (images / "test").iterdir()))
    with serving(root) as address:
        page.goto(f"{address}/images")
        field = page.get_by_role("textbox", name="Path")
        field.fill(str(images / "train"))
        field.press("Enter")
        page.get_by_role("button", name="Import", exact=True).click()
        page.get_by_test_id("stMetric").first.wait_for()
        _quiet(page)
        _save(page, asked.out / "images.png")
    shutil.rmtree(root)


def _fiftyone(page: Any, server: Server, project: Path) -> None:
    """Shows the disagreements, and the evolution of one of them beside them."""
    from gradebook.storage.fiftyone_dataset import dataset_name
    from gradebook.storage.project import read_project

    page.goto(server.link(f"/datasets/{dataset_name(read_project(project))}", view="disagreements"))
    first = page.locator("[data-cy=looker]").first
    first.wait_for()
    page.get_by_text("Dismiss").click()  # an advertisement
    first.hover()
    first.click(position={"x": 14, "y": 14})  # its checkbox
    page.locator("[data-cy=new-panel-btn]").click()
    page.get_by_text("Evolution", exact=True).click()
    page.locator(".js-plotly-plot").first.wait_for()
    page.mouse.move(page.viewport_size["width"] - 2, 2)
    page.wait_for_timeout(4_000)


def _save(page: Any, path: Path) -> None:
    """Saves a screenshot; in 256 colours, a quarter of the bytes, if it has more than `LARGE` bytes."""
    from PIL import Image

    page.screenshot(path=path)
    with Image.open(path) as picture:
        full = picture.convert("RGB")
    full.save(path, optimize=True)
    if path.stat().st_size > LARGE:
        full.quantize(256, kmeans=1, dither=Image.Dither.NONE).save(path, optimize=True)


def _quiet(page: Any) -> None:
    """Waits until the page no longer changes; plots are drawn a moment after it."""
    page.mouse.move(page.viewport_size["width"] - 2, 2)  # a button below the mouse would look pressed
    page.wait_for_function("!document.querySelector('[data-testid=\"stStatusWidget\"]')")
    page.wait_for_timeout(4_000)
    page.wait_for_function("!document.querySelector('[data-testid=\"stSkeleton\"]')")
    page.wait_for_timeout(1_000)


if __name__ == "__main__":
    sys.exit(main())
