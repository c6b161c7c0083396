"""The tables of the study of few labels, from scores that were computed before."""

from gradebook.pipelines.studies import few_labels
from gradebook.pipelines.studies.few_labels import DEFAULT, MEASURES, FewLabels, as_markdown


def scores(*accuracies: float) -> list[few_labels.Scores]:
    return [dict.fromkeys(MEASURES, accuracy) for accuracy in accuracies]


def test_a_table_has_the_leads_of_the_default_the_mean_rank_and_what_the_feedback_changes(tmp_path):
    of_sets = {
        "birds": {DEFAULT: scores(0.8, 0.9), "mpl:none": scores(0.6, 0.7), "mpl": scores(0.7, 0.8)},
        "leaves": {DEFAULT: scores(0.5, 0.7), "mpl:none": scores(0.4, 0.4), "mpl": scores(0.6, 0.8)},
    }
    options = FewLabels(sets=(tmp_path / "birds", tmp_path / "leaves"), seeds=(0, 1), methods=("mpl:none", "mpl"))
    lines = as_markdown(options, 5, of_sets, ()).splitlines()
    table = lines[lines.index("| accuracy, % | birds | leaves | rank |") :]
    assert [line.split(" | ")[0].strip("| *") for line in table[2:5]] == ["default", "mpl", "mpl:none"]
    assert [line.split(" | ")[-1].strip("| ") for line in table[2:5]] == ["1.5", "1.5", "3.0"]
    assert "(10.0 ± 0.0)" in table[3] and "(-10.0 ± 0.0)" in table[3], "how far the default is ahead, seed by seed"
    feedback = lines[lines.index("| mpl minus mpl:none, points | birds | leaves |") :]
    assert feedback[2].startswith("| accuracy | 10.0 ± 0.0 | 30.0 ± ")


def test_what_the_feedback_changes_is_shown_only_where_both_students_are_compared(tmp_path):
    of_sets = {"birds": {DEFAULT: scores(0.8, 0.9), "mpl": scores(0.7, 0.8)}}
    options = FewLabels(sets=(tmp_path / "birds",), seeds=(0, 1), methods=("mpl",))
    assert "minus" not in as_markdown(options, 5, of_sets, ())
