"""Classifiers that score images as they are stored: an exported one, or the student of a run."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from gradebook.pipelines.inference.predict import CLASSES, MODEL, Classifier
from gradebook.storage.project import SETTINGS, ProjectError, read_project

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from gradebook.pipelines.runs import Run


class Scorer(Protocol):
    """What is asked of a classifier."""

    classes: list[str]
    size: int  # pixels a side

    def probabilities(self, images: "NDArray[np.uint8]") -> "NDArray[np.float32]":
        """Returns (N, K) for images (N, 3, S, S)."""


def open_scorer(place: Path, run: str | None) -> tuple[Scorer, str]:
    """Opens an exported classifier's directory, or a project's run; returns it with what tells it from others.

    Raises:
        ProjectError: there is neither, or the run has not finished.
    """
    if not (place / SETTINGS).exists():
        if run:
            raise ProjectError(f"{place} is no project, so it has no run {run}: leave --run out, or give the project")
        return Classifier(place), _digest([place / MODEL, place / CLASSES])
    from gradebook.pipelines.runs import find_run
    from gradebook.pipelines.training.student import WEIGHTS

    found = find_run(read_project(place), run)
    return Student(place, found), _digest([found.path / WEIGHTS])


class Student:
    """The finished student of a run, on the GPU where there is one."""

    def __init__(self, project: Path, run: "Run"):
        import torch

        from gradebook.pipelines.training.presets import config_from_json
        from gradebook.pipelines.training.student import full_model, load_run_student, with_preprocessing
        from gradebook.storage.store import open_store

        self.classes: list[str] = list(run.config()["classes"])
        student = load_run_student(run)
        whole = full_model(student, config_from_json(run.config()), open_store(project), self.classes)
        self.size = whole.size
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._net = with_preprocessing(whole).to(self._device)

    def probabilities(self, images: "NDArray[np.uint8]") -> "NDArray[np.float32]":
        """See `Scorer`."""
        import torch

        with torch.inference_mode():
            found: NDArray[np.float32] = self._net(torch.from_numpy(images).to(self._device)).cpu().numpy()
        return found


def _digest(files: list[Path]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()
