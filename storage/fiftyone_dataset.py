"""A project as a FiftyOne dataset, to view its samples in FiftyOne's App.

The store is the source of truth. The dataset can be deleted and created again at any time, and a refresh writes only
the differences. Verdicts in the App are given by operators (`gradebook.pipelines.fiftyone_app.actions`), which append
events; `show_decisions` then updates the dataset. Its fields (`gradebook.storage.fiftyone_fields`) are read-only for
users:

    gradebook_id      sample_id
    split             train or test
    label             decided by a person or an import
    decision          the event that decided it
    prediction        what the queue proposes: the student's final prediction, or the label of a similar image
    teacher, student  the last label of each in the run's record, and its probability
    feedback          mean feedback of the teacher's pseudo-labels, nats
    flips             number of changes of the teacher's label
    mean_probability  of the teacher's last label, over the record
    disagreement      whether label, teacher and student, where known, differ
    thumbnail_path    thumbnail of a large image, which the App's grid shows
    reasons           scores of the reasons to review it, in [0, 1], as of the last refresh
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from filelock import FileLock

from gradebook.storage import cache_files, fiftyone_reasons
from gradebook.storage.class_changes import hex_color
from gradebook.storage.events import Event, decisions
from gradebook.storage.fiftyone_fields import (
    Values,
    add_samples,
    declare_fields,
    describe,
    read_values,
    write_changes,
)
from gradebook.storage.fiftyone_reasons import Reasons
from gradebook.storage.mongodb import use_project_database
from gradebook.storage.project import Project
from gradebook.storage.run_classes import run_classes
from gradebook.storage.sample_files import changed_samples
from gradebook.storage.samples import Sample
from gradebook.storage.store import Store

LOCK = ".fiftyone.lock"
PREDICTION = ("prediction.label", "prediction.confidence")
DYNAMICS = {  # path -> column of `gradebook.storage.training_dynamics`
    "teacher.label": "teacher_label",
    "teacher.confidence": "teacher_probability",
    "student.label": "student_label",
    "student.confidence": "student_probability",
    "feedback": "mean_feedback",
    "flips": "flips",
    "mean_probability": "mean_probability",
}


@dataclass(frozen=True, slots=True)
class Changes:
    """The result of a refresh."""

    dataset: str  # its name in FiftyOne
    added: int  # samples
    removed: int  # samples whose files are gone or have changed
    changed: Mapping[str, int]  # field -> samples whose value was written, `decision` left out


def dataset_name(project: Project) -> str:
    """Returns the name of a project's dataset. A hash distinguishes projects in folders of the same name."""
    return f"{project.root.name}-{hashlib.blake2b(str(project.root).encode(), digest_size=4).hexdigest()}"


def refresh(store: Store, run: str | None, reasons: Reasons | None = None) -> Changes:
    """Makes a project's dataset agree with its store.

    Args:
        store: the project.
        run: the run whose record to show; None leaves the fields of teacher and student empty.
        reasons: the reasons to review samples; each becomes a saved view, sorted by its score.

    Raises:
        NoDatabase: FiftyOne has no MongoDB on this machine.
    """
    use_project_database(store.project.root)
    reasons = reasons or Reasons()
    with FileLock(store.project.root / LOCK):
        dataset = _open(store.project, run)
        fiftyone_reasons.declare(dataset, reasons.known)
        samples = _unchanged(store)
        decided = decisions(store.log.read())
        wanted = _wanted_values(samples, decided, _dynamics(store, run), _thumbnails(store.project), reasons.proposed)
        paths = fiftyone_reasons.paths(dataset)
        wanted = {i: values | _reason_values(paths, reasons.scores.get(i, {})) for i, values in wanted.items()}
        ids, known = read_values(dataset)
        changed = write_changes(dataset, ids, known, wanted)
        added = {sample_id: values for sample_id, values in wanted.items() if sample_id not in known}
        add_samples(dataset, added)
        gone = [ids[sample_id] for sample_id in known if sample_id not in wanted]
        dataset.delete_samples(gone)
        fiftyone_reasons.save_views(dataset, reasons.known)
        return Changes(dataset.name, len(added), len(gone), {f: n for f, n in changed.items() if f != "decision"})


