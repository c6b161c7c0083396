"""Evaluates a run where its images are, beside the baseline, and saves the scores for the comparison of runs."""

from gradebook.pipelines.inference.evaluate import Evaluation, evaluate, evaluate_beside_data, is_beside_data
from gradebook.pipelines.process.progress import say
from gradebook.pipelines.reporting.run_comparison import save_evaluation
from gradebook.pipelines.runs import Run
from gradebook.storage.files import READ_ONLY
from gradebook.storage.project import Project, ProjectError
from gradebook.storage.samples import Split


def measure(project: Project, run: Run, split: str) -> Evaluation:
    """Evaluates a run on a split, "test" or "train", and saves scores on the test split in the run's directory.

    Raises:
        ProjectError: there is no such split, the run has not finished, or no image of the split has a label.
    """
    evaluation = compute(project, run, split)
    if split == Split.TEST:
        try:
            save_evaluation(run, evaluation.as_json())
        except OSError as error:
            if error.errno not in READ_ONLY:
                raise
            say(f"{run.path} is read-only, so gradebook runs will not show this accuracy")
    return evaluation


def compute(project: Project, run: Run, split: str) -> Evaluation:
    """Evaluates a run as `measure` does, and saves nothing.

    Raises:
        ProjectError: there is no such split, the run has not finished, or no image of the split has a label.
    """
    if split not in set(Split):
        raise ProjectError(f"there is no split {split!r}: give test or train")
    if is_beside_data(run):
        return evaluate_beside_data(project, run)
    from gradebook.storage.store import open_store

    return evaluate(open_store(project.root), run, split=Split(split), baseline=True)
