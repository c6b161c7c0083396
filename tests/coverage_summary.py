"""A pytest plugin: prints which share of the lines the tests ran, and the files with the smallest share.

    python -m pytest --cov --cov-report= -p tests.coverage_summary

Lines that only child processes run (servers, jobs, killed writers) are not counted.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

from coverage import Coverage

LOWEST = 8
MIN_STATEMENTS = 20  # smaller files say little


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Reads pytest-cov's data, which is complete by now, of all of xdist's workers too."""
    coverage = Coverage()
    coverage.load()
    with tempfile.TemporaryDirectory() as directory:
        report = Path(directory) / "coverage.json"
        coverage.json_report(outfile=str(report))
        found = json.loads(report.read_text())
    shares = {path: file["summary"] for path, file in found["files"].items()}
    lowest = sorted(shares, key=lambda path: shares[path]["percent_covered"])
    lowest = [path for path in lowest if shares[path]["num_statements"] >= MIN_STATEMENTS][:LOWEST]
    total = found["totals"]
    terminalreporter.section("lines run by the tests' own processes")
    terminalreporter.line(f"{total['percent_covered']:5.1f} %  of {total['num_statements']} in {len(shares)} files")
    for path in lowest:
        terminalreporter.line(f"{shares[path]['percent_covered']:5.1f} %  of {shares[path]['num_statements']} {path}")
