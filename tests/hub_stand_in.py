"""A stand-in for the Hugging Face hub on this machine: the parts of its API that an upload of a folder uses."""

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

TOKEN = "hf_test"


@dataclass
class Hub:
    """Its repositories, and the requests that it got."""

    address: str = ""
    private: dict[str, bool] = field(default_factory=dict)  # repository -> whether it is private
    files: dict[str, dict[str, bytes]] = field(default_factory=dict)  # repository -> name -> content
    large: dict[str, bytes] = field(default_factory=dict)  # SHA-256 -> content
    written: list[str] = field(default_factory=list)  # paths of the requests that change something


class _Handler(BaseHTTPRequestHandler):
    hub: Hub

    def do_GET(self) -> None:
        if not self._may():
            return
        name = self.path.removeprefix("/api/models/")
        if self.path == "/api/whoami-v2":
            self._answer({"name": "ann", "type": "user"})
        elif name in self.hub.private:
            self._answer({"id": name, "private": self.hub.private[name], "siblings": []})
        else:
            self._answer({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if not self._may():
            return
        self.hub.written.append(self.path)
        name = "/".join(self.path.removesuffix(".git/info/lfs/objects/batch").split("/")[-2:])
        if self.path == "/api/repos/create":
            self._create(json.loads(body))
        elif self.path == "/api/validate-yaml":
            assert json.loads(body)["content"].startswith("---\n")
            self._answer({"errors": [], "warnings": []})
        elif self.path.endswith("/info/lfs/objects/batch"):
            self._offer_uploads(json.loads(body)["objects"])
        elif "/preupload/" in self.path:
            modes = [
                (f["path"], "lfs" if f["path"].endswith(".safetensors") else "regular")
                for f in json.loads(body)["files"]
            ]
            self._answer({"files": [{"path": p, "uploadMode": mode, "shouldIgnore": False} for p, mode in modes]})
        else:
            name = "/".join(self.path.removeprefix("/api/models/").split("/")[:2])
            self._commit(name, [json.loads(line) for line in body.splitlines()])

    def do_PUT(self) -> None:
        digest = self.path.rpartition("/")[2]
        self.hub.large[digest] = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer({})

    def _create(self, given: dict[str, Any]) -> None:
        owner = given.get("organization") or "ann"
        if owner != "ann":
            self._answer({"error": "You don't have the rights"}, 403)
            return
        is_private = given.get("private", given.get("visibility") == "private")  # older and newer clients
        self.hub.private[f"{owner}/{given['name']}"] = is_private
        self._answer({"url": f"{self.hub.address}/{owner}/{given['name']}"})

    def _offer_uploads(self, objects: list[dict[str, Any]]) -> None:
        offers = [
            {**given, "actions": {"upload": {"href": f"{self.hub.address}/large/{given['oid']}"}}} for given in objects
        ]
        self._answer({"objects": offers, "transfer": "basic"})

    def _commit(self, repository: str, lines: list[dict[str, Any]]) -> None:
        files = self.hub.files.setdefault(repository, {})
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.hub.large[value["oid"]]
        self._answer({"commitUrl": f"{self.hub.address}/{repository}/commit/1", "commitOid": "c0ffee", "success": True})

    def _may(self) -> bool:
        allowed = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        if not allowed:
            self._answer({"error": "Invalid username or password."}, 401)
        return allowed

    def _answer(self, value: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        content = json.dumps(value).encode()
        self.send_response(status)
        for name, text in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, text)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *given: object) -> None:
        """Prints nothing."""


@contextmanager
def running_hub() -> Iterator[Hub]:
    """Runs a hub on a free port of this machine."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.address = f"http://127.0.0.1:{server.server_port}"
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
