"""Importing: what becomes of every file, of labels, of repeats, and of an import that is killed."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.importing import images as job
from pipelines.importing.images import import_images
from storage import lance
from storage.events import Kind, event, replay
from storage.project import ProjectError, create_project, read_project
from storage.samples import Split, sample_id
from storage.store import Store, memory_store, open_store


@pytest.fixture(params=["memory", "lance"])
def store(request, tmp_path) -> Store:
    project = create_project(tmp_path / "project", [])
    return memory_store(project) if request.param == "memory" else open_store(project.root)


@pytest.fixture
def quick(tmp_path) -> Store:
    """For what does not depend on the backend."""
    return memory_store(create_project(tmp_path / "project", []))


@pytest.fixture
def images(tmp_path) -> Path:
    return tmp_path / "images"


def put(path: Path, seed: int = 0, size: tuple[int, int] = (20, 12)) -> Path:
    """Writes a picture of coarse noise; another seed is another picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3)).astype(np.uint8)
    Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(path)
    return path


def copy(path: Path, to: Path) -> Path:
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, to)
    return to


def csv(path: Path, *lines: str, encoding: str = "utf-8") -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding=encoding)
    return str(path)


def labels(store: Store) -> dict[str, str]:
    """Returns file name -> label."""
    names = {s.sample_id: Path(s.filepath).name for s in store.catalog.samples()}
    return {names[i]: label for i, label in replay(store.log.read()).items()}


def counts(report: job.ImportReport) -> dict[str, int]:
    return {name: value for name, value in report.as_json().items() if isinstance(value, int) and value}


def test_a_folder_becomes_samples_in_order_of_path_and_stays_as_it_was(store, images):
    for seed, name in enumerate(["b/2.png", "a/1.jpg", "a/deep/er/3.webp", "0.bmp"]):
        put(images / name, seed, size=(20 + seed, 12))
    (images / "notes.txt").write_text("not an image")
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in images.rglob("*.*")}
    report = import_images(store, images)
    assert counts(report) == {"imported": 4}
    samples = store.catalog.samples()
    assert [Path(s.filepath).name for s in samples] == ["0.bmp", "1.jpg", "3.webp", "2.png"]
    assert [s.sample_id for s in samples] == [sample_id(Path(s.filepath).read_bytes()) for s in samples]
    assert (samples[0].width, samples[0].height, samples[0].split) == (23, 12, Split.TRAIN)
    assert [f.filepath for f in store.catalog.files()] == sorted(s.filepath for s in samples)
    assert store.log.read() == []
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in images.rglob("*.*")} == before


def test_importing_again_finds_nothing_new_and_reads_nothing(store, images, monkeypatch):
    for seed in range(3):
        put(images / "cat" / f"{seed}.png", seed)
    import_images(store, images, labels="folders")
    events, version = store.log.read(), store.log.version()
    monkeypatch.setattr(job, "read_images", lambda *_: pytest.fail("a file that is known was read again"))
    report = import_images(store, images, labels="folders")
    assert counts(report) == {"already_known": 3}
    assert (store.log.read(), store.log.version()) == (events, version)


def test_a_file_that_was_only_touched_is_known(quick, images):
    path = put(images / "a.png")
    import_images(quick, images)
    os.utime(path, ns=(5, 5))
    assert counts(import_images(quick, images)) == {"already_known": 1}
    assert quick.catalog.files()[0].mtime_ns == 5


def test_folders_give_labels_and_the_classes_where_there_are_none(store, images):
    put(images / "b dog" / "1.png", 1)
    put(images / "cat" / "2.png", 2)
    put(images / "more" / "cat" / "3.png", 3)
    put(images / "top.png", 4)
    report = import_images(store, images, labels="folders")
    assert report.classes == read_project(store.project.root).classes == ("b dog", "cat")
    assert labels(store) == {"1.png": "b dog", "2.png": "cat", "3.png": "cat"}
    assert {e.actor for e in store.log.read()} == {"import"}
    assert {e.kind for e in store.log.read()} == {Kind.IMPORTED}
    assert report.label_problem_places == (
        (str(images / "top.png"), "it lies in no directory below the imported one, so it has no label"),
    )


