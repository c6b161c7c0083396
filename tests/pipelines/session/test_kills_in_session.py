"""A session that is killed at random moments loses no acknowledged verdict, and publishes no half snapshot.

A scripted reviewer keeps labelling. Each kill comes while the session starts, trains, publishes or
finishes. The next session continues from what the kill left.
"""

import random
import signal
import time
from pathlib import Path

import pytest

from gradebook.pipelines.curation.feature_classifier import read_predictions
from gradebook.pipelines.maintenance.verify import verify
from gradebook.pipelines.process.run_status import State
from gradebook.pipelines.runs import SNAPSHOTS, Run, list_runs
from gradebook.pipelines.session import session_run, trainer
from gradebook.pipelines.session.effects import read_effects
from gradebook.pipelines.session.snapshots import read_snapshot
from gradebook.pipelines.session.status import live_status
from gradebook.storage.checksums import corrupt_files
from gradebook.storage.events import Kind, event, replay
from gradebook.storage.samples import Split
from gradebook.storage.store import Store
from tests.attack.rounds import current_round, in_round
from tests.forkserver import forked
from tests.pipelines.projects import CLASSES
from tests.pipelines.session.small_session import BURST, MAX, small_config
from tests.polling import until

SEED = 20261130
KILLS = 30
LONGEST = 1.5  # seconds until a kill: from the start, from the first snapshot, or from the request to end
PAUSE = 0.1  # seconds between two verdicts, at most


def live(root: Path) -> None:
    """Runs a session of short bursts until it is asked to end."""
    for module in (session_run, trainer):
        module.BURST_STEPS = BURST  # type: ignore[attr-defined]
    trainer.MAX_STEPS = MAX
    session_run.new_config = small_config(session_run.new_config)
    trainer.run_session(root, idle_minutes=0)


class Reviewer:
    """Gives one verdict after the other, and remembers what the log acknowledged."""

    def __init__(self, store: Store, draw: random.Random):
        self.store, self._draw = store, draw
        self.ids = [s.sample_id for s in store.catalog.samples(Split.TRAIN)]
        self.acknowledged: list[str] = []  # ids of events

    def label(self) -> None:
        given = event(Kind.RELABELLED, self._draw.choice(self.ids), self._draw.choice(CLASSES), actor="ann")
        self.acknowledged += [e.event_id for e in self.store.log.append_now([given])]
        time.sleep(self._draw.uniform(0, PAUSE))

    def label_for(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.label()


def wait_for_snapshot(store: Store, *, behind: bool) -> None:
    """Returns when this process's session has a snapshot, and with all labels unless it may be behind them."""

    def is_there() -> bool:
        status = live_status(store.project, store.log.read())
        return status is not None and status.snapshot.number > 0 and (behind or not status.behind)

    until(is_there)


def check_snapshots(store: Store) -> int:
    """Checks that every file of every snapshot is whole; returns the number of the newest one of the newest run."""
    for run in list_runs(store.project):
        for directory in (run.path / SNAPSHOTS).glob("[0-9]*"):
            pinned = Run(run.path, pinned=directory)
            assert corrupt_files(directory) == []
            assert read_snapshot(pinned).number == int(directory.name)
            predicted = read_predictions(pinned).sample_ids
            changed = {row.sample_id for row in read_effects(pinned).last.changed}
            assert len(predicted) == len(set(predicted)) and changed <= set(predicted)
    return read_snapshot(list_runs(store.project)[-1]).number if list_runs(store.project) else 0


def kill(reviewer: Reviewer, draw: random.Random) -> bool:
    """Starts a session and kills it at a random moment, while labels come in; returns whether it was still alive."""
    with forked(live, reviewer.store.project.root) as process:
        stage = draw.choice(["starting", "training", "training", "finishing"])
        if stage != "starting":
            wait_for_snapshot(reviewer.store, behind=True)
        if stage == "finishing":
            process.terminate()
        reviewer.label_for(draw.uniform(0, LONGEST))
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode == -signal.SIGKILL


@pytest.mark.slow
def test_kills_lose_no_verdict_and_leave_whole_snapshots(store, record_property):
    draw = random.Random(SEED + current_round())
    reviewer, kills, newest = Reviewer(store, draw), 0, {}
    before = [e.event_id for e in store.log.read()]
    while kills < in_round(KILLS):
        kills += kill(reviewer, draw)
        number = check_snapshots(store)
        for run in list_runs(store.project)[-1:]:
            assert number >= newest.get(run.name, 0), "a snapshot was lost"
            newest[run.name] = number
        assert [e.event_id for e in store.log.read()] == before + reviewer.acknowledged
    with forked(live, store.project.root) as process:
        wait_for_snapshot(store, behind=False)
        process.terminate()
        process.join()
    run = list_runs(store.project)[-1]
    assert (process.exitcode, run.status().state) == (0, State.FINISHED)
    given = replay(store.log.read())
    assert run.labels() == {i: given[i] for i in reviewer.ids if i in given}
    verify(store.project.root, repair=True)
    assert verify(store.project.root).findings == ()
    record_property("attempts", kills)
