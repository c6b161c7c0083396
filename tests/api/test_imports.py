"""`import gradebook` is quick, and its names are visible to users and tools."""

import re
from pathlib import Path

import pytest

import gradebook
from tests.pipelines.blocked_imports import run_without


def test_importing_gradebook_loads_no_other_library():
    done = run_without((), "before = set(sys.modules); import gradebook; print(*(set(sys.modules) - before))")
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert loaded == {"gradebook"}, done.stderr


def test_opening_a_project_loads_neither_torch_nor_pandas(finished):
    code = "import gradebook; project = gradebook.open(sys.argv[1]); print(project.classes)"
    done = run_without(("torch", "timm", "pandas", "streamlit", "fiftyone"), code, str(finished))
    assert done.stdout == "('cat', 'dog')\n", done.stderr


def test_every_exported_name_is_there_and_documented():
    for name in gradebook.__all__:
        assert name in dir(gradebook)
        assert getattr(gradebook, name).__doc__, name


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = gradebook.nothing


def test_the_document_shows_names_that_exist():
    text = (Path(__file__).parents[2] / "docs" / "python.md").read_text(encoding="utf-8")
    owners = {"gradebook": gradebook, "project": gradebook.Project, "run": gradebook.Run}
    owners["classifier"] = gradebook.Classifier
    named = re.findall(r"\b(gradebook|project|run|classifier)\.([a-z_]+)", text)
    assert len(named) > 20
    names = set(named) - {("gradebook", "mpl")}  # a subpackage
    assert [(owner, name) for owner, name in names if not hasattr(owners[owner], name)] == []
