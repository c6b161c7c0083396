"""A pool has the most probable images of each class, as brute force finds them, and none of the test set."""

import json
from pathlib import Path

import numpy as np
import pytest

from gradebook.pipelines.importing.import_images import import_images
from gradebook.pipelines.pool.file_stream import LoadedImage, batched, read_ahead, walk
from gradebook.pipelines.pool.holdout_overlap import HoldoutIndex
from gradebook.pipelines.pool.selection import PoolReport, select_pool
from gradebook.pipelines.pool.top_k import ScoredImage, TopK
from gradebook.pipelines.runs import Run
from gradebook.pipelines.training.presets import config_from_json
from gradebook.pipelines.training.student import load_run_student, predict_samples
from gradebook.storage.project import ProjectError, create_project
from gradebook.storage.samples import Split, sample_id
from gradebook.storage.store import open_store
from tests.pipelines.blocked_imports import run_without
from tests.pipelines.colours import CLASSES, break_some, picture
from tests.pipelines.pool.conftest import NUMBER
from tests.pipelines.pool.tables import brute_force, rows
from tests.pipelines.projects import make_project, trained


@pytest.mark.parametrize(("per_class", "threshold"), [(1, 0.0), (5, 0.0), (5, 0.9), (1000, 0.5)])
def test_the_most_probable_of_each_class_are_selected(classifier, folder, tmp_path, per_class, threshold):
    report = select_pool(classifier, folder, tmp_path / "out.csv", per_class=per_class, threshold=threshold)
    selected = rows(tmp_path / "out.csv")
    expected = brute_force(classifier, folder, per_class, threshold)
    assert [(row["label"], row["sample_id"]) for row in selected] == expected
    assert len({label for label, _ in expected}) == 3
    for row in selected:
        assert sample_id(Path(row["filepath"]).read_bytes()) == row["sample_id"]
    assert (report.files, report.scored, report.kept) == (NUMBER, NUMBER, len(expected))
    assert report.below_threshold == NUMBER - len(brute_force(classifier, folder, NUMBER, threshold))
    assert report.kept_per_class == {name: sum(label == name for label, _ in expected) for name in CLASSES}
    assert report.too_few == tuple(name for name in CLASSES if report.kept_per_class[name] < per_class)
    assert [p.name for p in tmp_path.iterdir() if "out" in p.name] == ["out.csv"], "no progress and no draft stays"


def test_of_equally_probable_images_those_with_the_smallest_ids_are_selected(classifier, tmp_path):
    """One picture in many encodings: the same pixels, other bytes."""
    (tmp_path / "images").mkdir()
    for level in range(10):
        picture(1, 0).save(tmp_path / "images" / f"{level}.png", compress_level=level)
    ids = sorted({sample_id(p.read_bytes()) for p in (tmp_path / "images").iterdir()})
    assert len(ids) > 5
    select_pool(classifier, tmp_path / "images", tmp_path / "out.csv", per_class=3)
    assert [row["sample_id"] for row in rows(tmp_path / "out.csv")] == ids[:3]


def test_memory_holds_only_the_selected_images():
    top_k = TopK(CLASSES, 3)
    for number in np.random.default_rng(0).permutation(500).tolist():
        one = ScoredImage(
            filepath=str(number), sample_id=f"{number:032x}", label=CLASSES[number % 3], probability=number / 500
        )
        top_k.add(one)
    assert [int(one.sample_id, 16) for one in top_k] == [498, 495, 492, 499, 496, 493, 497, 494, 491]
    assert top_k._ids == {-int(one.sample_id, 16) for one in top_k}


@pytest.mark.parametrize("threads", [1, 3])
def test_files_come_in_the_order_of_the_walk_however_many_threads_read_them(folder, threads):
    files = list(walk(str(folder)))
    read = read_ahead(batched(files, 8), lambda file: LoadedImage(filepath=file.filepath), threads)
    assert [image.filepath for _, images in read for image in images] == [file.filepath for file in files]


def test_identical_files_count_once(classifier, folder, tmp_path):
    for path in list(folder.rglob("*.png")):
        (path.parent / f"copy-{path.name}").write_bytes(path.read_bytes())
    report = select_pool(classifier, folder, tmp_path / "out.csv", per_class=5)
    selected = [(row["label"], row["sample_id"]) for row in rows(tmp_path / "out.csv")]
    assert selected == brute_force(classifier, folder, 5)
    assert report.files == 2 * NUMBER


# The test set


@pytest.mark.parametrize("kind", ["folder", "project"])
def test_test_images_are_left_out_by_bytes_and_as_near_duplicates(classifier, folder, tmp_path, kind):
    test = tmp_path / "test"
    test.mkdir()
    chosen = brute_force(classifier, folder, 2)  # the best ones, which would be selected
    paths = {sample_id(p.read_bytes()): p for p in folder.rglob("*.png")}
    for number, (_, name) in enumerate(chosen):
        if number % 2:
            (test / f"{number}.png").write_bytes(paths[name].read_bytes())
        else:
            picture(int(paths[name].stem), int(paths[name].stem) * 7 % 3, side=80).save(
                test / f"{number}.jpg", quality=90
            )
    if kind == "project":
        store = open_store(create_project(tmp_path / "project", CLASSES).root)
        import_images(store, test, split=Split.TEST)
        import_images(store, next(folder.rglob("030.png")))  # a training image is not left out
    source = test if kind == "folder" else tmp_path / "project"
    report = select_pool(classifier, folder, tmp_path / "out.csv", per_class=30, without=[source])
    selected = {row["sample_id"] for row in rows(tmp_path / "out.csv")}
    assert selected == set(paths) - {name for _, name in chosen}
    assert (report.same_as_test, report.like_test, report.scored) == (3, 3, NUMBER - 6)


