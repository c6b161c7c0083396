"""The commands of a round as other programs call them: JSON keys, exit statuses, no noise."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pipelines.cli.cli_runner import done, gradebook, refused
from tests.pipelines.cli.finished_round import FinishedRound


def test_every_command_of_a_round_succeeds_without_noise(world):
    for name, result in world.results.items():
        assert result.status == 0, (name, result.err)
        assert "\x1b" not in result.out + result.err and "\r" not in result.err, "no progress where nobody looks"
        assert len(result.err.splitlines()) <= 1, (name, result.err)
        assert len(result.out.splitlines()) == 1, "one line: of JSON, but for init"


def test_import_counts_files_and_names_duplicates_and_broken_ones(world):
    found = world.results["import"].json
    assert {k: found[k] for k in ("imported", "already_known", "duplicates", "conflicts", "broken")} == {
        **{"imported": 20, "already_known": 0, "duplicates": 1, "conflicts": 0, "broken": 1}
    }
    assert isinstance(found["near_duplicates"], int)
    assert "broken.png" in json.dumps(found["broken_files"])
    again = done("import", world.project, world.root / "images", "--json").json
    assert (again["imported"], again["already_known"]) == (0, 21), "files, the copy among them"
    assert world.results["import test"].json["imported"] == 4


def test_embed_and_label_print_counts(world):
    assert world.results["embed"].json["embedded"] == 24
    assert "random" in world.results["embed"].json["weights"]
    assert world.results["label"].json == {"labelled": 8, "unchanged": 0, "problems": []}


def test_train_ends_with_a_line_of_json(world):
    result = world.results["train"].json
    assert {"run", "steps", "seconds", "validation_accuracy"} <= result.keys()
    assert (result["run"], result["steps"], result["state"]) == ("one", 4, "finished")
    assert 0 <= result["validation_accuracy"] <= 1 and result["seconds"] > 0


def test_queue_is_a_list_of_rows(world):
    rows = world.results["queue"].json
    assert len(rows) == 5
    for row in rows:
        assert {"sample_id", "filepath", "label", "probability", "reasons"} <= row.keys()
        assert row["label"] in ("cat", "dog") and 0 <= row["probability"] <= 1 and row["reasons"]
    by_flips = done("queue", world.project, "--reason", "flips", "--run", "one", "--json").json
    flips = [row["reasons"]["flips"] for row in by_flips]
    assert len(flips) == 12 and flips == sorted(flips, reverse=True)


def test_record_prints_the_history_of_a_sample(world):
    rows = world.results["record"].json
    assert rows and all(row["step"] in (2, 4) for row in rows)
    keys = {"run", "step", "teacher_label", "teacher_probability", "student_label", "student_probability"}
    assert all(keys | {"feedback", "best_label", "best_gain"} <= row.keys() for row in rows)
    assert all(row["run"] == "one" and row["teacher_label"] in ("cat", "dog") for row in rows)
    sample = next(r for r in done("queue", world.project, "--json").json if r["filepath"] == str(world.image))
    assert done("record", world.project, sample["sample_id"], "--run", "one", "--json").json == rows


def test_record_takes_best_for_a_run(world):
    rows = done("record", world.project, world.image, "--run", "best", "--json").json
    assert rows == world.results["record"].json


def test_predict_without_any_image_is_status_2(world, tmp_path):
    (tmp_path / "notes.txt").write_text("no image")
    result = gradebook("predict", world.root / "classifier", tmp_path, "--json")
    assert (result.status, result.out) == (2, "[]\n")
    assert "there are no images" in result.err


def test_status_prints_the_numbers_of_a_project(world):
    found = world.results["status"].json
    numbers = {k: found[k] for k in ("samples", "labeled", "unlabeled", "test", "classes")}
    assert numbers == {"samples": 24, "labeled": 8, "unlabeled": 12, "test": 4, "classes": ["cat", "dog"]}
    assert [(run["name"], run["state"], run["step"]) for run in found["runs"]] == [("one", "finished", 4)]


def test_queue_can_list_doubtful_labels(world):
    rows = done("queue", world.project, "--labelled", "--limit", 100, "--json").json
    assert len(rows) == 8 and all(row["given"] in ("cat", "dog") for row in rows)
    by_score = done("queue", world.project, "--labelled", "--no-spread", "--limit", 100, "--json").json
    assert [row["score"] for row in by_score] == sorted((row["reasons"]["mislabelled"] for row in rows), reverse=True)
    assert ", labelled " in done("queue", world.project, "--labelled").out
    assert "--labelled orders by mislabelled: leave out --reason flips" in refused(
        "queue", world.project, "--labelled", "--reason", "flips"
    )


def test_similar_images_are_proposed_and_agreement_is_printed(world, tmp_path):
    project = tmp_path / "project"
    shutil.copytree(world.project, project)
    (labelled, *_) = done("queue", project, "--labelled", "--json").json
    like = ("neighbours", project, labelled["sample_id"], "--limit", 3)
    found = done(*like, "--json").json
    assert len(found) == 3 and {row["label"] for row in found} == {labelled["given"]}
    assert all({"sample_id", "filepath", "label", "similarity"} == row.keys() for row in found)
    before = done("status", project, "--json").json
    assert before["agreement"] == {"all": {"answered": 0, "agreed": 0, "rate": 0.0}}
    result = done(*like, "--propose")
    assert "3 images are now first in the queue" in result.err and f"{labelled['given']}?  " in result.out
    rows = done("queue", project, "--limit", 4, "--json").json
    assert [row["sample_id"] for row in rows[:3]] == [row["sample_id"] for row in found]
    assert all(row["proposal"] and row["label"] == labelled["given"] for row in rows[:3]) and not rows[3]["proposal"]
    assert done("status", project, "--json").json["labeled"] == before["labeled"]
    assert labelled["given"] in done("queue", project, "--limit", 1).out
    assert "has no label to propose" in refused("neighbours", project, found[0]["sample_id"])


def test_evaluate_compares_with_the_test_split(world):
    found = world.results["evaluate"].json
    assert {"run", "accuracy", "n", "ece", "per_class", "confusion"} <= found.keys()
    assert (found["run"], found["n"], sum(map(sum, found["confusion"]))) == ("one", 4, 4)
    assert set(found["per_class"]) == {"cat", "dog"}


def test_export_names_its_files_and_predict_uses_them(world):
    found = world.results["export"].json
    assert found["dir"] == str(world.root / "classifier")
    assert all((world.root / "classifier" / name).exists() for name in found["files"])
    rows = world.results["predict"].json
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
    assert [line.split()[:2] for line in done("classes", project).out.splitlines()] == [["1", "crow"], ["2", "heron"]]


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (("queue",), "Review these first, by one:"),
        (("status",), "24 images: 8 labelled, 12 unlabelled, 4 for testing"),
        (("evaluate",), "one on 4 images of the test split: accuracy"),
        (("classes",), " 1  cat "),
        (("import", "IMAGES"), "0 images imported, 21 already in the project"),
    ],
)
def test_without_json_results_are_printed_as_text(world, command, says):
    assert says in done(command[0], world.project, *(world.root / name.lower() for name in command[1:])).out


def test_without_json_a_record_is_a_table_and_predictions_are_lines(world):
    assert "teacher" in done("record", world.project, world.image).out
    result = done("predict", world.root / "classifier", world.image).out
    assert result.startswith(("cat  ", "dog  ")) and result.rstrip().endswith("019.png")


def test_one_sample_is_labelled_by_its_id(world, tmp_path):
    project = tmp_path / "project"
    shutil.copytree(world.project, project)
    (row, *_) = done("queue", project, "--limit", 1, "--json").json
    assert done("label", project, "--sample", row["sample_id"], "--label", "dog", "--json").json["labelled"] == 1
    assert done("status", project, "--json").json["labeled"] == 9
    assert done("queue", project, "--limit", 1, "--json").json[0]["sample_id"] != row["sample_id"]


def test_the_installed_command_runs(world):
    program = Path(sys.executable).parent / "gradebook"
    done = subprocess.run([program, "status", world.project, "--json"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["samples"] == 24


def test_unknown_names_are_one_line_errors(world, tmp_path):
    project = world.project
    assert "label 'dodo' is not a class" in refused("label", project, "--sample", _id(world), "--label", "dodo")
    assert "give a file, or a sample and its label" in refused("label", project, "--sample", "x")
    assert "give a file, or a sample and its label" in refused("label", project)
    assert "there is no file" in refused("label", project, tmp_path / "none.csv")
    assert "there is no reason 'luck': choose one of feature_classifier," in refused(
        "queue", project, "--reason", "luck"
    )
    for command in (("queue",), ("evaluate",), ("export", tmp_path / "out"), ("record", world.image)):
        result = refused(command[0], project, *command[1:], "--run", "none")
        assert "there is no run 'none'" in result and "choose one of one" in result
    assert "is neither a sample's id nor an imported file" in refused("record", project, "none.png")
    assert "is a project already" in refused("init", project)
    assert "a class is given twice" in refused("init", tmp_path / "new", "--classes", "a,a")
    assert "there is nothing at" in refused("import", project, tmp_path / "none")
    assert "holds other files" in refused("export", project, world.root)
    assert "does not exist: give image files" in refused("predict", world.root / "classifier", tmp_path / "none.png")
    assert "holds no exported classifier" in refused("predict", tmp_path, world.image)


def _id(world: FinishedRound) -> str:
    return str(world.results["queue"].json[0]["sample_id"])


def test_broken_images_are_named_and_the_others_predicted(world, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no image")
    result = gradebook("predict", world.root / "classifier", broken, world.image, "--json")
    assert result.status == 0 and len(result.json) == 1
    assert result.err.startswith(f"gradebook: {broken} cannot be used") and len(result.err.splitlines()) == 1
    result = gradebook("predict", world.root / "classifier", broken)
    assert result.status == 2 and len(result.err.splitlines()) == 1


@pytest.mark.parametrize(
    "name", ["import", "label", "queue", "record", "status", "evaluate", "export", "predict", "embed"]
)
def test_the_documented_json_keys_are_printed(world, name):
    table = (Path(__file__).parents[3] / "docs" / "commands.md").read_text(encoding="utf-8")
    rows = [line.split(" | ") for line in table.splitlines() if line.startswith(f"| `{name} ")]
    documented = {
        word for row in rows for text in re.findall(r"`([^`]+)`", row[1].partition(";")[0]) for word in text.split(", ")
    }
    printed = world.results[name].json
    keys = set(printed[0] if isinstance(printed, list) else printed)
    assert documented and documented - keys - {"predicted", "before", "..."} == set()
