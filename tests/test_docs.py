"""The documents name commands and files that exist."""

import json
import re
from pathlib import Path

import pytest

from tests.pipelines.cli.cli_runner import done

ROOT = Path(__file__).parent.parent
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def commands() -> set[str]:
    from gradebook.pipelines.cli import app

    return {name.replace("_", "-") for name in app._subcommands}


def test_every_command_is_documented():
    text = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    assert {name for name in commands() if f"| `{name} " not in text} == set()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_documents_name_commands_that_exist(document):
    named = set(
        re.findall(r"(?m)(?:^    |`)(?:uv run --extra mongodb )?gradebook ([a-z-]+)", document.read_text("utf-8"))
    )
    assert named <= commands()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_documents_link_to_files_that_exist(document):
    links = re.findall(r"\]\((?!http)([^)#]+)", document.read_text("utf-8"))
    assert [link for link in links if not (document.parent / link).exists()] == []


def test_the_documented_json_keys_of_a_training_are_those_it_prints():
    from gradebook.pipelines.training.finalize import Result

    text = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    assert f"`{', '.join(Result.__dataclass_fields__)}`" in text


def test_the_readme_names_the_test_command_that_ci_runs():
    command = "uv run --extra mongodb python -m tests"
    assert f"    {command}\n" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert command.replace("uv run", "uv run --locked") in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_every_method_is_documented():
    from gradebook.mpl.methods import METHODS

    text = " ".join(re.sub(r"[│╭╮╰╯─]", " ", done("train", "--help").out).split())
    assert [name for name in METHODS if name not in text] == [], json.dumps(text)[:2000]


def test_every_document_has_a_place_on_the_site():
    pages = set(re.findall(r"(?m)^ +- (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8")))
    assert {path.name for path in (ROOT / "docs").glob("*.md")} <= pages
