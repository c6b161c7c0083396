"""Each page, drawn without a browser: one press, one event."""

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from app.desk import Desk, decide
from pipelines import jobs, queue_up
from pipelines.runs import State, status_now, write_status
from pipelines.selections import save_selection
from pipelines.verdicts import Shown
from storage.events import Kind, decisions, event, replay
from storage.project import create_project, read_project
from storage.store import memory_store
from storage.vectors import Space
from tests.app.conftest import HOSTILE, a_run


def draw_review(desk, rank):
    from app.views import review

    review.render(desk, rank=rank)


def draw_review_as_it_is(desk):
    from app.views import review

    review.render(desk)


def draw_overview(desk):
    from app.views import overview

    overview.render(desk)


def draw_train(desk):
    from app.views import train

    train.render(desk)


def drawn(draw, *args, **query) -> AppTest:
    page = AppTest.from_function(draw, default_timeout=30, args=args)
    page.query_params.update(query)
    page.run()
    assert not page.exception, page.exception
    return page


def memory_with(desk: Desk, ids):
    """Returns a store like the desk's in which nothing is decided."""
    store = memory_store(desk.store.project)
    store.catalog.add(desk.store.catalog.get(ids), [])
    return store


def verdicts(desk: Desk):
    return [e for e in desk.store.log.read() if e.kind not in (Kind.IMPORTED, Kind.PROPOSED)]


def text(page: AppTest) -> str:
    return "\n".join(e.value for kind in (page.title, page.markdown, page.caption) for e in kind)


def test_accept_writes_the_guess_that_was_shown_and_one_verdict(desk, rank, ids):
    page = drawn(draw_review, desk, rank)
    page.button(key=f"accept-{ids[1]}").click().run()
    _, proposal, answer = desk.store.log.read()
    assert (answer.kind, answer.sample_id, answer.label, answer.actor) == (Kind.ACCEPTED, ids[1], "heron", "ada")
    assert answer.ref == proposal.event_id
    assert (proposal.actor, proposal.confidence, proposal.reasons["thin_margin"]) == ("run:mpl-001", 0.75, 0.9)


def test_another_label_and_reject(desk, rank, ids):
    page = drawn(draw_review, desk, rank)
    page.selectbox(key=f"other-{ids[0]}").select("crow").run()
    page.button(key=f"reject-{ids[2]}").click().run()
    assert [(e.kind, e.sample_id, e.label) for e in verdicts(desk)] == [
        (Kind.RELABELLED, ids[0], "crow"),
        (Kind.REJECTED, ids[2], None),
    ]


def test_the_keys_act_on_the_framed_image_and_move_on(desk, rank, ids):
    page = drawn(draw_review, desk, rank)
    page.button(key=f"key-accept-{ids[0]}").click().run()
    page.button(key=f"key-1-{ids[1]}").click().run()
    page.button(key=f"key-reject-{ids[2]}").click().run()
    assert [(e.sample_id, e.label) for e in verdicts(desk)] == [(ids[0], "heron"), (ids[1], "crow"), (ids[2], None)]


def test_an_answered_image_keeps_its_place_and_undo_opens_it_again(desk, rank, ids):
    page = drawn(draw_review, desk, rank)
    page.button(key=f"accept-{ids[0]}").click().run()
    assert [b.key for b in page.button if b.key.startswith("accept-")] == [f"accept-{i}" for i in ids[1:]]
    page.button(key="undo").click().run()
    assert verdicts(desk)[-1].kind is Kind.RETRACTED
    assert page.button(key=f"accept-{ids[0]}")
    page.selectbox(key=f"other-{ids[0]}").select("crow").run()
    page.button(key=f"undo-{ids[0]}").click().run()
    assert replay(desk.store.log.read()).get(ids[0]) is None
    assert page.selectbox(key=f"other-{ids[0]}").value is None, "the choice taken back is not chosen any more"


def test_a_press_that_comes_too_late_changes_nothing(desk, rank, ids):
    page = drawn(draw_review, desk, rank)
    other = drawn(draw_review, Desk(desk.store, desk.run, "bob"), rank)
    other.button(key=f"reject-{ids[0]}").click().run()
    page.button(key=f"accept-{ids[0]}").click().run()
    assert [(e.actor, e.kind) for e in verdicts(desk)] == [("bob", Kind.REJECTED)]


