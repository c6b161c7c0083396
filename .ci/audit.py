"""Compares the versions in uv.lock with the vulnerabilities listed at osv.dev: `python .ci/audit.py`.

Options are passed to `uv audit`, such as `--service-url` for a mirror of osv.dev.

Exit status 1: there are some, and they are printed. Where osv.dev cannot be reached nothing is compared; then the
locked versions of the packages that answer requests or read files of others are printed, with the date of the lock.
"""

import subprocess
import sys
import tomllib
from datetime import UTC, datetime
from pathlib import Path

LOCK = Path(__file__).parent.parent / "uv.lock"
COMMAND = ("uv", "audit", "--locked", "--no-default-groups")
EXPOSED = {
    "answer requests": ("fiftyone", "hypercorn", "pymongo", "starlette", "streamlit", "uvicorn", "websockets"),
    "read files of others": ("lancedb", "onnx", "onnxruntime", "pandas", "pillow", "pyarrow", "safetensors", "torch"),
}


def main() -> int:
    """Prints the vulnerabilities, or the list; returns 1 if there are vulnerabilities."""
    status = subprocess.run((*COMMAND, *sys.argv[1:]), cwd=LOCK.parent, check=False).returncode
    if status in (0, 1):
        return status
    print(f"Nothing was compared: {' '.join(COMMAND)} ended with status {status}. Locked on {_locked_on()}:")
    locked = {package["name"]: package["version"] for package in tomllib.loads(LOCK.read_text("utf-8"))["package"]}
    for what, names in EXPOSED.items():
        print(f"  {what}: {', '.join(f'{name} {locked[name]}' for name in names)}")
    return 0


def _locked_on() -> str:
    """Returns the date of the last change of uv.lock."""
    command = ("git", "log", "-1", "--format=%cs", "--", LOCK.name)
    done = subprocess.run(command, cwd=LOCK.parent, check=False, capture_output=True, text=True)
    return done.stdout.strip() or f"{datetime.fromtimestamp(LOCK.stat().st_mtime, UTC):%Y-%m-%d}"


if __name__ == "__main__":
    sys.exit(main())
