"""Several reviewers for each image: answers, conflicts, and what counts as the label."""

import json

import numpy as np
import pytest

from gradebook.pipelines.cli.main import main
from gradebook.pipelines.curation import labelling, second_answers, selection_queue
from gradebook.pipelines.curation.event_cache import extend
from gradebook.pipelines.curation.labelling import Choice, Undo, decide, label_samples, read_log
from gradebook.pipelines.curation.retractions import take_back
from gradebook.pipelines.curation.review_queue import rank
from gradebook.pipelines.curation.second_answers import ASKED_AGAIN, to_answer
from gradebook.pipelines.curation.selections import read_selection, save_selection
from gradebook.pipelines.curation.verdicts import Shown
from gradebook.pipelines.reporting.reviewer_agreement import fleiss_kappa, reviewer_agreement
from gradebook.storage.events import conflicts, replay
from gradebook.storage.project import ProjectError, create_project, read_project, set_answers
from gradebook.storage.samples import Sample, Split
from gradebook.storage.store import Store, memory_store, open_store

IDS = [f"{n:032x}" for n in range(4)]


@pytest.fixture
def store(tmp_path) -> Store:
    store = memory_store(set_answers(create_project(tmp_path / "project", ["crow", "heron"]), 2))
    fill(store)
    return store


def fill(store: Store) -> None:
    rows = [
        Sample(sample_id=i, filepath=f"/{i}.png", split=Split.TRAIN, width=1, height=1, fingerprint=bytes(200))
        for i in IDS
    ]
    store.catalog.add(rows, [])


def answer(store: Store, who: str, **labels: str) -> None:
    label_samples(store, {IDS[int(n[1:])]: label for n, label in labels.items()}, who=who, independent=True)


def labels(store: Store) -> dict[str, str]:
    return {f"s{IDS.index(i)}": label for i, label in replay(store.log.read()).items()}


def test_answers_that_agree_are_the_label_and_answers_that_differ_are_none(store):
    answer(store, "ada", s0="crow", s1="crow")
    assert labels(store) == {"s0": "crow", "s1": "crow"}
    answer(store, "bob", s0="crow", s1="heron")
    assert labels(store) == {"s0": "crow"}
    assert list(conflicts(store.log.read())) == [IDS[1]]


def test_any_ordinary_verdict_settles_a_conflict_and_its_undo_opens_it_again(store):
    answer(store, "ada", s0="crow")
    answer(store, "bob", s0="heron")
    label_samples(store, {IDS[0]: "heron"}, who="eve")
    assert labels(store) == {"s0": "heron"} and not conflicts(store.log.read())
    take_back(store, store.log.read()[-1].event_id, actor="eve")
    assert labels(store) == {} and conflicts(store.log.read())


def test_a_reviewer_can_undo_an_answer_that_differs(store):
    answer(store, "ada", s0="crow")
    answer(store, "bob", s0="heron")
    assert len(decide(store, [Undo(ref=None)], actor="bob").taken) == 1
    assert labels(store) == {"s0": "crow"}


def test_verdicts_of_two_people_who_saw_each_other_are_no_answers(store):
    label_samples(store, {IDS[0]: "crow"}, who="ada")
    label_samples(store, {IDS[0]: "heron"}, who="bob")
    assert labels(store) == {"s0": "heron"}
    assert reviewer_agreement(store, actor="eve").images == 0


def test_classes_that_are_one_by_now_are_no_conflict(store):
    from gradebook.pipelines.curation.class_changes import change_classes, merge

    answer(store, "ada", s0="crow")
    answer(store, "bob", s0="heron")
    change_classes(store, merge(["crow", "heron"], "bird"), actor="ada")
    assert labels(store) == {"s0": "bird"}


def test_the_cache_of_the_log_knows_conflicts_whichever_way_it_was_extended(store):
    answer(store, "ada", s0="crow", s1="crow")
    early = read_log(store)
    answer(store, "bob", s0="heron", s1="crow")
    late = extend(early, store.log.read(len(early.events)))
    assert late == read_log(store) and list(late.disputed) == [IDS[0]] and list(late.decided) == [IDS[1]]


