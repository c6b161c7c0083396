import json
import os
import re

import numpy as np
import pytest

from gradebook.mpl import tsne as reducer
from gradebook.pipelines.cli.main import main
from gradebook.pipelines.curation import lasso
from gradebook.pipelines.curation.map_colors import DISAGREE, MISSING, Kind, coloring
from gradebook.pipelines.embedding.map_projection import MAP, SIDE, compare, compute_map, read_map
from gradebook.pipelines.runs import find_run
from gradebook.storage.project import ProjectError, create_project
from gradebook.storage.samples import Split
from gradebook.storage.store import memory_store, open_store
from gradebook.storage.vectors import Space
from tests.pipelines.projects import BACKBONE, DIM, STRONG, WEAK, add_vectors, class_of, copy_of, make_project, trained


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    store = make_project(tmp_path_factory.mktemp("map"))
    compute_map(store)
    return store


@pytest.fixture
def clusters() -> tuple[np.ndarray, np.ndarray]:
    """Four well separated groups of vectors, and the group of each."""
    rng = np.random.default_rng(0)
    group = np.arange(200) % 4
    return (rng.normal(size=(4, 12))[group] * 4 + rng.normal(size=(200, 12))).astype(np.float16), group


def test_similar_vectors_lie_close_on_the_map(clusters):
    vectors, group = clusters
    places = reducer.project(vectors)
    distance = np.linalg.norm(places[:, None] - places[None], axis=2)
    np.fill_diagonal(distance, np.inf)
    assert (group[distance.argmin(1)] == group).mean() > 0.98
    assert places.shape == (200, 2) and places.dtype == np.float32


def test_the_same_seed_gives_the_same_map_and_another_seed_another_map(clusters):
    vectors, _ = clusters
    first = reducer.project(vectors, seed=3)
    np.testing.assert_array_equal(first, reducer.project(vectors, seed=3))
    assert np.abs(first - reducer.project(vectors, seed=4)).max() > 1e-3


def test_progress_is_reported(clusters):
    reports = []
    reducer.project(clusters[0], on_progress=lambda *report: reports.append(report))
    assert reports[0] == ("neighbours", 0, 0)
    steps = [done for what, done, total in reports if what == "move" and total == 750]
    assert steps == sorted(steps) and steps[-1] == 750


@pytest.mark.parametrize("n", [1, 2, 15, 16, 40])
def test_few_or_equal_samples_have_positions_too(n):
    for vectors in (np.zeros((n, 3), np.float16), np.random.default_rng(0).normal(size=(n, 3)).astype(np.float16)):
        assert np.isfinite(reducer.project(vectors)).all()


def test_the_map_is_of_the_images_to_train_on_and_fills_the_square(store):
    there = read_map(store.project)
    assert set(there.sample_ids) == {s.sample_id for s in store.catalog.samples(Split.TRAIN)}
    assert there.xy.dtype == np.uint16 and np.ptp(there.xy.astype(int), axis=0).max() == SIDE - 2
    assert compare(store, there).new == compare(store, there).removed == 0
    assert lasso.inside(there.xy, lasso.rings("00000000ffff0000ffffffff0000ffff")).all()


def test_the_same_command_again_does_nothing_and_another_seed_computes_again(store, tmp_path):
    store = copy_of(store, tmp_path / "project")
    before = (store.project.root / MAP).read_bytes()
    assert compute_map(store).already_there
    assert (store.project.root / MAP).read_bytes() == before
    assert not compute_map(store, seed=1).already_there
    assert read_map(store.project).seed == 1


def test_images_embedded_since_are_noticed(store, tmp_path):
    store = copy_of(store, tmp_path / "project")
    samples = make_project(tmp_path / "more", train=75).catalog.samples(Split.TRAIN)[72:]  # others than the test images
    store.catalog.add(samples, [])
    assert compare(store, read_map(store.project)).new == 0, "they have no vectors yet"
    add_vectors(store, samples)
    assert compare(store, read_map(store.project)).new == 3
    assert compute_map(store).points == 63
    assert compare(store, read_map(store.project)).new == 0


