"""Which rows of the record a session keeps."""

import torch

from gradebook.mpl.step import StepPredictions
from gradebook.pipelines.runs import Change
from gradebook.pipelines.session import thinning as module
from gradebook.pipelines.session.thinning import EVERY, WHOLE_STEPS, Thinning

SAMPLES, IDS = torch.arange(4), ("a", "b", "c", "d")


def row(step, teacher, student=(0, 0, 0, 0)):
    labels = {"teacher_label": torch.tensor(teacher), "student_label": torch.tensor(student)}
    return step, SAMPLES, StepPredictions(**labels, feedback=torch.arange(4.0))


def labelled(*sample_ids):
    return Change(step=WHOLE_STEPS, labels=dict.fromkeys(sample_ids, "crow"))


def kept(rows):
    return {step: samples.tolist() for step, samples, _ in rows}


def segment(first, teacher):
    return [row(first + k, teacher) for k in range(EVERY)]


def test_all_rows_of_the_first_steps_are_kept():
    rows = segment(1, (0, 0, 0, 0))
    assert Thinning(IDS, [])(rows) == rows
    assert Thinning(IDS, [])([]) == []


def test_later_steps_are_thinned_except_the_last():
    start = WHOLE_STEPS + 1
    rows = [row(start + k, (0, 0, 0, 0)) for k in range(3 * EVERY)]
    steps = kept(Thinning(IDS, [])(rows))
    assert all(samples == [0, 1, 2, 3] for samples in steps.values())
    assert set(steps) == {step for step, _, _ in rows if step % EVERY == 0} | {rows[-1][0]}


def test_all_rows_of_a_sample_whose_label_flips_are_kept():
    start, thinning = WHOLE_STEPS + 1, Thinning(IDS, [])
    thinning([row(WHOLE_STEPS, (0, 0, 1, 0))])
    rows = [row(start, (0, 1, 1, 0)), row(start + 1, (0, 0, 1, 0)), row(start + 2, (0, 0, 1, 0), (0, 0, 0, 1))]
    rows.append(row(start + 3, (0, 0, 1, 0), (0, 0, 0, 1)))
    result = thinning(rows)
    assert kept(result) == {start: [1, 3], start + 1: [1, 3], start + 2: [1, 3], start + 3: [0, 1, 2, 3]}
    _, _, predictions = result[0]
    assert predictions.feedback.tolist() == [1, 3] and predictions.runner_up is None
    again = thinning([row(start + 4, (0, 0, 0, 0), (0, 0, 0, 1)), row(start + 5, (0, 0, 0, 0), (0, 0, 0, 1))])
    assert kept(again) == {start + 4: [2], start + 5: [0, 1, 2, 3]}, "labels are compared across segments"


def test_all_rows_of_a_sample_that_gets_a_label_are_kept_those_before_the_label_too():
    start, changes, quiet = WHOLE_STEPS + 1, [labelled("d")], (0, 0, 0, 0)
    thinning = Thinning(IDS, changes)
    assert kept(thinning([row(start, quiet), row(start + 1, quiet)])) == {start + 1: [0, 1, 2, 3]}
    changes.append(labelled("a", "c"))
    result = thinning([row(start + 2, quiet), row(start + 3, quiet)])
    assert kept(result) == {start: [0, 2], start + 2: [0, 2], start + 3: [0, 1, 2, 3]}
    assert result[0][2].feedback.tolist() == [0, 2]
    changes.append(labelled("a", "b"))
    rows = kept(thinning([row(start + 4, quiet), row(start + 5, quiet)]))
    assert rows == {start: [1], start + 2: [1], start + 4: [0, 1], start + 5: [0, 1, 2, 3]}, "no row is written twice"


def test_the_rows_that_wait_for_a_label_are_bounded(monkeypatch):
    monkeypatch.setattr(module, "MAX_WAITING_ROWS", 6)
    start, changes, quiet = WHOLE_STEPS + 1, list[Change](), (0, 0, 0, 0)
    thinning = Thinning(IDS, changes)
    thinning([row(start + k, quiet) for k in range(4)])
    changes.append(labelled("a"))
    rows = kept(thinning([row(start + 4, quiet)]))
    assert rows == {start + 2: [0], start + 4: [0, 1, 2, 3]}, "the newest rows are kept"
