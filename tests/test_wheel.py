"""The wheel: what `pip install` puts on a user's machine."""

import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("app", "mpl", "pipelines", "storage")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=[("--wheel",), ()], ids=["from the checkout", "from the source archive"])
def wheel(request, tmp_path_factory) -> zipfile.ZipFile:
    """The wheel of this checkout, built with what `uv sync` has left in uv's cache."""
    if shutil.which("uv") is None:
        pytest.skip("uv is not installed")
    out = tmp_path_factory.mktemp("wheel")
    command = ["uv", "build", *request.param, "--offline", "--out-dir", str(out), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True)
    if "hatchling" in done.stderr and "network was disabled" in done.stderr:
        pytest.skip("hatchling is not in uv's cache: run uv sync once")
    assert done.returncode == 0, done.stderr
    (path,) = out.glob("*.whl")
    return zipfile.ZipFile(path)


def test_the_wheel_installs_one_top_level_package(wheel):
    top = {name.partition("/")[0] for name in wheel.namelist()}
    assert {name for name in top if not name.endswith(".dist-info")} == {"gradebook"}


def test_the_wheel_has_every_file_of_the_packages_and_no_link(wheel):
    listed = subprocess.run(["git", "ls-files", *PACKAGES], cwd=ROOT, capture_output=True, text=True, check=True)
    names = set(wheel.namelist())
    assert {f"gradebook/{name}" for name in listed.stdout.split()} <= names
    assert not [info.filename for info in wheel.infolist() if (info.external_attr >> 16) & 0o170000 == 0o120000]
    assert all(wheel.read(f"gradebook/{name}/__init__.py") is not None for name in PACKAGES)


def test_the_wheel_is_typed_and_has_no_tests_benchmarks_or_caches(wheel):
    names = wheel.namelist()
    assert "gradebook/py.typed" in names
    folders = {part for name in names for part in Path(name).parts}
    assert not folders & {"tests", "benchmarks", "docs", "__pycache__"}


def test_the_wheel_has_the_command_and_a_name_that_no_other_program_has(wheel):
    (info,) = {name.partition("/")[0] for name in wheel.namelist() if ".dist-info/" in name}
    assert info.startswith("gradebook_ai-")
    assert "gradebook = gradebook.pipelines.cli.main:main" in wheel.read(f"{info}/entry_points.txt").decode()
