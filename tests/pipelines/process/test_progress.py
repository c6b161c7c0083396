"""Progress where no terminal shows a bar: a line now and then, and none for what is quick."""

from gradebook.pipelines.process import progress as module
from gradebook.pipelines.process.progress import LINE_INTERVAL_S, progress


def test_a_piped_command_prints_a_line_every_ten_seconds(capsys, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    with progress("embed") as show:
        for done in range(1, 26):
            clock[0] += 1
            show(done * 1000, 25_000, what="embed")
    assert LINE_INTERVAL_S == 10
    assert capsys.readouterr().err.splitlines() == ["embed: 10,000 of 25,000", "embed: 20,000 of 25,000"]


def test_what_is_quick_prints_nothing(capsys):
    with progress("import", 3) as show:
        show(3)
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""
