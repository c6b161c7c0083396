"""A Python in which some packages are as if they were not installed."""

import os
import subprocess
import sys
from collections.abc import Sequence

_PROGRAM = """
import sys
from importlib.abc import MetaPathFinder

class Blocked(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.split(".")[0] in {names!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}} (blocked)", name=name)

sys.meta_path.insert(0, Blocked())
{code}
"""


def run_without(names: Sequence[str], code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs code in a process of its own where the packages of these names cannot be imported."""
    program = _PROGRAM.format(names=set(names), code=code)
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
