"""A new user's whole path in a real browser: from no project to a classifier that predicts an image."""

import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
from playwright.sync_api import Page, Response, expect

from benchmarks.browser import answering, serving_fiftyone
from gradebook.pipelines.jobs import launcher
from gradebook.pipelines.process.run_status import State
from gradebook.pipelines.runs import find_run, list_runs
from gradebook.storage import mongodb
from gradebook.storage.events import Kind, replay
from gradebook.storage.project import SETTINGS, read_project
from gradebook.storage.samples import Split
from gradebook.storage.store import Store, open_store
from tests.app.browser import review, served, written
from tests.pipelines.colours import CLASSES, picture

pytestmark = [pytest.mark.browser, pytest.mark.slow]

TRAIN, TEST, LABELS = 60, 12, 20
STEPS = 100


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder with train/COLOUR-NUMBER.png, whose name has the true class, and test/COLOUR/NUMBER.png."""
    for seed in range(TRAIN + TEST):
        colour = seed * 7 % 3
        name = f"{CLASSES[colour]}-{seed:03}.png" if seed < TRAIN else f"{CLASSES[colour]}/{seed:03}.png"
        path = tmp_path / "pictures" / ("train" if seed < TRAIN else "test") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(seed, colour).save(path)
    return tmp_path / "pictures"


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """Where the project will be; jobs that a failed test leaves there are ended."""
    root = tmp_path / "colours"
    yield root
    for job in launcher.list_jobs(read_project(root)) if (root / SETTINGS).exists() else []:
        launcher.stop(job, timeout=0)


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """The app as a new user starts it: without a project."""
    with served(folder=tmp_path) as address:
        yield address


def test_from_no_project_to_a_classifier_without_leaving_the_browser(page, address, pictures, root):
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    expect.set_options(timeout=300_000)
    page.goto(address)
    make_project(page, root)
    import_and_embed(page, pictures)
    store = open_store(root)
    assert {s: len(store.catalog.samples(s)) for s in Split} == {Split.TRAIN: TRAIN, Split.TEST: TEST}
    label_by_keyboard(page, store)
    train(page, store)
    missing = fiftyone_problem()
    with nullcontext() if missing else serving_fiftyone(root, user="bob") as fiftyone:
        review_a_disagreement(page, store)  # while it starts
        look_at_the_run_and_the_map(page)
        if fiftyone:
            answering(fiftyone, root)
            review_in_fiftyone(page, store)
    export_and_predict(page, store, pictures / "test")
    assert faults == []
    if missing:
        pytest.skip(f"all of it but the review in FiftyOne was gone through: {missing}")


def make_project(page: Page, root: Path) -> None:
    form = page.get_by_test_id("stForm").filter(has=page.get_by_role("textbox", name="New folder"))
    form.get_by_role("textbox", name="New folder").fill(str(root))
    form.get_by_role("textbox", name="Classes").fill(", ".join(CLASSES))
    form.get_by_role("button", name="Create").click()
    opened(page, "Images")
    name = page.get_by_role("textbox", name="Your name")
    name.fill("ada")
    name.press("Enter")


def import_and_embed(page: Page, pictures: Path) -> None:
    import_folder(page, pictures / "train", TRAIN)
    choose(page, "Labels", "Folder names")
    page.get_by_text("Test only").click()
    import_folder(page, pictures / "test", TEST)
    page.get_by_role("button", name="Compute embeddings").click()
    expect(page.get_by_text(f"All {TRAIN + TEST} images have embeddings.")).to_be_visible()


def import_folder(page: Page, folder: Path, number: int) -> None:
    field = page.get_by_role("textbox", name="Path")
    field.fill(str(folder))
    field.press("Enter")
    page.get_by_role("button", name="Import", exact=True).click()
    expect(page.get_by_test_id("stMetricValue").first).to_have_text(str(number))
    expect(page.get_by_text(f"{folder}, ")).to_be_visible()  # and how long ago that was


def label_by_keyboard(page: Page, store: Store) -> None:
    """Labels what the queue shows; a picture's name stands in for what a person sees in it."""
    page.get_by_role("link", name="Label some images").click()
    opened(page, "Review")
    for _ in range(LABELS):
        at = review(page).get_attribute("data-current")
        seen = page.locator(".review figcaption").first.inner_text().partition("-")[0]
        page.wait_for_timeout(100)  # a key that comes sooner than anybody can see the image counts as a bounce
        page.keyboard.press(str(1 + CLASSES.index(seen)))
        expect(page.locator(".review")).not_to_have_attribute("data-current", at)
    answers = written(store, LABELS)
    assert {e.actor for e in answers} == {"ada"}
    truth = {s.sample_id: Path(s.filepath).name.partition("-")[0] for s in store.catalog.samples(Split.TRAIN)}
    assert [truth[e.sample_id] for e in answers] == [e.label for e in answers]


