"""A shared server: who is admitted, and the name that their verdicts have."""

import importlib.util

import pytest
from streamlit.testing.v1 import AppTest

from gradebook.storage.project import create_project
from tests.app.test_views import app

PROVIDER = {"client_id": "y", "client_secret": "z", "server_metadata_url": "https://door.example/openid"}
AUTH = {"redirect_uri": "https://birds.example/oauth2callback", "cookie_secret": "x", **PROVIDER}


@pytest.fixture
def page(monkeypatch, tmp_path) -> AppTest:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    page = app(monkeypatch, str(create_project(tmp_path / "birds", ["crow"]).root))
    page.secrets["auth"] = AUTH
    return page


def titles(page: AppTest) -> list[str]:
    assert not page.exception
    return [title.value for title in page.title]


def test_the_project_is_hidden_before_sign_in(page):
    page.run()
    assert titles(page) == ["Gradebook"]
    assert [button.key for button in page.button] == ["sign-in-"]
    assert not page.text_input


def test_verdicts_are_recorded_under_the_signed_in_address_only(page):
    page.user = {"is_logged_in": True, "email": "Ada@Example.org", "name": "Ada"}
    page.run()
    assert titles(page) == ["birds"]
    assert not page.text_input, "no name to type"
    assert any("ada\\@example\\.org" in caption.value for caption in page.caption)
    assert [button.key for button in page.button].count("sign-out") == 1


@pytest.mark.parametrize(
    ("user", "comes"),
    [
        ({"email": "ada@example.org"}, True),
        ({"email": " ADA@example.org"}, True),
        ({"email": "eve@example.org"}, False),
        ({"email": "ada@example.org", "email_verified": False}, False),
        ({"name": "ada@example.org"}, False),
    ],
)
def test_only_listed_people_are_admitted(page, user, comes):
    page.secrets["gradebook"] = {"people": ["Ada@example.org", "bob@example.org"]}
    page.user = {"is_logged_in": True, **user}
    page.run()
    assert titles(page) == (["birds"] if comes else ["Gradebook"])
    assert bool(page.warning) != comes


def test_each_provider_has_a_button(page):
    page.secrets["auth"] = {**AUTH, "google": PROVIDER, "ours": PROVIDER}
    page.run()
    assert [button.key for button in page.button] == ["sign-in-google", "sign-in-ours"]


def test_without_authlib_the_page_says_what_to_install(page, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    page.run()
    assert "Authlib" in page.error[0].value and not page.button


@pytest.mark.parametrize(
    ("secrets", "missing"),
    [
        ({"auth": {**AUTH, "client_secret": ""}}, "auth\\.client\\_secret"),
        ({"auth": {"google": PROVIDER, "cookie_secret": "x"}}, "auth\\.redirect\\_uri"),
        ({"auth": {**AUTH, "google": {}}}, "auth\\.google\\.client\\_id"),
        ({"gradebook": {"people": ["ada@example.org"]}}, "auth\\.redirect\\_uri"),
    ],
)
def test_an_incomplete_section_admits_nobody_and_names_what_is_missing(page, secrets, missing):
    del page.secrets["auth"]
    for name, section in secrets.items():
        page.secrets[name] = section
    page.run()
    assert titles(page) == ["Gradebook"] and not page.button
    assert missing in page.error[0].value


def test_unreadable_secrets_admit_nobody(monkeypatch, tmp_path):
    import streamlit as st

    broken = tmp_path / "secrets.toml"
    broken.write_text("[auth\n")
    before = st.get_option("secrets.files")
    st._config.set_option("secrets.files", [str(broken)])
    try:
        page = app(monkeypatch, str(create_project(tmp_path / "birds", ["crow"]).root)).run()
        assert titles(page) == ["Gradebook"] and "cannot be read" in page.error[0].value
    finally:
        st._config.set_option("secrets.files", before)