def test_two_presses_at_once_are_one_verdict(desk, ids, monkeypatch):
    """Streamlit runs a second press in a second thread while the first still writes."""
    append = desk.store.log.append

    def slowly(events):
        time.sleep(0.1)
        append(events)

    monkeypatch.setattr(desk.store.log, "append", slowly)
    shown = Shown(sample_id=ids[0], label="heron", probability=0.75, run="mpl-001")
    with ThreadPoolExecutor() as pool:
        answers = list(pool.map(lambda label: decide(desk, shown, label, over=None), ["heron", "crow"]))
    (only,) = verdicts(desk)
    assert sorted(answers, key=bool) == [None, only]


def test_a_decision_is_replaced_only_by_one_who_has_seen_it(desk, ids):
    shown = Shown(sample_id=ids[0])
    decide(desk, shown, "crow", over=None)
    first = decisions(desk.store.log.read())[ids[0]]
    assert decide(desk, shown, "heron", over=None) == first
    assert decide(desk, shown, "heron", over=first) is None
    assert replay(desk.store.log.read())[ids[0]] == "heron"


@pytest.mark.parametrize(
    ("press", "kind", "label"), [("accept", Kind.ACCEPTED, "heron"), ("keep", Kind.RELABELLED, "crow")]
)
def test_a_label_in_question_is_changed_or_kept_by_whoever_has_seen_it(desk, ids, rank, press, kind, label):
    given = event(Kind.IMPORTED, ids[0], "crow", actor="import")
    desk.store.log.append([given])
    (row,) = [r for r in rank(memory_with(desk, ids), desk.run) if r.sample_id == ids[0]]
    doubted = replace(row, given="crow", decision=given.event_id, reasons={"mislabelled": 0.9})
    page = drawn(draw_review, desk, lambda *_, **__: [doubted])
    assert "labelled crow" in text(page) and "0 of 1 image" in page.get("progress")[0].proto.text
    page.button(key=f"{press}-{ids[0]}").click().run()
    proposal, answer = desk.store.log.read()[-2:]
    assert (answer.kind, answer.label, answer.ref) == (kind, label, proposal.event_id)
    assert proposal.reasons == {"mislabelled": 0.9}
    assert "All of these have their answer" in text(page)


def test_a_label_in_question_that_somebody_changed_meanwhile_stays(desk, ids, rank):
    given = event(Kind.IMPORTED, ids[0], "crow", actor="import")
    desk.store.log.append([given])
    (row,) = [r for r in rank(memory_with(desk, ids), desk.run) if r.sample_id == ids[0]]
    page = drawn(draw_review, desk, lambda *_, **__: [replace(row, given="crow", decision=given.event_id)])
    desk.store.log.append([event(Kind.RELABELLED, ids[0], HOSTILE, actor="bob")])
    page.button(key=f"accept-{ids[0]}").click().run()
    assert replay(desk.store.log.read())[ids[0]] == HOSTILE


def test_neighbours_of_an_answered_image_come_next_and_are_not_labelled(desk, rank, ids):
    desk.store.vectors.create(Space(backbone="b", weights="none", size=8, dim=2, weak=1, strong=0, seed=0))
    desk.store.vectors.add("b", ids, np.array([[[1, 0]], [[0, 1]], [[1, 0.1]], [[1, 0.2]], [[1, 1]]], np.float16))
    page = drawn(draw_review, desk, rank)
    page.button(key=f"accept-{ids[0]}").click().run()
    before = replay(desk.store.log.read())
    page.button(key=f"alike-{ids[0]}").click().run()
    assert not page.exception and "4 images like it" in page.toast[0].value
    assert replay(desk.store.log.read()) == before
    rows = queue_up.rank(desk.store, None)
    assert [row.sample_id for row in rows] == [ids[2], ids[3], ids[4], ids[1]]
    page = drawn(draw_review_as_it_is, Desk(desk.store, None, "ada"))
    page.button(key=f"accept-{ids[2]}").click().run()
    answer = desk.store.log.read()[-1]
    assert (answer.kind, answer.label, answer.ref) == (Kind.ACCEPTED, "heron", rows[0].proposal)


def test_without_vectors_the_neighbours_are_a_sentence(desk, rank, ids):
    page = drawn(draw_review, desk, rank)
    page.button(key=f"accept-{ids[0]}").click().run()
    page.button(key=f"alike-{ids[0]}").click().run()
    assert "embed" in page.toast[0].value and len(verdicts(desk)) == 1


