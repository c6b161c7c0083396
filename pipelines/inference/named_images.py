"""The images that `gradebook predict` is given: files and folders, names on standard input, and addresses if asked."""

import os
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from gradebook.pipelines.inference.classifier import Classifier, Prediction, as_prediction, predict_content
from gradebook.pipelines.inference.predict import predict
from gradebook.storage.images import BrokenImage
from gradebook.storage.project import ProjectError

STDIN = "-"  # instead of a name: read names from standard input
MAX_BYTES = 50 * 2**20  # of an image that is downloaded
TIMEOUT_S = 30.0


def expand_names(names: Sequence[str], read_stdin: Callable[[], bytes]) -> list[str]:
    """Returns the names, with those on standard input instead of `-`: one a line, or separated by NUL."""
    expanded: list[str] = []
    for name in names:
        if name == STDIN:
            content = read_stdin()
            lines = content.split(b"\0") if b"\0" in content else content.splitlines()
            expanded += [os.fsdecode(line) for line in lines if line.strip()]
        else:
            expanded.append(name)
    return expanded


def check_names(names: Sequence[str], *, urls: bool) -> None:
    """Checks that no name is an address, unless addresses may be read.

    Raises:
        ProjectError: one is.
    """
    if not urls and (address := next(filter(is_url, names), None)) is not None:
        raise ProjectError(f"{address} is an address, and nothing is downloaded unless you ask for it: give --urls")


def predict_names(
    classifier: Classifier, names: Sequence[str], *, broken: Callable[[str], None], progress: Callable[[int, int], None]
) -> Iterator[Prediction]:
    """Yields a prediction for each file and address, in order; folders are searched.

    Args:
        classifier: the classifier, opened.
        names: files, folders and addresses.
        broken: called with a sentence for each image that cannot be read.
        progress: called with the number of images done and the total of its part.
    """
    for are_urls, part in groupby(names, is_url):
        if not are_urls:
            yield from predict(classifier, [Path(name) for name in part], broken=broken, progress=progress)
            continue
        urls = list(part)
        for done, url in enumerate(urls, start=1):
            try:
                probabilities = predict_content(classifier, download(url))
            except BrokenImage as error:
                broken(f"{url} cannot be used: {error}")
            else:
                import numpy as np

                yield as_prediction(classifier.classes, np.array(list(probabilities.values())), url)
            progress(done, len(urls))


def is_url(name: str) -> bool:
    """Returns whether a name is an address on the web."""
    return name.lower().startswith(("http://", "https://"))


def download(url: str) -> bytes:
    """Returns the content at an address.

    Raises:
        BrokenImage: nothing answers in time, or it is too large.
    """
    try:
        with urlopen(Request(url, headers={"User-Agent": "gradebook"}), timeout=TIMEOUT_S) as answer:
            if urlsplit(answer.url).scheme not in ("http", "https"):
                raise BrokenImage("it leads to an address that is not on the web")
            content: bytes = answer.read(MAX_BYTES + 1)
    except (URLError, OSError, ValueError) as error:
        if isinstance(error, BrokenImage):
            raise
        raise BrokenImage(f"it cannot be downloaded ({getattr(error, 'reason', None) or error})") from error
    if len(content) > MAX_BYTES:
        raise BrokenImage(f"it has more than {MAX_BYTES // 2**20} MB")
    return content
