"""Attacks on the app and on FiftyOne by other users of the machine and by other web pages, with real requests."""

import asyncio
import json
import re
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
import websockets
from playwright.sync_api import Page, expect

from benchmarks.browser import CHROMIUM, answering, chromium, serving, serving_fiftyone
from gradebook.app import late_actions
from gradebook.app import serving as app_serving
from gradebook.pipelines.process import servers
from gradebook.storage.events import VERDICTS, Kind, event, replay
from gradebook.storage.fiftyone_dataset import dataset_name
from gradebook.storage.mongod import NoDatabase, find_mongods
from gradebook.storage.project import create_project
from gradebook.storage.samples import File, Sample
from gradebook.storage.store import Store, open_store
from tests.app.conftest import CLASSES, fill

REBOUND = "rebound.test"  # a name of the attacker's that resolves to this machine
SECRET = Path("/etc/passwd")
WHO = "ada"


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    """A project whose first image has a verdict."""
    folder = tmp_path_factory.mktemp("web")
    store = open_store(create_project(folder / "birds", CLASSES).root)
    fill(store, folder / "pictures")
    store.catalog.add([], [as_file(sample) for sample in store.catalog.samples()])
    store.log.append([event(Kind.RELABELLED, store.catalog.ids()[0], "crow", actor=WHO)])
    return store


def as_file(sample: Sample) -> File:
    status = Path(sample.filepath).stat()
    return File(filepath=sample.filepath, sample_id=sample.sample_id, size=status.st_size, mtime_ns=status.st_mtime_ns)


@pytest.fixture(scope="module")
def app(store) -> Iterator[servers.Server]:
    """The app as `gradebook app` starts it."""
    with serving(store.project.root, token="a-token-of-this-start") as address:
        yield servers.Server(address, "a-token-of-this-start")


@pytest.fixture(scope="module")
def fiftyone(store) -> Iterator[servers.Server]:
    """FiftyOne as `gradebook fiftyone` starts it."""
    try:
        find_mongods()
    except NoDatabase as error:
        pytest.skip(str(error))
    with serving_fiftyone(store.project.root, user=WHO) as process:
        yield answering(process, store.project.root)


@contextmanager
def attacker(page: str = "<h1>Cat pictures</h1>") -> Iterator[str]:
    """Serves a page on another port of this machine, which is the same site but another origin; yields its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(page.encode())

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@contextmanager
def victim(*links: str) -> Iterator[Page]:
    """A browser in which somebody has opened these links, and that resolves the attacker's name to this machine."""
    if CHROMIUM is None:
        pytest.skip("no Chromium: apt-get install chromium")
    expect.set_options(timeout=60_000)
    with chromium(f"--host-resolver-rules=MAP {REBOUND} 127.0.0.1") as browser:
        context = browser.new_context(viewport={"width": 1440, "height": 1000})
        page = context.new_page()
        page.set_default_timeout(60_000)
        for link in links:
            page.goto(link)
            page.wait_for_url(re.compile(r"^[^?]*(\?(?!.*token=).*)?$"))  # the token has left the address
        yield page


