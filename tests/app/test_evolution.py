"""The page Evolution, drawn without a browser: one image, a selection, a run."""

import json

import numpy as np
import pytest

from gradebook.app.context import PageContext
from gradebook.pipelines.curation.review_queue import rank
from gradebook.pipelines.curation.selections import save_selection
from gradebook.pipelines.process.run_status import State
from gradebook.pipelines.runs import CHANGES, LABELS, PREDICTIONS
from gradebook.storage.events import Kind, event
from tests.app.conftest import CLASSES, HOSTILE, a_run
from tests.app.test_views import drawn, text, verdicts


def draw_evolution(context):
    from gradebook.app.views import evolution

    evolution.render(context)


@pytest.fixture
def finished(context, ids):
    """The context, its run with predictions: the student predicts crow for each sample, the teacher heron."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    student = np.array([[0.6, 0.3, 0.1]] * len(ids))
    columns = {"sample_id": ids, "student": student.tolist(), "teacher": student[:, ::-1].tolist()}
    table = pa.table(columns).replace_schema_metadata({b"classes": json.dumps(CLASSES).encode()})
    pq.write_table(table, context.run.path / PREDICTIONS)
    return context


def test_accept_takes_the_prediction_of_the_queue_not_the_final_teacher_prediction(finished, ids):
    (proposed,) = [row for row in rank(finished.store, finished.run) if row.sample_id == ids[0]]
    page = drawn(draw_evolution, finished, sample=ids[0])
    assert page.subheader[0].value == "Unlabelled"
    assert "Final teacher prediction: **heron**" in text(page)
    assert page.button(key="accept").label == f"Accept {proposed.label}" == "Accept crow"
    assert "student of mpl" in text(page) and "60%" in text(page)
    page.button(key="accept").click().run()
    proposal, answer = verdicts_and_proposals(finished)
    assert (answer.kind, answer.label, answer.ref) == (Kind.ACCEPTED, "crow", proposal.event_id)
    assert (proposal.confidence, dict(proposal.reasons)) == (proposed.probability, proposed.reasons)
    assert page.subheader[0].value == "crow"
    assert not [b for b in page.button if b.key == "accept"], "it is that already"
    page.button(key="undo").click().run()
    assert page.subheader[0].value == "Unlabelled"
    assert r"~~crow\, accepted by ada~~" in text(page), "what was taken back stays visible as such"


def verdicts_and_proposals(context):
    return [e for e in context.store.log.read() if e.kind is not Kind.IMPORTED]


def test_a_proposal_of_a_reviewer_is_accepted_as_proposed(finished, ids):
    asked = event(Kind.PROPOSED, ids[1], HOSTILE, actor="bob", reasons={"asked": 1.0})
    finished.store.log.append([asked])
    page = drawn(draw_evolution, finished, sample=ids[1])
    page.button(key="accept").click().run()
    (answer,) = verdicts(finished)
    assert (answer.label, answer.ref) == (HOSTILE, asked.event_id)


def test_a_run_without_predictions_leaves_the_keys_of_the_classes(context, ids):
    page = drawn(draw_evolution, context, sample=ids[0])
    assert not [b for b in page.button if b.key == "accept"], "the queue proposes nothing either"
    assert [b.key for b in page.button if b.key.startswith("key-")] == ["key-1", "key-2", "key-3"]
    page.button(key="key-3").click().run()
    assert [(e.kind, e.label) for e in verdicts(context)] == [(Kind.RELABELLED, HOSTILE)]
    assert page.subheader[0].value == (
        r"\<img src\=x onerror\=alert\(1\)\> \*\*bold\*\* \[a\]\(http\:\/\/b\) \:red\[c\] \$d\$"
    )


def test_an_image_is_shown_in_every_run_with_the_label_given_to_it(context, ids):
    other = a_run(context.store, "uda-001", State.RUNNING)
    (other.path / LABELS).write_text(json.dumps({ids[0]: "heron"}))
    (other.path / CHANGES).write_text(json.dumps([{"step": 15, "labels": {ids[0]: "heron"}}]))
    page = drawn(draw_evolution, context, sample=ids[0])
    rows = {row["run"]: row for row in page.dataframe[0].value.to_dict("records")}
    assert rows["mpl-001"]["label given"] == "none"
    assert rows["uda-001"]["label given"] == "heron, at step 15"
    assert (rows["uda-001"]["teacher"], rows["uda-001"]["label changes"]) == ("heron", 1)
    page = drawn(draw_evolution, PageContext(context.store, other, "ada"), sample=ids[0])
    assert "labelled heron" in page.get("plotly_chart")[0].proto.spec, "the moment stands in the figure"


def test_a_cell_opens_its_images_and_a_selection_has_dynamics(context, ids):
    cell = "cell-teacher-student-1-2"
    page = drawn(draw_evolution, context)
    assert len(page.get("plotly_chart")) == 2
    page.selectbox(key="apart-teacher-student").select(cell).run()
    assert page.query_params["open"] in (cell, [cell])
    assert f"**{len(ids)} images** teacher predicts heron" in text(page).replace("\\", "")
    chosen = save_selection(context.store.project, ids[1:3], "are two")
    page = drawn(draw_evolution, context, selection=chosen)
    assert "**2 images** are two" in text(page)
    (figure,) = page.get("plotly_chart")
    assert "label changes" in figure.proto.spec
    assert [b.key for b in page.button if b.key.startswith("group-")] == ["group-review"], "this is their evolution"


def test_a_label_change_opens_its_images(context, ids):
    (context.run.path / "samples.json").write_text(
        json.dumps({"sample_ids": ids})
    )  # each has a turn in half of the run
    page = drawn(draw_evolution, context, tab="run")
    (move,) = page.selectbox(key="moves-teacher").options
    assert move == "crow → heron, steps 19 to 20: 5"
    page.selectbox(key="moves-teacher").select_index(0).run()
    assert "**5 images** changed from crow to heron for the teacher of mpl\\-001" in text(page)
    page.button(key="group-review").click().run()
    assert not page.exception
    page.button(key=f"to-{ids[0]}").click().run()
    assert page.subheader[0].value == "Unlabelled"


@pytest.mark.parametrize(
    "wrong", ["move-teacher-9-0-1", "move-teacher-0-99-1", "cell-teacher-student-0-99", "cell-a-b", "x"]
)
def test_an_invalid_address_opens_nothing(context, wrong):
    page = drawn(draw_evolution, context, open=wrong)
    assert not page.warning and not page.error and "**" not in text(page)


def test_labels_are_compared_if_there_are_any(context, ids):
    assert "label-teacher" not in options(drawn(draw_evolution, context))
    context.store.log.append([event(Kind.RELABELLED, ids[0], "crow", actor="ada")])
    page = drawn(draw_evolution, context)
    assert "label-teacher" in options(page)
    page.segmented_control(key="compared").set_value("label-teacher").run()
    page.selectbox(key="apart-label-teacher").select("cell-label-teacher-0-1").run()
    assert "**1 image** labelled crow, teacher predicts heron" in text(page).replace("\\", "")


def options(page):
    names = {"Teacher, student": "teacher-student", "Labels, teacher": "label-teacher"}
    return [names.get(name) for name in page.segmented_control(key="compared").options]


@pytest.mark.parametrize("query", [{"tab": "image"}, {"sample": "../../etc/passwd"}])
def test_without_an_image_the_last_labelled_ones_are_offered(context, query, ids):
    assert "labelled last" not in text(drawn(draw_evolution, context, **query))
    context.store.log.append([event(Kind.RELABELLED, ids[0], "crow", actor="ada")])
    page = drawn(draw_evolution, context, **query)
    assert "choose one of those labelled last" in text(page) and page.button(key=f"to-{ids[0]}")
    assert bool(page.warning) == ("sample" in query)


def test_an_unknown_selection_is_reported(context):
    page = drawn(draw_evolution, context, selection="0" * 16)
    assert "select the images again" in page.warning[0].value.lower()


def test_a_project_without_a_run_says_what_to_do(context, ids):
    page = drawn(draw_evolution, PageContext(context.store, None, "ada"))
    assert "no run yet" in page.info[0].value
    assert not drawn(draw_evolution, PageContext(context.store, None, "ada"), sample=ids[0]).get("plotly_chart")
