"""Files that other programs wrote badly, and settings of another shape, end in one sentence, and change nothing."""

import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gradebook.pipelines.maintenance.verify import verify
from gradebook.storage.project import SETTINGS, ProjectError, create_project, read_project
from tests.pipelines.cli.cli_runner import done, gradebook, refused
from tests.pipelines.importing.folders import put

BROKEN_STREAM = b"PNG" * 2000


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return create_project(tmp_path / "project", ["cat", "dog"]).root


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_file_with_a_broken_stream(project, tmp_path, method):
    path = tmp_path / "images.zip"
    with zipfile.ZipFile(path, "w", method) as zipped:
        zipped.writestr("cat/1.png", BROKEN_STREAM)
    content = bytearray(path.read_bytes())
    start = content.index(b"cat/1.png") + len("cat/1.png")
    content[start : start + 12] = b"\xff" * 12
    path.write_bytes(content)
    assert "images.zip is not a zip file that can be read" in refused("import", project, path)
    assert not [p for p in (project / "unpacked").rglob("*") if p.is_file()]


def test_a_parquet_table_whose_paths_are_integers(project, tmp_path):
    pq.write_table(pa.table({"filepath": [1, 2], "label": [0, 1]}), tmp_path / "table.parquet")
    result = gradebook("import", project, tmp_path / "table.parquet")
    assert (result.status, "Traceback" in result.err) == (2, False), result.err
    assert "2 cannot be read" in result.out


@pytest.mark.parametrize("cell", ["a\0b.png", "a.png\0", "\0"])
def test_a_table_with_a_nul_character(project, tmp_path, cell):
    put(tmp_path / "1.png", 1)
    (tmp_path / "table.csv").write_text(f"filepath,label\n1.png,cat\n{cell},dog\n")
    report = done("import", project, tmp_path / "table.csv", "--labels", tmp_path / "table.csv", "--json").json
    assert report["imported"] == 1


SHAPES = ["[]", "3", "null", '"x"', "{}", '{"version": 1}', '{"version": 1, "classes": 3}']
SHAPES += ['{"version": 1, "classes": [1]}', '{"version": 1, "classes": "cat"}']
SHAPES += ['{"version": 1, "classes": [], "store": 3}']


@pytest.mark.parametrize("text", SHAPES)
def test_settings_of_another_shape(project, text):
    (project / SETTINGS).write_text(text)
    with pytest.raises(ProjectError, match=r"cannot be read|has version"):
        read_project(project)
    for command in ("status", "queue", "log"):
        refused(command, project)
    if text != "{}":
        (finding,) = verify(project).findings
        assert "restore it from a backup" in finding.advice


def test_a_project_below_a_directory_with_a_newline_in_its_name(tmp_path):
    for command in (("init", "--classes", "cat"), ("status",)):
        assert "has a line break or another control character" in refused(
            command[0], tmp_path / "a\nb" / "project", *command[1:]
        )
    assert list(tmp_path.iterdir()) == []
