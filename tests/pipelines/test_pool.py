"""The pool: the surest of each class as by brute force, resumed as in one go, the test set left out."""

import csv
import json
import signal
import subprocess
import sys
from operator import itemgetter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipelines.evaluate import predict_samples, student_of
from pipelines.importing.images import import_images
from pipelines.parts import parse_part
from pipelines.pools import choose as module
from pipelines.pools.choose import PoolReport, pool
from pipelines.pools.overlap import LeftOut
from pipelines.pools.parts import join
from pipelines.pools.stream import Read, batches, read_ahead, walk
from pipelines.pools.surest import Kept, Surest
from pipelines.predict import predict
from pipelines.presets import restored
from pipelines.runs import Run
from storage.events import replay
from storage.project import ProjectError, create_project
from storage.samples import Split, sample_id
from storage.store import open_store
from tests.pipelines.blocked import run_without
from tests.pipelines.colours import CLASSES, make_classifier, make_pictures, picture
from tests.pipelines.projects import make_project, trained

NUMBER = 60


@pytest.fixture(scope="module")
def classifier(tmp_path_factory) -> Path:
    return make_classifier(tmp_path_factory.mktemp("colours") / "classifier")


@pytest.fixture
def folder(tmp_path) -> Path:
    make_pictures(tmp_path / "images", NUMBER)
    return tmp_path / "images"


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    """Eight files at a time, and a save after each where `every` is 0, whatever a save takes."""
    monkeypatch.setattr(module, "BATCH", 8)
    monkeypatch.setattr(module, "SHARE", 0)


def rows(out: Path) -> list[dict[str, str]]:
    with out.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def brute_force(classifier: Path, folder: Path, per_class: int, threshold: float = 0.0) -> list[tuple[str, str]]:
    """Returns label and id of what is to be kept: everything is scored, then sorted."""
    said = predict(classifier, [folder], broken=lambda sentence: None)
    every = {sample_id(Path(p.filepath).read_bytes()): p for p in said if p.probability >= threshold}
    kept = []
    for name in CLASSES:
        of_class = sorted((-p.probability, i) for i, p in every.items() if p.label == name)
        kept += [(name, i) for _, i in of_class[:per_class]]
    return kept


@pytest.mark.parametrize(("per_class", "threshold"), [(1, 0.0), (5, 0.0), (5, 0.9), (1000, 0.5)])
def test_the_surest_of_each_class_are_those_that_brute_force_finds(classifier, folder, tmp_path, per_class, threshold):
    report = pool(classifier, folder, tmp_path / "out.csv", per_class=per_class, threshold=threshold)
    found = rows(tmp_path / "out.csv")
    expected = brute_force(classifier, folder, per_class, threshold)
    assert [(row["label"], row["sample_id"]) for row in found] == expected
    assert len({label for label, _ in expected}) == 3
    for row in found:
        assert sample_id(Path(row["filepath"]).read_bytes()) == row["sample_id"]
    assert (report.files, report.scored, report.kept) == (NUMBER, NUMBER, len(expected))
    assert report.below_threshold == NUMBER - len(brute_force(classifier, folder, NUMBER, threshold))
    assert report.kept_per_class == {name: sum(label == name for label, _ in expected) for name in CLASSES}
    assert report.too_few == tuple(name for name in CLASSES if report.kept_per_class[name] < per_class)
    assert [p.name for p in tmp_path.iterdir() if "out" in p.name] == ["out.csv"], "no progress and no draft stays"


def test_of_images_that_are_equally_sure_those_with_the_smallest_ids_are_kept(classifier, tmp_path):
    """One picture in many encodings: the same pixels, other bytes."""
    (tmp_path / "images").mkdir()
    for level in range(10):
        picture(1, 0).save(tmp_path / "images" / f"{level}.png", compress_level=level)
    ids = sorted({sample_id(p.read_bytes()) for p in (tmp_path / "images").iterdir()})
    assert len(ids) > 5
    pool(classifier, tmp_path / "images", tmp_path / "out.csv", per_class=3)
    assert [row["sample_id"] for row in rows(tmp_path / "out.csv")] == ids[:3]


def test_only_what_is_kept_takes_memory():
    surest = Surest(CLASSES, 3)
    for number in np.random.default_rng(0).permutation(500).tolist():
        one = Kept(
            filepath=str(number), sample_id=f"{number:032x}", label=CLASSES[number % 3], probability=number / 500
        )
        surest.add(one)
    assert [int(one.sample_id, 16) for one in surest] == [498, 495, 492, 499, 496, 493, 497, 494, 491]
    assert surest._ids == {-int(one.sample_id, 16) for one in surest}


