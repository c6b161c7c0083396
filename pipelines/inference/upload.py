"""Images that clients send to the server of a classifier, and their limits."""

import io
from collections.abc import Collection
from dataclasses import dataclass

from gradebook.pipelines.inference.classifier import Classifier, predict_content
from gradebook.storage.images import FORMATS, BrokenImage
from gradebook.storage.project import ProjectError


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


def predict_upload(classifier: Classifier, content: bytes, limits: Limits) -> dict[str, float]:
    """Returns the probability of each class for an image that a client sent.

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
