"""Logs a run's metrics to experiment trackers too, by Accelerate: TensorBoard, and others that are installed.

They get the rows of metrics.jsonl under the same names; names of nested values are joined by a slash.
"""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradebook.pipelines.training.config import ConfigError, TrainConfig

if TYPE_CHECKING:
    from accelerate import Accelerator

TENSORBOARD = "tensorboard"  # and the folder of its files in the run's directory


def check(config: TrainConfig[Any]) -> None:
    """Checks that the run's trackers are installed.

    Raises:
        ConfigError: a tracker is unknown or not installed.
    """
    if not config.trackers:
        return
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS, filter_trackers

    for name in _names(config):
        if name not in LOGGER_TYPE_TO_CLASS:
            raise ConfigError(f"there is no tracker {name!r}: choose from {', '.join(LOGGER_TYPE_TO_CLASS)}")
        if not filter_trackers([name], "."):
            raise ConfigError(f"the tracker {name} is not installed: install {name}, or leave it out of --trackers")


def start(config: TrainConfig[Any], project: str, path: Path, accelerator: "Accelerator") -> None:
    """Starts the run's trackers, if it has any, under the names of the project and the run.

    Args:
        config: names the trackers.
        project: the project's name.
        path: the run's directory.
        accelerator: to start them with.
    """
    if not config.trackers:
        return
    from accelerate.tracking import TensorBoardTracker

    accelerator.project_configuration.set_directories(str(path))
    accelerator.log_with = [TensorBoardTracker(TENSORBOARD, path) if n == TENSORBOARD else n for n in _names(config)]
    accelerator.init_trackers(project, init_kwargs={"wandb": {"name": path.name}})
    for tracker in accelerator.trackers:
        if tracker.name != TENSORBOARD:
            tracker.store_init_configuration(_flatten(asdict(config)))


def log_row(accelerator: "Accelerator", row: Mapping[str, Any]) -> None:
    """Logs a row of the metrics to the trackers."""
    if accelerator.trackers:
        accelerator.log(_flatten({name: value for name, value in row.items() if name != "step"}), step=int(row["step"]))


def finish(accelerator: "Accelerator") -> None:
    """Closes the trackers."""
    for tracker in accelerator.trackers:
        tracker.finish()


def _flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns nested values at the top level, their names joined by a slash."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flatten(value, f"{prefix}{name}/") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return flat


def _names(config: TrainConfig[Any]) -> list[str]:
    return [name.strip() for name in config.trackers.split(",")]
