"""Labels that come as dictionaries are read by their names: a dictionary may hold a name twice, or None."""

import pyarrow as pa
import pytest

from gradebook.storage import training_dynamics
from gradebook.storage.segments import history_schema
from gradebook.storage.training_dynamics import summarise

TEACHER = ["owl", "owl", None, "crow", "owl", "owl"]
STUDENT = ["owl", "crow", "crow", None, "owl", "owl"]


def history(coded: bool) -> pa.Table:
    """Six steps of one sample; `coded` by dictionaries of two "owl" and a None."""
    names = pa.array(["owl", "crow", "owl", None])
    places = {"owl": [0, 2], "crow": [1], None: [3]}

    def column(labels: list[str | None]) -> pa.Array:
        if not coded:
            return pa.array(labels, pa.string())
        codes = [places[name][step % len(places[name])] for step, name in enumerate(labels)]
        return pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32()), names)

    rows = len(TEACHER)
    columns = {
        "run": ["r"] * rows,
        "segment": ["s"] * rows,
        "step": list(range(1, rows + 1)),
        "sample_id": ["i"] * rows,
        "teacher_label": column(TEACHER),
        "student_label": column(STUDENT),
        "best_label": column(TEACHER),
    }
    numbers = {name: [0.5] * rows for name in history_schema().names if name not in columns}
    return pa.table(columns | numbers)


def test_coded_labels_give_the_same_dynamics_as_names():
    plain, coded = (summarise("r", history(coded)).to_pylist() for coded in (False, True))
    assert coded == plain
    assert plain[0]["flips"] == 2 and plain[0]["teacher_label"] == "owl"


@pytest.mark.parametrize("coded", [False, True])
def test_codes_have_each_name_once_and_no_code_for_null(coded):
    names, rows = training_dynamics.coded(history(coded)["teacher_label"])
    assert sorted(names) == ["crow", "owl"]
    assert [None if k < 0 else names[k] for k in rows] == TEACHER
