"""An HTTP server for an exported classifier: `/predict`, `/healthz`, and a description of them at `/openapi.json`.

It is meant for this machine, or for use behind a proxy with authentication. Requests are limited in size, pixels,
number of images and time. No request can make the server read a file or an address. Host and Origin are checked as
those of the app are (`gradebook.pipelines.process.access_gate`).
"""

import asyncio
import io
import os
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gradebook.pipelines.inference.classifier import Classifier, predict_content
from gradebook.pipelines.process.access_gate import LOOPBACK, AccessGate
from gradebook.storage.images import FORMATS, BrokenImage
from gradebook.storage.install_advice import install_command
from gradebook.storage.project import ProjectError

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOCAL = ("127.0.0.1", "::1", "localhost")  # addresses that only this machine reaches
OVERHEAD_BYTES = 64 * 1024  # of a request beside its images: the names and boundaries of its parts
HEALTH_PATH = "/healthz"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one request may ask for."""

    megabytes: float = 20.0  # of the whole request
    megapixels: float = 50.0  # of an image, before it is scaled
    images: int = 16
    seconds: float = 30.0  # to send the request and to answer it

    def __post_init__(self) -> None:
        """Checks that each is positive.

        Raises:
            ProjectError: one is not.
        """
        for name in self.__slots__:
            if not getattr(self, name) > 0:
                raise ProjectError(f"the limit of {name} is {getattr(self, name)}: give a number above 0")


def create_app(classifier: Classifier, limits: Limits, hosts: Collection[str] = ()) -> "ASGIApp":
    """Returns the server as an ASGI application, behind the gate.

    Args:
        classifier: the classifier, opened.
        limits: of a request.
        hosts: names of the server in the Host header beside those of this machine, such as classifier.example.org.

    Raises:
        ProjectError: FastAPI is not installed.
    """
    app = _routes(classifier, limits)
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


def _routes(classifier: Classifier, limits: Limits) -> "FastAPI":
    try:
        from fastapi import FastAPI, File, HTTPException, UploadFile
        from pydantic import BaseModel, Field
    except ImportError as error:
        raise _not_installed(error) from error
    from gradebook import __version__

    class Prediction(BaseModel):
        """The prediction for one image."""

        filename: str = Field(description="as it was sent")
        label: str
        probability: float
        probabilities: dict[str, float] = Field(description="of every class")

    class Predictions(BaseModel):
        """Predictions in the order of the images."""

        predictions: list[Prediction]
        model: str = Field(description="a hash of the model and its classes")

    class Health(BaseModel):
        """The server is up."""

        status: str
        model: str
        classes: list[str]
        size: int = Field(description="pixels a side to which images are scaled")

    app = FastAPI(title="Gradebook classifier", version=__version__, docs_url=None, redoc_url=None)
    digest, slots = classifier.digest(), asyncio.Semaphore(os.cpu_count() or 1)

    @app.get(HEALTH_PATH)
    async def healthz() -> Health:
        """Says that the server is up, and which model it has."""
        return Health(status="ok", model=digest, classes=classifier.classes, size=classifier.size)

    @app.post("/predict", responses={413: {"description": "too large"}, 422: {"description": "not an image"}})
    async def predict(files: list[UploadFile] = File(description="image files")) -> Predictions:  # noqa: B008
        """Predicts the class of each image; if one cannot be used, none is predicted and the answer says why."""
        if len(files) > limits.images:
            raise HTTPException(413, f"{len(files)} images are too many: send at most {limits.images} at a time")
        predictions, problems = [], []
        for file in files:
            name, content = file.filename or "", await file.read()
            try:
                async with slots:
                    given = await asyncio.to_thread(predict_upload, classifier, content, limits)
            except BrokenImage as error:
                problems.append({"filename": name, "problem": str(error)})
                continue
            label = max(given, key=given.__getitem__)
            predictions.append(Prediction(filename=name, label=label, probability=given[label], probabilities=given))
        if problems:
            raise HTTPException(422, problems)
        return Predictions(predictions=predictions, model=digest)

    return app


def predict_upload(classifier: Classifier, content: bytes, limits: Limits) -> dict[str, float]:
    """Returns the probability of each class for an image that somebody sent.

    Raises:
        BrokenImage: it is not an image, or has too many pixels; these are counted before any is decoded.
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content), formats=[name for name in FORMATS if name in _known_formats()]) as image:
            pixels = image.size[0] * image.size[1]
    except Exception:  # a hostile header may make Pillow raise anything; decoding says in a sentence what it is
        pixels = 0
    if pixels > limits.megapixels * 1e6:
        raise BrokenImage(f"it has {pixels:,} pixels: send at most {limits.megapixels * 1e6:,.0f}")
    return predict_content(classifier, content)


def _known_formats() -> Collection[str]:
    from PIL import Image

    Image.init()
    return Image.OPEN


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