def test_an_unknown_class_is_an_error_that_names_all_of_them_before_anything_is_written(tmp_path, images):
    store = memory_store(create_project(tmp_path / "project", ["cat"]))
    for seed, name in enumerate(["cat", "dgo", "hrose"]):
        put(images / name / "1.png", seed)
    with pytest.raises(ProjectError, match=r"dgo, hrose.*--add dgo,hrose"):
        import_images(store, images, labels="folders")
    assert store.catalog.samples() == store.log.read() == []
    assert read_project(store.project.root).classes == ("cat",)


def test_the_classes_an_import_made_hold_for_the_next_through_the_same_store(quick, images):
    put(images / "one" / "cat" / "1.png", 1)
    put(images / "two" / "dog" / "2.png", 2)
    import_images(quick, images / "one", labels="folders")
    with pytest.raises(ProjectError, match="dog"):
        import_images(quick, images / "two", labels="folders")


def test_a_csv_gives_labels_relative_to_itself_or_to_the_images_or_absolute(quick, images):
    a, b, c = (put(images / f"{name}.png", seed) for seed, name in enumerate("abc"))
    table = csv(images.parent / "l.csv", "label,other,filepath", f"cat,1,images/{a.name}", "dog,2,b.png", f"cat,3,{c}")
    report = import_images(quick, images, labels=table)
    assert labels(quick) == {"a.png": "cat", "b.png": "dog", "c.png": "cat"}
    assert (report.classes, report.label_problems) == (("cat", "dog"), 0)
    assert b.exists()


def test_a_csv_from_a_spreadsheet_is_read(quick, images):
    put(images / "sub" / 'it\'s, "odd".png')
    table = csv(images / "l.csv", "filepath,label", '"sub\\it\'s, ""odd"".png", Größe ', encoding="utf-8-sig")
    import_images(quick, images, labels=table)
    assert labels(quick) == {'it\'s, "odd".png': "Größe"}


def test_an_accent_written_as_two_characters_is_the_same_class(tmp_path, images):
    store = memory_store(create_project(tmp_path / "project", ["caf\u00e9"]))
    put(images / "cafe\u0301" / "1.png")
    import_images(store, images, labels="folders")
    assert labels(store) == {"1.png": "caf\u00e9"}


def test_rows_of_a_csv_that_cannot_be_used_are_reported_with_their_lines(quick, images):
    put(images / "a.png")
    lines = ["filepath,label", "a.png,", "gone.png,cat", "", ",cat", "a.png"]
    report = import_images(quick, images, labels=csv(images / "l.csv", *lines))
    assert report.label_problem_places == (
        ("l.csv line 2", "the label of a.png is empty"),
        ("l.csv line 3", "gone.png is not among the imported images"),
        ("l.csv line 5", "the filepath is empty"),
        ("l.csv line 6", "the label of a.png is empty"),
    )
    assert (report.imported, report.labelled, labels(quick)) == (1, 0, {})


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"file,class\na.png,cat\n", "first line of .* is file,class: it must name the columns filepath,label"),
        (b"a.png,cat\n", "must name the columns"),
        (b"filepath;label\na.png;cat\n", "is filepath;label: it must name"),
        (b"", "is empty: it must name"),
        ("filepath,label\na.png,Größe\n".encode("latin-1"), "is not text in UTF-8"),
        (b'filepath,label\n"' + b"a" * 200_000 + b'",cat\n', "is not a CSV file"),
    ],
)
def test_a_csv_that_is_none_is_one_sentence_before_anything_is_written(quick, images, content, sentence):
    put(images / "a.png")
    (images / "l.csv").write_bytes(content)
    with pytest.raises(ProjectError, match=sentence) as error:
        import_images(quick, images, labels=str(images / "l.csv"))
    assert "\n" not in str(error.value)
    assert quick.catalog.samples() == []


def test_labels_that_are_neither_none_nor_folders_nor_a_file_are_an_error(quick, images):
    put(images / "a.png")
    with pytest.raises(ProjectError, match=r"there is no file .*foldrs: labels are none, folders, or a CSV file"):
        import_images(quick, images, labels="foldrs")


