"""Accepting predictions after an audit, from the first call to the undo."""

import json

import numpy as np
import pytest

from gradebook.pipelines.curation import accept_rest, audit_files, blind
from gradebook.pipelines.curation.audit_draw import Request
from gradebook.pipelines.curation.audit_files import State
from gradebook.pipelines.curation.labelling import label_samples
from gradebook.pipelines.curation.review_queue import rank
from gradebook.pipelines.process.run_status import State as RunState
from gradebook.pipelines.process.run_status import status_now, write_status
from gradebook.pipelines.runs import PREDICTIONS, Run
from gradebook.storage.events import Kind, replay
from gradebook.storage.project import ProjectError, create_project
from gradebook.storage.samples import Sample, Split
from gradebook.storage.store import Store, open_store
from tests.pipelines.cli.cli_runner import done, refused

IMAGES, WRONG_FROM = 1_200, 900  # the less confident quarter is often wrong
REQUEST = Request(target=0.05, confidence=0.95, seed=0)


def truth(number: int) -> str:
    return "crow" if number % 3 else "heron"


@pytest.fixture
def store(tmp_path) -> Store:
    """A project without labels whose run is right about the first images and often wrong about the last."""
    store = open_store(create_project(tmp_path / "p", ["crow", "heron"]).root)
    names = [f"{n:032x}" for n in range(IMAGES)]
    samples = [
        Sample(sample_id=i, filepath=f"/x/{i}.png", split=Split.TRAIN, width=2, height=2, fingerprint=bytes(200))
        for i in names
    ]
    store.catalog.add(samples, [])
    _write_run(store, names)
    return store


