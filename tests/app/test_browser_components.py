"""Each component of the browser finds its files."""

import re
from pathlib import Path

import pytest

import gradebook.app
from gradebook.app import browser_components

APP = Path(gradebook.app.__path__[0])
NAMES = {
    name for path in APP.glob("*_component.py") for name in re.findall(r'component\("(\w+)"\)', path.read_text("utf-8"))
}


@pytest.mark.parametrize("name", sorted(NAMES))
def test_a_component_has_a_script_and_a_style(name):
    js, css = browser_components._sources(name)
    assert "export default function" in js and css


def test_every_component_is_checked():
    assert {path.name.removesuffix(".css") for path in APP.glob("*.css")} == NAMES