def train(page: Page, store: Store) -> None:
    open_page(page, "Train")
    steps = page.get_by_role("spinbutton", name="Steps")
    steps.fill(str(STEPS))
    steps.press("Enter")
    page.get_by_role("button", name="Start", exact=True).click()
    expect(page.get_by_role("link", name="Label evolution")).to_be_visible()
    expect(page.get_by_text(f"step {STEPS} of {STEPS}")).to_be_visible()
    losses = page.locator(".js-plotly-plot").filter(has_text="Losses, nats")
    expect(losses.locator(".scatterlayer path.js-line").first).to_be_visible()
    (run,) = list_runs(store.project)
    assert run.status().state is State.FINISHED
    assert set(run.labels()) >= {e.sample_id for e in written(store, LABELS)}


def review_a_disagreement(page: Page, store: Store) -> None:
    """Shows the images on which teacher and student disagree, accepts a prediction, and opens the next on Evolution."""
    open_page(page, "Review")
    choose(page, "Order by", "Teacher and student often disagree")
    expect(page.get_by_role("button", name="Open in FiftyOne")).to_be_visible()
    expect(page.locator(".review .prediction .big")).to_be_visible()
    shown = review(page).get_attribute("data-current")
    prediction = page.locator(".review .prediction .big").inner_text()
    page.keyboard.press("Enter")
    answer = written(store, LABELS + 1)[-1]
    assert (answer.kind, answer.sample_id, answer.label, answer.actor) == (Kind.ACCEPTED, shown, prediction, "ada")
    proposal = next(e for e in store.log.read() if e.event_id == answer.ref)
    assert proposal.actor == f"run:{find_run(store.project, None).name}" and "disagreement" in proposal.reasons
    expect(page.locator(".review")).not_to_have_attribute("data-current", shown)
    shown = review(page).get_attribute("data-current")
    page.keyboard.press("h")
    opened(page, "Evolution")
    expect(page.locator(".js-plotly-plot").first).to_be_visible()
    assert f"sample={shown}" in page.url


def fiftyone_problem() -> str | None:
    """Returns why FiftyOne cannot be had here, None where it can."""
    with tempfile.TemporaryDirectory() as elsewhere, pytest.MonkeyPatch.context() as patch:
        patch.delenv(mongodb.URI, raising=False)
        try:
            mongodb.find_or_start(Path(elsewhere))
        except mongodb.NoDatabase as error:
            return str(error)
        mongodb.stop(Path(elsewhere))
    return None


