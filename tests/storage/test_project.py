import json
import shlex
from concurrent.futures import ThreadPoolExecutor

import pytest

from gradebook.storage.project import ProjectError, create_project, name_classes, read_project
from tests.class_changes import add_classes


def test_a_project_is_read_as_it_was_created(tmp_path):
    made = create_project(tmp_path / "new" / "birds", ["heron", " crow ", "Größe"])
    assert made.classes == ("heron", "crow", "Größe")
    assert made.root.is_absolute()
    assert read_project(tmp_path / "new" / "birds") == made
    assert made.runs == made.root / "runs"


def test_making_a_project_twice_is_an_error_and_changes_nothing(tmp_path):
    made = create_project(tmp_path, ["a"])
    with pytest.raises(ProjectError, match="is a project already"):
        create_project(tmp_path, ["b"])
    assert read_project(tmp_path) == made


@pytest.mark.parametrize(("classes", "sentence"), [(["a", " "], "is empty"), (["a", "b", "a "], "given twice")])
def test_classes_must_be_unique_names(tmp_path, classes, sentence):
    with pytest.raises(ProjectError, match=sentence):
        create_project(tmp_path / "p", classes)
    assert not (tmp_path / "p").exists()


def test_classes_are_added_at_the_end_and_known_ones_stay_where_they_are(tmp_path):
    project = create_project(tmp_path, ["b", "a"])
    grown = add_classes(project, ["c", "a", "c"])
    assert grown.classes == ("b", "a", "c")
    assert read_project(tmp_path) == grown
    with pytest.raises(ProjectError, match="is empty"):
        add_classes(grown, [""])
    assert read_project(tmp_path) == grown


def test_a_project_of_another_version_is_a_one_line_error(tmp_path):
    with pytest.raises(ProjectError, match="gradebook init"):
        read_project(tmp_path)
    for content, sentence in [("{", "cannot be read"), (json.dumps({"version": 99, "classes": []}), "version 99")]:
        (tmp_path / "gradebook.json").write_text(content)
        with pytest.raises(ProjectError, match=sentence):
            read_project(tmp_path)


def test_writing_leaves_no_temporary_files(tmp_path):
    name_classes(create_project(tmp_path, []), ["b"])
    assert sorted(path.name for path in tmp_path.iterdir()) == [".gradebook.lock", "gradebook.json"]


def test_concurrent_additions_of_classes_are_all_kept(tmp_path):
    project = create_project(tmp_path, ["a"])
    with ThreadPoolExecutor(8) as pool:
        for _ in pool.map(lambda n: add_classes(project, [f"b{n}"]), range(24)):
            pass
    assert sorted(read_project(tmp_path).classes) == sorted(["a", *(f"b{n}" for n in range(24))])


def test_a_label_must_be_a_class(tmp_path):
    project = create_project(tmp_path, ["cat", "dog"])
    assert project.check_label("dog") == "dog"
    with pytest.raises(ProjectError, match=r"'dgo' is not a class of this project \(cat, dog\).*--add dgo"):
        project.check_label("dgo")


def test_the_suggested_command_for_a_new_class_is_quoted_for_a_shell(tmp_path):
    project = create_project(tmp_path / "my pets", ["cat"])
    command = shlex.split(project.add_command(["maine coon", "cat's kin; rm"]))
    assert command == ["gradebook", "classes", str(tmp_path / "my pets"), "--add", "maine coon,cat's kin; rm"]


def test_blanks_around_a_class_name_are_ignored(tmp_path):
    project = create_project(tmp_path / "p", ["a"])
    assert add_classes(project, [" a", "b ", "b"]).classes == ("a", "b")
