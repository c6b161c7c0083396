"""The gate before the app and FiftyOne, around a server that answers and notes what reaches it."""

from urllib.parse import quote

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from gradebook.pipelines.process.access_gate import LOOPBACK, AccessGate

TOKEN = "kX9-uZ_4bQ7rT2wLm5vN8cJ1dF6hS3gY0aEpRoBiUyM"  # fixed: names of tests contain it
SIGNED_IN = {"Authorization": f"Bearer {TOKEN}"}
HOST = "127.0.0.1:8501"
STREAM = f"ws://{HOST}/stream"  # the client would say "testserver"
LINK = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}


def visitor(*, token: str | None = TOKEN, host: str = HOST, **options) -> TestClient:
    """Returns a client of a server behind a gate, as a browser that opens http://`host`."""

    async def page(request):
        return PlainTextResponse("inside")

    async def stream(socket):
        await socket.accept()
        await socket.close()

    routes = [Route("/{path:path}", page, methods=["GET", "POST", "PUT"]), WebSocketRoute("/stream", stream)]
    gate = AccessGate(Starlette(routes=routes), token=token, command="gradebook app", **options)
    return TestClient(gate, base_url=f"http://{host}", follow_redirects=False)


def test_without_the_token_nothing_is_answered_and_the_page_says_how_to_get_in():
    client = visitor()
    answer = client.get("/review")
    assert answer.status_code == 401
    assert "gradebook app" in answer.text and "inside" not in answer.text
    assert client.post("/review").status_code == 401
    with pytest.raises(WebSocketDisconnect), client.websocket_connect(STREAM):
        pass


@pytest.mark.parametrize("given", ["", "x", TOKEN[:-1], f"{TOKEN}x", "\u00fc", TOKEN.swapcase()])
def test_a_wrong_token_opens_nothing(given):
    client = visitor()
    assert client.get(f"/?token={quote(given)}").status_code == 401
    assert client.get("/", headers={"Authorization": f"Bearer {given}".encode()}).status_code == 401
    client.cookies.set("gradebook-127-0-0-1-8501", quote(given))
    assert client.get("/").status_code == 401


def test_the_link_sets_a_cookie_that_scripts_and_other_sites_do_not_get_and_leaves_the_token_out_of_the_address():
    client = visitor()
    answer = client.get(f"/evolution?sample=a%26b&token={TOKEN}&run=1")
    assert answer.status_code == 200 and "inside" not in answer.text
    assert "url=/evolution?sample=a%26b&amp;run=1" in answer.text
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("gradebook-127-0-0-1-8501=") and "HttpOnly" in cookie and "SameSite=strict" in cookie
    assert client.get("/evolution?sample=a%26b&run=1").text == "inside", "the cookie counts from now on"
    with client.websocket_connect(STREAM):
        pass


@pytest.mark.parametrize("path", ["//evil.example/", "/\\evil.example", '/"><script>alert(1)</script>', "/;url=//e"])
def test_the_link_leads_to_no_other_server_and_runs_no_script(path):
    answer = visitor().get(f"{quote(path)}?token={TOKEN}")
    assert 'content="0; url=/' in answer.text
    assert "url=//" not in answer.text and "\\" not in answer.text and "<script>" not in answer.text


def test_a_program_sends_the_token_in_a_header():
    assert visitor().get("/", headers=SIGNED_IN).text == "inside"


@pytest.mark.parametrize("host", ["127.0.0.1:8501", "localhost:9000", "LOCALHOST", "localhost.:80", "[::1]:8501"])
def test_a_forwarded_port_and_every_name_of_this_machine_are_welcome(host):
    assert visitor().get("/", headers=SIGNED_IN | {"Host": host}).text == "inside"


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example:8501", "127.0.0.1.evil.example", "localhost.evil.example", "evil.example#127.0.0.1", "0.0.0.0"),
        *("127.0.0.1:x", "127.0.0.1:99999", "x@127.0.0.1", "127.0.0.1/", "", "[::1", "192.168.1.5:8501", "127.1"),
    ],
)
def test_a_name_that_was_made_to_resolve_to_this_machine_gets_nothing(host):
    """DNS rebinding: the browser takes the server for one of the attacker's own site."""
    assert visitor().get("/", headers=SIGNED_IN | {"Host": host}).status_code == 403
    assert visitor(token=None).get("/", headers={"Host": host}).status_code == 403


