"""A fixed teacher as a table of its predictions, which come from another run.

Reduced Meta Pseudo Labels (Pham et al., 2021, appendix E) computes a large teacher's distributions once and then trains
with one network in memory. The large teacher is the finished student of the other run.

Shape legend    N samples of the run    K classes
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradebook.pipelines.runs import CONFIG, PREDICTIONS, Run
from gradebook.pipelines.training.config import ConfigError, TrainConfig
from gradebook.pipelines.training.dataset import TrainingSet

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def load_distributions(
    config: TrainConfig[Any], training_set: TrainingSet, runs: Path, device: "torch.device"
) -> "dict[str, Tensor]":
    """Returns the first state of the method: "distributions" (N, K) where the config names a run, else nothing.

    Rows of samples with a label, which no method uses, are zero.

    Args:
        config: of the new run.
        training_set: its samples.
        runs: the directory of both runs.
        device: to keep them on.

    Raises:
        ConfigError: there is no such run, it has not finished, it has other classes, or it lacks some samples.
    """
    if not config.distributions:
        return {}
    import torch

    predictions = _predictions(runs / config.distributions, training_set.classes)
    ids = [training_set.sample_ids[position] for position in training_set.unlabelled]
    missing = sum(sample_id not in predictions for sample_id in ids)
    if missing:
        raise ConfigError(
            f"run {config.distributions} has no predictions of {missing} of the {len(ids)} images without a label, "
            "because they were added, or lost their label, after it started: train that run again under another name"
        )
    rows = torch.zeros(len(training_set.sample_ids), len(training_set.classes))
    rows[torch.from_numpy(training_set.unlabelled)] = torch.tensor([predictions[sample_id] for sample_id in ids])
    return {"distributions": rows.to(device)}


def _predictions(run: Path, classes: tuple[str, ...]) -> dict[str, list[float]]:
    """Returns the finished student's probabilities of each sample of a run, in this order of classes."""
    import pyarrow.parquet as pq

    if not (run / CONFIG).exists():
        names = ", ".join(sorted(path.parent.name for path in run.parent.glob(f"*/{PREDICTIONS}")))
        raise ConfigError(
            f"there is no run {run.name!r} to take distributions from: "
            + (f"choose one of {names}" if names else "train the large teacher first, such as with --method supervised")
        )
    predictions = Run(run).results / PREDICTIONS
    if not predictions.exists():
        raise ConfigError(
            f"run {run.name} has not finished, so it has no distributions to give: "
            f"resume it first: gradebook train PROJECT --resume --run {run.name}"
        )
    table = pq.read_table(predictions, columns=["sample_id", "student"])
    theirs = json.loads(table.schema.metadata[b"classes"])
    if set(theirs) != set(classes):
        raise ConfigError(
            f"run {run.name} has the classes {', '.join(theirs)}, and this run {', '.join(classes)}: "
            "give a run of the same classes, or train it again"
        )
    order = [theirs.index(name) for name in classes]
    pairs = zip(table["sample_id"].to_pylist(), table["student"].to_pylist(), strict=True)
    return {sample_id: [row[k] for k in order] for sample_id, row in pairs}
