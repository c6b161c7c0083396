"""The documentation is built as a site, with warnings as errors: every page, every link and every generated part."""

import re
from pathlib import Path

import pytest

from gradebook.mpl.methods import METHODS
from gradebook.pipelines.cli.overview import summaries

ROOT = Path(__file__).parent.parent

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The built site."""
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    directory = tmp_path_factory.mktemp("site")
    build(load_config(str(ROOT / "mkdocs.yml"), strict=True, site_dir=str(directory)))
    return directory


def text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def test_every_document_is_a_page(site):
    expected = {path.stem for path in (ROOT / "docs").glob("*.md")} | {"index", "security", "changelog", "contributing"}
    expected.add("photographs")
    assert {path.stem for path in site.glob("*.html")} - {"404"} == expected


def test_commands_settings_and_the_python_api_are_generated_from_code(site):
    for command in summaries():
        assert f"usage: gradebook {command}" in text(site / "reference" / "help.html")
    for method in METHODS:
        assert re.search(f"<h2[^>]*>{method}<", text(site / "reference" / "settings.html"))
    api = text(site / "reference" / "api.html")
    for name in ("gradebook.create", "gradebook.Project", "gradebook.Run", "gradebook.load_classifier"):
        assert name in api
    assert ":::" not in api


def test_the_pages_ask_no_other_server_for_anything(site):
    for page in site.rglob("*.html"):
        assert re.findall(r"<(?:script|img|iframe)[^>]+src=.?https?://", text(page)) == []
        assert re.findall(r"<link[^>]+rel=.?stylesheet[^>]+href=.?https?://", text(page)) == []


def test_every_page_names_the_version_it_documents(site):
    import gradebook

    for page in site.rglob("*.html"):
        assert f"Gradebook {gradebook.__version__}" in text(page), page
    assert '"provider": "mike"' in text(site / "index.html")


def test_the_notebook_is_a_page_with_its_pictures(site):
    page = text(site / "photographs.html")
    pictures = re.findall(r'src="(photographs-[\w-]+\.png)"', page)
    assert len(pictures) == 3 and all((site / name).stat().st_size > 5_000 for name in pictures)
    assert "run.evaluate" in re.sub(r"<[^>]+>", "", page)


def test_nothing_leaves_your_machine_is_on_the_first_page_and_the_limits_on_the_second(site):
    assert "Nothing leaves your machine" in text(site / "index.html")
    assert "boxes, masks" in text(site / "fit.html")
