"""The predictions of a run for the images that have no label."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gradebook.pipelines.curation.evidence import check_finished
from gradebook.pipelines.curation.feature_classifier import classes_of, read_predictions
from gradebook.pipelines.runs import Run
from gradebook.storage.events import decisions
from gradebook.storage.samples import Split

if TYPE_CHECKING:
    from gradebook.storage.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictedSample:
    """An unlabelled image, and what the run's student predicts for it."""

    sample_id: str
    filepath: str
    label: str
    probability: float
    probabilities: dict[str, float]  # class -> probability
    width: int  # pixels
    height: int  # pixels


def predicted_rows(store: "Store", run: Run) -> tuple[list[str], list[PredictedSample]]:
    """Returns the run's classes, and its predictions for the images that nobody has decided since, in order of import.

    Raises:
        ProjectError: the run has not finished, or its predictions cannot be read.
    """
    check_finished(run)
    predictions = read_predictions(run, classes_of(store, run))
    decided = decisions(store.log.read())
    row_of = {sample_id: n for n, sample_id in enumerate(predictions.sample_ids)}
    rows = []
    for sample in store.catalog.samples(Split.TRAIN):
        if sample.sample_id in decided or sample.sample_id not in row_of:
            continue
        values = predictions.student[row_of[sample.sample_id]]
        best = int(values.argmax())
        rows.append(
            PredictedSample(
                sample_id=sample.sample_id,
                filepath=sample.filepath,
                label=predictions.classes[best],
                probability=float(values[best]),
                probabilities={name: float(p) for name, p in zip(predictions.classes, values, strict=True)},
                width=sample.width,
                height=sample.height,
            )
        )
    return predictions.classes, rows