def test_a_reviewer_is_asked_about_the_images_that_others_answered_and_sees_nothing_of_their_answers(store):
    label_samples(store, {IDS[0]: "crow", IDS[1]: "heron"}, who="ada")
    assert to_answer(store.log.read(), "ada", 2) == []
    assert to_answer(store.log.read(), "bob", 1) == []
    waiting = to_answer(store.log.read(), "bob", 2)
    selection = read_selection(store.project, save_selection(store.project, waiting, ASKED_AGAIN))
    rows = selection_queue.rank(store, None, selection=selection)
    assert [row.sample_id for row in rows] == IDS[:2]
    assert all(row.blind and row.independent and row.given is None and row.label is None for row in rows)
    shown = Shown(sample_id=IDS[0], independent=True)
    assert decide(store, [Choice(shown=shown, label="heron", expected=rows[0].decision)], actor="bob").taken
    assert to_answer(store.log.read(), "bob", 2) == [IDS[1]]
    assert [row.sample_id for row in selection_queue.rank(store, None, selection=selection)] == [IDS[1]]


def test_an_answer_is_not_written_once_somebody_has_settled_the_image(store):
    answer(store, "ada", s0="crow")
    shown = Shown(sample_id=IDS[0], independent=True)
    late = Choice(shown=shown, label="heron", expected=store.log.read()[0].event_id)
    label_samples(store, {IDS[0]: "heron"}, who="eve")
    assert not decide(store, [late], actor="bob").taken


def test_conflicts_come_first_in_the_queue_with_the_answers(store):
    answer(store, "ada", s2="crow")
    answer(store, "bob", s2="heron")
    for reason, length in ((None, 4), ("reviewers_disagree", 1)):
        rows = rank(store, None, reason=reason)
        assert len(rows) == length
        assert (rows[0].sample_id, rows[0].answers) == (IDS[2], {"ada": "crow", "bob": "heron"})


def test_cohens_kappa_is_that_of_a_published_table():
    """Cohen's example in Wikipedia's article: of 50 proposals, both say yes to 20 and no to 15; kappa is 0.4."""
    from gradebook.pipelines.reporting.reviewer_agreement import pair_agreements

    table = {("yes", "yes"): 20, ("yes", "no"): 5, ("no", "yes"): 10, ("no", "no"): 15}
    given = [{"a": one, "b": other} for (one, other), times in table.items() for _ in range(times)]
    (row,) = pair_agreements(given)
    assert (row.images, row.agreed, row.kappa) == (50, 0.7, pytest.approx(0.4))


def test_fleiss_kappa_is_that_of_a_published_table():
    """Ten subjects and 14 raters, from Wikipedia's article on Fleiss' kappa, which gives 0.210."""
    rows = ["0 0 0 0 14", "0 2 6 4 2", "0 0 3 5 6", "0 3 9 2 0", "2 2 8 1 1"]
    rows += ["7 7 0 0 0", "3 2 6 3 0", "2 5 3 2 2", "6 5 2 1 0", "0 2 2 3 7"]
    assert fleiss_kappa(np.array([[int(x) for x in row.split()] for row in rows])) == pytest.approx(0.210, abs=5e-4)
    assert fleiss_kappa(np.array([[2, 0], [2, 0]])) is None


def test_the_commands_ask_for_several_answers_and_show_agreement_and_conflicts(tmp_path, capsys, monkeypatch):
    root = tmp_path / "project"
    create_project(root, ["crow", "heron"])
    fill(open_store(root))

    def run(*argv: str):
        assert not main([*argv, "--json"])
        return json.loads(capsys.readouterr().out)

    assert run("agreement", str(root), "--answers", "2")["answers_per_image"] == 2
    for who, labels in (("ada", ("crow", "crow")), ("bob", ("crow", "heron"))):
        monkeypatch.setattr(labelling, "actor", lambda who=who: who)
        for sample, label in zip(IDS, labels, strict=False):
            run("label", str(root), "--sample", sample, "--label", label, "--independent")
    shown = run("agreement", str(root))
    assert (shown["images"], shown["agreed"], shown["conflicts"]) == (2, 1, 1)
    assert shown["pairs"] == [{"reviewers": ["ada", "bob"], "images": 2, "agreed": 0.5, "kappa": 0.0}]
    (row,) = run("queue", str(root), "--reason", "reviewers_disagree")
    assert row["answers"] == {"ada": "crow", "bob": "heron"}
    assert not main(["queue", str(root), "--reason", "reviewers_disagree"])
    assert f"(reviewers disagree: ada: crow, bob: heron)  {row['sample_id']}" in capsys.readouterr().out
    run("label", str(root), "--sample", row["sample_id"], "--label", "crow")
    assert run("queue", str(root), "--reason", "reviewers_disagree") == []
    assert not main(["queue", str(root), "--reason", "dark"])
    assert "no image without a decision has the reason dark" in capsys.readouterr().out
    assert second_answers.given_answers(open_store(root).log.read(), read_project(root).history)


def test_a_number_of_answers_that_makes_no_sense_is_refused(store):
    with pytest.raises(ProjectError, match="give 1 to 20"):
        set_answers(store.project, 0)
