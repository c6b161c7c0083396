"""An HTTP server for an exported classifier: `/predict`, `/healthz`, and a description of them at `/openapi.json`.

It is meant for this machine, or for use behind a proxy with authentication. Requests are limited in size, pixels,
number of images and time. No request can make the server read a file or an address. Host and Origin are checked as
those of the app are (`gradebook.pipelines.process.access_gate`).
"""

import asyncio
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gradebook.pipelines.inference.classifier import Classifier
from gradebook.pipelines.inference.upload import Limits
from gradebook.pipelines.process.access_gate import LOOPBACK, AccessGate
from gradebook.storage.install_advice import install_command
from gradebook.storage.project import ProjectError

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOCAL = ("127.0.0.1", "::1", "localhost")  # addresses that only this machine reaches
OVERHEAD_BYTES = 64 * 1024  # of a request in addition to its images: the names and boundaries of its parts


def create_app(classifier: Classifier, limits: Limits, hosts: Collection[str] = ()) -> "ASGIApp":
    """Returns the server as an ASGI application, behind the gate.

    Args:
        classifier: the classifier, opened.
        limits: of a request.
        hosts: names of the server in the Host header besides those of this machine, such as classifier.example.org.

    Raises:
        ProjectError: FastAPI is not installed.
    """
    try:
        from gradebook.pipelines.inference.serving_routes import HEALTH_PATH, routes
    except ImportError as error:
        raise _not_installed(error) from error
    app = routes(classifier, limits)
    gate = AccessGate(app, token=None, command="gradebook serve", hosts=(*LOOPBACK, *hosts), open_paths=(HEALTH_PATH,))
    return _Limited(gate, limits)


def serve(classifier: Classifier, limits: Limits, *, host: str, port: int, hosts: Collection[str]) -> None:
    """Serves a classifier until Ctrl-C or SIGTERM.

    Raises:
        ProjectError: FastAPI or uvicorn is not installed.
    """
    app = create_app(classifier, limits, hosts)
    try:
        import uvicorn
    except ImportError as error:
        raise _not_installed(error) from error
    uvicorn.run(app, host=host, port=port, log_level="warning", server_header=False, limit_concurrency=256)


def _not_installed(error: ImportError) -> ProjectError:
    return ProjectError(f"gradebook serve needs the package {error.name}: install it with: {install_command('serve')}")


@dataclass(frozen=True, slots=True)
class _Limited:
    """ASGI middleware that ends requests which are too large or take too long, whatever their headers say."""

    app: "ASGIApp"
    limits: Limits

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Handles a connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = _Request(receive, send, int(self.limits.megabytes * 2**20) + OVERHEAD_BYTES)
        try:
            if request.declares_too_much(scope):
                raise _TooLarge
            async with asyncio.timeout(self.limits.seconds):
                await self.app(scope, request.receive, request.send)
        except _TooLarge:
            await request.answer(413, f"the request is too large: send at most {self.limits.megabytes:g} MB")
        except TimeoutError:
            await request.answer(408, f"the request took more than {self.limits.seconds:g} seconds")


class _TooLarge(Exception):  # noqa: N818
    """A request has more bytes than allowed."""


class _Request:
    """One request: what was received is counted, and nothing is sent after an answer has begun."""

    def __init__(self, receive: "Receive", send: "Send", limit: int):
        self._receive, self._send, self._limit = receive, send, limit
        self._received, self._is_answered, self._is_too_large = 0, False, False

    def declares_too_much(self, scope: "Scope") -> bool:
        """Returns whether the request says itself that it is too large."""
        lengths = [value for name, value in scope["headers"] if name.lower() == b"content-length"]
        return any(not value.isdigit() or int(value) > self._limit for value in lengths)

    async def receive(self) -> "Message":
        """Returns the next part of the body."""
        message = await self._receive()
        self._received += len(message.get("body", b""))
        if self._received > self._limit:
            self._is_too_large = True
            raise _TooLarge
        return message

    async def send(self, message: "Message") -> None:
        """Passes on a part of the answer, unless it is an application's own to a request that is too large."""
        if self._is_too_large:
            raise _TooLarge
        self._is_answered = True
        await self._send(message)

    async def answer(self, status: int, detail: str) -> None:
        """Sends a response instead of the application, unless the application has begun one."""
        from starlette.responses import JSONResponse

        if self._is_answered:
            return
        response: Any = JSONResponse({"detail": detail}, status_code=status, headers={"Connection": "close"})
        await response({"type": "http"}, self._receive, self._send)
