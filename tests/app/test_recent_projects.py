import json

import pytest

from gradebook.app import recent_projects
from gradebook.storage.project import create_project


@pytest.fixture(autouse=True)
def settings(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config" / "gradebook" / "recent.json"


def test_the_projects_opened_last_come_first_and_deleted_ones_are_left_out(tmp_path):
    first, second = (create_project(tmp_path / name, []).root for name in ("first", "second"))
    for root in (first, second, first, tmp_path / "gone"):
        recent_projects.remember(root)
    assert recent_projects.recent() == [first, second]


@pytest.mark.parametrize("content", ["{", "{}", json.dumps([1, None])])
def test_a_damaged_list_is_empty(settings, content):
    settings.parent.mkdir(parents=True)
    settings.write_text(content)
    assert recent_projects.recent() == []
