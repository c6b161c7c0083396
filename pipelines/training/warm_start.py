"""Warm start: networks on pixels that start from the finished student of another run.

A head on cached views is trained in seconds. A whole network that starts with it, and not with a random head, keeps the
features of its backbone (linear probing, then fine-tuning: Kumar et al., 2022, https://arxiv.org/abs/2202.10054).
"""

from typing import TYPE_CHECKING, Any

from gradebook.pipelines.runs import CONFIG, Run
from gradebook.pipelines.training.config import ConfigError, TrainConfig

if TYPE_CHECKING:
    from torch import nn

    from gradebook.storage.project import Project
    from gradebook.storage.store import Store


def initial_model(config: TrainConfig[Any], project: "Project", store: "Store | None") -> "nn.Module | None":
    """Returns the timm model that both networks start from, where the config names a run.

    Args:
        config: of the new run.
        project: of both runs.
        store: of the project, which records how cached views were made; None for plain data.

    Raises:
        ConfigError: there is no such run, it has not finished, it has another backbone or other classes, or its student
            is no timm model.
    """
    if not config.start:
        return None
    from gradebook.mpl.networks import ImageClassifier
    from gradebook.pipelines.training.presets import config_from_json
    from gradebook.pipelines.training.student import full_model, load_student

    run = Run(project.runs / config.start)
    if not (run.path / CONFIG).exists():
        raise ConfigError(
            f"there is no run {config.start!r} to start from: train it first, such as with --preset quick"
        )
    saved = run.config()
    theirs = config_from_json(saved)
    if theirs.backbone != config.backbone:
        raise ConfigError(f"run {run.name} is of {theirs.backbone}: give --backbone {theirs.backbone} to start from it")
    if tuple(saved["classes"]) != tuple(project.classes):
        raise ConfigError(f"run {run.name} has other classes than the project has now: train it again to start from it")
    student = load_student(run, theirs)
    if isinstance(student, ImageClassifier):
        return student.model
    assert store is not None, "cached views belong to a project with a store"
    full = full_model(student, theirs, store, list(project.classes))
    if not full.is_timm:
        raise ConfigError(f"the student of run {run.name} has hidden units: start from one with --student-hidden 0")
    return full.model
