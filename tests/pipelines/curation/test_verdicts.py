from hypothesis import given
from hypothesis import strategies as st

from gradebook.pipelines.curation.event_cache import last_verdict
from gradebook.pipelines.curation.verdicts import Shown, undo, verdict
from gradebook.storage.events import Kind, decisions, event, queue, replay

SHOWN = Shown(sample_id="s0", label="heron", probability=0.75, reasons={"thin_margin": 0.9}, run="mpl-001")


def test_accepting_writes_the_proposal_and_the_verdict():
    proposal, answer = verdict(SHOWN, "heron", actor="ada")
    assert (proposal.kind, proposal.label, proposal.confidence) == (Kind.PROPOSED, "heron", 0.75)
    assert (proposal.actor, proposal.reasons) == ("run:mpl-001", {"thin_margin": 0.9})
    assert (answer.kind, answer.label, answer.actor) == (Kind.ACCEPTED, "heron", "ada")
    assert answer.ref == proposal.event_id
    assert replay([proposal, answer]) == {"s0": "heron"}
    assert queue([proposal, answer]) == []


def test_another_label_relabels_and_no_label_rejects():
    assert [e.kind for e in verdict(SHOWN, "crow", actor="ada")] == [Kind.PROPOSED, Kind.RELABELLED]
    assert [e.kind for e in verdict(SHOWN, None, actor="ada")] == [Kind.PROPOSED, Kind.REJECTED]
    assert replay(verdict(SHOWN, None, actor="ada")) == {}


def test_without_a_prediction_there_is_nothing_to_accept():
    (only,) = verdict(Shown(sample_id="s0"), "crow", actor="ada")
    assert (only.kind, only.label, only.ref) == (Kind.RELABELLED, "crow", None)


@given(st.lists(st.sampled_from(["heron", "crow", None]), min_size=1, max_size=5))
def test_undoing_everything_leaves_no_decision(choices):
    """Undo retracts the newest verdict first, until none is left."""
    events = [event(Kind.IMPORTED, "s0", "crow", actor="import")]
    for choice in choices:
        events += verdict(SHOWN, choice, actor="ada")
    for _ in choices:
        events.append(undo(last_verdict(decisions(events), "ada"), actor="ada"))
    assert last_verdict(decisions(events), "ada") is None
    assert replay(events) == {"s0": "crow"}, "the import stands again"


def test_only_ones_own_verdicts_can_be_undone():
    other = Shown(sample_id="s1", label="heron", probability=0.5, run="mpl-001")
    events = [*verdict(SHOWN, "crow", actor="ada"), *verdict(other, "heron", actor="bob")]

    decided = decisions(events)
    assert last_verdict(decided, "ada").label == "crow"
    assert last_verdict(decided, "eve") is None