def test_the_page_fills_up_only_when_asked_and_says_when_nothing_is_left(desk, rank, ids):
    page = drawn(draw_review, desk, rank)
    for sample_id in ids:
        page.button(key=f"accept-{sample_id}").click().run()
    assert len(decisions(desk.store.log.read())) == len(ids) + 1
    page.button(key="more").click().run()
    assert "Nothing is left" in page.success[0].value


def test_without_a_run_there_are_labels_to_choose_but_no_guess_to_accept(desk, rank, ids):
    page = drawn(draw_review, Desk(desk.store, None, "ada"), rank)
    assert not [b for b in page.button if "accept" in b.key]
    page.selectbox(key=f"other-{ids[0]}").select("crow").run()
    (only,) = verdicts(desk)
    assert (only.kind, only.ref) == (Kind.RELABELLED, None)


def test_a_run_that_has_not_finished_leaves_the_images_without_guesses(desk, rank, ids):
    run = a_run(desk.store, "mpl-002", State.STOPPED)
    page = drawn(draw_review, Desk(desk.store, run, "ada"), rank)
    assert "has not finished" in page.info[0].value
    page.button(key=f"key-1-{ids[0]}").click().run()
    assert [(e.kind, e.label) for e in verdicts(desk)] == [(Kind.RELABELLED, "crow")]


def test_the_real_queue_takes_the_place_of_ours(desk, ids):
    """What the app uses, on a project before its first run."""
    page = drawn(draw_review_as_it_is, Desk(desk.store, None, "ada"))
    page.selectbox(key=f"other-{ids[0]}").select("crow").run()
    assert replay(desk.store.log.read())[ids[0]] == "crow"


def test_a_selection_in_the_address_is_reviewed_and_nothing_else(desk, ids):
    chosen = save_selection(desk.store.project, [ids[3], ids[1]], "chosen on the map")
    page = drawn(draw_review_as_it_is, Desk(desk.store, None, "ada"), selection=chosen)
    assert "**2 images** chosen on the map" in text(page)
    assert [b.key for b in page.button if b.key.startswith("reject-")] == [f"reject-{i}" for i in (ids[3], ids[1])]
    page.selectbox(key=f"other-{ids[3]}").select("crow").run()
    assert replay(desk.store.log.read())[ids[3]] == "crow"
    page.button(key="more").click().run()
    assert [b.key for b in page.button if b.key.startswith("reject-")] == [f"reject-{ids[1]}"]


@pytest.mark.parametrize("nonsense", ["../../etc/passwd", "0" * 16])
def test_a_selection_that_is_not_there_is_a_sentence(desk, nonsense):
    page = drawn(draw_review_as_it_is, desk, selection=nonsense)
    assert "choose the images again" in page.warning[0].value
    assert not page.selectbox


def test_a_file_that_is_gone_does_not_take_the_page_with_it(desk, rank, ids):
    Path(desk.store.catalog.get(ids[:1])[0].filepath).unlink()
    page = drawn(draw_review, desk, rank)
    assert "cannot be read" in page.warning[0].value
    page.button(key=f"reject-{ids[0]}").click().run()
    assert len(verdicts(desk)) == 1


def test_the_overview_counts(desk, ids, rank):
    page = drawn(draw_review, desk, rank)
    page.button(key=f"accept-{ids[0]}").click().run()
    page.button(key=f"reject-{ids[1]}").click().run()
    page = drawn(draw_overview, desk)
    numbers = {metric.label: metric.value for metric in page.metric}
    assert numbers == {"Samples": "6", "Labelled": "1", "Unlabelled": "3", "Test": "1", "Rejected": "1"}
    (row,) = page.dataframe[0].value.to_dict("records")
    assert (row["run"], row["state"], row["progress"], row["accuracy"]) == ("mpl-001", "finished", 100, 50)
    assert len(page.get("plotly_chart")) == 3
    shown = page.dataframe[1].value.to_dict("records")
    assert shown == [
        {"why shown": "All that were shown", "answered": 2, "guess was right": 50},
        {"why shown": "Two classes are almost level", "answered": 2, "guess was right": 50},
    ]


def test_the_overview_of_an_empty_project_says_what_to_do(tmp_path):
    page = drawn(draw_overview, Desk(memory_store(create_project(tmp_path / "new", [])), None, "ada"))
    assert "gradebook import" in page.code[0].value


