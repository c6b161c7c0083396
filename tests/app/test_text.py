from datetime import UTC, datetime, timedelta

import pytest

from gradebook.app.text import actor_name, ago, count, describe_event, join_names, percent, plain, shorten
from gradebook.storage.events import Kind, event


@pytest.mark.parametrize(
    "text",
    [
        "**bold**",
        "[a](http://b)",
        "![a](b)",
        "<b>",
        "`code`",
        "$x$",
        ":red[x]",
        ":smile:",
        "# title",
        "a_b_c",
        "~~a~~",
    ],
)
def test_plain_escapes_all_markdown(text):
    shown = plain(text)
    assert shown.replace("\\", "") == text
    assert all(shown[n - 1] == "\\" for n, c in enumerate(shown) if not c.isalnum() and c not in " \\")


def test_plain_keeps_letters_of_every_language_and_makes_one_line():
    assert plain("Möwe 鷺\n\tx\u202ey\x00") == "Möwe 鷺 x y"


def test_events_are_described_with_their_actor():
    assert describe_event(event(Kind.ACCEPTED, "s0", "heron", actor="ada")) == "heron, accepted by ada"
    assert describe_event(event(Kind.REJECTED, "s0", actor="ada")) == "rejected by ada"
    assert describe_event(event(Kind.PROPOSED, "s0", "heron", actor="run:mpl-001")) == "heron, proposed by run mpl-001"
    assert actor_name("run") == "run"


def test_numbers_in_words():
    assert [percent(0.755), percent(None)] == ["76%", "–"]
    assert [count(1, "image"), count(2000, "image"), count(0, "class", "classes")] == [
        "1 image",
        "2,000 images",
        "0 classes",
    ]
    assert [join_names(["a"]), join_names(["a", "b"]), join_names(["a", "b", "c"])] == ["a", "a and b", "a, b and c"]
    now = datetime.now(UTC)
    assert ago(now) == "just now"
    assert ago(now - timedelta(hours=1, minutes=1)) == "1 hour ago"
    assert ago((now - timedelta(days=3)).isoformat()) == "3 days ago"


def test_a_long_name_is_shortened():
    assert shorten("crow") == "crow"
    assert shorten("a" * 40, 10) == "a" * 9 + "…"
