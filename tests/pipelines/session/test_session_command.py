"""What `gradebook session` refuses, and what it prints without a live session."""

from tests.pipelines.cli.cli_runner import done, refused


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
