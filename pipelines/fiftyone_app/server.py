"""FiftyOne's App behind a gate: `python -m gradebook.pipelines.fiftyone_app.server PROJECT PORT`.

FiftyOne's own server answers everybody who can connect to its port, runs operators for pages of any origin, and serves
every file that its user can read. Here the gate is part of the server's process, so no port leads past it. The token is
in the environment.
"""

import asyncio
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from gradebook.pipelines.process.access_gate import TOKEN_VARIABLE, AccessGate
from gradebook.pipelines.process.servers import ADDRESS
from gradebook.storage.cache_files import thumbnails
from gradebook.storage.store import Store, open_store

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

FILE = "filepath"  # parameter of /media


def main() -> None:
    """Serves until SIGTERM."""
    os.environ["FIFTYONE_SERVER"] = "1"  # as FiftyOne's own server sets it before it imports the rest
    from fiftyone.server.app import app
    from fiftyone.server.events import set_port
    from hypercorn.asyncio import serve
    from hypercorn.config import Config

    root, port = Path(sys.argv[1]), int(sys.argv[2])
    token = os.environ.pop(TOKEN_VARIABLE)
    gate = AccessGate(
        ProjectMedia(app, is_media_of(open_store(root))), token=token, command="gradebook fiftyone", json_only=True
    )
    config = Config()
    config.bind = [f"{ADDRESS}:{port}"]
    config.loglevel = "WARNING"  # at INFO it prints the address without the token
    set_port(port)
    asyncio.run(serve(gate, config))  # type: ignore[arg-type]  # Starlette's types of messages are wider


class ProjectMedia:
    """ASGI middleware that answers 404 to a request for a file that is none of the project's."""

    def __init__(self, app: "ASGIApp", is_allowed: Callable[[str], bool]) -> None:
        self._app = app
        self._is_allowed = is_allowed

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Handles a connection."""
        from starlette.requests import HTTPConnection
        from starlette.responses import PlainTextResponse

        files = HTTPConnection(scope).query_params.getlist(FILE) if scope["type"] == "http" else []
        for file in files:
            if not await asyncio.to_thread(self._is_allowed, file):
                await PlainTextResponse("This file is not in the project.\n", status_code=404)(scope, receive, send)
                return
        await self._app(scope, receive, send)


def is_media_of(store: Store) -> Callable[[str], bool]:
    """Returns a function that tells whether a path is a file of the catalogue, or a thumbnail of the project.

    The catalogue is read at the first call, because a page asks for many files; later files are looked up one by one.
    """
    known: set[str] = set()
    lock = threading.Lock()

    def is_allowed(path: str) -> bool:
        with lock:
            if not known:
                known.update(file.filepath for file in store.catalog.files())
            if path not in known and (_is_thumbnail(store, Path(path)) or store.catalog.sample_at(path) is not None):
                known.add(path)
            return path in known

    return is_allowed


def _is_thumbnail(store: Store, path: Path) -> bool:
    """Returns whether a path is where a sample's thumbnail is, and no link to somewhere else."""
    if path != thumbnails(store.project).path(path.stem):
        return False
    root = store.project.root
    return path.resolve() == root.resolve() / path.relative_to(root)


if __name__ == "__main__":
    main()
