"""A run as the Python API shows it: metrics, evaluation, the record, predictions, export."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradebook.api import tables
from gradebook.api.evaluation import Evaluation, as_tables
from gradebook.pipelines.inference.classifier import Classifier, load_classifier
from gradebook.pipelines.process.errors import project_errors
from gradebook.pipelines.process.progress import progress, say
from gradebook.pipelines.process.run_status import Status
from gradebook.pipelines.runs import Run as RunDirectory

if TYPE_CHECKING:
    import pandas as pd

    from gradebook.storage.store import Store


class Run:
    """One training of a project. `gradebook.Project.train`, `run` and `runs` return it."""

    def __init__(self, store: "Store", directory: RunDirectory):
        self._store, self._directory = store, directory

    def __repr__(self) -> str:
        status = self.status
        return f"<Run {self.name}: {status.state} at step {status.step} of {status.steps}>"

    @property
    def name(self) -> str:
        """The run's name, such as mpl-001."""
        return self._directory.name

    @property
    def path(self) -> Path:
        """The run's directory."""
        return self._directory.path

    @property
    def status(self) -> Status:
        """The current state, step and message, also of a run that another process trains."""
        return self._directory.status()

    @property
    def config(self) -> dict[str, Any]:
        """Every setting of the run."""
        return self._directory.config()

    @property
    @project_errors()
    def metrics(self) -> "pd.DataFrame":
        """What the run reported, a row for each reported step; nested values have columns such as phases.data."""
        import pandas as pd

        return pd.json_normalize(self._directory.metrics())

    @property
    @project_errors()
    def predictions(self) -> "pd.DataFrame":
        """Predictions for the unlabelled images: sample_id, filepath, label, probability, and one column a class.

        Raises:
            ProjectError: the run has not finished.
        """
        from gradebook.pipelines.reporting.predictions import predicted_rows

        classes, rows = predicted_rows(self._store, self._directory)
        columns = ("sample_id", "filepath", "label", "probability")
        flat = ({name: getattr(row, name) for name in columns} | dict(row.probabilities) for row in rows)
        return tables.frame(flat, [*columns, *classes])

    @project_errors()
    def evaluate(self, split: str = "test") -> Evaluation:
        """Measures the run's student, beside logistic regression on the same embeddings.

        Args:
            split: "test"; or "train" for training images whose labels were given after the run had read its own.

        Raises:
            ProjectError: the run has not finished, or no image of the split has a label to compare with.
        """
        from gradebook.pipelines.inference.measure import measure

        return as_tables(measure(self._store.project, self._directory, split))

    @project_errors()
    def record(self, sample: str) -> "pd.DataFrame":
        """Returns what the run recorded of a sample: both networks' classes and the feedback, a row for each step.

        Args:
            sample: its id, or the path of its image.

        Raises:
            ProjectError: there is no such sample.
        """
        from gradebook.pipelines.reporting.sample_history import history

        return tables.frame(history(self._store, sample, self.name), tables.RECORD)

    @project_errors()
    def export(
        self,
        directory: "str | os.PathLike[str]",
        *,
        int8: bool = False,
        torch_export: bool = False,
        openvino: bool = False,
    ) -> Classifier:
        """Exports the student as a directory that stands alone (timm weights, ONNX, model card), and opens it.

        Args:
            directory: a new directory, or that of an earlier export, which is replaced.
            int8: whether to add an int8 model, calibrated on training images; its lost accuracy is printed.
            torch_export: whether to add model.pt2, for `torch.export.load`.
            openvino: whether to add model.xml and model.bin, for OpenVINO.

        Raises:
            ProjectError: the run has not finished, or the directory holds other files.
        """
        from gradebook.pipelines.export.classifier import export

        with progress("export") as show:
            given = {"int8": int8, "torch_program": torch_export, "openvino": openvino}
            report = export(self._store, self._directory, Path(directory), **given, progress=show)
        if report.int8 is not None:
            say(report.int8.sentence())
        return load_classifier(directory)

    @project_errors()
    def resume(self) -> "Run":
        """Resumes a stopped or failed run from its last checkpoint, and returns it.

        Raises:
            ProjectError: the run has finished, or another process trains it.
        """
        from gradebook.pipelines.training.config import TrainCommand
        from gradebook.pipelines.training.presets import config_from_json
        from gradebook.pipelines.training.run_setup import saved_config
        from gradebook.pipelines.training.trainer import train

        root = self._store.project.root
        config = config_from_json(saved_config(root, self.name))
        train(TrainCommand(project=root, config=config, resume=True), self._store)
        return self
