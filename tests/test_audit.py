"""The audit of the locked packages, against a stand-in for the database of vulnerabilities."""

import json
import shutil
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
VULNERABILITY = {
    "id": "PYSEC-0000-1",
    "summary": "a made-up fault of Pillow",
    "modified": "2026-01-01T00:00:00Z",
    "affected": [{"package": {"name": "pillow", "ecosystem": "PyPI"}, "versions": ["1"]}],
}

pytestmark = pytest.mark.skipif(shutil.which("uv") is None, reason="uv is not installed")


class Database(BaseHTTPRequestHandler):
    """Answers as osv.dev does: with the vulnerabilities of each package, then with each of them."""

    vulnerable: str | None = None

    def do_POST(self) -> None:
        queries = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["queries"]
        names = [query["package"]["name"] for query in queries]
        found = {"vulns": [{"id": VULNERABILITY["id"], "modified": VULNERABILITY["modified"]}]}
        self._send({"results": [found if name == self.vulnerable else {} for name in names]})

    def do_GET(self) -> None:
        self._send(VULNERABILITY)

    def _send(self, answer: dict) -> None:
        content = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_args: object) -> None:
        pass


@pytest.fixture
def database() -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Database) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def audit(url: str) -> tuple[int, str]:
    """Returns the exit status and the output of the audit."""
    command = (sys.executable, ".ci/audit.py", "--service-url", url)
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("vulnerable", [None, "pillow"])
def test_a_known_vulnerability_is_printed_and_fails(database, monkeypatch, vulnerable):
    monkeypatch.setattr(Database, "vulnerable", vulnerable)
    status, output = audit(f"http://127.0.0.1:{database.server_port}/")
    assert status == (1 if vulnerable else 0), output
    assert (VULNERABILITY["id"] in output) == bool(vulnerable)
    assert "Nothing was compared" not in output


@pytest.mark.slow
def test_without_the_database_a_dated_list_is_printed(tmp_path):
    status, output = audit("http://127.0.0.1:9/")
    assert status == 0
    assert "Nothing was compared" in output and "Locked on 20" in output
    locked = {p["name"]: p["version"] for p in tomllib.loads((ROOT / "uv.lock").read_text("utf-8"))["package"]}
    for name in ("starlette", "streamlit", "pillow", "torch"):
        assert f"{name} {locked[name]}" in output