def review_in_fiftyone(page: Page, store: Store) -> None:
    """Goes there with exactly the disagreements on the grid, accepts one, takes it back, and assigns a label to it."""
    open_page(page, "Review")
    page.get_by_role("radio", name="Grid").click()
    page.locator(".review .tile").first.wait_for()
    shown = {tile.get_attribute("data-focus") for tile in page.locator(".review .tile").all()}
    page.get_by_role("button", name=f"Open these {len(shown)} in FiftyOne").click()
    address = page.get_by_role("link", name=f"Show {len(shown)} images in FiftyOne").get_attribute("href")
    there, sent = page.context.browser.new_page(viewport=page.viewport_size), set()
    there.on("response", lambda r: sent.update(re.findall(r'"gradebook_id": ?"(\w+)"', r.text())) if graph(r) else None)
    there.goto(address)
    expect(there.get_by_text(f"{len(shown)} samples", exact=True)).to_be_visible()
    wait_until(there, lambda: sent >= shown)
    assert sent == shown
    expect(there.get_by_text("invalid label schema")).to_have_count(0)
    there.get_by_text("Dismiss").click()
    first = there.locator("[data-cy=looker]").first
    first.hover()
    first.click(position={"x": 14, "y": 14})  # where its box to tick is
    press(there, "accept", "1 sample accepted.")
    accepted = written(store, LABELS + 2)[-1]
    assert (accepted.kind, accepted.actor) == (Kind.ACCEPTED, "bob") and accepted.sample_id in shown
    expect(first.locator("[data-cy=tag-label]")).to_have_text(accepted.label)
    press(there, "undo", "1 verdict taken back.")
    wait_until(there, lambda: accepted.sample_id not in replay(store.log.read()))
    first.hover()
    first.click(position={"x": 14, "y": 14})  # a verdict clears the selection
    there.locator('[data-item-id="@gradebook/verdicts/assign"]').click()
    other = next(name for name in CLASSES if name != accepted.label)
    there.get_by_role("combobox").click()
    there.get_by_role("option", name=other, exact=True).click()
    there.get_by_role("button", name="Label 1 image").click()
    expect(there.get_by_text(f"1 sample labelled {other}.")).to_be_visible()
    assigned = written(store, LABELS + 3)[-1]
    assert (assigned.kind, assigned.sample_id, assigned.label) == (Kind.RELABELLED, accepted.sample_id, other)
    assert assigned.actor == "bob"
    there.close()


def press(page: Page, name: str, message: str) -> None:
    page.locator(f'[data-item-id="@gradebook/verdicts/{name}"]').click()
    expect(page.get_by_text(message)).to_be_visible()


def graph(response: Response) -> bool:
    return response.url.endswith("/graphql") and "aginateSamples" in (response.request.post_data or "")


def wait_until(page: Page, done: Callable[[], object]) -> None:
    """Waits up to two minutes while the page receives messages."""
    for _ in range(1_200):
        if done():
            return
        page.wait_for_timeout(100)
    pytest.fail("nothing came in two minutes")


def look_at_the_run_and_the_map(page: Page) -> None:
    page.get_by_role("radio", name="Run").click()
    for heading in ("Label flow", "Confusion matrix"):
        expect(page.get_by_role("heading", name=heading)).to_be_visible()
    expect(page.locator(".js-plotly-plot .sankey").first).to_be_attached()
    open_page(page, "Map")
    page.get_by_role("button", name="Compute the map").click()
    expect(page.locator(f"[data-drawn^='{TRAIN} ']")).to_have_count(1)


def export_and_predict(page: Page, store: Store, folder: Path) -> None:
    """Exports, drops an image on the page, and compares its prediction with that of the exported classifier."""
    from gradebook.pipelines.inference.classifier import Classifier, predict_content

    open_page(page, "Export")
    page.get_by_role("button", name="Export", exact=True).click()
    expect(page.get_by_role("heading", name="Try it")).to_be_visible()
    path = min(folder.glob("*/*.png"))
    page.locator("input[type=file]").set_input_files(path)
    (run,) = list_runs(store.project)
    probabilities = predict_content(Classifier(store.project.root / "exports" / run.name), path.read_bytes())
    assert set(probabilities) == set(CLASSES)
    best = max(probabilities, key=probabilities.__getitem__)
    expect(page.get_by_text(re.compile(rf"^{best} {probabilities[best]:.0%}$"))).to_be_visible()


def choose(page: Page, box: str, option: str) -> None:
    page.get_by_role("combobox", name=box).click()
    page.get_by_role("option", name=option).click()


def open_page(page: Page, name: str) -> None:
    page.get_by_test_id("stSidebar").get_by_role("link", name=name).click()
    opened(page, name)


def opened(page: Page, name: str) -> None:
    page.get_by_role("heading", name=name, exact=True).first.wait_for()
    expect(page.get_by_test_id("stException")).to_have_count(0)
