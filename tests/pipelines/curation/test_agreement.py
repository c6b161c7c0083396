from gradebook.pipelines.curation.agreement import agreement
from gradebook.storage.events import Event, Kind, event


def asked(sample: str, verdict: Kind, label: str | None, **reasons: float) -> list[Event]:
    """Returns a proposal of a heron and the verdict on it."""
    proposal = event(Kind.PROPOSED, sample, "heron", actor="run:r", reasons=reasons)
    return [proposal, event(verdict, sample, label, actor="ada", ref=proposal.event_id)]


def test_without_verdicts_there_is_no_agreement():
    open_ = [event(Kind.PROPOSED, "s0", "heron", actor="run:r", reasons={"flips": 1.0})]
    alone = [event(Kind.RELABELLED, "s1", "owl", actor="ada")]
    assert agreement([*open_, *alone]) == {"all": {"answered": 0, "agreed": 0, "rate": 0.0}}


def test_each_reason_is_counted_where_its_score_was_high():
    events = [
        *asked("s0", Kind.ACCEPTED, "heron", flips=0.9, entropy=0.5),
        *asked("s1", Kind.RELABELLED, "owl", flips=0.9, entropy=0.4),
        *asked("s2", Kind.REJECTED, None, flips=0.5),
        *asked("s3", Kind.ACCEPTED, "heron", entropy=0.8),
    ]
    found = agreement(events)
    assert found == {
        "all": {"answered": 4, "agreed": 2, "rate": 0.5},
        "flips": {"answered": 3, "agreed": 1, "rate": 0.3333},
        "entropy": {"answered": 2, "agreed": 2, "rate": 1.0},
    }
    assert list(found) == ["all", "flips", "entropy"]


def test_labels_of_similar_images_are_counted_apart_from_predictions():
    events = [
        *asked("s0", Kind.ACCEPTED, "heron", flips=0.9),
        *asked("s1", Kind.RELABELLED, "owl", alike=0.4),
        *asked("s2", Kind.ACCEPTED, "heron", alike=0.9),
    ]
    assert agreement(events) == {
        "all": {"answered": 1, "agreed": 1, "rate": 1.0},
        "alike": {"answered": 2, "agreed": 1, "rate": 0.5},
        "flips": {"answered": 1, "agreed": 1, "rate": 1.0},
    }


def test_a_reason_of_older_events_counts_under_its_present_name():
    events = [
        *asked("s0", Kind.ACCEPTED, "heron", second_reader=0.9),
        *asked("s1", Kind.ACCEPTED, "heron", feature_classifier=0.9),
    ]
    assert agreement(events).keys() == {"all", "feature_classifier"}
    assert agreement(events)["feature_classifier"]["answered"] == 2


def test_a_retracted_verdict_does_not_count_and_a_second_one_counts_once():
    events = asked("s0", Kind.RELABELLED, "owl", flips=1.0)
    undone = [*events, event(Kind.RETRACTED, "s0", actor="ada", ref=events[1].event_id)]
    assert agreement(undone)["all"]["answered"] == 0
    again = [*undone, event(Kind.ACCEPTED, "s0", "heron", actor="ada", ref=events[0].event_id)]
    assert agreement(again)["flips"] == {"answered": 1, "agreed": 1, "rate": 1.0}
    twice = [*events, event(Kind.ACCEPTED, "s0", "heron", actor="bob", ref=events[0].event_id)]
    assert agreement(twice)["all"] == {"answered": 1, "agreed": 1, "rate": 1.0}
