import os

import pytest

from gradebook.pipelines.curation.selection_queue import rank
from gradebook.pipelines.curation.selections import DIRECTORY, read_selection, save_selection
from gradebook.pipelines.runs import find_run
from gradebook.storage.events import Kind, event
from gradebook.storage.project import ProjectError, create_project

IDS = [f"{n:032x}" for n in (7, 3, 5)]


@pytest.fixture
def project(tmp_path):
    return create_project(tmp_path / "birds", ["crow"])


def test_a_selection_is_read_in_its_order(project):
    kept = read_selection(project, save_selection(project, [*IDS, IDS[0]], "chosen on the map"))
    assert (kept.sample_ids, kept.why) == (tuple(IDS), "chosen on the map")


def test_the_same_samples_are_the_same_selection_and_others_are_not(project):
    first = save_selection(project, IDS, "why")
    before = read_selection(project, first)
    assert save_selection(project, IDS, "why") == first
    assert read_selection(project, first).at > before.at, "they were chosen again"
    assert len({first, save_selection(project, IDS[::-1], "why"), save_selection(project, IDS[:2], "why")}) == 3


def test_an_empty_selection_is_refused(project):
    with pytest.raises(ProjectError, match="no image is selected"):
        save_selection(project, [], "why")
    assert not (project.root / DIRECTORY).exists()


@pytest.mark.parametrize("hostile", ["../../etc/passwd", "a/b", "", "A" * 32, f"{IDS[0]}\n"])
def test_only_sample_ids_are_saved(project, hostile):
    with pytest.raises(ProjectError, match="not the id of a sample"):
        save_selection(project, [IDS[0], hostile], "why")


@pytest.mark.parametrize("hostile", ["../gradebook", "../../../etc/passwd", "", "0" * 15, "0" * 16 + "\n", "0" * 16])
def test_an_unknown_id_is_an_error_and_reads_no_other_file(project, hostile):
    with pytest.raises(ProjectError, match="select the images again"):
        read_selection(project, hostile)


def test_a_changed_file_is_rejected(project):
    selection_id = save_selection(project, IDS, "why")
    path = project.root / DIRECTORY / f"{selection_id}.json"
    whole = path.read_text()
    for content in ("", "[]", "{}", whole[:-9], whole.replace(IDS[0], "0" * 32), whole.replace("why", "because", 1)):
        path.write_text(content)
        with pytest.raises(ProjectError, match="select the images again"):
            read_selection(project, selection_id)
    path.write_text(whole)
    assert read_selection(project, selection_id).sample_ids == tuple(IDS)


def test_a_kill_while_writing_leaves_the_old_content(project, monkeypatch):
    selection_id = save_selection(project, IDS, "why")
    before = read_selection(project, selection_id)

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "getpid", lambda: 1)
    monkeypatch.setattr("pathlib.Path.replace", killed)
    with pytest.raises(KeyboardInterrupt):
        save_selection(project, IDS, "why")
    assert read_selection(project, selection_id) == before


def test_the_queue_of_a_selection_is_its_samples_in_order_with_their_labels(store):
    ids = [s.sample_id for s in store.catalog.samples()]
    chosen = [ids[40], ids[2], ids[30], ids[3]]  # the first twelve have a label
    selection = read_selection(store.project, save_selection(store.project, chosen, "chosen on the map"))
    rows = rank(store, None, selection=selection)
    assert [row.sample_id for row in rows] == chosen
    assert [row.given for row in rows] == [None, "owl", None, "crow"]
    assert all(row.reasons == {"asked": 1.0} for row in rows)
    assert [row.sample_id for row in rank(store, None, selection=selection, limit=2)] == chosen[:2]


def test_decided_samples_leave_a_selection_until_they_are_selected_again(store):
    chosen = [s.sample_id for s in store.catalog.samples()][20:23]
    selection_id = save_selection(store.project, chosen, "again")
    store.log.append([event(Kind.REJECTED, chosen[1], actor="ada")])
    rows = rank(store, None, selection=read_selection(store.project, selection_id))
    assert [row.sample_id for row in rows] == [chosen[0], chosen[2]]
    save_selection(store.project, chosen, "again")
    rows = rank(store, None, selection=read_selection(store.project, selection_id))
    assert [row.sample_id for row in rows] == chosen
    assert rows[1].decision is not None and rows[0].decision is None


def test_a_run_predicts_each_selected_sample_and_doubts_given_labels(store):
    run = find_run(store.project, "r")
    chosen = [s.sample_id for s in store.catalog.samples()][10:14]  # two with a label, two without
    selection = read_selection(store.project, save_selection(store.project, chosen, "opinions"))
    rows = rank(store, run, selection=selection)
    assert [row.sample_id for row in rows] == chosen
    assert [row.given is None for row in rows] == [False, False, True, True]
    assert all(row.label in store.project.classes for row in rows)
    assert ["mislabelled" in row.reasons for row in rows] == [True, True, False, False]
    by_doubt = rank(store, run, selection=selection, reason="mislabelled", limit=3)
    doubts = [row.reasons.get("mislabelled", -1) for row in by_doubt]
    assert doubts == sorted(doubts, reverse=True) and doubts[1] > doubts[2] == -1