def ask(server: servers.Server, path: str, *, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
    """Sends a request as a program does; returns status and content."""
    wanted = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(server.address + path, body, wanted)
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def raw(server: servers.Server, request: str) -> str:
    """Sends exactly this; returns the first line of the answer."""
    host, port = server.address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(request.replace("\n", "\r\n").encode())
        return connection.recv(200).decode().partition("\r\n")[0]


def is_stream_open(server: servers.Server, **headers: str) -> bool:
    """Returns whether the app's WebSocket accepts a connection."""

    async def connect() -> None:
        address = server.address.replace("http", "ws") + "/_stcore/stream"
        async with websockets.connect(address, additional_headers=headers, origin=headers.pop("Origin", None)):
            pass

    try:
        asyncio.run(connect())
    except websockets.InvalidStatus:
        return False
    return True


def operator(store: Store, name: str) -> bytes:
    """Returns the request that presses a button of FiftyOne's App without a selection."""
    body = {"operator_uri": f"@gradebook/verdicts/{name}", "dataset_name": dataset_name(store.project), "params": {}}
    return json.dumps(body).encode()


def verdicts(store: Store) -> int:
    return len([e for e in store.log.read() if e.kind in VERDICTS or e.kind is Kind.RETRACTED])


def test_another_user_of_the_machine_gets_nothing_from_the_app(app):
    for path in ("/", "/review", "/index.html", "/_stcore/host-config", "/_stcore/upload_file/a/b", "/media/x.png"):
        status, content = ask(app, path)
        assert (status, b"token" in content.lower()) == (401, True), path
    for path in ("/_stcore/upload_file/a/b", late_actions.PATH):
        assert ask(app, path, body=b"{}")[0] == 401, path
    assert ask(app, "/", Authorization="Bearer x")[0] == 401
    assert not is_stream_open(app)
    assert not is_stream_open(app, Cookie="gradebook-app=x")


def test_a_user_with_the_link_gets_the_app(app, store):
    port = app.address.rpartition(":")[2]
    cookie = f"gradebook-127-0-0-1-{port}={app.token}"
    assert b"streamlit" in ask(app, "/review", Cookie=cookie)[1].lower()
    assert is_stream_open(app, Cookie=cookie, Origin=app.address)
    assert servers.find(store.project.root, servers.APP) == app, "FiftyOne finds it, with the token"


def test_the_app_refuses_other_host_names_and_other_origins(app):
    headers = app.headers
    assert ask(app, "/", Host=f"{REBOUND}:80", **headers)[0] == 403
    assert ask(app, "/", Origin="http://127.0.0.1:9", **headers)[0] == 403
    assert ask(app, late_actions.PATH, body=b"{}", Origin="http://127.0.0.1:9", **headers)[0] == 403
    assert json.loads(ask(app, late_actions.PATH, body=b"{}", **headers)[1])["acknowledged"] == []
    assert ask(app, "/", Sec_Fetch_Site="same-site", Sec_Fetch_Mode="no-cors", **headers)[0] == 403
    assert is_stream_open(app, **headers)
    assert not is_stream_open(app, Origin="http://127.0.0.1:9", **headers)
    assert not is_stream_open(app, Origin="http://localhost:9", **headers)
    assert not is_stream_open(app, Host=REBOUND, Origin=f"http://{REBOUND}", **headers)


def test_requests_that_no_client_would_send_get_nothing(app):
    token = f"Authorization: Bearer {app.token}\nConnection: close\n\n"
    for head in (
        f"GET / HTTP/1.1\nHost: 127.0.0.1\nHost: {REBOUND}\n",
        f"GET / HTTP/1.1\nHost: {REBOUND}\n",
        "GET / HTTP/1.0\n",
        f"GET http://{REBOUND}/ HTTP/1.1\nHost: {REBOUND}\n",
    ):
        status = raw(app, head + token)
        assert status.split()[1] in ("400", "403"), (head, status)
    assert raw(app, "GET / HTTP/1.1\nHost: localhost\n" + token).split()[1] == "200"


@pytest.mark.slow
def test_another_user_of_the_machine_gets_nothing_from_fiftyone(fiftyone, store):
    image, before = store.catalog.files()[0].filepath, verdicts(store)
    media = f"/media?{urlencode({'filepath': image})}"
    for path in ("/", "/fiftyone", "/plugins", "/graphql", media, f"/datasets/{dataset_name(store.project)}"):
        assert ask(fiftyone, path)[0] == 401, path
    assert ask(fiftyone, "/operators/execute", body=operator(store, "undo"), Content_Type="application/json")[0] == 401
    assert verdicts(store) == before
    assert ask(fiftyone, media, **fiftyone.headers) == (200, Path(image).read_bytes())


@pytest.mark.slow
def test_fiftyone_serves_the_files_of_the_project_alone(fiftyone, store):
    root, image = store.project.root, Path(store.catalog.files()[0].filepath)
    link = root / "thumbnails" / "li" / "link.jpg"
    link.parent.mkdir(parents=True)
    link.symlink_to(SECRET)
    thumbnail = root / "thumbnails" / "ab" / "abc.jpg"
    thumbnail.parent.mkdir()
    thumbnail.write_bytes(image.read_bytes())
    others = [str(SECRET), "/etc/shadow", f"{image}/", f"{image.parent}/../{image.parent.name}/{image.name}", str(link)]
    others += [f"{image.parent}/x/../{image.name}", f"/proc/self/root{image}", str(root / "gradebook.json"), "", "."]
    for path in others:
        for query in (urlencode({"filepath": path}), f"filepath={quote(str(image))}&filepath={quote(path)}"):
            status, content = ask(fiftyone, f"/media?{query}", **fiftyone.headers)
            assert status in (400, 404) and b"root:" not in content, query
    for path in (f"/plugins/..%2f..%2f..%2f..{SECRET}", f"/plugins/gradebook-verdicts/..%2f..{SECRET}", f"//{SECRET}"):
        assert b"root:" not in ask(fiftyone, path, **fiftyone.headers)[1], path
    assert ask(fiftyone, f"/media?{urlencode({'filepath': thumbnail})}", **fiftyone.headers)[0] == 200


@pytest.mark.slow
def test_no_request_that_another_page_can_send_reaches_an_operator(fiftyone, store):
    """A verdict was taken back by a page of another origin, which posts text."""
    body, headers, before = operator(store, "undo"), fiftyone.headers, verdicts(store)
    assert ask(fiftyone, "/operators/execute", body=body, Content_Type="text/plain", **headers)[0] == 403
    assert ask(fiftyone, "/operators/execute", body=body, Content_Type="", **headers)[0] == 403
    as_json = headers | {"Content-Type": "application/json"}
    for name, value in (("Origin", "http://127.0.0.1:9"), ("Origin", "null"), ("Host", REBOUND)):
        assert ask(fiftyone, "/operators/execute", body=body, **as_json | {name: value})[0] == 403
    assert verdicts(store) == before
    status, content = ask(fiftyone, "/operators/execute", body=operator(store, "place"), **as_json)
    assert status == 200, content


@pytest.mark.slow
def test_the_database_of_fiftyone_has_no_port(fiftyone, store):
    import psutil

    state = json.loads((store.project.root / "mongo" / "server.json").read_text())
    connections = psutil.Process(state["pid"]).net_connections("inet")
    assert [c.laddr for c in connections if c.status == psutil.CONN_LISTEN] == []
    assert Path(state["socket"]).parent.stat().st_mode & 0o077 == 0


LOAD = """async ([address, path, body]) => {
  const outcomes = {};
  const note = async (name, promise) => { outcomes[name] = await promise.then(String, () => 'failed'); };
  const sent = {method: 'POST', credentials: 'include', mode: 'no-cors', body, headers: {'Content-Type': 'text/plain'}};
  await note('post', fetch(address + path, sent).then(r => r.type));
  await note('read', fetch(address + '/', {credentials: 'include'}).then(r => r.text()));
  await note('image', new Promise((done, failed) => {
    const image = new Image(); image.onload = () => done('shown'); image.onerror = failed; image.src = address + path;
  }));
  await note('stream', new Promise((done, failed) => {
    const socket = new WebSocket(address.replace('http', 'ws') + '/_stcore/stream', ['streamlit']);
    socket.onopen = () => done('open'); socket.onerror = failed;
  }));
  return outcomes;
}"""


@pytest.mark.slow
@pytest.mark.browser
def test_another_page_in_the_same_browser_cannot_use_the_app(app, store):
    """The browser has the cookie and sends it from every port of this machine; the page comes from another one."""
    with victim(app.link("/review")) as page, attacker() as evil:
        page.locator(".review img").first.wait_for()
        other = page.context.new_page()
        other.goto(evil)
        outcomes = other.evaluate(LOAD, [app.address, "/_stcore/upload_file/a/b", "x"])
        assert [outcomes[name] for name in ("read", "image", "stream")] == ["failed"] * 3
        assert is_frame_empty(other, app.address)
        other.goto(app.address.replace("127.0.0.1", REBOUND))
        expect(other.locator("body")).to_contain_text("does not go by that name")
        other.goto(evil)
        other.evaluate("address => { location.href = address }", f"{app.address}/review")
        expect(other.locator("h1, .review").first).to_be_visible()  # a link leads there
        labelled = verdicts(store)
        page.keyboard.press("1")
        expect(page.locator(".review .decided, .review[data-pending='0']").first).to_be_attached()
        wait_for(page, lambda: verdicts(store) == labelled + 1)


@pytest.mark.slow
@pytest.mark.browser
def test_the_link_works_from_another_site_and_without_it_the_page_asks(app, monkeypatch, tmp_path):
    with attacker() as evil, victim() as page:
        page.goto(f"{app.address}/review")
        expect(page.locator("body")).to_contain_text("paste the token")
        page.get_by_label("Token").fill("wrong")
        page.get_by_role("button", name="Open").click()
        expect(page.locator("body")).to_contain_text("paste the token")
        page.goto(evil.replace("127.0.0.1", "localhost"))
        page.evaluate("address => { location.href = address }", app.link("/review"))
        page.locator(".review").wait_for()
        assert "token" not in page.url
        page.context.clear_cookies()
        page.goto(f"{app.address}/review")
        page.get_by_label("Token").fill(app.token)
        page.get_by_role("button", name="Open").click()
        page.locator(".review").wait_for()
        page.context.clear_cookies()
        opened, done = [], threading.Event()
        monkeypatch.setattr(app_serving.webbrowser, "open", lambda address: (opened.append(address), done.set()))
        with app_serving.opened_in_browser(app.link("/review"), tmp_path):
            assert done.wait(10)
            page.goto(opened[0])
            page.locator(".review").wait_for()


@pytest.mark.slow
@pytest.mark.browser
def test_another_page_in_the_same_browser_cannot_use_fiftyone(fiftyone, store):
    page_of_dataset = f"/datasets/{dataset_name(store.project)}"
    before = verdicts(store)
    with victim(fiftyone.link(page_of_dataset)) as page, attacker() as evil:
        looker = page.locator("[data-cy=looker]").first
        looker.wait_for()
        other = page.context.new_page()
        other.goto(evil)
        outcomes = other.evaluate(LOAD, [fiftyone.address, "/operators/execute", operator(store, "undo").decode()])
        assert outcomes["read"] == outcomes["image"] == "failed"
        assert is_frame_empty(other, fiftyone.address)
        other.goto(fiftyone.address.replace("127.0.0.1", REBOUND))
        expect(other.locator("body")).to_contain_text("does not go by that name")
        assert verdicts(store) == before, "nothing was taken back"
        other.close()
        page.get_by_text("Dismiss").click()
        looker.hover()
        looker.click(position={"x": 14, "y": 14})  # where its box to tick is
        page.locator('[data-item-id="@gradebook/verdicts/assign"]').click()
        page.get_by_role("combobox").click()
        page.get_by_role("option", name="heron", exact=True).click()
        page.get_by_role("button", name="Label 1 image").click()
        expect(page.get_by_text("1 sample labelled heron.")).to_be_visible()
        wait_for(page, lambda: "heron" in replay(store.log.read()).values())


@pytest.mark.slow
@pytest.mark.browser
def test_the_button_of_fiftyone_leads_to_the_image_in_the_app_past_both_gates(app, fiftyone, store):
    with victim(fiftyone.link(f"/datasets/{dataset_name(store.project)}")) as page:
        page.set_viewport_size({"width": 2400, "height": 1000})  # in a narrow window the button is in a menu
        looker = page.locator("[data-cy=looker]").first
        looker.wait_for()
        page.get_by_text("Dismiss").click()
        looker.hover()
        looker.click(position={"x": 14, "y": 14})  # where its box to tick is
        page.locator('[data-item-id="@gradebook/verdicts/open_in_app"]').click()
        page.locator('a[href*="/evolution"]').click()
        page.get_by_role("heading", name="Evolution").wait_for()
        page.wait_for_url(lambda url: "token" not in url)
        assert page.url.startswith(f"{app.address}/evolution")
        expect(page.get_by_text(f"sample {store.catalog.ids()[0]}")).to_be_visible()


def is_frame_empty(page: Page, address: str) -> bool:
    """Returns whether the page shows nothing of the address in a frame."""
    page.evaluate(
        "address => new Promise(done => { const frame = document.createElement('iframe'); frame.src = address;"
        " frame.onload = done; document.body.append(frame); })",
        address,
    )
    frame = page.frames[-1]
    return frame != page.main_frame and frame.url.startswith("chrome-error:")


def wait_for(page: Page, done: Any) -> None:
    """Waits half a minute, the page's own work being done meanwhile."""
    for _ in range(300):
        if done():
            return
        page.wait_for_timeout(100)
    pytest.fail("it did not happen in half a minute")
