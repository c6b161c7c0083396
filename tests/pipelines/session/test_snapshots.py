"""How far behind the labels a snapshot is, from the log alone."""

from dataclasses import asdict, replace

import pytest

from gradebook.pipelines.process.owner import OWNER
from gradebook.pipelines.process.pids import this_process
from gradebook.pipelines.runs import Run
from gradebook.pipelines.session.lock import (
    DIRECTORY,
    STATE,
    Phase,
    SessionState,
    live_session,
    session_lock,
    update_session,
)
from gradebook.pipelines.session.snapshots import (
    ChangedPrediction,
    LiveStatus,
    Snapshot,
    labels_behind,
    read_changed,
    read_snapshot,
    write_changed,
    write_snapshot,
)
from gradebook.storage.events import Kind, event, retraction
from gradebook.storage.files import write_json
from gradebook.storage.project import ProjectError, create_project


def verdict(sample_id, label):
    return event(Kind.RELABELLED, sample_id, label, actor="ann")


def test_each_sample_whose_label_changed_counts_once():
    log = [verdict("a", "crow"), verdict("b", "crow")]
    assert labels_behind(log, 2) == 0
    log += [verdict("a", "heron"), verdict("a", "owl"), verdict("c", "crow"), event(Kind.REJECTED, "d", actor="ann")]
    assert labels_behind(log, 2) == 3
    assert labels_behind(log, len(log)) == 0


def test_a_verdict_that_is_undone_leaves_nothing_behind():
    log = [verdict("a", "crow"), verdict("b", "crow")]
    log.append(retraction(log[1], actor="ann"))
    assert labels_behind(log, 2) == 1, "the snapshot knows the label"
    assert labels_behind(log, 1) == 0, "the snapshot never knew it"


def test_the_same_label_again_and_proposals_leave_nothing_behind():
    log = [verdict("a", "crow"), verdict("a", "crow"), event(Kind.PROPOSED, "b", "owl", actor="run:r")]
    assert labels_behind(log, 1) == 0


@pytest.mark.parametrize(
    ("phase", "snapshot", "behind", "sentence"),
    [
        (Phase.WAITING, Snapshot(), 1, "waiting for labels of two classes"),
        (Phase.TRAINING, Snapshot(), 9, "training its first steps"),
        (Phase.TRAINING, Snapshot(number=3, labels=37), 1, "1 label behind"),
        (Phase.TRAINING, Snapshot(number=3, labels=37), 2, "2 labels behind"),
        (Phase.IDLE, Snapshot(number=3, labels=37), 0, "up to date with all your 37 labels"),
        (Phase.FINISHING, Snapshot(number=3, labels=37), 2, "finishing"),
    ],
)
def test_the_status_is_a_sentence(phase, snapshot, behind, sentence):
    state = SessionState(process=this_process(), started="2024-01-01", phase=phase, run="session-001")
    status = LiveStatus(session=state, snapshot=snapshot, behind=behind)
    assert status.sentence == sentence
    assert status.line == f"session-001 is live: {sentence}"
    assert (status.as_json()["snapshot"], status.as_json()["behind"]) == (snapshot.number, behind)


def test_a_snapshot_and_what_it_changed_are_read_as_they_were_written(tmp_path):
    run = Run(tmp_path)
    assert (read_snapshot(run), read_changed(run)) == (Snapshot(), [])
    snapshot = Snapshot(number=2, step=240, labels=7, events=20, accuracy=0.5, agreement=None, changed=1, taken="now")
    changed = [ChangedPrediction(sample_id="a", before="crow", after="owl")]
    write_changed(tmp_path, changed)
    write_snapshot(tmp_path, snapshot)
    assert (read_snapshot(run), read_changed(run)) == (snapshot, changed)


def test_the_lock_says_what_its_session_does_and_ends_with_it(tmp_path):
    project = create_project(tmp_path / "project", ["a", "b"])
    with session_lock(project):
        update_session(project, Phase.TRAINING, "session-001")
        update_session(project, Phase.IDLE)
        session = live_session(project)
        assert session is not None
        assert (session.process, session.phase, session.run) == (this_process(), Phase.IDLE, "session-001")
        with pytest.raises(ProjectError, match=r"session-001 .* trains on this project already"), session_lock(project):
            pass
        assert live_session(project) == session, "a refusal changes nothing"
    assert live_session(project) is None
    with session_lock(project):
        pass
    assert not (project.root / DIRECTORY).exists()


def test_what_a_killed_session_left_is_replaced(tmp_path):
    project = create_project(tmp_path / "project", ["a", "b"])
    leave(project, replace(this_process(), pid=2**22 + 1))
    assert live_session(project) is None
    with session_lock(project):
        session = live_session(project)
        assert session is not None
        assert (session.process, session.phase) == (this_process(), Phase.STARTING)


def test_a_session_on_another_machine_is_believed(tmp_path):
    project = create_project(tmp_path / "project", ["a", "b"])
    leave(project, replace(this_process(), host="elsewhere"))
    with pytest.raises(ProjectError, match=r"on elsewhere, .*delete"), session_lock(project):
        pass
    assert live_session(project) is not None


def leave(project, process):
    """Leaves the files of a session of another process."""
    (project.root / DIRECTORY).mkdir()
    write_json(project.root / DIRECTORY / OWNER, {"processes": [asdict(process)]})
    state = {"host": process.host, "pid": process.pid, "started": "2024-01-01T00:00:00+00:00"}
    write_json(project.root / DIRECTORY / STATE, {**state, "phase": "idle", "run": "session-001"})
