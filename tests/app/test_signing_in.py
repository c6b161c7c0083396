"""Signing in through a real OpenID Connect provider on this machine, as docs/shared.md describes, in a real browser."""

import warnings
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from benchmarks.browser import free_port
from gradebook.storage.events import VERDICTS
from tests.app.browser import review, served, written

pytestmark = [pytest.mark.browser, pytest.mark.slow]

ACCOUNTS = {"ada": "Ada@example.org", "eve": "eve@example.org"}
SECRETS = """
[auth]
redirect_uri = "http://127.0.0.1:{port}/oauth2callback"
cookie_secret = "a long random text"
client_id = "gradebook"
client_secret = "from the provider"
server_metadata_url = "{provider}/.well-known/openid-configuration"

[gradebook]
people = ["ada@example.org", "bob@example.org"]
"""


@pytest.fixture(scope="module")
def provider() -> Iterator[str]:
    """A provider that signs in the account chosen on its page."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import oidc_provider_mock

    users = [oidc_provider_mock.User(sub=name, claims={"email": email}) for name, email in ACCOUNTS.items()]
    with oidc_provider_mock.run_server_in_thread(user_claims=users) as server:
        yield f"http://localhost:{server.server_port}"


@pytest.fixture
def address(real_store, tmp_path, provider, monkeypatch) -> Iterator[str]:
    port, secrets = free_port(), tmp_path / "home" / ".streamlit" / "secrets.toml"
    secrets.parent.mkdir(parents=True)
    secrets.write_text(SECRETS.format(port=port, provider=provider))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    with served(real_store.project.root, folder=tmp_path, port=port) as address:
        yield address


def test_no_image_is_sent_before_sign_in_and_verdicts_have_the_address(page, address, real_store):
    received = images_received(page)
    page.goto(f"{address}/review")
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()
    nothing_is_shown(page, received)
    sign_in(page, "ada")
    page.goto(f"{address}/review")
    review(page)
    assert received(), "the same look at what comes finds images now"
    expect(page.get_by_text("ada@example.org")).to_be_visible()
    expect(page.get_by_role("textbox", name="Your name")).to_have_count(0)
    page.keyboard.press("1")
    (answer,) = written(real_store, 1)
    assert answer.actor == "ada@example.org"
    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("button", name="End session").click()  # the provider asks for confirmation
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()
    received.forget()
    page.goto(f"{address}/review")
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()
    nothing_is_shown(page, received)


def test_an_account_that_is_not_admitted_sees_nothing(page, address, real_store):
    received = images_received(page)
    page.goto(f"{address}/review")
    sign_in(page, "eve")
    expect(page.get_by_text("eve@example.org is not admitted to this server.")).to_be_visible()
    nothing_is_shown(page, received)
    assert [e for e in real_store.log.read() if e.kind in VERDICTS] == []


class Received:
    """Counts the images of the project that the server sends to a page, whose messages hold them as data."""

    def __init__(self, page: Page) -> None:
        self.images = 0
        page.on("websocket", lambda socket: socket.on("framereceived", self._count))

    def __call__(self) -> int:
        return self.images

    def forget(self) -> None:
        self.images = 0

    def _count(self, frame: bytes | str) -> None:
        self.images += (frame if isinstance(frame, bytes) else frame.encode()).count(b"data:image/jpeg")


def images_received(page: Page) -> Received:
    return Received(page)


def nothing_is_shown(page: Page, received: Received) -> None:
    assert received() == 0
    for place in (".review", "main img", "[data-testid=stSidebarNav]"):
        expect(page.locator(place)).to_have_count(0)


def sign_in(page: Page, name: str) -> None:
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("heading", name="Authorize Client").wait_for()
    page.get_by_role("button", name=name, exact=True).click()
    page.get_by_role("button", name="Sign out").wait_for()