def test_the_names_of_a_shared_server_are_welcome():
    client = visitor(token=None, hosts=(*LOOPBACK, "birds.example", "*.lab.example"))
    for host in ("Birds.example", "a.lab.example:80"):
        assert client.get("/", headers={"Host": host}).text == "inside"
    for host in ("lab.example", "xbirds.example", "birds.example.evil"):
        assert client.get("/", headers={"Host": host}).status_code == 403
    behind = {"Host": "birds.example", "Origin": "https://birds.example"}
    assert client.post("/", headers=behind).text == "inside", "the web server in front ends TLS"


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "http://127.0.0.1:9", "http://localhost:8501", "null", "", "file://", "http://"]
)
@pytest.mark.parametrize("token", [TOKEN, None])
def test_pages_of_another_origin_send_nothing(origin, token):
    """The browser sends our cookie from every port of this machine."""
    client = visitor(token=token)
    headers = SIGNED_IN | {"Origin": origin}
    assert {client.request(method, "/", headers=headers).status_code for method in ("GET", "POST", "PUT")} == {403}
    with pytest.raises(WebSocketDisconnect), client.websocket_connect(STREAM, headers=headers):
        pass


def test_its_own_pages_send_what_they_like():
    headers = SIGNED_IN | {"Origin": f"http://{HOST}", "Sec-Fetch-Site": "same-origin"}
    client = visitor()
    assert client.post("/", headers=headers).text == "inside"
    with client.websocket_connect(STREAM, headers=headers):
        pass


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_other_sites_can_link_to_a_page_and_load_nothing_from_it(site):
    client, link = visitor(), SIGNED_IN | LINK | {"Sec-Fetch-Site": site}
    assert client.get("/", headers=link).text == "inside"
    for change in ({"Sec-Fetch-Dest": "iframe"}, {"Sec-Fetch-Dest": "image", "Sec-Fetch-Mode": "no-cors"}):
        assert client.get("/", headers=link | change).status_code == 403
    assert client.post("/", headers=link).status_code == 403, "a form that another site sends"


@pytest.mark.parametrize("token", [TOKEN, None])
def test_no_answer_can_be_framed(token):
    client = visitor(token=token)
    for answer in (client.get("/"), client.get("/", headers=SIGNED_IN), client.get("/", headers={"Host": "evil"})):
        assert answer.headers["x-frame-options"] == "DENY"
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"


@pytest.mark.parametrize(
    ("kind", "comes"),
    [
        *(("application/json", True), ("Application/JSON; charset=utf-8", True), ("application/json-patch+json", True)),
        *(("text/event-stream", True), ("text/plain", False), ("text/plain;application/json", False), ("", False)),
        *(("multipart/form-data", False), ("application/x-www-form-urlencoded", False), ("application/jsonx", False)),
    ],
)
def test_a_server_that_takes_json_only_takes_no_form_of_another_page(kind, comes):
    client = visitor(json_only=True)
    headers = SIGNED_IN | ({"Content-Type": kind} if kind else {})
    assert (client.post("/", headers=headers, content=b"{}").status_code == 200) is comes
    assert client.post("/", headers=SIGNED_IN).status_code == 200, "an empty message"


def test_a_health_check_needs_no_token_and_the_rest_does():
    client = visitor(open_paths=("/health",))
    assert client.get("/health").text == "inside"
    assert {client.get(path).status_code for path in ("/health/", "/healthy", "//health", "/x/../health2")} == {401}
    assert client.get("/health", headers={"Host": "evil.example"}).status_code == 403


def test_several_servers_of_one_host_keep_cookies_of_their_own():
    names = {
        visitor(host=h).get(f"/?token={TOKEN}").headers["set-cookie"].partition("=")[0] for h in (HOST, "127.0.0.1:9")
    }
    assert len(names) == 2
