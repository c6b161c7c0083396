"""The rows that a pool has written, and those that it should have."""

import csv
from pathlib import Path

from gradebook.pipelines.inference.predict import predict
from gradebook.storage.samples import sample_id
from tests.pipelines.colours import CLASSES


def rows(out: Path) -> list[dict[str, str]]:
    with out.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def brute_force(classifier: Path, folder: Path, per_class: int, threshold: float = 0.0) -> list[tuple[str, str]]:
    """Returns label and id of the images to select, by scoring all and sorting."""
    predictions = predict(classifier, [folder], broken=lambda sentence: None)
    every = {sample_id(Path(p.filepath).read_bytes()): p for p in predictions if p.probability >= threshold}
    kept = []
    for name in CLASSES:
        of_class = sorted((-p.probability, i) for i, p in every.items() if p.label == name)
        kept += [(name, i) for _, i in of_class[:per_class]]
    return kept
