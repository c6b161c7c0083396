"""The map page: its messages before there is a map, what it sends to the browser, and the lasso."""

import json

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from gradebook.app.context import PageContext
from gradebook.pipelines.curation.selections import read_selection
from gradebook.pipelines.embedding import map_projection
from gradebook.pipelines.jobs import commands
from gradebook.storage.events import Kind, event
from gradebook.storage.project import create_project
from gradebook.storage.samples import Split
from gradebook.storage.store import memory_store
from gradebook.storage.vectors import Space
from tests.app.conftest import HOSTILE
from tests.app.test_views import drawn, text

EVERYWHERE = "00000000ffff0000ffffffff0000ffff"


def draw_map(context):
    from gradebook.app.views import map as map_view

    map_view.render(context)


def embed(store) -> list[str]:
    ids = [s.sample_id for s in store.catalog.samples(Split.TRAIN)]
    store.vectors.create(Space(backbone="b", weights="none", size=8, dim=3, weak=1, strong=0, seed=0))
    store.vectors.add("b", ids, np.random.default_rng(0).normal(size=(len(ids), 1, 3)).astype(np.float16))
    return ids


def html(page) -> str:
    return "\n".join(element.proto.body for element in page.get("html"))


def mark(store) -> str:
    return map_projection.read_map(store.project).fingerprint.split(" ")[1][:8]


def sent(page) -> dict:
    (component,) = page.get("bidi_component")
    return json.loads(component.proto.json)


@pytest.fixture
def mapped(context) -> PageContext:
    embed(context.store)
    map_projection.compute_map(context.store)
    return context


def test_each_step_before_a_map_names_the_next_one(tmp_path, context, sleeping):
    page = drawn(draw_map, PageContext(memory_store(create_project(tmp_path / "new", [])), None, "ada"))
    assert "The project has no images yet" in page.info[0].value
    page = drawn(draw_map, context)
    assert "No image has an embedding yet" in page.info[0].value
    embed(context.store)
    page = drawn(draw_map, context)
    page.button(key="make").click().run()
    (job,) = sleeping
    assert commands.command_of(job) == ("map",)
    assert not [b for b in page.button if b.key == "make"], "one at a time"
    assert [b.key for b in page.button if b.key.startswith("stop-")]


def test_a_map_is_drawn_with_a_warning_about_newer_images(context, tmp_path):
    ids = embed(context.store)
    fewer = memory_store(context.store.project)
    fewer.catalog.add(context.store.catalog.get(ids[:3]), [])
    embed(fewer)
    map_projection.compute_map(fewer)
    page = drawn(draw_map, context)
    assert "it lacks 2 new images" in page.warning[0].value
    assert page.button(key="compute-again")
    map_projection.compute_map(context.store)
    page = drawn(draw_map, context)
    assert not page.warning and sent(page)["missing"] == len(ids)


def test_colours_are_in_the_address_and_names_are_data(mapped):
    page = drawn(draw_map, mapped, colour="student")
    data = sent(page)
    assert data["names"] == list(mapped.store.project.classes) and data["counts"] == [0, 0, 5]
    assert data["names"][2] == HOSTILE
    page.segmented_control(key="colour-by").set_value("feedback").run()
    assert page.query_params["colour"] == ["feedback"] or page.query_params["colour"] == "feedback"
    assert sent(page)["kind"] == "balance"


def test_without_a_run_only_labels_have_colours(mapped):
    page = drawn(draw_map, PageContext(mapped.store, None, "ada"), colour="teacher")
    assert "gradebook train" in page.info[0].value.replace("\\", "")
    assert sent(drawn(draw_map, PageContext(mapped.store, None, "ada")))["kind"] == "classes"


def test_images_in_the_lasso_are_shown_unless_their_class_is_hidden(mapped, ids):
    page = drawn(draw_map, mapped, lasso=f"{mark(mapped.store)}-{EVERYWHERE}")
    assert "**5 images** selected on the map" in text(page)
    assert sent(page)["initial"]["lasso"] == EVERYWHERE
    page = drawn(draw_map, mapped, lasso=f"{mark(mapped.store)}-{EVERYWHERE}", hide="label-65535", colour="label")
    assert "There is no image in the lasso" in text(page)


