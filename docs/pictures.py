"""Makes the pictures of the README and the tour from the demo's project, in a real browser.

    gradebook demo && python -m docs.pictures demo/project

They show pages as they are: a reviewer answers the first images with the truth, which scikit-learn knows; and the map,
the export and the import that pages lack are made by their own buttons. Verdicts stay in the project; the project that
is made for the picture of an import is taken away again.
"""

import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from benchmarks.browser import answering, chromium, serving, serving_fiftyone
from gradebook.pipelines.process import servers

HERE = Path(__file__).parent
HEIGHT = 900  # pixels
ANSWERS = 12  # images that are answered before the review page is drawn
PAUSE = 1_500  # milliseconds between two answers: a reviewer's
LARGE = 300_000  # bytes of a picture
PATIENCE = 180_000  # milliseconds for a job


@dataclass(frozen=True, slots=True, kw_only=True)
class Pictures:
    """What to draw."""

    project: Annotated[Positional[Path], arg(help="the demo's project")]
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
        page.set_default_timeout(PATIENCE)
        with serving(asked.project) as address:
            for draw in (_train, _review, _evolution, _run, _map, _export):
                _quiet(draw(page, address, asked.project))
                _save(page, asked.out / f"{draw.__name__[1:]}.png")
            with _found(asked.project, address), serving_fiftyone(asked.project) as server:
                _fiftyone(page, answering(server, asked.project), asked.project)
                _save(page, asked.out / "fiftyone.png")
        _images(browser, page, asked)


def _train(page: Any, address: str, project: Path) -> Any:
    page.goto(f"{address}/train")
    page.locator(".js-plotly-plot").first.wait_for()
    return page


def _review(page: Any, address: str, project: Path) -> Any:
    from sklearn.datasets import load_digits

    digits = load_digits().target
    page.goto(f"{address}/review")
    page.locator(".review figcaption").first.wait_for()
    for _ in range(ANSWERS):
        at = page.locator(".review").get_attribute("data-current")
        name = page.locator(".review figcaption").first.inner_text()
        page.wait_for_timeout(PAUSE)
        page.keyboard.press(str(digits[int(name.removesuffix(".png").removeprefix("digit-"))]))
        page.locator(f".review:not([data-current='{at}'])").wait_for()
    page.locator(".review[data-pending='0']").wait_for()
    return page


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
    tried.set_input_files(sorted((project.parent / "images" / "test" / "7").iterdir())[0])
    page.locator(".js-plotly-plot").wait_for()
    return page


def _images(browser: Any, page: Any, asked: Pictures) -> None:
    """Draws an import as it is for a new project."""
    from gradebook.storage.project import create_project

    images, root = asked.project.parent / "images", asked.project.parent / "digits"
    shutil.rmtree(root, ignore_errors=True)
    create_project(root, [str(digit) for digit in range(10)])
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


def _fiftyone(page: Any, address: str, project: Path) -> None:
    """Shows the disagreements there, and the evolution of one of them beside them."""
    from gradebook.storage.fiftyone_dataset import dataset_name
    from gradebook.storage.project import read_project

    page.goto(f"{address}/datasets/{dataset_name(read_project(project))}?view=disagreements")
    first = page.locator("[data-cy=looker]").first
    first.wait_for()
    page.get_by_text("Dismiss").click()  # what its maker has to sell
    first.hover()
    first.click(position={"x": 14, "y": 14})  # where its box to tick is
    page.locator("[data-cy=new-panel-btn]").click()
    page.get_by_text("Evolution", exact=True).click()
    page.locator(".js-plotly-plot").first.wait_for()
    page.mouse.move(page.viewport_size["width"] - 2, 2)
    page.wait_for_timeout(4_000)


def _found(project: Path, address: str) -> Any:
    """Lets FiftyOne find the app, as `gradebook app` does."""
    return servers.registered(project, servers.APP, port=int(address.rpartition(":")[2]), pid=os.getpid())


def _save(page: Any, path: Path) -> None:
    """Writes what the page shows, in 256 colours where all of them take more than `LARGE` bytes."""
    from PIL import Image

    page.screenshot(path=path)
    if path.stat().st_size > LARGE:
        Image.open(path).convert("RGB").quantize(256, kmeans=1, dither=Image.Dither.NONE).save(path, optimize=True)


def _quiet(page: Any) -> None:
    """Waits until the page stands still: plots load and draw themselves in a moment of their own."""
    page.mouse.move(page.viewport_size["width"] - 2, 2)  # a button below it would look pressed
    page.wait_for_function("!document.querySelector('[data-testid=\"stStatusWidget\"]')")
    page.wait_for_timeout(4_000)
    page.wait_for_function("!document.querySelector('[data-testid=\"stSkeleton\"]')")
    page.wait_for_timeout(1_000)


if __name__ == "__main__":
    sys.exit(main())