def test_equal_files_are_one_sample_and_reported(store, images):
    first = put(images / "a.png", 1)
    copies = [copy(first, images / name) for name in ("b.png", "c/d.png")]
    report = import_images(store, images)
    assert counts(report) == {"imported": 1, "duplicates": 2}
    assert report.duplicate_files == tuple((str(path), str(first)) for path in copies)
    assert len(store.catalog.samples()) == 1
    assert len(store.catalog.files()) == 3
    assert counts(import_images(store, images)) == {"already_known": 3}


def test_near_duplicates_are_reported_within_an_import_and_with_earlier_ones(quick, images):
    path = put(images / "one" / "a.png", 1, size=(64, 64))
    put(images / "one" / "b.png", 2, size=(64, 64))
    import_images(quick, images / "one")
    (images / "two").mkdir()
    with Image.open(path) as image:
        image.save(images / "two" / "c.jpg", quality=90)
        image.resize((50, 50)).save(images / "two" / "d.png")
    report = import_images(quick, images / "two")
    assert counts(report) == {"imported": 2, "near_duplicates": 2}
    assert dict(report.near_duplicate_pairs)[str(images / "two" / "c.jpg")] == str(path)


def test_equal_files_with_different_labels_get_none_and_are_listed(store, images):
    cat = put(images / "cat" / "1.png", 1)
    dog = copy(cat, images / "dog" / "1.png")
    put(images / "dog" / "2.png", 2)
    report = import_images(store, images, labels="folders")
    assert counts(report) == {"imported": 2, "duplicates": 1, "conflicts": 1, "labelled": 1}
    assert report.conflict_files == (((str(cat), "cat"), (str(dog), "dog")),)
    assert labels(store) == {"2.png": "dog"}
    again = import_images(store, images, labels="folders")
    assert again.conflict_files == report.conflict_files
    assert labels(store) == {"2.png": "dog"}


def test_a_file_with_two_labels_in_a_csv_gets_none(quick, images):
    path = str(put(images / "a.png"))
    report = import_images(quick, images, labels=csv(images / "l.csv", "filepath,label", "a.png,cat", "./a.png,dog"))
    assert report.conflict_files == (((path, "cat"), (path, "dog")),)
    assert labels(quick) == {}


def test_a_label_that_contradicts_an_earlier_import_is_not_written(quick, images):
    first = put(images / "one" / "cat" / "1.png")
    other = copy(first, images / "two" / "dog" / "1.png")
    put(images / "one" / "dog" / "2.png", 2)
    import_images(quick, images / "one", labels="folders")
    report = import_images(quick, images / "two", labels="folders")
    assert report.conflict_files == (((str(other), "dog"), (str(first), "cat")),)
    assert labels(quick)["1.png"] == "cat"


def test_a_label_of_a_file_that_is_gone_contradicts_nothing(quick, images):
    first = put(images / "one" / "cat" / "1.png")
    second = copy(first, images / "one" / "cat" / "3.png")
    copy(first, images / "two" / "dog" / "1.png")
    put(images / "one" / "dog" / "2.png", 2)
    import_images(quick, images / "one", labels="folders")
    first.unlink()
    second.unlink()
    report = import_images(quick, images / "two", labels="folders")
    assert counts(report) == {"moved": 1, "labelled": 1}
    assert labels(quick)["1.png"] == "dog"


def test_a_corrected_label_of_the_same_file_is_written(tmp_path, images):
    store = memory_store(create_project(tmp_path / "project", ["cat", "dog"]))
    put(images / "a.png")
    for label in ("cat", "dog", "cat"):
        table = csv(images / "l.csv", "filepath,label", f"a.png,{label}")
        assert import_images(store, images, labels=table).labelled == 1
        assert labels(store) == {"a.png": label}


