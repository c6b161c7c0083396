"""Who may import whom, and what must not be needed."""

import subprocess
import sys
from pathlib import Path

from tests.pipelines.blocked_imports import run_without

ROOT = Path(__file__).parent.parent
LIGHT = "gradebook.app.main, gradebook.pipelines.cli.main, gradebook.pipelines.jobs.launcher, gradebook.pipelines.runs, gradebook.pipelines.curation.review_queue, gradebook.pipelines.inference.predict"
HEAVY = {"torch", "torchvision", "timm", "accelerate", "lancedb", "fiftyone", "pandas", "pyarrow.parquet"}


def test_the_layers_hold():
    command = [Path(sys.executable).parent / "lint-imports", "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert "0 broken" in done.stdout


def test_what_must_start_quickly_loads_nothing_heavy():
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


def test_mpl_speaks_arrays_alone_and_training_needs_no_database_and_no_app():
    code = """
import gradebook.mpl.methods, gradebook.mpl.networks, gradebook.mpl.augment, gradebook.mpl.metrics, gradebook.mpl.reasons, gradebook.mpl.backbones

assert not {name.split(".")[0] for name in sys.modules} & {"storage", "pipelines", "app", "accelerate"}
import gradebook.pipelines.train, gradebook.pipelines.training.image_loader, gradebook.pipelines.inference.evaluate

assert "gradebook.pipelines.training.recorder" in sys.modules
"""
    done = run_without(("lancedb", "fiftyone", "streamlit", "plotly", "pymongo"), code)
    assert done.returncode == 0, done.stderr


def test_no_module_of_pipelines_hides_another_package():
    """`accelerate launch pipelines/train.py` looks for modules in pipelines/ before anywhere else."""
    from importlib.metadata import packages_distributions

    folders = (ROOT / "pipelines", ROOT / "pipelines" / "studies")  # those with programs that are run as files
    ours = {path.stem for folder in folders for path in folder.iterdir()} - {"__init__", "__pycache__"}
    theirs = set(packages_distributions()) | set(sys.stdlib_module_names) | {"datasets"}  # lancedb asks for that one
    assert ours & theirs == set()