def test_a_replaced_image_is_shown_as_changed(mapped):
    everywhere = f"{mark(mapped.store)}-{EVERYWHERE}"
    assert "has changed" not in html(drawn(draw_map, mapped, lasso=everywhere))
    replaced = mapped.store.catalog.samples(Split.TRAIN)[0]
    Image.new("RGB", (20, 10), "pink").save(replaced.filepath)
    assert html(drawn(draw_map, mapped, lasso=everywhere)).count("The file has changed since it was imported") == 1


@pytest.mark.parametrize("nonsense", ["zz", "00000000", "../../etc/passwd"])
def test_an_invalid_lasso_is_a_sentence(mapped, nonsense):
    page = drawn(draw_map, mapped, lasso=f"{mark(mapped.store)}-{nonsense}")
    assert "lasso in the address cannot be read" in text(page)
    page = drawn(draw_map, mapped, lasso=f"00000000-{EVERYWHERE}")
    assert "an earlier map" in text(page) and "chosen" not in text(page)


def test_review_gets_exactly_the_selected_samples(mapped, ids):
    page = drawn(draw_map, mapped, lasso=f"{mark(mapped.store)}-{EVERYWHERE}")
    page.button(key="group-review").click().run()
    (path,) = (mapped.store.project.root / "selections").glob("*.json")
    selection = read_selection(mapped.store.project, path.stem)
    assert set(selection.sample_ids) == set(ids) and selection.why == "selected on the map"
    assert page.button(key="group-evolution")


@pytest.mark.slow
@pytest.mark.browser
def test_a_lasso_drawn_with_the_mouse_opens_its_images_on_review(page, address, real_store):
    embed(real_store)
    map_projection.compute_map(real_store)
    page.goto(f"{address}/map")
    field = page.locator("canvas.overlay")
    field.wait_for()
    expect(page.locator("[data-drawn^='5 ']")).to_have_count(1)
    page.get_by_role("button", name="Box").click()
    box = field.bounding_box()
    end = {"x": box["width"] - 3, "y": box["height"] - 3}
    field.drag_to(field, source_position={"x": 3, "y": 3}, target_position=end)
    expect(page.get_by_text("selected on the map")).to_contain_text("5 images")
    expect(page.locator(".gallery img")).to_have_count(5)
    page.get_by_role("button", name="Review these").click()
    page.get_by_role("heading", name="Review").wait_for()
    expect(page.get_by_text("selected on the map")).to_contain_text("5 images")
    assert "selection=" in page.url


@pytest.mark.slow
@pytest.mark.browser
def test_the_map_does_not_move_when_the_choice_of_colours_appears_after_it(page, address, real_store):
    embed(real_store)
    map_projection.compute_map(real_store)
    held = []
    page.route("**/ButtonGroup*.js", lambda route: held.append(route))  # loaded when first needed
    page.goto(f"{address}/map")
    expect(page.locator("[data-drawn^='5 ']")).to_have_count(1)
    field, choice = page.locator("canvas.overlay"), page.get_by_text("Colour by", exact=True)
    expect(choice).to_have_count(0)
    before = field.bounding_box()
    for route in held:
        route.continue_()
    choice.wait_for()
    assert held
    assert field.bounding_box() == before


@pytest.mark.slow
@pytest.mark.browser
def test_shift_hides_all_other_names_and_shows_them_again(page, address, real_store):
    first, *_ = embed(real_store)
    map_projection.compute_map(real_store)
    real_store.log.append([event(Kind.RELABELLED, first, real_store.project.classes[0], actor="ada")])
    page.goto(f"{address}/map?colour=label")
    expect(page.locator("[data-drawn^='5 ']")).to_have_count(1)
    unlabelled = page.get_by_role("button", name="No label")
    unlabelled.click(modifiers=["Shift"])
    expect(page.locator("[data-drawn^='4 ']")).to_have_count(1)
    expect(page.locator(".legend [aria-pressed=false]")).to_have_count(1)
    unlabelled.click(modifiers=["Shift"])
    expect(page.locator("[data-drawn^='5 ']")).to_have_count(1)
