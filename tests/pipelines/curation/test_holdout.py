"""A test set drawn before labelling."""

import numpy as np
import pytest

from gradebook.app import review_component
from gradebook.app.context import PageContext
from gradebook.pipelines.curation import holdout, selection_queue, selections
from gradebook.pipelines.curation.event_cache import EventCache
from gradebook.pipelines.curation.holdout import systematic
from gradebook.pipelines.curation.labelling import label_samples
from gradebook.pipelines.curation.review_queue import rank
from gradebook.pipelines.maintenance.verify import verify
from gradebook.storage.project import ProjectError
from gradebook.storage.samples import Split
from tests.pipelines.cli.cli_runner import done, refused
from tests.pipelines.projects import LABELLED, TEST, TRAIN, class_of, make_project, run_of, trained


@pytest.fixture
def store(tmp_path):
    return make_project(tmp_path)


def test_drawn_images_are_unlabelled_and_leave_the_training_split(store):
    labelled = {s.sample_id for s in store.catalog.samples(Split.TRAIN)[:LABELLED]}
    report = holdout.draw(store, 10, seed=0, actor="ada")
    drawn = holdout.drawn_ids(store)
    assert (report.drawn, report.test, report.unlabelled) == (10, 10, 10) and len(drawn) == 10
    assert not drawn & labelled
    assert drawn <= {s.sample_id for s in store.catalog.samples(Split.TEST)}
    assert len(store.catalog.samples(Split.TRAIN)) == TRAIN - 10
    assert store.catalog.paths(drawn, Split.TRAIN) == {} and len(store.catalog.paths(drawn, Split.TEST)) == 10
    assert not drawn & {row.sample_id for row in rank(store, None, limit=100)}


def test_the_seed_decides_the_draw_and_a_repeated_draw_adds_nothing(tmp_path):
    draws = []
    for n, seed in enumerate((0, 0, 1)):
        store = make_project(tmp_path / str(n))
        holdout.draw(store, 8, seed=seed, actor="ada")
        draws.append([s.filepath[-7:] for s in store.catalog.samples(Split.TEST)])
    assert draws[0] == draws[1] != draws[2]
    assert holdout.draw(store, 8, seed=5, actor="ada").drawn == 0


def test_an_undo_puts_the_newest_draw_back_and_the_one_before_stays(store):
    holdout.draw(store, 4, seed=0, actor="ada")
    first = holdout.drawn_ids(store)
    holdout.draw(store, 10, seed=0, actor="ada")
    assert holdout.undo(store, actor="ada").returned == 6
    assert holdout.drawn_ids(store) == first
    holdout.undo(store, actor="ada")
    assert len(store.catalog.samples(Split.TRAIN)) == TRAIN
    with pytest.raises(ProjectError, match="no drawn test image"):
        holdout.undo(store, actor="ada")


def test_every_group_is_equally_likely_and_each_cluster_gives_its_share():
    groups = [[f"{n}"] for n in range(40)]
    clusters = np.array([0] * 30 + [1] * 10)
    times = np.zeros(40)
    for seed in range(600):
        chosen = [int(group[0]) for group in systematic(groups, clusters, 8, seed)]
        times[chosen] += 1
        assert len(chosen) == 8 and sum(n >= 30 for n in chosen) in (1, 2, 3)
    assert np.abs(times / 600 - 0.2).max() < 0.08  # five standard deviations


def test_near_copies_are_drawn_together():
    groups = [["a", "a2", "a3"], ["b"], ["c", "c2"]]
    for seed in range(20):
        chosen = systematic(groups, np.zeros(3, np.int64), 2, seed)
        assert all(group in groups for group in chosen) and sum(map(len, chosen)) >= 2


def test_more_images_than_there_are_cannot_be_drawn(store):
    with pytest.raises(ProjectError, match="cannot be drawn from 48 unlabelled images"):
        holdout.draw(store, 48, seed=0, actor="ada")


def test_a_drawn_image_is_reviewed_without_a_prediction_and_never_trained_on(store):
    trained(store, run="before")
    holdout.draw(store, 6, seed=0, actor="ada")
    ids = holdout.to_label(store, ())
    selection = selections.read_selection(store.project, selections.save_selection(store.project, ids, "to test"))
    rows = selection_queue.rank(store, run_of(store, "before"), selection=selection)
    assert len(rows) == 6
    assert all(row.label is None and row.blind and not row.reasons for row in rows)
    (card, *_) = review_component.cards(
        PageContext(store, run_of(store, "before"), "ada"), EventCache(), rows, (), grid=False
    )
    assert card["label"] is None and card["history"] is None and card["similar"] == []
    label_samples(store, {s.sample_id: class_of(s) for s in store.catalog.get(ids)}, who="ada")
    trained(store, run="after")
    assert not set(ids) & run_of(store, "after").labels().keys()
    assert holdout.to_label(store, ids) == []


def test_the_command_draws_shows_and_undoes(store):
    project = store.project.root
    drawn = done("split", project, "--test", 5, "--json").json
    assert drawn["drawn"] == 5 and len(drawn["files"]) == 5
    assert done("status", project, "--json").json["drawn"] == {"test": 5, "unlabelled": 5}
    assert done("status", project, "--json").json["test"] == TEST + 5
    assert "5 of the test images were drawn, 5 of these have no label yet" in done("status", project).out
    assert not [f for f in verify(project).findings if f.check in ("drawn_images", "tables")]
    assert done("split", project).out.startswith("5 test images were drawn, 5 of them without a label")
    assert done("split", project, "--undo", "--json").json["returned"] == 5
    assert "give one of them" in refused("split", project, "--test", 3, "--undo")
