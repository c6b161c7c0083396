"""What a label would have done, in one sentence."""

from gradebook.pipelines.reporting.label_effect import label_effect


def row(teacher, feedback, best, gain):
    return {"teacher_label": teacher, "feedback": feedback, "best_label": best, "best_gain": gain}


def test_the_sentence_counts_the_steps_at_which_a_class_lowered_the_loss():
    rows = (
        [row("cat", 0.2, "cat", 0.0)] * 61 + [row("cat", -0.1, "dog", 0.3)] * 12 + [row("cat", -0.1, "owl", 0.05)] * 11
    )
    assert label_effect(rows) == (
        "Called cat, this image lowered the loss on your labels at 61 of 84 recorded steps; "
        "called dog, it would have lowered it most at 12 of 84 recorded steps."
    )


def test_a_class_that_is_best_but_would_raise_the_loss_does_not_count():
    assert label_effect([row("cat", -0.2, "dog", 0.1)]) == (
        "Called cat, this image lowered the loss on your labels at 0 of 1 recorded step; "
        "no other class would have lowered it more."
    )


def test_steps_at_which_the_teacher_predicted_another_class_are_not_counted_for_the_first():
    rows = [row("cat", 0.2, "cat", 0.0)] * 3 + [row("dog", 0.2, "dog", 0.0)] * 2
    assert label_effect(rows).startswith("Called cat, this image lowered the loss on your labels at 3 of 3 recorded")
    assert "called dog, it would have lowered it most at 2 of 5" in label_effect(rows)


def test_without_feedback_there_is_no_sentence():
    assert label_effect([]) == label_effect([row("cat", None, None, None), row(None, None, None, None)]) == ""