@pytest.mark.parametrize("threads", [1, 3])
def test_files_come_in_the_order_of_the_walk_however_many_threads_read_them(folder, threads):
    found = list(walk(str(folder)))
    read = read_ahead(batches(found, 8), lambda one: Read(filepath=one.filepath), threads)
    assert [one.filepath for _, images in read for one in images] == [one.filepath for one in found]


def test_content_that_comes_twice_counts_once(classifier, folder, tmp_path):
    for path in list(folder.rglob("*.png")):
        (path.parent / f"copy-{path.name}").write_bytes(path.read_bytes())
    report = pool(classifier, folder, tmp_path / "out.csv", per_class=5)
    found = [(row["label"], row["sample_id"]) for row in rows(tmp_path / "out.csv")]
    assert found == brute_force(classifier, folder, 5)
    assert report.files == 2 * NUMBER


# Stopping and going on


def break_some(folder: Path) -> None:
    for number in (3, 20, 41, 58):
        path = next(folder.rglob(f"{number:03}.png"))
        path.write_bytes(path.read_bytes()[:40])


def stopped(at: int, *args, **kwargs) -> None:
    """Runs a pool that saves after each batch, and dies between a batch and its save."""

    def die(done: int) -> None:
        if done >= at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pool(*args, **kwargs, show=die, every=0.0)


