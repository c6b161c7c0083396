"""The counts of benchmarks/structure.py, on a checkout whose counts are known."""

from benchmarks.structure import counts

LONG = "def long(a, b, c, d, e, f, g):\n" + "    a += 1\n" * 30


def test_circles_long_functions_and_modules_are_counted(tmp_path):
    for package in ("app", "mpl", "pipelines/curation", "storage"):
        (tmp_path / package).mkdir(parents=True)
    (tmp_path / "app" / "main.py").write_text("from gradebook.pipelines import runs\n")
    (tmp_path / "mpl" / "step.py").write_text(LONG)
    (tmp_path / "pipelines" / "__init__.py").write_text("")
    (tmp_path / "pipelines" / "runs.py").write_text("def late():\n    from gradebook.pipelines.curation import queue\n")
    (tmp_path / "pipelines" / "curation" / "queue.py").write_text("import gradebook.pipelines.runs\n")
    assert counts(tmp_path) == {
        "modules at the root of pipelines": 1,
        "modules": 5,
        "circular imports": 1,
        "functions over 30 lines": 1,
        "functions with more than 6 arguments": 1,
        "lines of code": 31 + 1 + 2 + 1,
    }
