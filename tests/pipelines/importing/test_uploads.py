"""Files that were uploaded in the browser."""

import pytest

from gradebook.pipelines.importing.uploads import save_uploads
from gradebook.storage.project import ProjectError, create_project


def test_uploaded_images_lie_beside_the_project_whatever_their_names(tmp_path):
    files = [("a.png", b"1"), ("../../a.png", b"2"), ("C:\\x\\b.JPG", b"3"), ("notes.txt", b"4")]
    saved = save_uploads(files, tmp_path / "birds")
    assert saved.images == tmp_path / "birds-images" and saved.left_out == ("notes.txt",)
    assert {p.name: p.read_bytes() for p in saved.images.iterdir()} == {"a.png": b"1", "a-2.png": b"2", "b.JPG": b"3"}
    create_project(tmp_path / "birds", ["crow"])


def test_a_zip_is_imported_by_itself(tmp_path):
    assert save_uploads([("all.zip", b"PK")], tmp_path / "birds").images == tmp_path / "birds-images" / "all.zip"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([("all.zip", b"PK"), ("a.png", b"1")], "all.zip is not alone"),
        ([("notes.txt", b"1")], "notes.txt is no image"),
    ],
)
def test_uploads_that_are_no_images_are_refused_and_write_nothing(files, message, tmp_path):
    with pytest.raises(ProjectError, match=message):
        save_uploads(files, tmp_path / "birds")
    assert not list(tmp_path.iterdir())


def test_nothing_is_written_over(tmp_path):
    create_project(tmp_path / "birds", ["crow"])
    with pytest.raises(ProjectError, match=r"something at .*birds already"):
        save_uploads([("a.png", b"1")], tmp_path / "birds")