def test_a_pool_that_was_stopped_ends_as_if_it_had_not_been(classifier, folder, tmp_path):
    break_some(folder)
    whole = pool(classifier, folder, tmp_path / "whole.csv", per_class=4, threshold=0.5)
    told = {"per_class": 4, "threshold": 0.5}
    for at in (8, 24, 56):
        stopped(at, classifier, folder, tmp_path / "out.csv", **told)
        assert not (tmp_path / "out.csv").exists()
    report = pool(classifier, folder, tmp_path / "out.csv", **told)
    assert report.resumed_at == 48, "the batch that was not saved is done again, no other"
    assert (tmp_path / "out.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert (tmp_path / "out.csv.broken.csv").read_bytes() == (tmp_path / "whole.csv.broken.csv").read_bytes()
    same = [name for name in PoolReport.__dataclass_fields__ if name not in ("out", "broken_list", "resumed_at")]
    same = [name for name in same if "second" not in name]
    assert [getattr(report, name) for name in same] == [getattr(whole, name) for name in same]
    assert whole.broken == 4


KILLED = """
import os, signal, sys
from pathlib import Path
from pipelines.pools import choose as module
module.BATCH, module.SHARE = 8, 0
def die(done):
    if done >= 24:
        os.kill(os.getpid(), signal.SIGKILL)
classifier, folder, out = map(Path, sys.argv[1:])
module.pool(classifier, folder, out, per_class=4, show=die, every=0.0)
"""


def test_a_killed_pool_goes_on(classifier, folder, tmp_path):
    break_some(folder)
    pool(classifier, folder, tmp_path / "whole.parquet", per_class=4)
    paths = [str(path) for path in (classifier, folder, tmp_path / "out.parquet")]
    assert subprocess.run([sys.executable, "-c", KILLED, *paths]).returncode == -signal.SIGKILL
    report = pool(classifier, folder, tmp_path / "out.parquet", per_class=4)
    assert report.resumed_at == 16
    assert pq.read_table(tmp_path / "out.parquet") == pq.read_table(tmp_path / "whole.parquet")
    assert pq.read_table(tmp_path / "out.parquet").num_rows == 12
    broken = (tmp_path / "out.parquet.broken.csv", tmp_path / "whole.parquet.broken.csv")
    assert broken[0].read_bytes() == broken[1].read_bytes()


def test_a_folder_that_has_changed_is_scored_from_the_beginning(classifier, folder, tmp_path, capsys):
    stopped(48, classifier, folder, tmp_path / "out.csv", per_class=4)
    first = next(one.filepath for one in walk(str(folder)))
    Path(first).unlink()
    report = pool(classifier, folder, tmp_path / "out.csv", per_class=4)
    assert "has changed" in capsys.readouterr().err
    assert (report.files, report.resumed_at) == (NUMBER - 1, 0)
    assert [(r["label"], r["sample_id"]) for r in rows(tmp_path / "out.csv")] == brute_force(classifier, folder, 4)


def test_what_was_begun_with_other_settings_is_not_gone_on_with(classifier, folder, tmp_path):
    stopped(16, classifier, folder, tmp_path / "out.csv", per_class=4)
    with pytest.raises(
        ProjectError, match=r"begun with another per class, threshold: .*or delete .*out\.csv\.progress"
    ):
        pool(classifier, folder, tmp_path / "out.csv", per_class=5, threshold=0.1)


# The test set


@pytest.mark.parametrize("kind", ["folder", "project"])
def test_test_images_are_left_out_by_bytes_and_by_looks(classifier, folder, tmp_path, kind):
    test = tmp_path / "test"
    test.mkdir()
    chosen = brute_force(classifier, folder, 2)  # the best ones, which would be kept
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
    place = test if kind == "folder" else tmp_path / "project"
    report = pool(classifier, folder, tmp_path / "out.csv", per_class=30, without=[place])
    found = {row["sample_id"] for row in rows(tmp_path / "out.csv")}
    assert found == set(paths) - {name for _, name in chosen}
    assert (report.same_as_test, report.like_test, report.scored) == (3, 3, NUMBER - 6)


def test_a_place_without_test_images_is_refused(tmp_path):
    create_project(tmp_path / "project", CLASSES)
    with pytest.raises(ProjectError, match="has no test images to leave out"):
        LeftOut([tmp_path / "project"])


# Folders as they are


def test_what_cannot_be_used_is_counted_and_listed(classifier, folder, tmp_path):
    break_some(folder)
    (folder / "empty.jpg").touch()
    (folder / "lost.png").symlink_to(folder / "nowhere.png")
    (folder / "notes.txt").write_text("no image")
    (folder / ".hidden").mkdir()
    picture(1, 1).save(folder / ".hidden" / "x.png")
    report = pool(classifier, folder, tmp_path / "out.csv", per_class=5)
    assert (report.files, report.broken, report.scored) == (NUMBER + 2, 6, NUMBER - 4)
    assert report.broken_list == str(tmp_path / "out.csv.broken.csv")
    listed = {Path(row["filepath"]).name: row["why"] for row in rows(Path(report.broken_list))}
    assert set(listed) == {"003.png", "020.png", "041.png", "058.png", "empty.jpg", "lost.png"}
    assert listed["empty.jpg"] == "the file is empty"


def test_links_that_lead_back_are_entered_once(classifier, folder, tmp_path):
    (folder / "a" / "back").symlink_to(folder)
    found = [one.filepath for one in walk(str(folder))]
    assert len(found) == len(set(found)) == NUMBER


def test_no_file_is_touched(classifier, folder, tmp_path):
    before = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.rglob("*.png")}
    pool(classifier, folder, tmp_path / "out.csv", per_class=5)
    assert {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"folder": "nowhere"}, "there is no folder"),
        ({"folder": "empty"}, "there are no images in"),
        ({"classifier": "empty"}, "holds no exported classifier"),
        ({"out": "taken.csv"}, "there is a file .* already"),
        ({"out": "out.txt"}, "must end in .csv or .parquet"),
        ({"out": "nowhere/out.csv"}, "there is no directory"),
        ({"per_class": 0}, "--per-class 0 must be above 0"),
        ({"threshold": 1.5}, "--threshold 1.5 from 0 to 1"),
        ({"run": "r"}, "is no project, so it has no run r"),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence(classifier, folder, tmp_path, change, says):
    (tmp_path / "empty").mkdir()
    (tmp_path / "taken.csv").write_text("mine")
    given = {"classifier": classifier, "folder": folder, "out": tmp_path / "out.csv", "per_class": 5}
    given |= {
        name: tmp_path / value if name in ("folder", "classifier", "out") else value for name, value in change.items()
    }
    with pytest.raises(ProjectError, match=says):
        pool(**given)
    assert (tmp_path / "taken.csv").read_text() == "mine"


# Who scores, and what comes after


def test_a_run_of_a_project_scores_too(tmp_path):
    store = make_project(tmp_path)
    trained(store, "--inputs", "pixels", steps=2)
    run = Run(store.project.runs / "r")
    pictures = tmp_path / "pictures"
    pool(store.project.root, pictures, tmp_path / "out.csv", per_class=1000, run="r")
    samples = store.catalog.samples()
    said = predict_samples(student_of(run), restored(run.config()), store, samples)
    expected = {s.sample_id: row.max() for s, row in zip(samples, said, strict=True)}
    found = {row["sample_id"]: float(row["probability"]) for row in rows(tmp_path / "out.csv")}
    assert found.keys() == expected.keys()
    assert np.allclose([found[i] for i in found], [expected[i] for i in found], atol=1e-5)


