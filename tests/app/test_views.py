"""Each page without a browser."""

import re
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from streamlit.testing.v1 import AppTest

from gradebook.app import progressive_render
from gradebook.app.context import PageContext
from gradebook.app.review_actions import decide
from gradebook.app.text import duration
from gradebook.pipelines.curation import audit_files
from gradebook.pipelines.curation.audit_files import Audit, Group
from gradebook.pipelines.curation.verdicts import Shown
from gradebook.pipelines.jobs import launcher
from gradebook.pipelines.process.run_status import State, status_now, write_status
from gradebook.pipelines.runs import append_metrics
from gradebook.pipelines.training import settings_schema
from gradebook.pipelines.training.settings_schema import Setting
from gradebook.storage.events import Kind, decisions, replay
from gradebook.storage.project import create_project, read_project
from gradebook.storage.store import memory_store
from tests.app.conftest import HOSTILE, a_run


def draw_overview(context):
    from gradebook.app.views import overview

    overview.render(context)


def draw_train(context):
    from gradebook.app.views import train

    train.render(context)


def drawn(draw, *args, **query) -> AppTest:
    page = AppTest.from_function(draw, default_timeout=30, args=args)
    page.query_params.update(query)
    page.run()
    assert not page.exception, page.exception
    return page


def predicted(sample_id: str) -> Shown:
    """Returns what a reviewer sees of a sample that a run predicts to be a heron."""
    reasons = {"thin_margin": 0.9, "flips": 0.2}
    return Shown(sample_id=sample_id, label="heron", probability=0.75, reasons=reasons, run="mpl-001")


def verdicts(context: PageContext):
    return [e for e in context.store.log.read() if e.kind not in (Kind.IMPORTED, Kind.PROPOSED)]


def text(page: AppTest) -> str:
    return "\n".join(e.value for kind in (page.title, page.markdown, page.caption) for e in kind)


def test_two_simultaneous_verdicts_write_one(context, ids, monkeypatch):
    """Streamlit runs a second action in a second thread while the first still writes."""
    append = context.store.log.append

    def slowly(events):
        time.sleep(0.1)
        append(events)

    monkeypatch.setattr(context.store.log, "append", slowly)
    shown = predicted(ids[0])
    with ThreadPoolExecutor() as pool:
        answers = list(
            pool.map(lambda label: decide(context.store, "ada", shown, label, expected=None), ["heron", "crow"])
        )
    (only,) = verdicts(context)
    assert sorted(answers, key=bool) == [None, only]


def test_a_decision_is_replaced_only_by_a_reviewer_who_saw_it(context, ids):
    shown = Shown(sample_id=ids[0])
    decide(context.store, "ada", shown, "crow", expected=None)
    first = decisions(context.store.log.read())[ids[0]]
    assert decide(context.store, "ada", shown, "heron", expected=None) == first
    assert decide(context.store, "ada", shown, "heron", expected=first) is None
    assert replay(context.store.log.read())[ids[0]] == "heron"


def test_the_overview_counts(context, ids):
    for sample_id, label in ((ids[0], "heron"), (ids[1], None)):
        decide(context.store, "ada", predicted(sample_id), label, expected=None)
    page = drawn(draw_overview, context)
    numbers = {metric.label: metric.value for metric in page.metric}
    assert numbers == {"Images": "6", "Labelled": "1", "Unlabelled": "3", "Test": "1", "Rejected": "1"}
    runs, agreement = (table.value.to_dict("records") for table in page.dataframe)
    (row,) = runs
    assert (row["run"], row["state"], row["validation"]) == ("mpl-001", "finished", 50)
    assert "progress" not in row, "it is over"
    assert len(page.get("plotly_chart")) == 2
    bars = next(html.proto.body for html in page.get("html") if "class-bars" in html.proto.body)
    assert re.findall(r'class="number">(\d+)<', bars) == ["0", "1", "0"]
    assert bars.count('class="bar"') == 1 and "background:#E69F00" in bars, "the second class's color"
    assert HOSTILE not in bars and "&lt;img" in bars
    assert agreement == [
        {"reason": "All", "reviewed": 2, "accepted": 50},
        {"reason": "Small margin", "reviewed": 2, "accepted": 50},
    ]


def test_the_overview_of_an_empty_project_says_what_to_do(tmp_path):
    page = drawn(draw_overview, PageContext(memory_store(create_project(tmp_path / "new", [])), None, "ada"))
    assert "gradebook import" in page.code[0].value


def test_a_run_is_started_with_what_was_chosen(context, ids, monkeypatch):
    asked = {}

    def start_training(project, **settings):
        asked.update(settings)
        return a_run(context.store, "uda-001")

    monkeypatch.setattr(launcher, "start_training", start_training)
    assert drawn(draw_train, context).button(key="start-run").disabled, (
        "nothing to learn from: the one label is for testing"
    )
    decide(context.store, "ada", predicted(ids[0]), "heron", expected=None)
    page = drawn(draw_train, context)
    page.selectbox(key="method").select("uda")
    page.number_input(key="steps").set_value(40)
    page.number_input(key="seed").set_value(7)
    page.button(key="start-run").click().run()
    assert asked == {"preset": "quick", "method": "uda", "steps": 40, "seed": 7, "more": {}}
    assert next(box for box in page.selectbox if box.label == "Show run").value == "uda-001"