def test_a_persons_verdict_outranks_an_import_and_a_retracted_import_does_not_come_back(quick, images):
    put(images / "cat" / "a.png", 1)
    put(images / "cat" / "b.png", 2)
    import_images(quick, images, labels="folders")
    first, second = quick.log.read()
    quick.log.append([event(Kind.RELABELLED, first.sample_id, "dog", actor="me")])
    quick.log.append([event(Kind.RETRACTED, second.sample_id, actor="me", ref=second.event_id)])
    assert import_images(quick, images, labels="folders").labelled == 0
    assert labels(quick) == {"a.png": "dog"}


def test_a_file_that_is_in_the_other_split_stays_there_and_is_listed(store, images):
    train = put(images / "train" / "a.png", 1)
    put(images / "train" / "b.png", 2)
    leak = copy(train, images / "test" / "a.png")
    put(images / "test" / "c.png", 3)
    import_images(store, images / "train")
    report = import_images(store, images / "test", split=Split.TEST)
    assert counts(report) == {"imported": 1, "duplicates": 1, "leaks": 1}
    assert report.leak_files == ((str(leak), "train"),)
    assert [Path(s.filepath).name for s in store.catalog.samples(Split.TEST)] == ["c.png"]
    assert import_images(store, images / "train", split=Split.TEST).leaks == 2


def test_broken_files_are_listed_with_their_sentence_and_the_rest_is_imported(store, images):
    put(images / "good.png")
    (images / "empty.png").touch()
    (images / "text.jpg").write_text("hello")
    cut = put(images / "cut.png", 3, size=(64, 64))
    cut.write_bytes(cut.read_bytes()[:200])
    (images / "nothing.png").symlink_to(images / "nowhere.png")
    os.mkfifo(images / "pipe.png")
    (images / "dir.png").mkdir()
    report = import_images(store, images)
    assert counts(report) == {"imported": 1, "broken": 5}
    sentences = {Path(path).name: sentence for path, sentence in report.broken_files}
    assert sentences["empty.png"] == "the file is empty"
    assert "not an image" in sentences["text.jpg"]
    assert "cut short or damaged" in sentences["cut.png"]
    assert "No such file" in sentences["nothing.png"]
    assert "not a file" in sentences["pipe.png"]
    put(images / "empty.png", 9)
    assert counts(import_images(store, images)) == {"imported": 1, "already_known": 1, "broken": 4}


def test_a_file_that_changed_is_a_new_sample_and_does_not_pass_for_the_old_one(store, images):
    path = put(images / "cat" / "a.png", 1)
    import_images(store, images, labels="folders")
    (old,) = store.catalog.samples()
    put(path, 2)
    os.utime(path, ns=(1, 1))
    report = import_images(store, images, labels="folders")
    assert counts(report) == {"imported": 1, "changed": 1, "labelled": 1}
    (new,) = store.catalog.samples()
    assert new.sample_id == sample_id(path.read_bytes()) != old.sample_id
    assert store.catalog.get([old.sample_id]) == [old]


def test_files_that_moved_keep_their_samples_and_get_the_labels_of_their_new_folders(store, images):
    first = put(images / "in" / "a.png", 1)
    put(images / "in" / "b.png", 2)
    import_images(store, images)
    (images / "cat").mkdir()
    moved = first.rename(images / "cat" / "a.png")
    report = import_images(store, images, labels=csv(images / "l.csv", "filepath,label", "cat/a.png,cat"))
    assert counts(report) == {"already_known": 1, "moved": 1, "labelled": 1}
    assert report.moved_files == ((str(moved), str(first)),)
    assert sorted(s.filepath for s in store.catalog.samples()) == [str(moved), str(images / "in" / "b.png")]
    assert counts(import_images(store, images)) == {"already_known": 2}


@pytest.mark.parametrize("name", ["two\nlines.png", "it's.png", 'say "hi".png', "图 ünï.png", "-rf.png", "a,b;c.png"])
def test_odd_names_are_imported(store, images, name):
    path = put(images / name)
    import_images(store, images)
    assert store.catalog.samples()[0].filepath == str(path)
    assert counts(import_images(store, images)) == {"already_known": 1}