def test_a_project_without_classes_cannot_be_reviewed_and_says_what_to_do(tmp_path, rank):
    page = drawn(draw_review, Desk(memory_store(create_project(tmp_path / "new", [])), None, "ada"), rank)
    assert "gradebook classes" in page.code[0].value


def test_a_run_is_started_with_what_was_chosen(desk, rank, ids, monkeypatch):
    asked = {}

    def start_training(project, **settings):
        asked.update(settings)
        return a_run(desk.store, "uda-001")

    monkeypatch.setattr(jobs, "start_training", start_training)
    assert drawn(draw_train, desk).button(key="start-run").disabled, (
        "nothing to learn from: the one label is for testing"
    )
    drawn(draw_review, desk, rank).button(key=f"accept-{ids[0]}").click().run()
    page = drawn(draw_train, desk)
    page.selectbox(key="method").select("uda")
    page.number_input(key="steps").set_value(40)
    page.number_input(key="seed").set_value(7)
    page.button(key="start-run").click().run()
    assert asked == {"preset": "quick", "method": "uda", "steps": 40, "seed": 7}
    assert next(box for box in page.selectbox if box.label == "Run to watch").value == "uda-001"


def test_a_run_is_stopped_and_killed(desk, monkeypatch):
    project = desk.store.project
    monkeypatch.setattr(jobs, "_launch", lambda: [sys.executable, "-c", DEAF])
    run = jobs.start_training(project, preset="quick", method="mpl")
    job = jobs.find_job(run)
    while "deaf" not in job.log.read_text():
        assert jobs.ending(job) is jobs.Ending.GOING
    page = drawn(draw_train, desk)
    page.button(key="stop").click().run()
    assert jobs.ending(job) is jobs.Ending.GOING
    write_status(run.path, status_now(State.RUNNING, pid=job.pid, step=3, steps=9))
    page.run()
    page.button(key="kill").click().run()
    jobs.stop(job, patience=10)
    page.run()
    assert "without a word" in text(page)


DEAF = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"


def test_a_failed_run_says_why(desk):
    run = a_run(desk.store, "mpl-002", State.FAILED)
    write_status(run.path, status_now(State.FAILED, pid=0, step=3, steps=9, message="The loss became infinite."))
    (run.path / "log.txt").write_text("10%\r20%\rloss inf")
    page = drawn(draw_train, desk)
    assert "The loss became infinite" in text(page)
    assert page.code[0].value == "10%\n20%\nloss inf"


def test_the_methods_on_offer_are_the_methods_there_are():
    from app.views import train
    from mpl import methods

    assert set(train.METHODS) == set(methods.METHODS)


def app(monkeypatch, *arguments: str) -> AppTest:
    import app.main

    monkeypatch.setattr(sys, "argv", ["app/main.py", *arguments])
    return AppTest.from_file(app.main.__file__, default_timeout=30)


def test_without_a_project_one_can_be_typed_and_stays_in_the_address(monkeypatch, tmp_path):
    root = create_project(tmp_path / "birds", ["crow"]).root
    monkeypatch.chdir(tmp_path)
    page = app(monkeypatch).run()
    assert not page.exception
    assert f"open-{root}" in [button.key for button in page.button], "the projects at hand are offered"
    page.text_input(key="path").set_value(str(tmp_path / "nowhere"))
    page.form_submit_button[0].click().run()
    assert "is not a project" in page.error[0].value.replace("\\", "")
    page.text_input(key="path").set_value(str(root))
    page.form_submit_button[0].click().run()
    assert not page.exception
    assert page.title[0].value == "birds"
    assert page.query_params["project"] == str(root)
    next(button for button in page.button if button.label == "Another project").click().run()
    assert "project" not in page.query_params
    assert page.text_input(key="path")
    assert read_project(root).root == root


def test_the_name_goes_into_the_log_and_an_empty_one_is_the_logins(monkeypatch, tmp_path):
    root = create_project(tmp_path / "birds", ["crow"]).root
    page = app(monkeypatch, str(root)).run()
    assert not page.exception
    assert "project" not in page.query_params, "an argument needs no address"
    name = next(field for field in page.text_input if field.label == "Your name")
    name.set_value("  grace ").run()
    assert page.session_state["actor"] == "grace"
