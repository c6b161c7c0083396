"""The HTTP server of a classifier: what it answers, and what strangers send."""

import io
import time
from typing import ClassVar

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from gradebook.pipelines.export.check_images import write_check_images
from gradebook.pipelines.inference.serving import create_app
from gradebook.pipelines.inference.upload import Limits
from gradebook.storage.images import load
from gradebook.storage.project import ProjectError
from tests.pipelines.cli.cli_runner import refused

BOUNDARY = "b"


class ByBrightness:
    """A classifier of four pixels a side that goes by how bright an image is."""

    classes = ("dark", "bright")
    size = 4
    ranges: ClassVar = {}
    seconds = 0.0

    def digest(self) -> str:
        return "0123"

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        time.sleep(self.seconds)
        bright = images.mean((1, 2, 3)) / 255
        return np.stack([1 - bright, bright], 1)


@pytest.fixture
def client() -> TestClient:
    return connect(Limits(megabytes=1, megapixels=1, images=3, seconds=20))


def connect(limits: Limits, classifier=None, host: str = "127.0.0.1:8000", **named) -> TestClient:
    app = create_app(classifier or ByBrightness(), limits, **named)
    return TestClient(app, base_url=f"http://{host}", raise_server_exceptions=False)


def png(level: int, size: tuple[int, int] = (8, 6)) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", size, (level,) * 3).save(content, "PNG")
    return content.getvalue()


def upload(*contents: bytes, name: str = "a.png") -> list:
    return [("files", (name, content, "image/png")) for content in contents]


def test_images_are_predicted_in_order(client):
    answer = client.post("/predict", files=upload(png(0), png(255)))
    assert answer.status_code == 200
    assert [p["label"] for p in answer.json()["predictions"]] == ["dark", "bright"]
    first = answer.json()["predictions"][0]
    assert first["filename"] == "a.png" and first["probabilities"] == {"dark": 1.0, "bright": 0.0}
    assert answer.json()["model"] == "0123"


def test_health_and_description(client):
    health = client.get("/healthz").json()
    assert health == {"status": "ok", "model": "0123", "classes": ["dark", "bright"], "size": 4}
    described = client.get("/openapi.json").json()
    assert set(described["paths"]) == {"/predict", "/healthz"}
    assert client.get("/docs").status_code == 404, "that page would load programs from another site"


def test_images_are_decoded_as_in_training(tmp_path):
    client = connect(Limits())
    for path in write_check_images(tmp_path):
        (prediction,) = client.post("/predict", files=upload(path.read_bytes())).json()["predictions"]
        expected = ByBrightness().probabilities(load(path, 4)[None])[0]
        assert list(prediction["probabilities"].values()) == pytest.approx(list(expected), abs=1e-6), path.name


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no image",
        png(9)[:45],
        b"%PDF-1.7 ...",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n",
        b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
        b"GIF89a" + b"\xff" * 200,
        b"\x89PNG\r\n\x1a\n" + b"\0" * 100,
        b"II*\0" + b"\xff" * 400,
    ],
    ids=["empty", "text", "truncated", "pdf", "eps", "svg", "gif", "png", "tiff"],
)
def test_what_is_no_image_is_refused_with_its_reason(client, content):
    answer = client.post("/predict", files=upload(png(9), content))
    assert answer.status_code == 422
    (problem,) = answer.json()["detail"]
    assert problem["filename"] == "a.png" and problem["problem"]
    assert client.get("/healthz").status_code == 200


def test_an_image_with_too_many_pixels_is_refused_before_it_is_decoded(client, monkeypatch):
    content = png(9, (2000, 2000))
    assert len(content) < 2**20, "a small file"
    monkeypatch.setattr(
        "gradebook.pipelines.inference.upload.predict_content", lambda *given: pytest.fail("it was decoded")
    )
    answer = client.post("/predict", files=upload(content))
    assert answer.status_code == 422
    assert "4,000,000 pixels" in answer.json()["detail"][0]["problem"]


def test_too_many_images_are_refused(client):
    assert client.post("/predict", files=upload(*[png(9)] * 4)).status_code == 413


def test_a_request_that_is_too_large_is_refused_whatever_its_headers_say(client):
    assert client.post("/predict", files=upload(b"\0" * 2 * 2**20)).status_code == 413
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'.encode()

    def chunks():
        yield head
        for _ in range(64):
            yield b"\0" * 2**16

    answer = client.post(
        "/predict", content=chunks(), headers={"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    )
    assert answer.status_code == 413
    assert "at most 1 MB" in answer.json()["detail"]
    assert client.post("/predict", content=b"x", headers={"Content-Length": "-1"}).status_code == 413


def test_a_request_that_takes_too_long_is_ended():
    slow = ByBrightness()
    slow.seconds = 1.0
    answer = connect(Limits(seconds=0.2), slow).post("/predict", files=upload(png(9)))
    assert answer.status_code == 408


@pytest.mark.parametrize("name", ["../../etc/passwd", "a\r\nb.png", "<script>", "\u202egnp.exe", "x" * 500])
def test_names_of_files_are_only_repeated(client, name):
    answer = client.post("/predict", files=upload(png(9), name=name))
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_name_that_is_far_too_long_is_refused(client):
    assert client.post("/predict", files=upload(png(9), name="x" * 50_000)).status_code == 400


@pytest.mark.parametrize(
    "request_",
    [
        {"json": {"files": "file:///etc/passwd"}},
        {"data": {"files": "http://169.254.169.254/"}},
        {"content": b"--x", "headers": {"Content-Type": "multipart/form-data; boundary=x"}},
        {"content": b"\xff\xd8", "headers": {"Content-Type": "image/jpeg"}},
        {},
    ],
    ids=["json", "address", "broken form", "no form", "nothing"],
)
def test_requests_without_a_file_are_refused(client, request_):
    assert client.post("/predict", **request_).status_code in (400, 422)


def test_pages_of_others_and_other_host_names_are_refused(client):
    files = upload(png(9))
    assert client.post("/predict", files=files, headers={"Host": "evil.example"}).status_code == 403
    assert client.post("/predict", files=files, headers={"Origin": "http://evil.example"}).status_code == 403
    named = connect(Limits(), host="classifier.example", hosts=("classifier.example",))
    assert named.post("/predict", files=files).status_code == 200


def test_without_its_packages_the_command_says_how_to_install_them(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "fastapi", None)
    monkeypatch.delitem(sys.modules, "gradebook.pipelines.inference.serving_routes", raising=False)
    with pytest.raises(ProjectError, match=r"serve needs the package fastapi: install it with: .*serve"):
        create_app(ByBrightness(), Limits())


def test_limits_and_classifier_are_checked(tmp_path):
    assert "above 0" in refused("serve", tmp_path, "--max-images", 0)
    assert "holds no exported classifier" in refused("serve", tmp_path)
