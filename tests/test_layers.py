"""Who may import whom, and what must not be needed."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.pipelines.blocked_imports import run_without

ROOT = Path(__file__).parent.parent
LIGHT = ", ".join(
    f"gradebook.{name}"
    for name in (
        "app.main",
        "app.shell",
        "pipelines.cli.main",
        "pipelines.jobs.launcher",
        "pipelines.runs",
        "pipelines.curation.review_queue",
        "pipelines.inference.predict",
    )
)
HEAVY = {"torch", "torchvision", "timm", "accelerate", "lancedb", "fiftyone", "pandas", "pyarrow.parquet"}


def test_the_layers_hold():
    command = [Path(sys.executable).parent / "lint-imports", "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert "0 broken" in done.stdout


def test_commands_that_must_start_quickly_import_nothing_heavy():
    done = run_without((), f"import {LIGHT}; print(*sys.modules)")
    loaded = set(done.stdout.split())
    assert "gradebook.pipelines.curation.review_queue" in loaded, done.stderr
    assert loaded & HEAVY == set()


def test_the_queue_is_ranked_without_torch(tmp_path):
    """The app does it at every press."""
    code = """
from pathlib import Path
from gradebook.pipelines.curation.review_queue import rank, sentences
from gradebook.storage.project import create_project
from gradebook.storage.store import memory_store

assert rank(memory_store(create_project(Path(sys.argv[1]), ["a", "b"])), None) == []
assert sentences()
"""
    done = run_without(("torch", "timm", "accelerate", "torchvision"), code, str(tmp_path / "project"))
    assert done.returncode == 0, done.stderr


def test_mpl_imports_no_storage_and_training_no_database_or_app():
    code = """
from gradebook.mpl import augment, backbones, methods, metrics, networks, reasons

assert not {*sys.modules} & {"gradebook.storage", "gradebook.pipelines", "gradebook.app", "accelerate"}
import gradebook.pipelines.train, gradebook.pipelines.training.image_loader, gradebook.pipelines.inference.evaluate

assert "gradebook.pipelines.training.recorder" in sys.modules
"""
    done = run_without(("lancedb", "fiftyone", "streamlit", "plotly", "pymongo"), code)
    assert done.returncode == 0, done.stderr


def test_every_module_is_imported_under_one_name():
    """In a checkout `import mpl` would load every module a second time, with classes of its own."""
    ours = ("app", "mpl", "pipelines", "storage")
    assert [(ROOT / "gradebook" / name).resolve() for name in ours] == [ROOT / name for name in ours]
    done = run_without((), f"import {LIGHT}, gradebook.pipelines.train; print(*sys.modules)")
    loaded = done.stdout.split()
    assert "gradebook.pipelines.train" in loaded, done.stderr
    assert [name for name in loaded if name.split(".")[0] in ours] == []


@pytest.mark.parametrize("program", ["pipelines/train.py", "app/main.py"])
def test_a_program_that_is_run_as_a_file_hides_no_package(program):
    path = ROOT / program
    head = path.read_text().partition("\nsys.path[:] = ")
    code = f"import sys; sys.path.insert(0, {str(path.parent)!r}); __file__ = {program!r}\n"
    code += head[0] + head[1] + head[2].partition("\n")[0] + "\nprint(*sys.path, sep='\\n')"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert str(path.parent) not in done.stdout.splitlines()


def test_no_module_of_pipelines_hides_another_package():
    """`accelerate launch pipelines/train.py` searches pipelines/ for modules first."""
    from importlib.metadata import packages_distributions

    folders = (ROOT / "pipelines", ROOT / "pipelines" / "studies")  # those with programs that are run as files
    ours = {path.stem for folder in folders for path in folder.iterdir()} - {"__init__", "__pycache__"}
    theirs = set(packages_distributions()) | set(sys.stdlib_module_names) | {"datasets"}  # lancedb asks for that one
    assert ours & theirs == set()