def show_decisions(dataset: Any, decided: Mapping[str, Event | None]) -> None:
    """Updates labels and decisions of some samples in a project's dataset.

    Args:
        dataset: the project's, loaded.
        decided: sample_id -> the deciding event, None if there is none any more.
    """
    from fiftyone import ViewField as F

    with FileLock(Path(dataset.info["gradebook"]) / LOCK):
        ids, known = read_values(dataset.match(F("gradebook_id").is_in(list(decided))))
        wanted = {
            sample_id: _with_disagreement(values | _decision_values(decided[sample_id]))
            for sample_id, values in known.items()
        }
        write_changes(dataset, ids, known, wanted)


def _wanted_values(
    samples: Sequence[Sample],
    decided: Mapping[str, Event],
    dynamics: Mapping[str, Values],
    thumbnails: Mapping[str, str],
    proposed: Mapping[str, tuple[str, float | None]],
) -> dict[str, Values]:
    """Returns the values that the dataset should have, by sample_id."""
    nothing: Values = dict.fromkeys(DYNAMICS)
    wanted = {}
    for sample in samples:
        values = {
            "filepath": sample.filepath,
            "split": sample.split.value,
            "metadata.width": sample.width,
            "metadata.height": sample.height,
            **_decision_values(decided.get(sample.sample_id)),
            **dict(zip(PREDICTION, proposed.get(sample.sample_id, (None, None)), strict=True)),
        }
        values |= {"thumbnail_path": thumbnails.get(sample.sample_id), **dynamics.get(sample.sample_id, nothing)}
        wanted[sample.sample_id] = _with_disagreement(values)
    return wanted


def _unchanged(store: Store) -> list[Sample]:
    """Returns the samples without those whose file holds another image by now: FiftyOne would show that one."""
    samples = store.catalog.samples()
    changed = {sample.sample_id for sample in changed_samples(store.catalog, samples)}
    return [sample for sample in samples if sample.sample_id not in changed]


def _decision_values(e: Event | None) -> Values:
    return {"label.label": e.label if e else None, "decision": e.event_id if e else None}


def _thumbnails(project: Project) -> dict[str, str]:
    return {path.stem: str(path) for path in cache_files.thumbnails(project).paths()}


def _reason_values(paths: Sequence[str], scores: Mapping[str, float]) -> Values:
    return {path: scores.get(path.split(".", 1)[1]) for path in paths}


def _with_disagreement(values: Values) -> Values:
    labels = {values[f"{field}.label"] for field in ("label", "teacher", "student")} - {None}
    return values | {"disagreement": len(labels) > 1}


def _dynamics(store: Store, run: str | None) -> dict[str, Values]:
    if run is None:
        return {}
    table = store.record.dynamics(run)
    known = run_classes(_settings(store.project, run), store.project.history)
    columns = {path: map(_finite, table.column(name).to_pylist()) for path, name in DYNAMICS.items()}
    columns |= {path: map(known.rename, columns[path]) for path in ("teacher.label", "student.label")}
    rows = zip(*columns.values(), strict=True)
    sample_ids = table.column("sample_id").to_pylist()
    return {sample_id: dict(zip(columns, row, strict=True)) for sample_id, row in zip(sample_ids, rows, strict=True)}


def _settings(project: Project, run: str) -> dict[str, Any]:
    path = project.runs / run / "config.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not isfinite(value) else value


def _open(project: Project, run: str | None) -> Any:
    """Returns the project's dataset, which it creates if there is none."""
    import fiftyone as fo

    name = dataset_name(project)
    dataset = fo.load_dataset(name) if fo.dataset_exists(name) else fo.Dataset(name, persistent=True)
    declare_fields(dataset)
    describe(dataset, run, {one.name: hex_color(one) for one in project.styled_classes})
    dataset.default_classes = list(project.classes)
    dataset.info = {"gradebook": str(project.root), "run": run}
    dataset.save()
    return dataset
