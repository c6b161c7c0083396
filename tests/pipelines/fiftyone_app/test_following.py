"""FiftyOne's App, while it is open, follows a live session."""

import os
import subprocess

from gradebook.pipelines.fiftyone_app import launch
from gradebook.pipelines.process.run_status import State, status_now, write_status
from gradebook.pipelines.runs import CONFIG, PREDICTIONS, Run
from gradebook.pipelines.session.snapshots import (
    Snapshot,
    delete_snapshots,
    new_snapshot,
    newest_number,
    write_snapshot,
)


class Server:
    """The App's server, which ends after some changes of the project."""

    def __init__(self, *changes):
        self._changes = list(changes)

    def wait(self, timeout):
        if not self._changes:
            return 0
        self._changes.pop(0)()
        raise subprocess.TimeoutExpired("app", timeout)


def test_each_snapshot_and_the_results_of_the_end_are_shown_once(store, monkeypatch):
    run, shown = Run(store.project.runs / "session-001"), []
    run.path.mkdir(parents=True)
    (run.path / CONFIG).write_text("{}")
    write_snapshot(run.path, Snapshot())
    write_status(run.path, status_now(State.RUNNING, pid=os.getpid(), step=1, steps=1))

    def publish(number):
        with new_snapshot(run, number) as draft:
            (draft.results / PREDICTIONS).touch()

    def finish():
        (run.path / PREDICTIONS).touch()
        write_status(run.path, status_now(State.FINISHED, pid=0, step=1, steps=1))
        delete_snapshots(run)

    monkeypatch.setattr(launch, "_refresh", lambda store, run, say: shown.append(newest_number(run)))
    monkeypatch.setattr(launch.links, "refresh_pages", lambda project: None)
    server = Server(lambda: None, lambda: publish(1), lambda: None, lambda: publish(2), finish, lambda: None)
    launch._wait_until_closed(server, store, None, follow=True, say=print)
    assert shown == [1, 2, 0]