def test_a_source_without_test_images_is_refused(tmp_path):
    create_project(tmp_path / "project", CLASSES)
    with pytest.raises(ProjectError, match="has no test images to leave out"):
        HoldoutIndex([tmp_path / "project"])


# Folders as they are


def test_unusable_files_are_counted_and_listed(classifier, folder, tmp_path):
    break_some(folder)
    (folder / "empty.jpg").touch()
    (folder / "lost.png").symlink_to(folder / "nowhere.png")
    (folder / "notes.txt").write_text("no image")
    (folder / ".hidden").mkdir()
    picture(1, 1).save(folder / ".hidden" / "x.png")
    report = select_pool(classifier, folder, tmp_path / "out.csv", per_class=5)
    assert (report.files, report.broken, report.scored) == (NUMBER + 2, 6, NUMBER - 4)
    assert report.broken_list == str(tmp_path / "out.csv.broken.csv")
    listed = {Path(row["filepath"]).name: row["why"] for row in rows(Path(report.broken_list))}
    assert set(listed) == {"003.png", "020.png", "041.png", "058.png", "empty.jpg", "lost.png"}
    assert listed["empty.jpg"] == "the file is empty"


def test_circular_links_are_entered_once(classifier, folder, tmp_path):
    (folder / "a" / "back").symlink_to(folder)
    paths = [file.filepath for file in walk(str(folder))]
    assert len(paths) == len(set(paths)) == NUMBER


def test_no_file_is_touched(classifier, folder, tmp_path):
    before = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.rglob("*.png")}
    select_pool(classifier, folder, tmp_path / "out.csv", per_class=5)
    assert {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"folder": "nowhere"}, "there is no folder"),
        ({"folder": "empty"}, "there are no images in"),
        ({"classifier": "empty"}, "holds no exported classifier"),
        ({"out": "taken.csv"}, "the file .* already exists"),
        ({"out": "out.txt"}, "must end in .csv or .parquet"),
        ({"out": "nowhere/out.csv"}, "there is no directory"),
        ({"per_class": 0}, "--per-class 0 must be above 0"),
        ({"threshold": 1.5}, "--threshold 1.5 from 0 to 1"),
        ({"run": "r"}, "is no project, so it has no run r"),
    ],
)
def test_an_impossible_request_is_an_error_that_says_what_to_do(classifier, folder, tmp_path, change, says):
    (tmp_path / "empty").mkdir()
    (tmp_path / "taken.csv").write_text("mine")
    given = {"classifier": classifier, "folder": folder, "out": tmp_path / "out.csv", "per_class": 5}
    given |= {
        name: tmp_path / value if name in ("folder", "classifier", "out") else value for name, value in change.items()
    }
    with pytest.raises(ProjectError, match=says):
        select_pool(**given)
    assert (tmp_path / "taken.csv").read_text() == "mine"


# Who scores


def test_a_run_of_a_project_scores_all_but_the_projects_test_images(tmp_path):
    store = make_project(tmp_path)
    trained(store, "--inputs", "pixels", steps=2)
    run = Run(store.project.runs / "r")
    pictures = tmp_path / "pictures"
    report = select_pool(store.project.root, pictures, tmp_path / "out.csv", per_class=1000, run="r")
    assert report.same_as_test == len(store.catalog.samples(Split.TEST)) > 0
    samples = store.catalog.samples(Split.TRAIN)
    probabilities = predict_samples(load_run_student(run), config_from_json(run.config()), store, samples)
    expected = {s.sample_id: row.max() for s, row in zip(samples, probabilities, strict=True)}
    selected = {row["sample_id"]: float(row["probability"]) for row in rows(tmp_path / "out.csv")}
    assert selected.keys() == expected.keys()
    assert np.allclose([selected[i] for i in selected], [expected[i] for i in selected], atol=1e-5)


def test_the_command_imports_nothing_for_training(classifier, folder, tmp_path):
    code = "import sys; from gradebook.pipelines.cli.main import main; sys.exit(main(['pool', *sys.argv[1:]]))"
    paths = [str(path) for path in (classifier, folder, tmp_path / "out.csv")]
    blocked = ("torch", "timm", "accelerate", "lancedb", "fiftyone")
    done = run_without(blocked, code, *paths, "--per-class", "25", "--without", str(folder / "a"), "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert list(json.loads(done.stdout)) == list(PoolReport.__dataclass_fields__)
    assert json.loads(done.stdout)["same_as_test"] == NUMBER // 3
