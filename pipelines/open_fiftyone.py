"""Opens a project in FiftyOne's App, served from this machine to this machine only."""

import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from urllib.parse import quote

from pipelines.runs import Run
from storage.database import point_fiftyone
from storage.fiftyone_view import Changes, refresh
from storage.project import ProjectError
from storage.store import Store

ADDRESS = "127.0.0.1"  # FiftyOne's server asks nobody for a password
PATIENCE = 120.0  # seconds in which the App must answer; 25 were seen on a busy machine


def open_app(store: Store, run: Run | None, *, port: int | None = None, say: Callable[[str], None] = print) -> None:
    """Brings the project's dataset up to date, serves the App and blocks until Ctrl-C.

    Args:
        store: the project.
        run: whose record to show; None shows labels alone.
        port: where to serve; None takes a free one.
        say: is told what happens, a line at a time.

    Raises:
        NoDatabase: FiftyOne has no MongoDB on this machine.
        ProjectError: the App does not start.
    """
    port = _free_port(port or 0)
    point_fiftyone(store.project.root)
    if run is not None:
        store.record.fold(run.name, run.path / "record")
    changes = refresh(store, run.name if run else None)
    say(_in_words(changes))
    server = subprocess.Popen([sys.executable, "-m", "fiftyone.server.main", "--port", str(port), "--address", ADDRESS])
    try:
        _wait_for(server, port)
        say(f"FiftyOne shows it at http://{ADDRESS}:{port}/datasets/{quote(changes.dataset)} (Ctrl-C ends)")
        server.wait()
    except KeyboardInterrupt:
        say("FiftyOne is closed; the project's MongoDB stays for the next time.")
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait()


def _in_words(changes: Changes) -> str:
    parts = [f"{changes.added} new samples"] if changes.added else []
    parts += [f"{changes.removed} samples gone"] if changes.removed else []
    parts += [f"{field} of {count}" for field, count in changes.changed.items()]
    return f"Dataset {changes.dataset}: {', '.join(parts) or 'nothing new'}."


def _wait_for(server: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while server.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://{ADDRESS}:{port}/fiftyone", timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    raise ProjectError(f"FiftyOne's App does not answer on port {port}: see what it printed above")


def _free_port(wanted: int) -> int:
    """Returns the wanted port, or for 0 any, if nobody listens there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server will
        try:
            probe.bind((ADDRESS, wanted))
        except OSError as error:
            raise ProjectError(
                f"port {wanted} cannot be used ({error.strerror}): choose another with --port"
            ) from error
        return int(probe.getsockname()[1])
