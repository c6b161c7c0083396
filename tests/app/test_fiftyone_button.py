"""From a page to FiftyOne, without either of them running."""

from gradebook.pipelines.fiftyone_app import links
from tests.app.test_evolution import draw_evolution
from tests.app.test_review_page import draw_review
from tests.app.test_views import drawn


def test_the_page_of_an_image_links_to_its_sample_in_fiftyone(context, ids, monkeypatch):
    monkeypatch.setattr(links, "in_fiftyone", lambda project, wanted: f"http://fiftyone/?{'+'.join(wanted)}")
    page = drawn(draw_evolution, context, sample=ids[2])
    page.button(key="fiftyone-ask").click().run()
    assert not page.exception
    (link,) = page.get("link_button")
    assert link.proto.url == f"http://fiftyone/?{ids[2]}"
    page.query_params["sample"] = ids[3]
    page.run()
    assert not page.get("link_button"), "the link was to another sample"


def test_the_review_page_links_to_exactly_its_images(context, rank, ids, component, monkeypatch):
    monkeypatch.setattr(links, "in_fiftyone", lambda project, wanted: f"http://fiftyone/?{'+'.join(wanted)}")
    page = drawn(draw_review, context, rank, component)
    page.button(key="fiftyone-ask").click().run()
    assert page.get("link_button")[0].proto.url == f"http://fiftyone/?{ids[0]}"
    page.segmented_control(key="layout").set_value("Grid").run()
    page.button(key="fiftyone-ask").click().run()
    assert page.get("link_button")[0].proto.url == f"http://fiftyone/?{'+'.join(ids)}"


def test_without_fiftyone_the_page_shows_the_command(context, ids):
    page = drawn(draw_evolution, context, sample=ids[0])
    page.button(key="fiftyone-ask").click().run()
    assert not page.exception
    assert page.info[0].value.startswith("FiftyOne is not running for this project")
    assert page.code[0].value == f"gradebook fiftyone {context.store.project.root}"
