"""Advice names pip to a user of pip and uv to a user of uv."""

import json

import pytest

from gradebook.storage import install_advice


class Installed:
    def __init__(self, installer: str | None, editable: bool):
        self._texts = {"INSTALLER": installer, "direct_url.json": json.dumps({"dir_info": {"editable": editable}})}

    def read_text(self, name: str) -> str | None:
        return self._texts[name]


@pytest.mark.parametrize(
    ("installer", "editable", "expected"),
    [
        ("pip\n", False, 'pip install "gradebook-ai[serve]"'),
        ("pip\n", True, 'pip install -e ".[serve]"'),
        (None, False, 'pip install "gradebook-ai[serve]"'),
        ("uv", False, 'uv pip install "gradebook-ai[serve]"'),
        ("uv", True, "uv sync --extra serve"),
    ],
)
def test_the_advice_names_the_program_that_installed_gradebook(monkeypatch, installer, editable, expected):
    monkeypatch.setattr(install_advice, "distribution", lambda name: Installed(installer, editable))
    assert install_advice.install_command("serve") == expected
