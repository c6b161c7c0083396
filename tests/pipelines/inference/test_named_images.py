"""Names of images on standard input, and addresses only where somebody asks for them."""

import io
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import ClassVar

import numpy as np
import pytest
from PIL import Image

from gradebook.pipelines.inference import named_images
from gradebook.pipelines.inference.named_images import check_names, expand_names, predict_names
from gradebook.storage.project import ProjectError


class ByBrightness:
    """A classifier of four pixels a side that goes by how bright an image is."""

    classes = ("dark", "bright")
    size = 4
    ranges: ClassVar = {}

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        bright = images.mean((1, 2, 3)) / 255
        return np.stack([1 - bright, bright], 1)


def png(level: int) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (8, 6), (level,) * 3).save(content, "PNG")
    return content.getvalue()


@pytest.fixture
def address():
    """A server with an image, a text, something large, and a way to a file."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path == "/file":
                self.send_response(302)
                self.send_header("Location", "file:///etc/passwd")
                self.end_headers()
                return
            content = {"/bright.png": png(255), "/text": b"no image", "/large": b"\0" * 4096}.get(self.path)
            self.send_response(200 if content else 404)
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, *given):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.mark.parametrize("content", [b"a.png\nb c.png\n\n", b"a.png\0b c.png\0", b"a.png\r\nb c.png"])
def test_names_are_read_a_line_or_between_nuls(content):
    assert expand_names(["x.png", "-", "y"], lambda: content) == ["x.png", "a.png", "b c.png", "y"]


def test_a_name_that_is_not_utf_8_is_kept():
    (name,) = expand_names(["-"], lambda: b"\xff.png\n")
    assert name.encode("utf-8", "surrogateescape") == b"\xff.png"


def test_addresses_are_refused_unless_asked_for():
    with pytest.raises(ProjectError, match="give --urls"):
        check_names(["a.png", "https://example.org/b.png"], urls=False)
    check_names(["a.png", "https://example.org/b.png"], urls=True)


def test_files_and_addresses_are_predicted_in_order(tmp_path, address):
    (tmp_path / "dark.png").write_bytes(png(0))
    names = [f"{address}/bright.png", str(tmp_path / "dark.png"), f"{address}/bright.png"]
    rows = list(predict_names(ByBrightness(), names, broken=pytest.fail, progress=lambda done, total: None))
    assert [row.label for row in rows] == ["bright", "dark", "bright"]
    assert [row.filepath for row in rows] == names


def test_addresses_without_an_image_are_named(address, monkeypatch):
    monkeypatch.setattr(named_images, "MAX_BYTES", 1024)
    broken: list[str] = []
    names = [f"{address}/{name}" for name in ("none", "text", "large", "file")] + ["http://127.0.0.1:1/a.png"]
    rows = predict_names(ByBrightness(), names, broken=broken.append, progress=lambda done, total: None)
    assert list(rows) == []
    assert [line.partition(" ")[0] for line in broken] == names
    assert "root:" not in "".join(broken)
