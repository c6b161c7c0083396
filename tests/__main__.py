"""The test command: format, lint, types, layers, then the tests. `python -m tests` prints pytest's summary last."""

import subprocess
import sys

CHECKS = (
    ("ruff", "format", "--no-cache", "--check", "."),
    ("ruff", "check", "--no-cache", "."),
    ("mypy",),
    ("lint-imports", "--no-cache"),
    (sys.executable, "-m", "pytest", *sys.argv[1:]),
)


def main() -> int:
    for check in CHECKS:
        print("$", " ".join(check), flush=True)
        status = subprocess.call(check)
        if status:
            return status
    return 0


if __name__ == "__main__":
    sys.exit(main())
