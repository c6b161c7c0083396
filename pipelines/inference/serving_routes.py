"""The routes of the server of a classifier, and the JSON of their responses. Needs FastAPI."""

import asyncio
import os

from fastapi import FastAPI, File, HTTPException, UploadFile
from pydantic import BaseModel, Field

from gradebook import __version__
from gradebook.pipelines.inference.classifier import Classifier
from gradebook.pipelines.inference.upload import Limits, predict_upload
from gradebook.storage.images import BrokenImage

HEALTH_PATH = "/healthz"


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


def routes(classifier: Classifier, limits: Limits) -> FastAPI:
    """Returns the application, without limits on size and time."""
    app = FastAPI(title="Gradebook classifier", version=__version__, docs_url=None, redoc_url=None)
    digest, slots = classifier.digest(), asyncio.Semaphore(os.cpu_count() or 1)

    @app.get(HEALTH_PATH)
    async def healthz() -> Health:
        """Returns the state of the server, and its model."""
        return Health(status="ok", model=digest, classes=classifier.classes, size=classifier.size)

    @app.post("/predict", responses={413: {"description": "too large"}, 422: {"description": "not an image"}})
    async def predict(files: list[UploadFile] = File(description="image files")) -> Predictions:  # noqa: B008
        """Predicts the class of each image; if one cannot be used, none is predicted and the answer says why."""
        return Predictions(predictions=await _predict(classifier, files, limits, slots), model=digest)

    return app


async def _predict(
    classifier: Classifier, files: list[UploadFile], limits: Limits, slots: asyncio.Semaphore
) -> list[Prediction]:
    """Predicts the class of each image.

    Args:
        classifier: the classifier.
        files: the images, in the order of the request.
        limits: of a request.
        slots: one for each image that may be predicted at a time.

    Raises:
        HTTPException: there are too many images, or at least one cannot be used.
    """
    if len(files) > limits.images:
        raise HTTPException(413, f"{len(files)} images are too many: send at most {limits.images} at a time")
    predictions, problems = [], []
    for file in files:
        name, content = file.filename or "", await file.read()
        try:
            async with slots:
                probabilities = await asyncio.to_thread(predict_upload, classifier, content, limits)
        except BrokenImage as error:
            problems.append({"filename": name, "problem": str(error)})
            continue
        label = max(probabilities, key=probabilities.__getitem__)
        predictions.append(
            Prediction(filename=name, label=label, probability=probabilities[label], probabilities=probabilities)
        )
    if problems:
        raise HTTPException(422, problems)
    return predictions
