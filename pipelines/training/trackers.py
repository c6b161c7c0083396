"""Tells a run's metrics to other programs too, by Accelerate's trackers: TensorBoard, and others that are installed.

They get the rows of metrics.jsonl, under the same names; of what is nested there, both names with a slash.
"""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradebook.pipelines.training.config import ConfigError, TrainConfig

if TYPE_CHECKING:
    from accelerate import Accelerator

TENSORBOARD = "tensorboard"  # its files lie in the run's directory, in a folder of this name


def check(config: TrainConfig[Any]) -> None:
    """Checks that the run's trackers are there.

    Raises:
        ConfigError: one is not known or not installed.
    """
    if not config.trackers:
        return
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS, filter_trackers

    for name in _wanted(config):
        if name not in LOGGER_TYPE_TO_CLASS:
            raise ConfigError(f"there is no tracker {name!r}: choose of {', '.join(LOGGER_TYPE_TO_CLASS)}")
        if not filter_trackers([name], "."):
            raise ConfigError(f"the tracker {name} is not installed: install {name}, or leave it out of --trackers")


def start(config: TrainConfig[Any], project: str, path: Path, accelerator: "Accelerator") -> None:
    """Starts the run's trackers, if it has any; the others than TensorBoard under the project's and the run's name.

    Args:
        config: names the trackers.
        project: the project's name.
        path: the run's directory.
        accelerator: keeps them.
    """
    if not config.trackers:
        return
    from accelerate.tracking import TensorBoardTracker

    accelerator.project_configuration.set_directories(str(path))
    accelerator.log_with = [TensorBoardTracker(TENSORBOARD, path) if n == TENSORBOARD else n for n in _wanted(config)]
    accelerator.init_trackers(project, init_kwargs={"wandb": {"name": path.name}})
    for tracker in accelerator.trackers:
        if tracker.name != TENSORBOARD:
            tracker.store_init_configuration(_flat(asdict(config)))


def log_row(accelerator: "Accelerator", row: Mapping[str, Any]) -> None:
    """Tells the trackers a row of the metrics."""
    if accelerator.trackers:
        accelerator.log(_flat({name: value for name, value in row.items() if name != "step"}), step=int(row["step"]))


def finish(accelerator: "Accelerator") -> None:
    """Ends the trackers."""
    for tracker in accelerator.trackers:
        tracker.finish()


def _flat(values: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Returns what is nested beside the rest, under both names."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flat(value, f"{before}{name}/") if isinstance(value, Mapping) else {f"{before}{name}": value}
    return flat


def _wanted(config: TrainConfig[Any]) -> list[str]:
    return [name.strip() for name in config.trackers.split(",")]
