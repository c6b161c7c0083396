"""Measures the images a second of `gradebook serve` against onnxruntime's session alone.

    python -m benchmarks.serving CLASSIFIER IMAGES --images 64 --rounds 5

The session gets images that are decoded already, one at a time; then the same with decoding, as `load_classifier` does
it. The server runs as a process of its own and gets the files over HTTP, one or several a request, from one or several
clients. All ways take turns; the table has medians, and their ratio to the session alone. Only ratios can be compared
between machines.
"""

import http.client
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional

from gradebook.pipelines.inference.classifier import Classifier, predict_content
from gradebook.pipelines.process.servers import free_port
from gradebook.pipelines.studies.command_line import footer
from gradebook.storage.images import is_image, load

BOUNDARY = "gradebook-benchmark"
WAIT_S = 60.0  # for the server to start


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """Options of the benchmark."""

    classifier: Annotated[Positional[Path], "an exported classifier"]
    folder: Annotated[Positional[Path], "a folder of images"]
    images: int = 64
    """Number of images."""
    rounds: int = 5
    """Number of rounds."""
    clients: int = 4
    """Clients at once, where there are several."""
    per_request: int = 8
    """Images of a request, where there are several."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table; returns the exit status."""
    import tyro

    given = list(sys.argv[1:] if arguments is None else arguments)
    options = tyro.cli(Serving, args=given, prog="python -m benchmarks.serving", description=__doc__)
    classifier = Classifier(options.classifier)
    files = sorted(path for path in options.folder.rglob("*") if is_image(path))[: options.images]
    contents, pixels = [path.read_bytes() for path in files], [load(path, classifier.size)[None] for path in files]
    with _server(options.classifier) as port:
        several, clients = options.per_request, options.clients
        ways: dict[str, Callable[[], object]] = {
            "the session alone, images decoded before": lambda: [classifier.probabilities(one) for one in pixels],
            "the session, and decoding": lambda: [predict_content(classifier, one) for one in contents],
            "`serve`, one client, one image a request": lambda: _request_all(port, contents, 1, 1),
            f"`serve`, one client, {several} images a request": lambda: _request_all(port, contents, several, 1),
            f"`serve`, {clients} clients, one image a request": lambda: _request_all(port, contents, 1, clients),
        }
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(options.rounds):
            for name, way in ways.items():
                seconds[name].append(_seconds(way))
    speeds = {name: len(files) / statistics.median(times) for name, times in seconds.items()}
    print(as_markdown(speeds, len(files), given))
    return 0


def as_markdown(speeds: dict[str, float], images: int, given: Sequence[str]) -> str:
    """Returns the table."""
    first = next(iter(speeds.values()))
    rows = "\n".join(f"| {name} | {speed:.1f} | {speed / first:.2f} |" for name, speed in speeds.items())
    return f"""
| way ({images} images, medians) | images a second | ratio |
| --- | --- | --- |
{rows}

{footer("-m benchmarks.serving", given)}"""


def _seconds(way: Callable[[], object]) -> float:
    started = time.perf_counter()
    way()
    return time.perf_counter() - started


@contextmanager
def _server(classifier: Path) -> Iterator[int]:
    """Runs `gradebook serve` and lends its port."""
    port = free_port(0)
    command = [sys.executable, "-m", "gradebook.pipelines.cli.main", "serve", str(classifier), "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        _wait_for(port)
        yield port
    finally:
        process.terminate()
        process.wait()


def _wait_for(port: int) -> None:
    ends = time.monotonic() + WAIT_S
    while time.monotonic() < ends:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/healthz")
            connection.getresponse().read()
            return
        except OSError:
            time.sleep(0.2)
        finally:
            connection.close()
    raise TimeoutError(f"the server did not start within {WAIT_S:.0f} seconds")


def _request_all(port: int, contents: Sequence[bytes], per_request: int, clients: int) -> None:
    """Sends every image; each client has a connection of its own, which it keeps."""
    parts = [contents[start : start + per_request] for start in range(0, len(contents), per_request)]
    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(lambda n: _requests(port, parts[n::clients]), range(clients)))


def _requests(port: int, parts: Sequence[Sequence[bytes]]) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        for part in parts:
            headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
            connection.request("POST", "/predict", _form(part), headers)
            answer = connection.getresponse()
            content = answer.read()
            assert answer.status == 200, content
    finally:
        connection.close()


def _form(images: Sequence[bytes]) -> bytes:
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="files"; filename="image"\r\n\r\n'.encode()
    return b"".join(head + image + b"\r\n" for image in images) + f"--{BOUNDARY}--\r\n".encode()


if __name__ == "__main__":
    sys.exit(main())