def _write_run(store: Store, names: list[str]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    run = Run(store.project.runs / "r")
    run.path.mkdir(parents=True)
    (run.path / "config.json").write_text(json.dumps({"classes": ["crow", "heron"]}))
    write_status(run.path, status_now(RunState.FINISHED, pid=0, step=1, steps=1))
    right = np.array([n < WRONG_FROM or n % 2 == 0 for n in range(len(names))])
    is_crow = np.array([truth(n) == "crow" for n in range(len(names))]) == right
    confidence = np.where(np.arange(len(names)) < WRONG_FROM, 0.999, 0.6) - np.arange(len(names)) * 1e-7
    student = np.stack(
        [np.where(is_crow, confidence, 1 - confidence), np.where(is_crow, 1 - confidence, confidence)], 1
    )
    table = pa.table({"sample_id": names, "student": student.tolist(), "teacher": student.tolist()})
    pq.write_table(table.replace_schema_metadata({"classes": json.dumps(["crow", "heron"])}), run.path / PREDICTIONS)


def answer(store: Store, ids, *, wrongly: int = 0) -> None:
    other = {"crow": "heron", "heron": "crow"}
    labels = {i: truth(int(i, 16)) for i in ids}
    labels |= {i: other[labels[i]] for i in list(ids)[:wrongly]}
    label_samples(store, labels, who="ada")


def begun(store: Store, request: Request = REQUEST):
    return accept_rest.begin(store, Run(store.project.runs / "r"), request, actor="ada")


def test_correct_answers_accept_the_confident_predictions_and_leave_the_doubtful_ones(store):
    audit = begun(store)
    assert accept_rest.progress(store, audit).answered == 0
    answer(store, audit.drawn)
    report = accept_rest.settle(store, audit)
    labels = replay(store.log.read())
    given = labels.keys() - set(audit.drawn)
    assert report.state is State.ACCEPTED and report.accepted == len(given) > 5 * len(audit.drawn)
    assert all(int(i, 16) < WRONG_FROM for i in given)
    assert all(labels[i] == truth(int(i, 16)) for i in given)
    events = [e for e in store.log.read() if e.sample_id in given]
    assert {(e.kind, e.actor) for e in events} == {(Kind.ACCEPTED, f"audit:{audit.audit_id}")}


def test_wrong_answers_accept_nothing_and_stay_labels(store):
    audit = begun(store)
    answer(store, audit.drawn, wrongly=len(audit.drawn) // 3)
    report = accept_rest.settle(store, audit)
    assert report.state is State.REFUSED and report.accepted == 0
    assert replay(store.log.read()).keys() == set(audit.drawn)


def test_nothing_is_decided_before_every_image_has_an_answer(store):
    audit = begun(store)
    answer(store, audit.drawn[1:])
    report = accept_rest.settle(store, audit)
    assert (report.state, report.accepted, len(report.files)) == (State.OPEN, 0, 1)


def test_an_undo_takes_all_of_it_back_and_nothing_else(store):
    audit = begun(store)
    answer(store, audit.drawn)
    accept_rest.settle(store, audit)
    taken = accept_rest.undo(store, audit.audit_id, actor="ada")
    assert taken > 0 and replay(store.log.read()).keys() == set(audit.drawn)
    with pytest.raises(ProjectError, match="nothing to undo"):
        accept_rest.undo(store, audit.audit_id, actor="ada")


def test_a_settling_that_was_killed_after_its_append_is_completed(store, monkeypatch):
    audit = begun(store)
    answer(store, audit.drawn)
    monkeypatch.setattr(audit_files, "close", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        accept_rest.settle(store, audit)
    monkeypatch.undo()
    events = len(store.log.read())
    report = accept_rest.settle(store, audit)
    assert report.state is State.ACCEPTED and report.accepted > 0 and len(store.log.read()) == events


def test_the_images_of_an_open_audit_are_hidden_and_have_their_own_queue(store):
    audit = begun(store)
    assert blind.in_open_audit(store.project) == set(audit.drawn)
    assert not {row.sample_id for row in rank(store, None, limit=2 * IMAGES)} & set(audit.drawn)
    accept_rest.cancel(store, audit)
    assert blind.in_open_audit(store.project) == frozenset()


def test_the_same_seed_draws_the_same_images_in_each_stratum_their_share(store):
    drawn = []
    for seed in (3, 3, 4):
        audit = begun(store, Request(target=0.05, confidence=0.95, seed=seed))
        drawn.append(set(audit.drawn))
        accept_rest.cancel(store, audit)
        for path in (store.project.root / "audits").iterdir():
            path.unlink()  # so that the next one is a first attempt too
    assert drawn[0] == drawn[1] != drawn[2]
    share = len(drawn[0]) / WRONG_FROM
    herons = sum(truth(int(i, 16)) == "heron" for i in drawn[0])
    assert abs(herons - share * WRONG_FROM / 3) <= 3, "three bands, each rounded by less than one"


def test_audits_that_failed_make_the_next_one_stricter(store):
    audit = begun(store)
    accept_rest.cancel(store, audit)
    second = begun(store)
    levels = [audit_files.read_groups(store.project, a)[0].level for a in (audit, second)]
    assert second.attempt == 2 and levels[1] < levels[0]


def test_predictions_of_a_run_have_the_present_names_of_its_classes(store):
    project = store.project.root
    done("classes", project, "--rename", "crow=raven")
    renamed = open_store(project)
    audit = begun(renamed)
    (group,) = audit_files.read_groups(renamed.project, audit)
    assert set(group.labels) == {"raven", "heron"}
    assert "an audit of the present classes is open" in refused("classes", project, "--rename", "raven=rook")


def test_each_class_by_itself_has_a_group(store):
    audit = begun(store, Request(target=0.1, confidence=0.9, seed=0, each_class=True))
    assert [g.name for g in audit_files.read_groups(store.project, audit)] == ["crow", "heron"]


def test_the_command_draws_waits_accepts_and_undoes(store):
    project = store.project.root
    call = ("accept-rest", project, "--error", 0.05)
    drawn = done(*call, "--json").json
    assert drawn["state"] == "open" and drawn["drawn"] == len(drawn["files"]) > 20
    assert "call gradebook accept-rest" in done(*call).out
    assert "is open: continue with these" in refused("accept-rest", project, "--error", 0.02)
    (audit,) = audit_files.list_audits(store.project)
    answer(store, audit.drawn)
    accepted = done(*call, "--json").json
    assert accepted["state"] == "accepted" and accepted["accepted"] > 500
    assert any(part["label"] == "heron" and part["accepted"] for part in accepted["parts"])
    undone = done("undo", project, f"audit:{accepted['audit']}", "--json").json
    assert undone["labels"] == accepted["accepted"]
    assert "must be between 0 and 0.5" in refused("accept-rest", project, "--error", 0)