def test_a_name_that_is_not_utf8_is_listed(quick, images):
    put(images / "a.png")
    raw = os.fsencode(images) + b"/b\xff.png"
    try:
        shutil.copyfile(images / "a.png", raw)
    except OSError:
        pytest.skip("this file system takes only UTF-8 names")
    report = import_images(quick, images)
    assert counts(report) == {"imported": 1, "broken": 1}
    assert report.broken_files[0] == (f"{images}/b\\xff.png", "its name is not UTF-8: rename it")
    json.dumps(report.as_json()).encode()


def test_links_in_circles_end_and_links_to_images_count(quick, images, tmp_path):
    put(images / "a.png", 1)
    put(tmp_path / "elsewhere" / "b.png", 2)
    (images / "up").symlink_to(images)
    (images / "there").symlink_to(tmp_path / "elsewhere")
    (images / "link.png").symlink_to(tmp_path / "elsewhere" / "b.png")
    report = import_images(quick, images)
    assert counts(report) == {"imported": 2, "duplicates": 1}


def test_a_directory_that_cannot_be_read_is_listed(quick, images, monkeypatch):
    put(images / "good" / "a.png")
    put(images / "secret" / "b.png", 2)
    scandir = os.scandir

    def refusing(path):
        if str(path).endswith("secret"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    report = import_images(quick, images)
    assert counts(report) == {"imported": 1, "broken": 1}
    assert report.broken_files == ((str(images / "secret"), "the directory cannot be read (Permission denied)"),)


def test_hidden_files_and_the_projects_own_are_left_out(images):
    store = memory_store(create_project(images, []))
    put(images / "a.png", 1)
    for name in (".thumbs/b.png", "._a.png", "runs/mpl-001/c.png", "lance/d.png"):
        put(images / name, 2)
    assert counts(import_images(store, images)) == {"imported": 1}


def test_one_file_an_empty_folder_and_a_missing_one(quick, images, tmp_path):
    path = put(images / "a.png")
    assert counts(import_images(quick, path)) == {"imported": 1}
    (tmp_path / "empty").mkdir()
    with pytest.raises(ProjectError, match=r"there are no images in .*empty"):
        import_images(quick, tmp_path / "empty")
    with pytest.raises(ProjectError, match=r"there is nothing at .*missing"):
        import_images(quick, tmp_path / "missing")
    (tmp_path / "a.txt").write_text("x")
    assert counts(import_images(quick, tmp_path / "a.txt")) == {"broken": 1}


def test_a_relative_folder_means_the_same_as_an_absolute_one(quick, images, monkeypatch):
    put(images / "a.png")
    import_images(quick, images)
    monkeypatch.chdir(images.parent)
    assert counts(import_images(quick, Path("images"))) == {"already_known": 1}
    assert counts(import_images(quick, Path("images/a.png"))) == {"already_known": 1}


def test_progress_grows_to_the_number_of_files(quick, images):
    for seed in range(7):
        put(images / f"{seed}.png", seed)
    for _ in range(2):
        told: list[tuple[int, int]] = []
        import_images(quick, images, progress=lambda done, total, told=told: told.append((done, total)))
        assert told[-1] == (7, 7)
        assert told == sorted(told)


def test_large_files_are_read_by_threads_in_the_same_order(quick, images, monkeypatch):
    monkeypatch.setattr("pipelines.importing.reading.SMALL", 0)
    for seed in range(40):
        put(images / f"{seed:02d}.png", seed)
    (images / "07.png").write_text("no")
    report = import_images(quick, images)
    assert counts(report) == {"imported": 39, "broken": 1}
    samples = quick.catalog.samples()
    assert [s.sample_id for s in samples] == [sample_id(Path(s.filepath).read_bytes()) for s in samples]
    assert [s.filepath for s in samples] == sorted(s.filepath for s in samples)


def test_the_report_is_json(quick, images):
    put(images / "cat" / "a.png")
    copy(images / "cat" / "a.png", images / "dog" / "a.png")
    report = import_images(quick, images, labels="folders")
    assert json.loads(json.dumps(report.as_json()))["conflict_files"] == [
        [[str(images / "cat" / "a.png"), "cat"], [str(images / "dog" / "a.png"), "dog"]]
    ]


def test_ctrl_c_keeps_what_was_done_and_the_next_call_goes_on(store, images, monkeypatch):
    monkeypatch.setattr(job, "CHUNK", 4)
    for seed in range(10):
        put(images / "cat" / f"{seed}.png", seed)

    def stop(done: int, total: int) -> None:
        if done == 6:
            raise KeyboardInterrupt

    monkeypatch.setattr(job, "STEP", 1)
    with pytest.raises(KeyboardInterrupt):
        import_images(store, images, labels="folders", progress=stop)
    assert len(store.catalog.samples()) == 4
    report = import_images(store, images, labels="folders")
    assert counts(report) == {"imported": 6, "already_known": 4, "labelled": 10}
    assert len(labels(store)) == 10


def test_an_import_that_dies_before_any_of_its_writes_ends_like_one_that_did_not(images, tmp_path, monkeypatch):
    for seed in range(10):
        put(images / "cd"[seed % 2] / f"{seed}.png", seed, size=(8, 8))
    copy(images / "c" / "0.png", images / "d" / "copy.png")
    copy(images / "c" / "2.png", images / "c" / "copy.png")
    monkeypatch.setattr(job, "CHUNK", 4)
    monkeypatch.setattr(job, "EVENTS", 4)
    whole, dying = (open_store(create_project(tmp_path / name, ["c", "d"]).root) for name in ("whole", "dying"))
    import_images(whole, images, labels="folders")
    changing, writes = lance.Tables.changing, 0

    def mortal(tables, name, schema):
        nonlocal writes
        writes -= 1
        if writes < 0:
            raise KeyboardInterrupt
        return changing(tables, name, schema)

    with monkeypatch.context() as dead:
        dead.setattr(lance.Tables, "changing", mortal)
        for survived in (0, 1, 1, 1, 2, 1, 1):  # so that it dies before samples, before files and before events
            writes = survived
            with pytest.raises(KeyboardInterrupt):
                import_images(dying, images, labels="folders")
    import_images(dying, images, labels="folders")
    assert dying.catalog.samples() == whole.catalog.samples()
    assert dying.catalog.files() == whole.catalog.files()
    assert replay(dying.log.read()) == replay(whole.log.read())
    assert len(dying.log.read()) == len(whole.log.read()) == 9


def test_a_file_whose_sample_a_killed_import_wrote_is_known_and_no_copy_of_itself(images, tmp_path, monkeypatch):
    put(images / "a.png")
    dying = open_store(create_project(tmp_path / "dying", []).root)
    with monkeypatch.context() as dead:
        dead.setattr(type(dying.catalog), "_add_files", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            import_images(dying, images)
    assert counts(import_images(dying, images)) == {"already_known": 1}
    assert [file.filepath for file in dying.catalog.files()] == [str(images / "a.png")]


def test_kill_9_at_a_random_moment_loses_and_doubles_nothing(images, tmp_path):
    for seed in range(60):
        put(images / "cd"[seed % 2] / f"{seed:02d}.png", seed, size=(8, 8))
    copy(images / "c" / "00.png", images / "d" / "zz.png")
    root = create_project(tmp_path / "project", []).root
    code = (
        "import sys; from pathlib import Path; import lancedb; from storage.store import open_store\n"
        "from pipelines import import_images as job; job.CHUNK, job.EVENTS = 3, 7; print('ready', flush=True)\n"
        "job.import_images(open_store(Path(sys.argv[1])), Path(sys.argv[2]), labels='folders')"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(root), str(images)], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    ) as importing:
        assert importing.stdout is not None
        importing.stdout.readline()
        time.sleep(random.uniform(0.02, 0.5))
        os.kill(importing.pid, signal.SIGKILL)
    store = open_store(root)
    report = import_images(store, images, labels="folders")
    assert report.imported + report.already_known + report.duplicates == 61
    assert report.conflicts == 1
    samples = store.catalog.samples()
    assert sorted(s.sample_id for s in samples) == sorted({sample_id(p.read_bytes()) for p in images.rglob("*.png")})
    expected = {Path(s.filepath).name: Path(s.filepath).parent.name for s in samples}
    assert labels(store) == {name: label for name, label in expected.items() if name != "00.png"}
    assert len(store.log.read()) == 59
