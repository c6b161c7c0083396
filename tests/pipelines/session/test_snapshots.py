"""How far behind the labels a snapshot is, from the log alone."""

from dataclasses import asdict, replace

import pytest

from gradebook.pipelines.process.owner import OWNER
from gradebook.pipelines.process.pids import this_process
from gradebook.pipelines.process.run_status import State, status_now, write_status
from gradebook.pipelines.runs import PREDICTIONS, SESSION, SNAPSHOTS, Run
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
    MAX_POINTS,
    RETAINED,
    ClassAccuracy,
    CurvePoint,
    Snapshot,
    delete_snapshots,
    extended,
    keep_newest,
    new_snapshot,
    newest_number,
    read_snapshot,
    write_snapshot,
)
from gradebook.pipelines.session.status import LiveStatus, labels_behind, live_status
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
    assert labels_behind(log, 2) == 1, "the snapshot includes the label"
    assert labels_behind(log, 1) == 0, "the snapshot never included it"


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


def test_a_snapshot_is_read_as_it_was_written(tmp_path):
    run = Run(tmp_path)
    assert read_snapshot(run) == Snapshot()
    snapshot = Snapshot(
        number=2,
        step=240,
        labels=7,
        events=20,
        accuracy=0.5,
        agreement=None,
        changed=1,
        taken="now",
        interval=(0.2, 0.8),
        classes=(ClassAccuracy("owl", 1, 3),),
        curve=(CurvePoint(6, 0.4, None), CurvePoint(7, 0.5, 0.9)),
    )
    with new_snapshot(run, 2) as draft:
        write_snapshot(draft.results, snapshot)
        assert read_snapshot(run) == Snapshot(), "a snapshot appears whole"
    assert read_snapshot(run) == snapshot


def test_a_snapshot_of_the_first_release_is_read(tmp_path):
    old = {"number": 3, "step": 9, "labels": 7, "events": 20, "accuracy": 0.5, "agreement": 0.9, "changed": 1}
    write_json(tmp_path / SESSION, {**old, "taken": "then"})
    assert read_snapshot(Run(tmp_path)) == Snapshot(**old, taken="then")


def test_the_curve_has_a_point_for_each_number_of_labels_and_is_thinned():
    curve = ()
    for labels in [2, 3, 3, *range(4, 400)]:
        curve = extended(curve, CurvePoint(labels, labels / 400, None))
        assert len(curve) <= MAX_POINTS and curve[-1].labels == labels
    assert [point.labels for point in curve] == sorted({point.labels for point in curve})


def publish(run, number):
    with new_snapshot(run, number) as draft:
        (draft.results / PREDICTIONS).write_text(f"predictions {number}")
        write_snapshot(draft.results, Snapshot(number=number))


def test_a_reader_that_has_begun_goes_on_with_its_snapshot(tmp_path):
    run = Run(tmp_path)
    publish(run, 1)
    reader = run.with_pinned_results()
    for number in range(2, RETAINED + 1):
        publish(run, number)
        assert (reader.results / PREDICTIONS).read_text() == "predictions 1"
        assert (read_snapshot(reader).number, newest_number(reader)) == (1, 1)
        assert (read_snapshot(run).number, newest_number(run)) == (number, number)
    publish(run, 10)
    publish(run, 11)
    assert len(list((tmp_path / SNAPSHOTS).iterdir())) == RETAINED
    assert newest_number(run) == 11


def test_a_snapshot_that_fails_leaves_the_one_before(tmp_path):
    run = Run(tmp_path)
    publish(run, 1)
    with pytest.raises(OSError, match="full"), new_snapshot(run, 2) as draft:
        (draft.results / PREDICTIONS).write_text("half")
        raise OSError("the disk is full")
    (tmp_path / SNAPSHOTS / ".00000002").mkdir()  # as a kill leaves it
    assert read_snapshot(run).number == 1
    publish(run, 2)
    assert (run.results / PREDICTIONS).read_text() == "predictions 2"
    assert len(list((tmp_path / SNAPSHOTS).iterdir())) == 2


def test_a_run_that_ends_has_the_layout_of_a_finished_run(tmp_path):
    run = Run(tmp_path)
    publish(run, 7)
    keep_newest(run)
    write_status(tmp_path, status_now(State.FINISHED, pid=0, step=1, steps=1))
    assert (run.results, newest_number(run)) == (tmp_path, 0)
    delete_snapshots(run)
    assert {path.name for path in tmp_path.iterdir()} == {PREDICTIONS, SESSION, "status.json"}
    assert read_snapshot(run).number == 7


DAMAGE = ["", "{", "[]", "null", '"text"', "{}", '{"processes": [7]}', "\x00" * 20, '{"number": "x", "events": 1}']


@pytest.mark.parametrize("content", DAMAGE)
def test_a_corrupt_snapshot_is_an_error_in_a_sentence(tmp_path, content):
    project = create_project(tmp_path / "project", ["a", "b"])
    run = Run(project.runs / "session-001")
    publish(run, 1)
    with session_lock(project):
        update_session(project, Phase.IDLE, run.name)
        (run.results / SESSION).write_text(content)
        with pytest.raises(ProjectError, match=r"session\.json cannot be read .*start it again"):
            live_status(project, [])


@pytest.mark.parametrize("content", DAMAGE)
def test_a_corrupt_owner_is_an_error_in_a_sentence(tmp_path, content):
    project = create_project(tmp_path / "project", ["a", "b"])
    leave(project, this_process())
    (project.root / DIRECTORY / OWNER).write_text(content)
    with pytest.raises(ProjectError, match=r"owner\.json cannot be read .*delete it"):
        live_status(project, [])
    (project.root / DIRECTORY / OWNER).write_text('{"processes": []}')
    assert live_status(project, []) is None


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