def test_a_truncated_map_is_computed_again(store, tmp_path):
    store = copy_of(store, tmp_path / "project")
    path = store.project.root / MAP
    whole = path.read_bytes()
    for content in (b"", whole[: len(whole) // 2], whole[:-30]):
        path.write_bytes(content)
        assert read_map(store.project) is None
        assert not compute_map(store).already_there
        assert read_map(store.project) is not None


def test_a_kill_while_writing_leaves_the_old_map_and_verify_deletes_the_rest(store, tmp_path, monkeypatch, capsys):
    store = copy_of(store, tmp_path / "project")

    def killed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: 2**30)
        patch.setattr("pathlib.Path.replace", killed)
        patch.setattr("pathlib.Path.unlink", killed)  # a killed process does not clean up
        with pytest.raises(KeyboardInterrupt):
            compute_map(store, seed=5)
    assert read_map(store.project).seed == 0
    main(["verify", str(store.project.root), "--repair"])
    assert "temporary files" in capsys.readouterr().out
    assert not list(store.project.root.glob(f".{MAP}*"))


def test_without_images_or_vectors_the_error_says_what_to_do(tmp_path, store):
    empty = memory_store(create_project(tmp_path / "empty", ["crow"]))
    with pytest.raises(ProjectError, match="gradebook import"):
        compute_map(empty)
    empty.catalog.add(store.catalog.samples(), [])
    with pytest.raises(ProjectError, match="gradebook embed"):
        compute_map(empty)
    empty.vectors.create(Space(backbone=BACKBONE, weights="none", size=8, dim=DIM, weak=WEAK, strong=STRONG, seed=0))
    with pytest.raises(ProjectError, match="gradebook embed"):
        compute_map(empty)
    with pytest.raises(ProjectError, match=r"gradebook embed .* --backbone another"):
        compute_map(store, backbone="another")


def test_the_command_prints_json_or_text(store, capsys):
    main(["map", str(store.project.root), "--json"])
    result = json.loads(capsys.readouterr().out)
    assert (result["points"], result["backbone"], result["already_there"]) == (60, BACKBONE, True)
    main(["map", str(store.project.root)])
    assert re.search("60 images are on the map.*already", capsys.readouterr().out)


def test_a_lasso_contains_the_points_in_any_of_its_rings():
    places = np.array([[10, 10], [50, 50], [90, 10], [10, 90]], np.uint16)
    square = "00000000001400000014001400000014"
    assert lasso.inside(places, lasso.rings(square)).tolist() == [True, False, False, False]
    other = "".join(f"{v:04x}" for v in (80, 0, 100, 0, 90, 20))
    assert lasso.inside(places, lasso.rings(f"{square}.{other}")).tolist() == [True, False, True, False]
    assert not lasso.inside(places, lasso.rings("")).any()


@pytest.mark.parametrize("text", [".", "zz", "0000", "0" * 16, "0" * 25, "0" * 24 + "." + "g" * 24, "0" * 8 * 401])
def test_invalid_text_is_no_lasso(text):
    with pytest.raises(ProjectError, match="draw it again"):
        lasso.rings(text)


def test_colours_follow_the_labels_and_the_run(store, tmp_path):
    store = copy_of(store, tmp_path / "project")
    store = open_store(store.project.root)
    trained(store)
    run = find_run(store.project, "r")
    samples = store.catalog.samples(Split.TRAIN)
    ids = [s.sample_id for s in samples]
    labels = {s.sample_id: class_of(s) for s in samples[:12]}
    given = coloring(store, None, ids, "label", labels, None)
    assert [given.names[g] if g != MISSING else None for g in given.groups] == [labels.get(i) for i in ids]
    store.record.fold("r", run.path / "record")
    signals = {row["sample_id"]: row for row in store.record.dynamics("r").to_pylist()}
    for by, column in (("teacher", "teacher_label"), ("student", "student_label")):
        found = coloring(store, run, ids, by, labels, None)
        names = [found.names[g] if g != MISSING else None for g in found.groups]
        assert names == [signals[i][column] if i in signals else None for i in ids]
    differ = coloring(store, run, ids, "disagreement", labels, None)
    expected = [i in signals and signals[i]["teacher_label"] != signals[i]["student_label"] for i in ids]
    assert [differ.names[g] == DISAGREE if g != MISSING else False for g in differ.groups] == expected
    assert (differ.groups == MISSING).sum() == sum(i not in signals for i in ids) > 0
    feedback = coloring(store, run, ids, "feedback", labels, None)
    assert feedback.kind is Kind.BALANCE and feedback.ends[0] == -feedback.ends[1] < 0
    middle = len(feedback.names) // 2
    signs = [np.sign(g - middle) for g in feedback.groups.tolist() if g != MISSING]
    means = [signals[i]["mean_feedback"] for i, g in zip(ids, feedback.groups, strict=True) if g != MISSING]
    assert all(s in (0, np.sign(m)) for s, m in zip(signs, means, strict=True))
    for by, reason in (("probability", None), ("reason", None), ("reason", "flips"), ("reason", "mislabelled")):
        found = coloring(store, run, ids, by, labels, reason)
        assert found.kind is Kind.SHARE and (found.groups != MISSING).any()
    with pytest.raises(ProjectError, match="no reason 'nonsense'"):
        coloring(store, run, ids, "reason", labels, "nonsense")
    with pytest.raises(ProjectError, match="gradebook train"):
        coloring(store, None, ids, "teacher", labels, None)
