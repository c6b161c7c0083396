"""Takes the verdicts of a review page that was left.

The outbox of the next page sends them, or `navigator.sendBeacon` if the page is closed.

A request names its page, and the batch of images that each verdict belongs to. Only the browser that got these names
has them, so no other one can give verdicts in its place. Verdicts that are not written here stay in the browser's
storage. The next page sends them again and lists those that could not be saved (`outbox_component`).
"""

import json
from itertools import groupby
from typing import TYPE_CHECKING, Any

from gradebook.storage.project import ProjectError

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

PATH = "/gradebook/late-actions"
MAX_BYTES = 2**20  # of a request; a browser sends 64 kB at most


async def receive(request: "Request") -> "Response":
    """Writes the verdicts of a request; answers with what became of them (`write`)."""
    from starlette.concurrency import run_in_threadpool
    from starlette.responses import JSONResponse

    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BYTES:
            return JSONResponse({"error": "the request is too large"}, status_code=413)
    return JSONResponse(await run_in_threadpool(write, bytes(body)))


def write(body: bytes) -> dict[str, Any]:
    """Writes the verdicts of a request's body.

    Returns:
        `acknowledged`, the ids of the actions that need not be sent again, `notices`, why some of these were not saved
        by id, and `problem`, why others have to be sent again, or None.
    """
    from gradebook.app import screens  # its caches need Streamlit's runtime, which starts after the server's imports
    from gradebook.app.review_actions import describe_failures, parse_actions

    acknowledged, notices, problem = list[str](), dict[str, str](), None
    try:
        message: Any = json.loads(body)
        page, actions = screens.find(str(message.get("page"))), parse_actions(message.get("actions"))
    except (ValueError, AttributeError):
        page, actions = None, []
    for batch, group in groupby(actions, key=lambda action: action.batch):
        screen, of_batch = screens.find(batch) or page, list(group)
        if screen is None:
            problem = "Not yet saved: this page is older than the server. Reload it."
            continue
        try:
            failures = describe_failures(screens.apply(screen.store, screen.actor, of_batch))
        except ProjectError as error:
            problem = f"Not yet saved: {error}"
            continue
        acknowledged += [action.action_id for action in of_batch]
        notices |= {failure["action_id"]: failure["text"] for failure in failures}
    return {"acknowledged": acknowledged, "notices": notices, "problem": problem}
