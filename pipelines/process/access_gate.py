"""A gate before a web server that listens on this machine, as ASGI middleware.

Every local user can connect to a port of this machine, and so can every web page in a browser here. A request
passes the gate if

- its Host is a name of this server (against DNS rebinding);
- it comes from a page of this server, or from a link that a user follows (Origin and Sec-Fetch-Site; against cross-site
  request forgery and WebSocket hijacking);
- it has the token of this start of the server, in a cookie, a header or, in a link, as `?token=`.

Responses may not be shown in a frame of another page (against clickjacking).
"""

import re
import secrets
from collections.abc import Collection
from dataclasses import KW_ONLY, dataclass
from fnmatch import fnmatchcase
from html import escape
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

if TYPE_CHECKING:
    from starlette.requests import HTTPConnection
    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK = ("127.0.0.1", "localhost", "::1")
TOKEN = "token"  # parameter of a link
TOKEN_VARIABLE = "GRADEBOOK_TOKEN"  # environment variable: a server's token; empty for none
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
JSON = re.compile(r"application/([\w.-]+\+)?json|text/event-stream", re.IGNORECASE)  # FiftyOne's App sends both
HEADERS = {
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
FRAME_POLICY = "frame-ancestors 'none'"
PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Gradebook</title>{head}</head>
<body style="font-family: sans-serif; max-width: 40em; margin: 4em auto">{body}</body></html>"""
ASK = """<h1>Gradebook</h1><p>{text}</p><form method="get"><label>Token <input name="token" type="password"
autofocus></label> <button>Open</button></form>"""


def new_token() -> str:
    """Returns a token that nobody can guess."""
    return secrets.token_urlsafe(32)


@dataclass(frozen=True, slots=True)
class AccessGate:
    """Passes allowed requests on to `app` and answers the others itself.

    Attributes:
        app: the server behind the gate.
        token: the token of this start; None asks for none.
        command: the command that prints the link with the token.
        hosts: names of the server in the Host header, without port; `*` stands for anything.
        json_only: whether requests that can change something must send JSON, which no page of another origin can
            without being asked for permission first.
        open_paths: paths that need no token, such as a health check.
    """

    app: "ASGIApp"
    _: KW_ONLY
    token: str | None
    command: str
    hosts: Collection[str] = LOOPBACK
    json_only: bool = False
    open_paths: Collection[str] = ()

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Handles a connection."""
        from starlette.requests import HTTPConnection

        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        answer = self._answer(HTTPConnection(scope))
        if answer is None:
            await self.app(scope, receive, send if scope["type"] == "websocket" else _with_headers(send))
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})  # policy violation; before accept: HTTP 403
        else:
            await answer(scope, receive, _with_headers(send))

    def _answer(self, request: "HTTPConnection") -> "Response | None":
        """Returns the gate's own answer, None if the request may pass."""
        from starlette.responses import PlainTextResponse

        if problem := self._problem(request):
            return PlainTextResponse(f"{problem}\n", status_code=403)
        if self.token is None or request.scope["path"] in self.open_paths or self._is_authorized(request):
            return None
        if _is_safe(request) and _matches(request.query_params.get(TOKEN), self.token):
            return _sign_in(request, self.token)
        text = f"Open the link that <code>{escape(self.command)}</code> printed, or paste the token that it ends with."
        return _page(ASK.format(text=text), status=401)

    def _problem(self, request: "HTTPConnection") -> str | None:
        """Returns why a request is refused regardless of its token."""
        hosts = request.headers.getlist("host")
        name = _host_name(hosts[0]) if len(hosts) == 1 else None
        if name is None or not any(fnmatchcase(name, pattern.lower()) for pattern in self.hosts):
            return "This server does not go by that name: open it at localhost, or allow the name (docs/shared.md)."
        if any(not _is_same_origin(origin, hosts[0]) for origin in request.headers.getlist("origin")):
            return "Pages of another origin cannot use this server."
        if not _is_same_site(request):
            return "Pages of another site can link to this server, not load from it."
        if self.json_only and not _is_safe(request) and not _has_json(request):
            return "This server takes JSON only."
        return None

    def _is_authorized(self, request: "HTTPConnection") -> bool:
        """Returns whether the request has the token in a header or in the cookie."""
        kind, _, bearer = request.headers.get("authorization", "").partition(" ")
        token = bearer.strip() if kind.lower() == "bearer" else request.cookies.get(_cookie_name(request))
        return _matches(token, self.token or "")


def _matches(given: str | None, token: str) -> bool:
    return given is not None and secrets.compare_digest(given.encode(), token.encode())


def _is_safe(request: "HTTPConnection") -> bool:
    return request.scope["type"] == "http" and request.scope["method"] in SAFE_METHODS


def _host_name(host: str) -> str | None:
    """Returns the name in a Host header without the port, None if it is malformed.

    The port is not compared, because a forwarded port (ssh -L, a container) has another number outside.
    """
    try:
        parts = urlsplit(f"//{host}")
        parts.port  # noqa: B018 - raises ValueError if it is no port
    except ValueError:
        return None
    if parts.netloc != host or parts.username is not None:
        return None
    return (parts.hostname or "").rstrip(".") or None


def _is_same_origin(origin: str, host: str) -> bool:
    scheme, _, netloc = origin.partition("://")
    return scheme in ("http", "https") and netloc.lower() == host.lower()


def _is_same_site(request: "HTTPConnection") -> bool:
    """Returns whether a browser says that one of our pages asks, or that somebody follows a link in a window.

    Another port of this machine is another origin but the same site, to which a browser sends our cookie.
    """
    headers = request.headers
    if headers.get("sec-fetch-site", "none") in ("same-origin", "none"):
        return True
    follows_link = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
    return follows_link and request.scope.get("method") == "GET"


def _has_json(request: "HTTPConnection") -> bool:
    headers = request.headers
    kind = headers.get("content-type", "").partition(";")[0].strip()
    if kind:
        return JSON.fullmatch(kind) is not None
    return headers.get("content-length", "0") == "0" and "transfer-encoding" not in headers


def _cookie_name(request: "HTTPConnection") -> str:
    """Returns a name for this server's cookie; a browser sends cookies to every port of a host."""
    return "gradebook-" + re.sub(r"[^a-z0-9]+", "-", request.headers.get("host", "").lower()).strip("-")


def _sign_in(request: "HTTPConnection", token: str) -> "Response":
    """Returns a page that sets the cookie and leads to the same address without the token.

    A redirect would not do: after a link on another site, a browser sends no SameSite=Strict cookie along with it.
    """
    query = [(name, value) for name, value in parse_qsl(request.scope["query_string"].decode(), True) if name != TOKEN]
    target = "/" + quote(request.scope["path"].lstrip("/")) + (f"?{urlencode(query)}" if query else "")
    link = escape(target, quote=True)
    head = f'<meta http-equiv="refresh" content="0; url={link}">'
    response = _page(f'<p><a href="{link}">Open Gradebook</a></p>', head=head)
    response.set_cookie(_cookie_name(request), token, httponly=True, samesite="strict", path="/")
    return response


def _page(body: str, *, head: str = "", status: int = 200) -> "Response":
    from starlette.responses import HTMLResponse

    return HTMLResponse(PAGE.format(head=head, body=body), status_code=status, headers={"Cache-Control": "no-store"})


def _with_headers(send: "Send") -> "Send":
    """Adds headers that prevent other pages from framing or loading the response."""
    from starlette.datastructures import MutableHeaders

    async def sending(message: "Message") -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers.update(HEADERS)
            headers.append("Content-Security-Policy", FRAME_POLICY)
        await send(message)

    return sending
