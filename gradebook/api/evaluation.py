"""The result of an evaluation, with tables instead of nested lists."""

from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from gradebook.api.tables import frame

if TYPE_CHECKING:
    import pandas as pd

    from gradebook.pipelines.inference.evaluate import Evaluation as Scores

Interval = tuple[float, float]  # with 95 % confidence


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """How well a run's student classifies labelled images that it was not trained on."""

    run: str
    on: str  # which images
    n: int  # how many
    accuracy: float
    accuracy_interval: Interval
    balanced_accuracy: float  # the mean over classes of the accuracy in each
    balanced_accuracy_interval: Interval
    ece: float  # expected calibration error, 15 bins
    per_class: "pd.DataFrame"  # index: the class; n, accuracy (missing where n is 0)
    confusion: "pd.DataFrame"  # index: the label, columns: the predicted class
    unknown_classes: dict[str, int]  # class that the run does not know -> images of it, which count as wrong
    baseline: dict[str, Any] | None  # the same scores of logistic regression on the same embeddings and labels

    def __repr__(self) -> str:
        low, high = self.accuracy_interval
        return f"<Evaluation of {self.run}: accuracy {self.accuracy:.1%} ({low:.1%} to {high:.1%}) of {self.n} images>"


def as_tables(scores: "Scores") -> Evaluation:
    """Returns an evaluation with its tables."""
    import pandas as pd

    names = {field.name for field in fields(Evaluation)} - {"per_class", "confusion", "baseline"}
    per_class = [{"class": name, **row} for name, row in scores.per_class.items()]
    return Evaluation(
        **{name: getattr(scores, name) for name in names},
        per_class=frame(per_class, ("class", "n", "accuracy")).set_index("class"),
        confusion=pd.DataFrame(scores.confusion, index=scores.classes, columns=scores.classes),
        baseline=None if scores.baseline is None else asdict(scores.baseline),
    )
