"""The record of one sample: pseudo-labels, predictions and feedback of every run, step by step."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradebook.pipelines.runs import find_run, list_runs
from gradebook.storage.project import ProjectError

if TYPE_CHECKING:
    from gradebook.storage.store import Store


def history(store: "Store", sample: str, run: str | None = None) -> list[dict[str, Any]]:
    """Returns the record of a sample by run and step, running trainings included.

    Args:
        store: the project.
        sample: a sample's id, or the path of one of its files.
        run: name of a run, or best; None for all runs.

    Raises:
        ProjectError: there is no such sample or run.
    """
    sample_id = find_sample(store, sample)
    runs = [find_run(store.project, run)] if run else list_runs(store.project)
    store.record.fold_all({one.name: one.path / "record" for one in runs})
    return store.record.history(sample_id, runs[0].name if run else None)


def find_sample(store: "Store", sample: str) -> str:
    """Returns the id of a sample given by its id or by the path of one of its files."""
    if sample in store.catalog.paths([sample]):
        return sample
    sample_id = store.catalog.sample_at(str(Path(sample).expanduser().absolute()))
    if sample_id is not None:
        return sample_id
    try:
        return store.catalog.get([sample])[0].sample_id
    except ProjectError:
        raise ProjectError(
            f"{sample!r} is neither a sample's id nor an imported file: gradebook queue {store.project.root} lists ids"
        ) from None
