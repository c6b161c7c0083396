"""Classifiers that score images: an exported one, or the student of a run."""

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from gradebook.pipelines.inference.classifier import Classifier, digest_of
from gradebook.storage.images import Ranges
from gradebook.storage.project import SETTINGS, ProjectError, read_project

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from gradebook.pipelines.runs import Run


class Scorer(Protocol):
    """The interface of classifiers."""

    classes: list[str]
    size: int  # pixels a side
    ranges: Ranges  # of levels of more than 8 bits, see `gradebook.storage.images`

    def probabilities(self, images: "NDArray[np.uint8]") -> "NDArray[np.float32]":
        """Returns (N, K) for images (N, 3, S, S)."""


def open_scorer(path: Path, run: str | None) -> tuple[Scorer, str]:
    """Opens an exported classifier's directory, or a project's run; returns it with a hash of its weights.

    Raises:
        ProjectError: there is neither, or the run has not finished.
    """
    if not (path / SETTINGS).exists():
        if run:
            raise ProjectError(f"{path} is no project, so it has no run {run}: leave --run out, or give the project")
        classifier = Classifier(path)
        return classifier, classifier.digest()
    from gradebook.pipelines.runs import find_run
    from gradebook.pipelines.training.student import WEIGHTS

    chosen = find_run(read_project(path), run)
    return Student(path, chosen), digest_of([chosen.path / WEIGHTS])


class Student:
    """The finished student of a run, on the GPU where there is one."""

    def __init__(self, project: Path, run: "Run"):
        from gradebook.mpl.devices import best_device
        from gradebook.pipelines.training.presets import config_from_json
        from gradebook.pipelines.training.student import full_model, load_run_student, with_preprocessing
        from gradebook.storage.run_classes import run_classes
        from gradebook.storage.store import open_store

        store = open_store(project)
        self.classes = run_classes(run.config(), store.project.history).output_names
        student = load_run_student(run)
        full = full_model(student, config_from_json(run.config()), store, self.classes)
        self.size, self.ranges = full.size, store.project.levels or {}
        self._device = best_device()
        self._net = with_preprocessing(full).to(self._device)

    def probabilities(self, images: "NDArray[np.uint8]") -> "NDArray[np.float32]":
        """See `Scorer`."""
        import torch

        with torch.inference_mode():
            probabilities: NDArray[np.float32] = self._net(torch.from_numpy(images).to(self._device)).cpu().numpy()
        return probabilities
