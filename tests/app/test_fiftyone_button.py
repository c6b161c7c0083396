"""From a page to FiftyOne, without either of them running."""

import pytest

from gradebook.pipelines.fiftyone_app import links
from gradebook.pipelines.jobs import commands
from gradebook.pipelines.process import servers
from tests.app.test_evolution import draw_evolution
from tests.app.test_review_page import draw_review
from tests.app.test_views import drawn


def test_the_page_of_an_image_links_to_its_sample_in_fiftyone(context, ids, monkeypatch):
    monkeypatch.setattr(links, "in_fiftyone", lambda project, wanted, run: f"http://fiftyone/?{'+'.join(wanted)}")
    page = drawn(draw_evolution, context, sample=ids[2])
    page.button(key="fiftyone-ask").click().run()
    assert not page.exception
    (link,) = page.get("link_button")
    assert link.proto.url == f"http://fiftyone/?{ids[2]}"
    page.query_params["sample"] = ids[3]
    page.run()
    assert not page.get("link_button"), "the link was to another sample"


def test_the_review_page_links_to_exactly_its_images(context, rank, ids, component, monkeypatch):
    monkeypatch.setattr(links, "in_fiftyone", lambda project, wanted, run: f"http://fiftyone/?{'+'.join(wanted)}")
    page = drawn(draw_review, context, rank, component)
    page.button(key="fiftyone-ask").click().run()
    assert page.get("link_button")[0].proto.url == f"http://fiftyone/?{ids[0]}"
    page.segmented_control(key="layout").set_value("Grid").run()
    page.button(key="fiftyone-ask").click().run()
    assert page.get("link_button")[0].proto.url == f"http://fiftyone/?{'+'.join(ids)}"


def test_without_fiftyone_the_button_starts_it_and_follows_the_start(context, ids, sleeping, monkeypatch):
    page = drawn(draw_evolution, context, sample=ids[0])
    page.button(key="fiftyone-ask").click().run()
    assert not page.exception
    (job,) = sleeping
    assert commands.command_of(job) == ("fiftyone", "--run", context.run.name)
    assert [b.key for b in page.button if b.key.startswith("stop-")], "it can be stopped"
    monkeypatch.setattr(servers, "find", lambda root, name: servers.Server("http://fiftyone"))
    monkeypatch.setattr(links, "in_fiftyone", lambda project, wanted, run: f"http://fiftyone/?{run}")
    page.run()
    assert page.get("link_button")[0].proto.url == f"http://fiftyone/?{context.run.name}"


def test_another_run_than_fiftyone_shows_is_outdated(context, ids, monkeypatch):
    monkeypatch.setattr(servers, "find", lambda root, name: servers.Server("http://fiftyone"))
    monkeypatch.setattr(links, "_execute", lambda *_: {"id": "x", "run": "old"})
    assert links.in_fiftyone(context.store.project, ids[:1], "old").endswith("?id=x")
    with pytest.raises(links.OutdatedFiftyOne, match="FiftyOne shows old, not new"):
        links.in_fiftyone(context.store.project, ids[:1], "new")
