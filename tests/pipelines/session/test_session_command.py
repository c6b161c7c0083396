"""What `gradebook session` refuses, and what it prints without a live session."""

import pytest

from tests.pipelines.cli.cli_runner import done, refused
from tests.pipelines.cli.finished_round import NETWORK, SIDE, picture


def test_without_a_live_session_there_is_nothing_to_stop(store):
    assert "no session is live" in refused("session", store.project.root, "--stop")


def test_without_a_live_session_the_status_is_null(store):
    assert done("session", store.project.root, "--status", "--json").json is None
    assert "no session is live" in done("session", store.project.root, "--status").out
    assert done("status", store.project.root, "--json").json["session"] is None


def test_stop_and_status_do_not_go_together(store):
    assert "give one of them" in refused("session", store.project.root, "--stop", "--status")


def test_idle_minutes_are_not_negative(store):
    assert "0 for never" in refused("session", store.project.root, "--idle-minutes", "-1")


def test_several_launched_processes_are_refused(store, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr("os.nice", lambda increment: 0)
    assert "accelerate launch --num_processes 1" in refused("session", store.project.root)
    assert done("session", store.project.root, "--status", "--json").json is None


@pytest.mark.slow
def test_what_a_session_leaves_is_evaluated_and_exported_like_any_run(tmp_path, monkeypatch):
    monkeypatch.setattr("os.nice", lambda increment: 0)  # this process has other tests to run
    project, images = tmp_path / "project", tmp_path / "images"
    train = [picture(images / f"{n:03}.png", n, n % 2) for n in range(20)]
    rows = [f"{path},{('cat', 'dog')[n % 2]}" for n, path in enumerate(train[:6])]
    (tmp_path / "labels.csv").write_text("\n".join(["filepath,label", *rows, ""]))
    for n in range(4):
        picture(tmp_path / "test" / ("cat", "dog")[n % 2] / f"{n}.png", 100 + n, n % 2)
    done("init", project, "--classes", "cat,dog")
    done("import", project, images)
    done("import", project, tmp_path / "test", "--labels", "folders", "--split", "test")
    done("embed", project, "--backbone", NETWORK, "--weights", "random", "--size", SIDE)
    done("label", project, tmp_path / "labels.csv")
    result = done("session", project, "--idle-minutes", "0.001", "--json").json
    assert (result["run"], result["state"], result["labels"], result["reason"]) == (
        "session-001",
        "finished",
        6,
        "idle",
    )
    assert done("evaluate", project, "--json").json["run"] == "session-001"
    assert done("export", project, tmp_path / "classifier", "--json").json["run"] == "session-001"
    assert len(done("predict", tmp_path / "classifier", train[0], "--json").json) == 1
    assert done("verify", project, "--json").json["findings"] == []
