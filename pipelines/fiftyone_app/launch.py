"""Opens a project in FiftyOne's App, served to those who have the link, on this machine only."""

import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from gradebook.pipelines.embedding.map_projection import read_map
from gradebook.pipelines.fiftyone_app import links
from gradebook.pipelines.fiftyone_app.reasons import current_reasons
from gradebook.pipelines.process import servers
from gradebook.pipelines.process.access_gate import TOKEN_VARIABLE, new_token
from gradebook.pipelines.process.servers import ADDRESS, Server
from gradebook.pipelines.runs import Run, newest_finished
from gradebook.pipelines.session.snapshots import newest_number
from gradebook.storage.fiftyone_brain_runs import register_map, register_similarity
from gradebook.storage.fiftyone_dataset import Changes, refresh
from gradebook.storage.mongod import version_warning
from gradebook.storage.mongodb import use_project_database
from gradebook.storage.project import ProjectError
from gradebook.storage.store import Store

POLL_INTERVAL_S = 1.0  # in which a new snapshot is noticed
START_TIMEOUT_S = 120.0  # in which the App must answer; it took 25 s on a busy machine
PLUGINS = "FIFTYONE_PLUGINS_DIR"
OURS = "gradebook-verdicts"


def open_app(
    store: Store,
    run: Run | None,
    *,
    port: int | None = None,
    follow: bool = False,
    say: Callable[[str], None] = print,
) -> None:
    """Brings the project's dataset up to date, serves the App and blocks until Ctrl-C or SIGTERM.

    A project has one App. If it is running already, it shows the new state, and this returns.

    Args:
        store: the project.
        run: whose record to show; None shows labels alone.
        port: where to serve; None takes a free one.
        follow: show each new snapshot of a live session, and its results when it ends, while the App is open.
        say: called with each line of progress.

    Raises:
        NoDatabase: FiftyOne has no MongoDB on this machine.
        ProjectError: the App does not start.
    """
    root = store.project.root
    with ExitStack() as until_the_end:
        until_the_end.enter_context(servers.signals_as_interrupts())
        with servers.start_lock(root, servers.FIFTYONE):
            running = servers.find(root, servers.FIFTYONE)
            free = 0 if running else servers.free_port(port or 0)
            changes = _refresh(store, run, say)
            say(_in_words(changes))
            page = f"/datasets/{quote(changes.dataset)}"
            if running:
                links.reload(store.project)
                say(f"FiftyOne shows it at {running.link(page)} where it is already running")
                return
            server = Server(f"http://{ADDRESS}:{free}", new_token())
            process = until_the_end.enter_context(_serving(root, server, free))
            entry = servers.registered(root, servers.FIFTYONE, port=free, pid=process.pid, token=server.token)
            until_the_end.enter_context(entry)
        try:
            say(f"FiftyOne shows it at {server.link(page)} (Ctrl-C ends)")
            _wait_until_closed(process, store, run, follow=follow, say=say)
        except KeyboardInterrupt:
            say("FiftyOne is closed; the project's MongoDB keeps running for the next start.")


def _wait_until_closed(
    process: subprocess.Popen[bytes], store: Store, run: Run | None, *, follow: bool, say: Callable[[str], None]
) -> None:
    """Returns when the App's server has ended; meanwhile brings the dataset up to date with a live session."""
    shown = _results_of(run)
    while True:
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=POLL_INTERVAL_S if follow else None)
            return
        newest = newest_finished(store.project)
        if newest is None or _results_of(newest) in (None, shown):
            continue
        shown = _results_of(newest)
        try:
            _refresh(store, newest.with_pinned_results(), lambda line: None)
            links.refresh_pages(store.project)
        except (OSError, ProjectError) as error:
            say(f"FiftyOne does not show the newest snapshot: {error}")


def _results_of(run: Run | None) -> tuple[str, int] | None:
    """Returns a session's run and the number of its newest snapshot, 0 once it has finished; None for another run."""
    return (run.name, newest_number(run)) if run is not None and run.is_session else None


def link_plugins(folder: Path) -> None:
    """Fills a folder with links by which FiftyOne finds our plugin and the user's own, which stay where they are."""
    import fiftyone as fo

    theirs = Path(fo.config.plugins_dir) if fo.config.plugins_dir else None
    links = {OURS: Path(__file__).parent / "plugin"}
    if theirs is not None and theirs.is_dir():
        links = {path.name: path.absolute() for path in theirs.iterdir() if path.is_dir()} | links
    for name, path in links.items():
        (folder / name).symlink_to(path, target_is_directory=True)


def _refresh(store: Store, run: Run | None, say: Callable[[str], None]) -> Changes:
    uri = use_project_database(store.project.root)
    if warning := version_warning(uri):
        say(warning)
    if run is not None:
        store.record.fold(run.name, run.path / "record")
    changes = refresh(store, run.name if run else None, current_reasons(store, run, say=say))
    _offer(store, changes.dataset)
    if run is not None and (number := newest_number(run)):
        _name_snapshot(changes.dataset, number)
    return changes


def _offer(store: Store, name: str) -> None:
    """Tells FiftyOne Brain of the project's vectors and of its map."""
    import fiftyone as fo

    dataset = fo.load_dataset(name)
    register_similarity(
        dataset, embedded=any(store.vectors.count(space.backbone) for space in store.vectors.spaces()[-1:])
    )
    drawn = read_map(store.project)
    if drawn is not None:
        register_map(dataset, drawn.sample_ids, drawn.xy, drawn.fingerprint)


def _name_snapshot(name: str, number: int) -> None:
    """Writes into a dataset's info which snapshot of the run its fields are of, once they are written."""
    import fiftyone as fo

    dataset = fo.load_dataset(name)
    dataset.info["snapshot"] = number
    dataset.save()


@contextmanager
def _serving(root: Path, server: Server, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Starts the App's server, which answers while the block runs."""
    command = [sys.executable, "-m", "gradebook.pipelines.fiftyone_app.server", str(root), str(port)]
    with tempfile.TemporaryDirectory(prefix="gradebook-plugins-") as plugins:
        link_plugins(Path(plugins))
        environment = os.environ | {PLUGINS: plugins, TOKEN_VARIABLE: server.token or ""}
        process = subprocess.Popen(command, env=environment)
        try:
            _wait_for(process, server)
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()


def _in_words(changes: Changes) -> str:
    parts = [f"{changes.added} new samples"] if changes.added else []
    parts += [f"{changes.removed} samples gone"] if changes.removed else []
    parts += [f"{field} of {count}" for field, count in changes.changed.items()]
    return f"Dataset {changes.dataset}: {', '.join(parts) or 'nothing new'}."


def _wait_for(process: subprocess.Popen[bytes], server: Server) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    request = urllib.request.Request(f"{server.address}/fiftyone", headers=server.headers)
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(request, timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    raise ProjectError(f"FiftyOne's App does not answer at {server.address}: see what it printed above")