@pytest.mark.parametrize("name", ["out.csv", "out.parquet"])
def test_the_table_can_be_imported_as_images_without_labels(classifier, folder, tmp_path, name):
    pool(classifier, folder, tmp_path / name, per_class=4)
    store = open_store(create_project(tmp_path / "project", CLASSES).root)
    report = import_images(store, tmp_path / name)
    assert (report.imported, report.labelled, report.broken) == (12, 0, 0)
    expected = {i for _, i in brute_force(classifier, folder, 4)}
    assert {s.sample_id for s in store.catalog.samples(Split.TRAIN)} == expected
    assert replay(store.log.read()) == {}


def test_a_table_of_images_may_name_them_from_where_it_lies(folder, tmp_path):
    lines = ["filepath", "images/000.png", "images/./000.png", str(folder / "b/c/001.png"), "images/gone.png", ""]
    lines[1] = f"images/{next(folder.rglob('000.png')).relative_to(folder)}"
    lines[2] = lines[1].replace("images/", "images/./")
    lines[3] = str(next(folder.rglob("001.png")))
    (tmp_path / "list.csv").write_text("\n".join(lines))
    store = open_store(create_project(tmp_path / "project", CLASSES).root)
    report = import_images(store, tmp_path / "list.csv")
    assert (report.imported, report.duplicates, report.broken) == (2, 0, 1)
    assert report.broken_files[0][0] == str(tmp_path / "images" / "gone.png")


def test_a_table_without_paths_is_refused(tmp_path):
    (tmp_path / "list.csv").write_text("path,label\na.png,x\n")
    store = open_store(create_project(tmp_path / "project", CLASSES).root)
    with pytest.raises(ProjectError, match="is not a table with a column filepath"):
        import_images(store, tmp_path / "list.csv")


def test_the_command_needs_nothing_that_trains(classifier, folder, tmp_path):
    code = "import sys; from pipelines.cli import main; sys.exit(main(['pool', *sys.argv[1:]]))"
    paths = [str(path) for path in (classifier, folder, tmp_path / "out.csv")]
    blocked = ("torch", "timm", "accelerate", "lancedb", "fiftyone")
    done = run_without(blocked, code, *paths, "--per-class", "25", "--without", str(folder / "a"), "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert list(json.loads(done.stdout)) == list(PoolReport.__dataclass_fields__)
    assert json.loads(done.stdout)["same_as_test"] == NUMBER // 3


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_three_parts_joined_are_the_pool(classifier, folder, tmp_path, suffix):
    pool(classifier, folder, tmp_path / "whole.csv", per_class=5)
    tables = [tmp_path / f"part-{k}{suffix}" for k in (1, 2, 3)]
    reports = [pool(classifier, folder, out, per_class=5, part=(k, 3)) for k, out in enumerate(tables, start=1)]
    assert [report.files for report in reports] == [NUMBER // 3] * 3
    counts = join(tables, tmp_path / "joined.csv", per_class=5)
    key = itemgetter("label", "sample_id")
    assert sorted(rows(tmp_path / "joined.csv"), key=key) == sorted(rows(tmp_path / "whole.csv"), key=key)
    assert counts == dict.fromkeys(CLASSES, 5)


def test_a_part_goes_on_as_that_part_alone(classifier, folder, tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_finished", lambda *_: None)
        pool(classifier, folder, tmp_path / "out.csv", per_class=5, part=(1, 2), every=0)
    with pytest.raises(ProjectError, match="was begun with another part"):
        pool(classifier, folder, tmp_path / "out.csv", per_class=5, part=(2, 2))
    assert pool(classifier, folder, tmp_path / "out.csv", per_class=5, part=(1, 2)).files == NUMBER // 2


@pytest.mark.parametrize("text", ["0/2", "3/2", "2", "a/b", "1/0", "-1/2"])
def test_what_names_no_part_is_a_sentence(text):
    with pytest.raises(ProjectError, match=r"must be K/N, the K-th of N parts"):
        parse_part(text)


def test_what_cannot_be_joined_is_a_sentence(tmp_path):
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    for table in ("other.csv", "missing.csv", "missing.parquet"):
        with pytest.raises(ProjectError, match=rf"{table} is no table that gradebook pool has finished"):
            join([tmp_path / table], tmp_path / "out.csv", per_class=1)
    with pytest.raises(ProjectError, match="must be a new file"):
        join([], tmp_path / "other.csv", per_class=1)
