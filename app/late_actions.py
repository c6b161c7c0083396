"""Takes verdicts from a page that is being closed: `navigator.sendBeacon` sends them after the page's connection ends.

A request names the batch of images that each verdict was given on. A batch's name is a secret of the browser that got
it, so that nobody can give verdicts in another's name. What is not written here stays in the browser's storage, and the
next page sends it again and says what could not be saved (`outbox_component`).
"""

import json
from contextlib import suppress
from itertools import groupby
from typing import TYPE_CHECKING, Any

from gradebook.storage.project import ProjectError

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

PATH = "/gradebook/late-actions"
MAX_BYTES = 2**20  # of a request; a browser sends 64 kB at most


async def receive(request: "Request") -> "Response":
    """Writes the verdicts of a request; answers with how many of its actions were understood."""
    from starlette.concurrency import run_in_threadpool
    from starlette.responses import JSONResponse

    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BYTES:
            return JSONResponse({"error": "the request is too large"}, status_code=413)
    return JSONResponse({"actions": await run_in_threadpool(write, bytes(body))})


def write(body: bytes) -> int:
    """Writes the verdicts of a request's body; returns how many of its actions are of a batch that is known."""
    from gradebook.app import screens  # its caches need Streamlit's runtime, which starts after the server's imports
    from gradebook.app.review_actions import parse_actions

    try:
        message: Any = json.loads(body)
        actions = parse_actions(message.get("actions"))
    except (ValueError, AttributeError):
        return 0
    known = 0
    for batch, group in groupby(actions, key=lambda action: action.batch):
        screen, of_batch = screens.find(batch), list(group)
        if screen is not None:
            known += len(of_batch)
            with suppress(ProjectError):  # the next page sends them again, and says why they cannot be saved
                screens.apply(screen.store, screen.actor, of_batch)
    return known