def test_a_changed_setting_is_passed_to_the_run(context, ids, monkeypatch):
    asked = {}
    known = [Setting(name="threshold", value="0.8", meaning="Sure enough.", kind="float")]
    monkeypatch.setattr(settings_schema, "load_settings", lambda preset, method: known)
    monkeypatch.setattr(launcher, "start_training", lambda project, **options: asked.update(options) or context.run)
    decide(context.store, "ada", predicted(ids[0]), "heron", expected=None)
    page = drawn(draw_train, context)
    page.session_state["settings-typed"] = {("quick", "mpl"): {"threshold": "0.9"}, ("quick", "uda"): {"x": "1"}}
    page.run()
    assert "threshold 0.9" in text(page).replace("\\", "")
    page.button(key="start-run").click().run()
    assert asked["more"] == {"threshold": 0.9}


def test_the_remaining_time_follows_the_latest_pace():
    from gradebook.app.views.train import _seconds_left

    rows = [{"step": 10 * n, "seconds": 4.0 if n < 5 else 2.0 * n} for n in range(20)]
    assert _seconds_left(rows, 190, 200) == pytest.approx(2.0)
    assert _seconds_left(rows[:1], 10, 200) is None
    assert (duration(100), duration(0.2), duration(7200)) == ("2 minutes", "1 second", "2 hours")


def test_a_run_is_stopped_and_killed(context, monkeypatch):
    project = context.store.project
    monkeypatch.setattr(launcher, "_launch", lambda: [sys.executable, "-c", DEAF])
    run = launcher.start_training(project, preset="quick", method="mpl")
    job = launcher.find_job(run)
    while "deaf" not in job.log.read_text():
        assert launcher.job_state(job) is launcher.JobState.RUNNING
    page = drawn(draw_train, context)
    page.button(key=f"stop-{run.name}").click().run()
    assert launcher.job_state(job) is launcher.JobState.RUNNING
    write_status(run.path, status_now(State.RUNNING, pid=job.pid, step=3, steps=9))
    page.run()
    page.button(key=f"kill-{run.name}").click().run()
    launcher.stop(job, timeout=10)
    page.run()
    assert "without a message" in page.error[0].value


DEAF = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"


def test_a_failed_run_says_why(context):
    run = a_run(context.store, "mpl-002", State.FAILED)
    write_status(run.path, status_now(State.FAILED, pid=0, step=3, steps=9, message="The loss became infinite."))
    (run.path / "log.txt").write_text("10%\r20%\rloss inf")
    page = drawn(draw_train, context)
    assert "The loss became infinite" in page.error[0].value
    assert page.code[0].value == "10%\n20%\nloss inf"


def test_presets_of_papers_and_very_large_networks_are_offered_to_researchers_only(context):
    page = drawn(draw_train, context)
    assert page.selectbox(key="preset").options == ["quick", "finetune", "finetune_cpu", "lora"]
    page.checkbox(key="research").check().run()
    assert {"large_l2", "imagenet_10"} <= set(page.selectbox(key="preset").options)


def test_all_methods_are_offered():
    from gradebook.app.views import train
    from gradebook.mpl import methods

    assert set(train.METHODS) == set(methods.METHODS)


def app(monkeypatch, *arguments: str) -> AppTest:
    import gradebook.app.shell

    monkeypatch.setattr(sys, "argv", ["app/main.py", *arguments])
    return AppTest.from_file(gradebook.app.shell.__file__, default_timeout=30)


def test_a_typed_project_stays_in_the_address(monkeypatch, tmp_path):
    root = create_project(tmp_path / "birds", ["crow"]).root
    monkeypatch.chdir(tmp_path)
    page = app(monkeypatch).run()
    assert not page.exception
    assert f"open-{root}" in [button.key for button in page.button], "the projects in reach are offered"
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


def test_the_typed_name_is_the_actor_and_defaults_to_the_login(monkeypatch, tmp_path):
    root = create_project(tmp_path / "birds", ["crow"]).root
    page = app(monkeypatch, str(root)).run()
    assert not page.exception
    assert "project" not in page.query_params, "an argument needs no address"
    assert not page.text_input, "the sidebar comes in the second pass"
    page.session_state[progressive_render.SHOWN_PAGES] = {"overview"}
    page.run()
    name = next(field for field in page.text_input if field.label == "Your name")
    name.set_value("  grace ").run()
    assert page.session_state["actor"] == "grace"


def draw_accept(context):
    from gradebook.app.views import accept

    accept.render(context)


def test_the_page_accept_says_what_it_needs_and_what_its_audit_waits_for(context, ids):
    page = drawn(draw_accept, PageContext(context.store, None, "ada"))
    assert "no finished run yet" in text(page)
    group = Group(
        name="all classes",
        share=0.4,
        level=0.02,
        sample_ids=tuple(ids[:2]),
        labels=("crow", "crow"),
        probabilities=(0.9, 0.8),
    )
    audit = Audit(
        audit_id="0" * 16,
        at="2026-01-02T00:00:00+00:00",
        actor="ada",
        run="mpl-001",
        target=0.02,
        confidence=0.95,
        seed=0,
        attempt=1,
        drawn=tuple(ids[:2]),
        expected_wrong=0.3,
    )
    audit_files.save(context.store.project, audit, [group])
    page = drawn(draw_accept, context)
    assert "2 images to answer" in text(page)
    page.button(key="audit-cancel").click().run()
    assert "The last audit was given up" in text(page)


def test_overview_shows_a_runs_accuracy_with_its_interval(context):
    append_metrics(context.run.path, {"step": 40, "validation_accuracy": 0.8, "cross_validated_labels": 50})
    page = drawn(draw_overview, context)
    assert "Cross-validated accuracy" in [metric.label for metric in page.metric]
    assert "67% to 89% (95%), 50 labels" in text(page)
