"""The app starts in a second because it loads nothing heavy."""

import subprocess
import sys

VIEWS = ("evolution", "export", "images", "overview", "review", "train", "welcome")
PAGES = ", ".join(["gradebook.app.main", "gradebook.app.shell", *(f"gradebook.app.views.{name}" for name in VIEWS)])
HEAVY = {"torch", "torchvision", "timm", "accelerate", "fiftyone", "lancedb", "onnxruntime", "pyarrow.parquet"}


def test_no_page_imports_packages_that_only_an_open_project_needs():
    program = f"import sys, {PAGES}; print(*sys.modules)"
    loaded = set(subprocess.check_output([sys.executable, "-c", program], text=True).split())
    assert "gradebook.app.views.review" in loaded
    assert loaded & HEAVY == set()
