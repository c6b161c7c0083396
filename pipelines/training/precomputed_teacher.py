"""A fixed teacher in the shape of what it said: another run's predictions, kept instead of a network.

Reduced Meta Pseudo Labels (Pham et al., 2021, appendix E) computes a large teacher's distributions once and then trains
with one network in memory. The large teacher is the finished student of a run of its own.

Shape legend    N samples of the run    K classes
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradebook.pipelines.runs import CONFIG, PREDICTIONS
from gradebook.pipelines.training.config import ConfigError, TrainConfig
from gradebook.pipelines.training.dataset import TrainingSet

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def load_distributions(
    config: TrainConfig[Any], training_set: TrainingSet, runs: Path, device: "torch.device"
) -> "dict[str, Tensor]":
    """Returns what a method's memory begins with: "distributions" (N, K) where the config names a run, else nothing.

    Rows of samples that the method is never asked about, those with a label, are zero.

    Args:
        config: of the run that begins.
        training_set: its samples.
        runs: the directory that both runs lie in.
        device: where to keep them.

    Raises:
        ConfigError: there is no such run, it has not finished, knows other classes, or says nothing of some samples.
    """
    if not config.distributions:
        return {}
    import torch

    said = _said(runs / config.distributions, training_set.classes)
    ids = [training_set.sample_ids[position] for position in training_set.unlabelled]
    missing = sum(sample_id not in said for sample_id in ids)
    if missing:
        raise ConfigError(
            f"run {config.distributions} says nothing of {missing} of the {len(ids)} images without a label, because "
            "they came, or lost their label, after it began: train it anew under another name and give that"
        )
    rows = torch.zeros(len(training_set.sample_ids), len(training_set.classes))
    rows[torch.from_numpy(training_set.unlabelled)] = torch.tensor([said[sample_id] for sample_id in ids])
    return {"distributions": rows.to(device)}


def _said(run: Path, classes: tuple[str, ...]) -> dict[str, list[float]]:
    """Returns what the finished student of a run says of each sample, in this order of classes."""
    import pyarrow.parquet as pq

    if not (run / CONFIG).exists():
        names = ", ".join(sorted(path.parent.name for path in run.parent.glob(f"*/{PREDICTIONS}")))
        raise ConfigError(
            f"there is no run {run.name!r} to take distributions from: "
            + (f"choose one of {names}" if names else "train the large teacher first, such as with --method supervised")
        )
    if not (run / PREDICTIONS).exists():
        raise ConfigError(
            f"run {run.name} has not finished, so it has no distributions to give: "
            f"go on with it first: gradebook train PROJECT --resume --run {run.name}"
        )
    table = pq.read_table(run / PREDICTIONS, columns=["sample_id", "student"])
    known = json.loads(table.schema.metadata[b"classes"])
    if set(known) != set(classes):
        raise ConfigError(
            f"run {run.name} knows the classes {', '.join(known)}, and this run {', '.join(classes)}: "
            "give a run of the same classes, or train it anew"
        )
    order = [known.index(name) for name in classes]
    pairs = zip(table["sample_id"].to_pylist(), table["student"].to_pylist(), strict=True)
    return {sample_id: [row[k] for k in order] for sample_id, row in pairs}
