"""Splits and labels as other programs write them: folders, columns under other names, Parquet."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gradebook.pipelines.export.labels import export_labels
from gradebook.pipelines.importing.import_images import import_images
from gradebook.pipelines.importing.sources import opened_source
from gradebook.pipelines.importing.tables import ColumnNames
from gradebook.storage.project import ProjectError, create_project
from gradebook.storage.samples import Split
from gradebook.storage.store import Store, memory_store
from tests.pipelines.importing.folders import csv, labels, put


def splits(store: Store) -> dict[str, str]:
    """Returns file name -> split."""
    return {Path(s.filepath).name: s.split.value for s in store.catalog.samples()}


def put_all(images: Path, *names: str) -> None:
    for seed, name in enumerate(names):
        put(images / name, seed)


@pytest.mark.parametrize("source", ["folders", "none"])
def test_split_folders_are_splits_and_not_classes(quick, images, source):
    put_all(images, "train/cat/1.png", "train/dog/2.png", "val/cat/3.png", "Test/dog/4.png")
    report = import_images(quick, images, labels=source)
    assert splits(quick) == {"1.png": "train", "2.png": "train", "3.png": "test", "4.png": "test"}
    assert report.test_images == 2
    expected = {"1.png": "cat", "2.png": "dog", "3.png": "cat", "4.png": "dog"}
    assert labels(quick) == (expected if source == "folders" else {})


def test_images_directly_in_a_split_folder_have_no_label(quick, images):
    put_all(images, "train/cat/1.png", "test/2.png", "test/images/3.png")
    report = import_images(quick, images, labels="folders")
    assert (splits(quick)["2.png"], splits(quick)["3.png"], labels(quick)) == ("test", "test", {"1.png": "cat"})
    assert report.label_problems == 2


@pytest.mark.parametrize("names", [("train/1.png", "car/2.png"), ("train/1.png",), ("test/1.png", "tram/x/2.png")])
def test_a_class_may_be_called_train(quick, images, names):
    put_all(images, *names)
    import_images(quick, images, labels="folders")
    assert set(splits(quick).values()) == {"train"}
    assert labels(quick)["1.png"] == names[0].split("/")[0]


def test_a_split_that_is_asked_for_holds_for_all(quick, images):
    put_all(images, "train/cat/1.png", "test/cat/2.png")
    import_images(quick, images, split=Split.TEST)
    assert set(splits(quick).values()) == {"test"}


def test_a_folder_of_images_inside_a_class_is_no_class(quick, images):
    put_all(images, "cat/images/1.png", "dog/images/2.png", "images/3.png")
    import_images(quick, images, labels="folders")
    assert labels(quick) == {"1.png": "cat", "2.png": "dog", "3.png": "images"}


def test_the_split_column_of_a_table_of_labels_is_honoured(quick, images):
    put_all(images, "1.png", "2.png", "3.png")
    table = csv(images / "l.csv", "filepath,label,split", "1.png,cat,train", "2.png,cat,test", "3.png,cat,holdout")
    report = import_images(quick, images, labels=table)
    assert splits(quick) == {"1.png": "train", "2.png": "test", "3.png": "train"}
    assert report.label_problem_places == (("l.csv line 4", "holdout is no split: train, val or test"),)


def test_the_split_column_of_a_table_of_images_is_honoured(quick, images):
    put_all(images, "1.png", "2.png")
    table = csv(images / "list.csv", "path,split", "1.png,val", "2.png,")
    import_images(quick, Path(table))
    assert splits(quick) == {"1.png": "test", "2.png": "train"}


@pytest.mark.parametrize("form", ["csv", "parquet", "folder", "fiftyone"])
def test_exported_labels_keep_their_splits_when_they_are_imported_again(quick, images, tmp_path, form):
    put_all(images, "train/cat/1.png", "train/dog/2.png", "test/cat/3.png")
    import_images(quick, images, labels="folders")
    out = tmp_path / f"out.{form}"
    export_labels(quick, out, form)
    other = memory_store(create_project(tmp_path / "other", []))
    source = {"csv": images, "parquet": images}.get(form, out)
    found, source_labels = opened_source(
        other.project.root, source, {"folder": "folders", "fiftyone": "none"}.get(form, str(out))
    )
    import_images(other, found, labels=source_labels)
    assert splits(other) == splits(quick)
    assert labels(other) == labels(quick)


@pytest.mark.parametrize("header", ["image,label", "file_name,class", "Path,Category", "label,filename,image"])
def test_common_names_of_columns_are_known(quick, images, header):
    """Of several names for the path the first in the order of `tables.PATHS` counts."""
    put_all(images, "1.png")
    cells = {"label": "cat", "class": "cat", "Category": "cat", "filename": "other.png"}
    row = ",".join(cells.get(name, "1.png") for name in header.split(","))
    table = csv(images / "l.csv", header, row)
    assert import_images(quick, images, labels=table).labelled == 1
    assert labels(quick) == {"1.png": "cat"}


@pytest.mark.parametrize(
    "lines",
    [
        ("filename,target", "1.png,cat"),
        ("img_path,category", "1.png,cat"),
        ("Image Name;class_name", "1.png;cat"),
        ("id\tclass-label\timage", "7\tcat\t1.png"),
        ("class_id|className|file name", "3|cat|1.png"),
        ("sep=;", "image_id;label", "1;cat"),
    ],
)
def test_headers_and_separators_of_other_programs_are_known(quick, images, lines):
    put_all(images, "1.png")
    import_images(quick, images, labels=csv(images / "l.csv", *lines))
    assert labels(quick) == {"1.png": "cat"}


def test_columns_may_be_named(quick, images):
    put_all(images, "1.png")
    table = csv(images / "l.csv", "pic;kind;image;label", "1.png;cat;x;y")
    import_images(quick, images, labels=table, columns=ColumnNames("pic", "Kind"))
    assert labels(quick) == {"1.png": "cat"}
    with pytest.raises(ProjectError, match="--label-column sort must name one of them"):
        import_images(quick, images, labels=table, columns=ColumnNames("pic", "sort"))


def test_a_list_of_labels_is_refused_and_a_list_elsewhere_is_not_read(quick, images):
    put_all(images, "1.png")
    row = '{"file_name": "1.png", "label": "cat", "box": [1, 2]}'
    import_images(quick, images, labels=csv(images / "l.jsonl", row))
    assert labels(quick) == {"1.png": "cat"}
    table = csv(images / "l.jsonl", row, row.replace('"cat"', '["cat", "dog"]'))
    with pytest.raises(ProjectError, match=r"l.jsonl, row 2: \['cat', 'dog'\] is not one value"):
        import_images(quick, images, labels=table)


def test_a_column_that_is_there_twice_is_named(quick, images):
    put_all(images, "1.png")
    with pytest.raises(ProjectError, match="has two columns label: rename"):
        import_images(quick, images, labels=csv(images / "l.csv", "filename,label,label", "1.png,cat,dog"))


def test_numbers_and_gaps_in_a_table_are_labels_as_they_were_typed(quick, images):
    """A column of whole numbers with a gap is one of floats in Parquet, and the gap may be not a number."""
    put_all(images, "1.png", "2.png", "3.png")
    pq.write_table(
        pa.table({"path": ["1.png", "2.png", "3.png"], "label": [7.0, float("nan"), None]}), images / "l.parquet"
    )
    import_images(quick, images, labels=str(images / "l.parquet"))
    assert labels(quick) == {"1.png": "7"}


def test_json_lines_may_differ_in_their_keys(quick, images):
    put_all(images, "1.png", "2.png")
    lines = ('{"file_name": "1.png"}', '{"label": "cat", "file_name": "2.png", "note": "a\u2028b"}')
    import_images(quick, images, labels=csv(images / "l.jsonl", *lines))
    assert labels(quick) == {"2.png": "cat"}


def test_labels_in_parquet_are_read(quick, images):
    put_all(images, "1.png", "2.png")
    table = {"image": ["1.png", "2.png"], "label": [7, 8], "split": ["test", None], "other": [b"\xff", b""]}
    pq.write_table(pa.table(table), images / "l.parquet")
    import_images(quick, images, labels=str(images / "l.parquet"))
    assert labels(quick) == {"1.png": "7", "2.png": "8"}
    assert splits(quick) == {"1.png": "test", "2.png": "train"}


def test_an_invalid_parquet_file_is_a_one_line_error(quick, images):
    put_all(images, "1.png")
    (images / "l.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(ProjectError, match="is not a Parquet file that can be read"):
        import_images(quick, images, labels=str(images / "l.parquet"))
