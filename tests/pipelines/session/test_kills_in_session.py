"""A session that is killed at any moment loses no label, and the next one continues from its checkpoint."""

import json
import random
import signal
import subprocess
import sys
import time

import pytest

from gradebook.pipelines.curation.feature_classifier import read_predictions
from gradebook.pipelines.process.run_status import State
from gradebook.pipelines.runs import Run
from gradebook.pipelines.session.effects import read_effects
from gradebook.pipelines.session.snapshots import read_snapshot
from gradebook.pipelines.session.status import live_status
from gradebook.storage.events import Kind, event, replay
from gradebook.storage.samples import Split
from gradebook.storage.store import Store
from tests.pipelines.projects import LABELLED, class_of
from tests.polling import until

KILLS = 3
PROGRAM = """
import os, sys
os.nice = lambda increment: 0  # or busy cores would make the test long
from gradebook.pipelines.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def start(store: Store) -> "subprocess.Popen[str]":
    command = [sys.executable, "-P", "-c", PROGRAM, "session", str(store.project.root), "--json"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def wait_until_up_to_date(store: Store) -> str:
    def is_up_to_date() -> bool:
        status = live_status(store.project, store.log.read())
        return status is not None and status.snapshot.number > 0 and status.behind == 0

    until(is_up_to_date)
    status = live_status(store.project, store.log.read())
    assert status is not None
    return status.session.run


@pytest.mark.slow
def test_kills_lose_no_label_and_leave_whole_snapshots(store):
    moments = random.Random(0)
    waiting = store.catalog.samples(Split.TRAIN)[LABELLED:]
    newest = 0
    for _ in range(KILLS):
        process = start(store)
        run = Run(store.project.runs / wait_until_up_to_date(store))
        for _ in range(2):
            sample = waiting.pop()
            store.log.append_now([event(Kind.RELABELLED, sample.sample_id, class_of(sample), actor="ann")])
        time.sleep(moments.uniform(0, 2))
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert run.status().state is State.FAILED
        snapshot, predictions = read_snapshot(run), read_predictions(run)
        assert snapshot.number >= newest, "a snapshot was lost"  # a kill can come before the next one
        assert len(predictions.sample_ids) == len(set(predictions.sample_ids))
        assert {row.sample_id for row in read_effects(run).recent.changed} <= {
            s.sample_id for s in store.catalog.samples(Split.TRAIN)
        }
        newest = snapshot.number
    process = start(store)
    wait_until_up_to_date(store)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate()
    result = json.loads(out)
    assert (result["run"], result["state"], result["labels"]) == ("session-001", "finished", LABELLED + 2 * KILLS)
    given = replay(store.log.read())
    assert run.labels() == {i: given[i] for i in run.labels()}
