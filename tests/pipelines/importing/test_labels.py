"""Labels come from folders or a table; those that contradict each other are listed and not written."""

import pytest

from gradebook.pipelines.importing.import_images import import_images
from gradebook.storage.events import Kind, event
from gradebook.storage.project import ProjectError, create_project, read_project
from gradebook.storage.store import memory_store
from tests.pipelines.importing.folders import copy, counts, csv, labels, put


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


def test_unknown_classes_are_all_named_before_anything_is_written(tmp_path, images):
    store = memory_store(create_project(tmp_path / "project", ["cat"]))
    for seed, name in enumerate(["cat", "dgo", "hrose"]):
        put(images / name / "1.png", seed)
    with pytest.raises(ProjectError, match=r"dgo, hrose.*--add dgo,hrose"):
        import_images(store, images, labels="folders")
    assert store.catalog.samples() == store.log.read() == []
    assert read_project(store.project.root).classes == ("cat",)


def test_classes_created_by_an_import_hold_for_the_next_one(quick, images):
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


def test_unusable_rows_of_a_csv_are_reported_with_their_lines(quick, images):
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
        (
            b"file,kind\na.png,cat\n",
            "has the columns file, kind, and none is .* of labels: .* --label-column NAME",
        ),
        (b"a.png,cat\n", "has the columns a.png, cat, and none is .* of images: .* --image-column NAME"),
        (b"a.png;kind;x\na.png;cat;y\n", "has the columns a.png, kind, x, and none"),
        (b"", "names no columns in its first line, and none is recognised"),
        ("filepath,label\na.png,Größe\n".encode("latin-1"), "is not text in UTF-8"),
        (b'filepath,label\n"' + b"a" * 200_000 + b'",cat\n', "is not a CSV file"),
    ],
)
def test_an_invalid_csv_is_an_error_before_anything_is_written(quick, images, content, sentence):
    put(images / "a.png")
    (images / "l.csv").write_bytes(content)
    with pytest.raises(ProjectError, match=sentence) as error:
        import_images(quick, images, labels=str(images / "l.csv"))
    assert "\n" not in str(error.value)
    assert quick.catalog.samples() == []


def test_an_unknown_source_of_labels_is_an_error(quick, images):
    put(images / "a.png")
    with pytest.raises(ProjectError, match=r"there is no file .*foldrs: labels are none, folders, or a CSV file"):
        import_images(quick, images, labels="foldrs")


def test_identical_files_with_different_labels_get_none_and_are_listed(store, images):
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
