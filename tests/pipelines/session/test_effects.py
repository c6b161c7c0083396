"""What the newest labels changed."""

import numpy as np
import pytest

from gradebook.pipelines.runs import Run
from gradebook.pipelines.session.effects import (
    CHANGED,
    RECENT_LABELS,
    ChangedPrediction,
    Effect,
    Effects,
    EffectTracker,
    VerdictFeedback,
    read_effects,
    write_effects,
)

NAMES, IDS = ("crow", "owl"), [f"s{k}" for k in range(20)]


def labels(number):
    return np.where(np.arange(len(IDS)) < number, 0, -1)


def predicted(*owls):
    return np.where(np.isin(np.arange(len(IDS)), owls), 1, 0)


def ids(effect):
    return [row.sample_id for row in effect.changed]


def test_a_change_counts_since_the_snapshot_before_the_newest_label():
    tracker = EffectTracker(NAMES, IDS)
    assert tracker.add(labels(2), predicted(15)) == Effects()
    assert tracker.add(labels(2), predicted(15, 16)) == Effects(), "no label is new"
    one = tracker.add(labels(3), predicted(16, 17))
    assert one.last == one.recent == Effect(labels=1, changed=(row(15, "owl", "crow"), row(17, "crow", "owl")))
    more = tracker.add(labels(3), predicted(16, 17, 18))
    assert ids(more.last) == ["s15", "s17", "s18"], "further training belongs to the same label"
    two = tracker.add(labels(5), predicted(16, 17, 18, 19))
    assert (two.last.labels, ids(two.last)) == (2, ["s19"])
    assert (two.recent.labels, ids(two.recent)) == (3, ["s15", "s17", "s18", "s19"])


def test_the_recent_labels_are_the_last_ten():
    tracker = EffectTracker(NAMES, IDS)
    for number in range(15):
        effects = tracker.add(labels(number), predicted(19) if number % 2 else predicted())
    assert effects.recent.labels == RECENT_LABELS
    assert (effects.last.labels, ids(effects.last), ids(effects.recent)) == (1, ["s19"], [])


def test_images_without_a_prediction_do_not_count():
    tracker = EffectTracker(NAMES, IDS)
    tracker.add(labels(1), predicted(5))
    after = predicted()
    after[5] = -1
    assert tracker.add(labels(2), after).last == Effect(labels=1)


def test_effects_are_read_as_they_were_written(tmp_path):
    run = Run(tmp_path)
    assert read_effects(run) == Effects()
    verdict = VerdictFeedback(sample_id="s1", label="owl", pseudo_label="crow", probability=0.5, feedback=-0.01)
    effects = Effects(last=Effect(labels=1, changed=(row(3, "crow", "owl"),)), recent=Effect(labels=4), verdict=verdict)
    write_effects(tmp_path, effects)
    assert read_effects(run) == effects
    for content in ("", "[]", "{}", '{"last": 1, "recent": 2, "verdict": 3}'):
        (tmp_path / CHANGED).write_text(content)
        assert read_effects(run) == Effects()


@pytest.mark.parametrize(
    ("label", "pseudo_label", "feedback", "sentence"),
    [
        ("owl", "", None, "You labelled it owl. The teacher had no pseudo-label for it yet."),
        (
            "owl",
            "crow",
            -0.1,
            "You labelled it owl; the teacher's pseudo-label was crow (50%), "
            "which had raised the student's loss on the labels.",
        ),
        (
            "owl",
            "owl",
            0.1,
            "You labelled it owl; the teacher's pseudo-label was the same (50%), "
            "which had lowered the student's loss on the labels.",
        ),
        (
            None,
            "crow",
            None,
            "You rejected it; the teacher's pseudo-label was crow (50%), and the student had not trained on it yet.",
        ),
    ],
)
def test_the_feedback_of_a_verdict_is_a_sentence(label, pseudo_label, feedback, sentence):
    verdict = VerdictFeedback(
        sample_id="s1", label=label, pseudo_label=pseudo_label, probability=0.5, feedback=feedback
    )
    assert verdict.sentence == sentence


def row(number, before, after):
    return ChangedPrediction(sample_id=f"s{number}", before=before, after=after)
