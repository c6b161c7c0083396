"""The command line as other programs call it: JSON keys, exit statuses, one sentence on an error, no noise."""

import contextlib
import io
import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipelines.cli import main

NETWORK, SIDE = "test_resnet", 32
COMMANDS = ("init", "classes", "import", "embed", "label", "train", "queue", "record", "status", "evaluate", "export")
COMMANDS = (*COMMANDS, "predict", "app", "fiftyone", "demo")


@dataclass(frozen=True)
class Said:
    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def gradebook(*arguments: object) -> Said:
    """Calls the command as a program whose standard error is no terminal."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = main([str(argument) for argument in arguments])
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else int(end.code is not None)
    return Said(status, out.getvalue(), err.getvalue())


def done(*arguments: object) -> Said:
    said = gradebook(*arguments)
    assert said.status == 0, said.err
    return said


def picture(path: Path, seed: int, label: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 120, (8, 8, 3))
    pixels[..., label] += 130
    Image.fromarray(pixels.astype(np.uint8)).resize((SIDE, SIDE), Image.Resampling.NEAREST).save(path)
    return path


@dataclass(frozen=True)
class World:
    root: Path
    said: dict[str, Said]

    @property
    def project(self) -> Path:
        return self.root / "project"

    @property
    def image(self) -> Path:
        return self.root / "images" / "019.png"


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    """A whole round on twenty-four small pictures, each command with what it said."""
    root = tmp_path_factory.mktemp("world")
    project, images = root / "project", root / "images"
    train = [picture(images / f"{n:03}.png", n, n % 2) for n in range(20)]
    for n in range(4):
        picture(root / "test" / ("cat", "dog")[n % 2] / f"{n}.png", 100 + n, n % 2)
    shutil.copy(images / "000.png", images / "again.png")
    (images / "broken.png").write_bytes(b"no image")
    (root / "labels.csv").write_text(
        "filepath,label\n" + "".join(f"{p},{('cat', 'dog')[n % 2]}\n" for n, p in enumerate(train[:8]))
    )
    small = ("--steps", 4, "--labelled", 4, "--unlabelled", 12, "--backbone", NETWORK, "--record-every", 2, "--seed", 1)
    calls: dict[str, tuple[object, ...]] = {
        "init": ("init", project, "--classes", "cat,dog"),
        "import": ("import", project, images, "--json"),
        "import test": ("import", project, root / "test", "--labels", "folders", "--split", "test", "--json"),
        "embed": ("embed", project, "--backbone", NETWORK, "--weights", "random", "--size", SIDE, "--json"),
        "label": ("label", project, root / "labels.csv", "--json"),
        "train": ("train", project, *small, "--run", "one", "--method", "mpl", "--preset", "quick", "--json"),
        "queue": ("queue", project, "--limit", 5, "--json"),
        "record": ("record", project, root / "images" / "019.png", "--json"),
        "status": ("status", project, "--json"),
        "evaluate": ("evaluate", project, "--json"),
        "export": ("export", project, root / "classifier", "--json"),
        "predict": ("predict", root / "classifier", train[3], root / "test", "--json"),
    }
    return World(root, {name: gradebook(*call) for name, call in calls.items()})


def test_every_command_of_a_round_succeeds_quietly(world):
    for name, said in world.said.items():
        assert said.status == 0, (name, said.err)
        assert "\x1b" not in said.out + said.err and "\r" not in said.err, "no progress where nobody looks"
        assert len(said.err.splitlines()) <= 1, (name, said.err)
        assert len(said.out.splitlines()) == 1, "one line: of JSON, but for init"


def test_import_counts_and_names_what_it_found(world):
    found = world.said["import"].json
    assert {k: found[k] for k in ("imported", "already_known", "duplicates", "conflicts", "broken")} == {
        **{"imported": 20, "already_known": 0, "duplicates": 1, "conflicts": 0, "broken": 1}
    }
    assert isinstance(found["near_duplicates"], int)
    assert "broken.png" in json.dumps(found["broken_files"])
    again = done("import", world.project, world.root / "images", "--json").json
    assert (again["imported"], again["already_known"]) == (0, 21), "files, the copy among them"
    assert world.said["import test"].json["imported"] == 4


def test_embed_and_label_count(world):
    assert world.said["embed"].json["embedded"] == 24
    assert "random" in world.said["embed"].json["weights"]
    assert world.said["label"].json == {"labelled": 8, "unchanged": 0, "problems": []}


def test_train_ends_with_a_line_of_json(world):
    said = world.said["train"].json
    assert {"run", "steps", "seconds", "validation_accuracy"} <= said.keys()
    assert (said["run"], said["steps"], said["state"]) == ("one", 4, "finished")
    assert 0 <= said["validation_accuracy"] <= 1 and said["seconds"] > 0


def test_queue_is_a_list_of_rows(world):
    rows = world.said["queue"].json
    assert len(rows) == 5
    for row in rows:
        assert {"sample_id", "filepath", "label", "probability", "reasons"} <= row.keys()
        assert row["label"] in ("cat", "dog") and 0 <= row["probability"] <= 1 and row["reasons"]
    by_flips = done("queue", world.project, "--reason", "flips", "--run", "one", "--json").json
    flips = [row["reasons"]["flips"] for row in by_flips]
    assert len(flips) == 12 and flips == sorted(flips, reverse=True)


def test_record_is_a_samples_history(world):
    rows = world.said["record"].json
    assert rows and all(row["step"] in (2, 4) for row in rows)
    keys = {"run", "step", "teacher_label", "teacher_probability", "student_label", "student_probability"}
    assert all(keys | {"feedback", "best_label", "best_gain"} <= row.keys() for row in rows)
    assert all(row["run"] == "one" and row["teacher_label"] in ("cat", "dog") for row in rows)
    sample = next(r for r in done("queue", world.project, "--json").json if r["filepath"] == str(world.image))
    assert done("record", world.project, sample["sample_id"], "--run", "one", "--json").json == rows


def test_status_is_the_project_in_numbers(world):
    found = world.said["status"].json
    numbers = {k: found[k] for k in ("samples", "labeled", "unlabeled", "test", "classes")}
    assert numbers == {"samples": 24, "labeled": 8, "unlabeled": 12, "test": 4, "classes": ["cat", "dog"]}
    assert [(run["name"], run["state"], run["step"]) for run in found["runs"]] == [("one", "finished", 4)]


def test_given_labels_can_be_doubted(world):
    rows = done("queue", world.project, "--labelled", "--limit", 100, "--json").json
    assert len(rows) == 8 and all(row["given"] in ("cat", "dog") for row in rows)
    by_score = done("queue", world.project, "--labelled", "--no-spread", "--limit", 100, "--json").json
    assert [row["score"] for row in by_score] == sorted((row["reasons"]["mislabelled"] for row in rows), reverse=True)
    assert ", labelled " in done("queue", world.project, "--labelled").out
    assert "--labelled orders by mislabelled: leave out --reason flips" in refused(
        "queue", world.project, "--labelled", "--reason", "flips"
    )


def test_neighbours_are_proposed_and_agreement_is_told(world, tmp_path):
    project = tmp_path / "project"
    shutil.copytree(world.project, project)
    (labelled, *_) = done("queue", project, "--labelled", "--json").json
    like = ("neighbours", project, labelled["sample_id"], "--limit", 3)
    found = done(*like, "--json").json
    assert len(found) == 3 and {row["label"] for row in found} == {labelled["given"]}
    assert all({"sample_id", "filepath", "label", "similarity"} == row.keys() for row in found)
    before = done("status", project, "--json").json
    assert before["agreement"] == {"all": {"answered": 0, "agreed": 0, "rate": 0.0}}
    said = done(*like, "--propose")
    assert "3 images are at the front of the queue now" in said.err and f"{labelled['given']}?  " in said.out
    rows = done("queue", project, "--limit", 4, "--json").json
    assert [row["sample_id"] for row in rows[:3]] == [row["sample_id"] for row in found]
    assert all(row["proposal"] and row["label"] == labelled["given"] for row in rows[:3]) and not rows[3]["proposal"]
    assert done("status", project, "--json").json["labeled"] == before["labeled"]
    assert labelled["given"] in done("queue", project, "--limit", 1).out
    assert "has no label to propose" in refused("neighbours", project, found[0]["sample_id"])


def test_evaluate_compares_with_the_test_split(world):
    found = world.said["evaluate"].json
    assert {"run", "accuracy", "n", "ece", "per_class", "confusion"} <= found.keys()
    assert (found["run"], found["n"], sum(map(sum, found["confusion"]))) == ("one", 4, 4)
    assert set(found["per_class"]) == {"cat", "dog"}


def test_export_names_its_files_and_predict_uses_them(world):
    found = world.said["export"].json
    assert found["dir"] == str(world.root / "classifier")
    assert all((world.root / "classifier" / name).exists() for name in found["files"])
    rows = world.said["predict"].json
    assert len(rows) == 5 and rows[0]["filepath"].endswith("003.png")
    for row in rows:
        assert {"filepath", "label", "probability", "probabilities"} <= row.keys()
        assert row["probability"] == max(row["probabilities"].values()) == row["probabilities"][row["label"]]
        assert sum(row["probabilities"].values()) == pytest.approx(1, abs=1e-5)


def test_classes_are_listed_and_added(world, tmp_path):
    project = tmp_path / "project"
    done("init", project)
    assert done("classes", project, "--json").json == []
    assert done("classes", project, "--add", "crow,heron", "--json").json == ["crow", "heron"]
    assert done("classes", project).out == "crow\nheron\n"


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (("queue",), "Look at these first, says one:"),
        (("status",), "24 images: 8 labelled, 12 unlabelled, 4 for testing"),
        (("evaluate",), "one on 4 images of the test split: accuracy"),
        (("classes",), "cat\ndog"),
        (("import", "IMAGES"), "0 images imported, 21 known already"),
    ],
)
def test_people_get_words(world, command, says):
    assert says in done(command[0], world.project, *(world.root / name.lower() for name in command[1:])).out


def test_people_get_a_table_of_a_record_and_lines_of_predictions(world):
    assert "teacher" in done("record", world.project, world.image).out
    said = done("predict", world.root / "classifier", world.image).out
    assert said.startswith(("cat  ", "dog  ")) and said.rstrip().endswith("019.png")


def test_one_sample_is_labelled_by_its_id(world, tmp_path):
    project = tmp_path / "project"
    shutil.copytree(world.project, project)
    (row, *_) = done("queue", project, "--limit", 1, "--json").json
    assert done("label", project, "--sample", row["sample_id"], "--label", "dog", "--json").json["labelled"] == 1
    assert done("status", project, "--json").json["labeled"] == 9
    assert done("queue", project, "--limit", 1, "--json").json[0]["sample_id"] != row["sample_id"]


# Errors


def refused(*arguments: object) -> str:
    """Returns the one sentence of a command that cannot be done."""
    said = gradebook(*arguments)
    assert said.status == 2
    assert said.out == ""
    assert said.err.startswith("gradebook: ") and len(said.err.splitlines()) == 1, said.err
    return said.err


@pytest.mark.parametrize(
    "command",
    [
        *(("classes",), ("import", "x"), ("embed",), ("label", "x.csv"), ("train",), ("train", "--resume"), ("queue",)),
        *(("record", "x"), ("status",), ("evaluate",), ("export", "x"), ("app",), ("fiftyone",)),
    ],
)
def test_a_missing_project_is_a_sentence(tmp_path, command):
    said = refused(command[0], tmp_path / "none", *command[1:])
    assert f"{tmp_path / 'none'} is not a project: make one with: gradebook init" in said
    assert list(tmp_path.iterdir()) == []


def test_bad_names_are_sentences(world, tmp_path):
    project = world.project
    assert "label 'dodo' is not a class" in refused("label", project, "--sample", _id(world), "--label", "dodo")
    assert "give a file, or a sample and its label" in refused("label", project, "--sample", "x")
    assert "give a file, or a sample and its label" in refused("label", project)
    assert "there is no file" in refused("label", project, tmp_path / "none.csv")
    assert "there is no reason 'luck': choose one of second_reader," in refused("queue", project, "--reason", "luck")
    for command in (("queue",), ("evaluate",), ("export", tmp_path / "out"), ("record", world.image)):
        said = refused(command[0], project, *command[1:], "--run", "none")
        assert "there is no run 'none'" in said and "choose one of one" in said
    assert "is neither a sample's id nor an imported file" in refused("record", project, "none.png")
    assert "is a project already" in refused("init", project)
    assert "a class is given twice" in refused("init", tmp_path / "new", "--classes", "a,a")
    assert "there is nothing at" in refused("import", project, tmp_path / "none")
    assert "holds other files" in refused("export", project, world.root)
    assert "does not exist: give image files" in refused("predict", world.root / "classifier", tmp_path / "none.png")
    assert "holds no exported classifier" in refused("predict", tmp_path, world.image)


def _id(world: World) -> str:
    return str(world.said["queue"].json[0]["sample_id"])


def test_too_little_to_train_on_is_a_sentence(world, tmp_path):
    project = tmp_path / "project"
    train = ("train", project, "--backbone", NETWORK)
    done("init", project, "--classes", "cat")
    assert "has fewer than two classes: add them with: gradebook classes" in refused(*train)
    done("classes", project, "--add", "dog")
    assert "has no training images: import some with: gradebook import" in refused(*train)
    assert "there are no images in the project" in refused("embed", project)
    done("import", project, world.root / "images")
    assert "fewer than two classes have a label" in refused(*train)
    assert "has no run yet: start one with: gradebook train" in refused("evaluate", project)
    assert "No run has finished, so nothing is guessed yet. Label these first:" in done("queue", project).out
    (tmp_path / "cats.csv").write_text("".join(f"{line}\n" for line in ("filepath,label", f"{world.image},cat")))
    done("label", project, tmp_path / "cats.csv")
    assert "fewer than two classes have a label" in refused(*train)
    done("label", project, world.root / "labels.csv")
    assert "there are no cached views of test_resnet in this project: run: gradebook embed" in refused(*train)
    assert "has no run that stopped before its end" in refused("train", project, "--resume")


def test_broken_images_in_predict_are_named_and_the_others_answered(world, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no image")
    said = gradebook("predict", world.root / "classifier", broken, world.image, "--json")
    assert said.status == 0 and len(said.json) == 1
    assert said.err.startswith(f"gradebook: {broken} cannot be used") and len(said.err.splitlines()) == 1
    said = gradebook("predict", world.root / "classifier", broken)
    assert said.status == 2 and len(said.err.splitlines()) == 1


@pytest.mark.parametrize(
    "arguments", [("nothing",), ("status",), ("queue", "p", "--limit", "many"), ("import", "p", "i", "--split", "some")]
)
def test_a_command_line_that_means_nothing_has_status_two(arguments):
    said = gradebook(*arguments)
    assert said.status == 2 and said.err and "Traceback" not in said.err


# Help


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command):
    said = gradebook(command, "--help")
    assert said.status == 0
    assert "usage: gradebook" in said.out and len(said.out.splitlines()) > 5


@pytest.mark.parametrize("method", ["mpl", "uda"])
def test_the_help_of_train_shows_the_settings_of_its_method(method):
    said = gradebook("train", "--method", method, "--help").out
    for flag in ("--steps", "--seed", "--run", "--preset", "--record-every", "--student.lr", "--resume", "--json"):
        assert flag in said
    assert ("--feedback" in said) == (method == "mpl")
    assert "--uda-weight" in said


def test_without_a_command_it_teaches_the_first_round():
    said = gradebook()
    assert said.status == 0
    assert all(command in said.out for command in COMMANDS)
    assert "A first round:" in said.out


def test_the_installed_program_answers(world):
    program = Path(sys.executable).parent / "gradebook"
    done = subprocess.run([program, "status", world.project, "--json"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["samples"] == 24
