"""Projects a store into a FiftyOne dataset, to look at samples in its App.

The store is the truth. The dataset can be thrown away and made again at any time, and refreshing it writes only
what differs. Its fields are therefore marked read-only: a label typed there would be overwritten here. Verdicts in
the App are operators' (`gradebook.pipelines.fiftyone_app.actions`): they write events, and `show_decisions` then what
these say. Of classifications it is the parts that are read-only, not the whole: FiftyOne 1.22 makes a label schema of
type `str` for a read-only one and refuses it itself, with a red "invalid label schema(s)" whenever the App opens the
dataset (fiftyone/core/annotation/generate_label_schemas.py returns before it looks at the document's type).

    gradebook_id      sample_id
    split             train or test
    label             what a person or an import decided
    decision          the event that did so
    teacher, student  what each said last in the run's record, and how surely
    feedback          mean feedback of the teacher's pseudo-labels, nats
    flips             how often the teacher changed its mind
    mean_probability  of the teacher's last label, over the record
    disagreement      label, teacher and student, where known, are not all the same class
    thumbnail_path    a small picture of a large image, which the App's grid shows in its place
    reasons           why to look at it, each in [0, 1], as the queue was when the dataset was brought up to date
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from filelock import FileLock

from gradebook.storage import cache_files, fiftyone_reasons
from gradebook.storage.events import Event, decisions
from gradebook.storage.fiftyone_reasons import Reasons
from gradebook.storage.mongodb import use_project_database
from gradebook.storage.project import Project
from gradebook.storage.samples import Sample
from gradebook.storage.store import Store

LOCK = ".fiftyone.lock"
Facts = dict[str, Any]  # path of a field -> value of one sample

FIELDS = {
    "filepath": ("filepath",),
    "split": ("split",),
    "label": ("label.label",),
    "decision": ("decision",),
    "teacher": ("teacher.label", "teacher.confidence"),
    "student": ("student.label", "student.confidence"),
    "feedback": ("feedback",),
    "flips": ("flips",),
    "mean_probability": ("mean_probability",),
    "disagreement": ("disagreement",),
    "thumbnail_path": ("thumbnail_path",),
}
CLASSIFICATIONS = ("label", "teacher", "student")
PLAIN = {  # name -> FiftyOne's kind of field
    "gradebook_id": "StringField",
    "split": "StringField",
    "decision": "StringField",
    "feedback": "FloatField",
    "flips": "IntField",
    "mean_probability": "FloatField",
    "disagreement": "BooleanField",
    "thumbnail_path": "StringField",
}
SIGNALS = {  # path -> column of the record's signals
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
    """What a refresh did."""

    dataset: str  # its name in FiftyOne
    added: int  # samples
    removed: int  # samples whose files are gone
    changed: Mapping[str, int]  # field -> samples whose value was written, for the fields that people look at


def dataset_name(project: Project) -> str:
    """Returns the name of a project's dataset: two projects in folders of one name differ in the hash."""
    return f"{project.root.name}-{hashlib.blake2b(str(project.root).encode(), digest_size=4).hexdigest()}"


def refresh(store: Store, run: str | None, reasons: Reasons | None = None) -> Changes:
    """Makes a project's dataset agree with its store.

    Args:
        store: the project.
        run: the run whose record to show; without one the fields about teacher and student are empty.
        reasons: why samples are worth a look; each reason becomes a saved view, ordered by it.

    Raises:
        NoDatabase: FiftyOne has no MongoDB on this machine.
    """
    use_project_database(store.project.root)
    reasons = reasons or Reasons()
    with FileLock(store.project.root / LOCK):
        dataset = _open(store.project, run)
        fiftyone_reasons.declare(dataset, reasons.known)
        samples = store.catalog.samples()
        wanted = _facts(samples, decisions(store.log.read()), _signals(store, run), _thumbnails(store.project))
        paths = fiftyone_reasons.paths(dataset)
        wanted = {i: facts | _why(paths, reasons.scores.get(i, {})) for i, facts in wanted.items()}
        ids, known = _known(dataset)
        changed = _push(dataset, ids, known, wanted)
        added = {sample_id: facts for sample_id, facts in wanted.items() if sample_id not in known}
        _add(dataset, added)
        gone = [ids[sample_id] for sample_id in known if sample_id not in wanted]
        dataset.delete_samples(gone)
        fiftyone_reasons.save_views(dataset, reasons.known)
        return Changes(dataset.name, len(added), len(gone), {f: n for f, n in changed.items() if f != "decision"})


def show_decisions(dataset: Any, decided: Mapping[str, Event | None]) -> None:
    """Writes what decides some samples now into a project's dataset.

    Args:
        dataset: the project's, loaded.
        decided: sample_id -> the event, None where nothing decides any more.
    """
    from fiftyone import ViewField as F

    with FileLock(Path(dataset.info["gradebook"]) / LOCK):
        ids, known = _known(dataset.match(F("gradebook_id").is_in(list(decided))))
        wanted = {sample_id: _judged(facts | _decision(decided[sample_id])) for sample_id, facts in known.items()}
        _push(dataset, ids, known, wanted)


def _facts(
    samples: Sequence[Sample],
    decided: Mapping[str, Event],
    signals: Mapping[str, Facts],
    thumbnails: Mapping[str, str],
) -> dict[str, Facts]:
    """Returns what the dataset should say: sample_id -> facts."""
    nothing: Facts = dict.fromkeys(SIGNALS)
    wanted = {}
    for sample in samples:
        facts = {"filepath": sample.filepath, "split": sample.split.value, **_decision(decided.get(sample.sample_id))}
        facts |= {"thumbnail_path": thumbnails.get(sample.sample_id), **signals.get(sample.sample_id, nothing)}
        wanted[sample.sample_id] = _judged(facts)
    return wanted


def _decision(e: Event | None) -> Facts:
    return {"label.label": e.label if e else None, "decision": e.event_id if e else None}


def _thumbnails(project: Project) -> dict[str, str]:
    return {path.stem: str(path) for path in cache_files.thumbnails(project).paths()}


def _why(paths: Sequence[str], scores: Mapping[str, float]) -> Facts:
    return {path: scores.get(path.split(".", 1)[1]) for path in paths}


def _judged(facts: Facts) -> Facts:
    said = {facts[f"{who}.label"] for who in CLASSIFICATIONS} - {None}
    return facts | {"disagreement": len(said) > 1}


def _signals(store: Store, run: str | None) -> dict[str, Facts]:
    if run is None:
        return {}
    table = store.record.dynamics(run)
    columns = {path: map(_finite, table.column(name).to_pylist()) for path, name in SIGNALS.items()}
    rows = zip(*columns.values(), strict=True)
    sample_ids = table.column("sample_id").to_pylist()
    return {sample_id: dict(zip(columns, row, strict=True)) for sample_id, row in zip(sample_ids, rows, strict=True)}


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not isfinite(value) else value


def _open(project: Project, run: str | None) -> Any:
    """Returns the project's dataset, made if need be."""
    import fiftyone as fo

    name = dataset_name(project)
    dataset = fo.load_dataset(name) if fo.dataset_exists(name) else fo.Dataset(name, persistent=True)
    _declare(dataset)
    _protect(dataset)
    dataset.default_classes = list(project.classes)
    dataset.info = {"gradebook": str(project.root), "run": run}
    dataset.save()
    return dataset


def _declare(dataset: Any) -> None:
    """Makes our fields where they are not: a kill in mid-write, or an older Gradebook, left some out."""
    import fiftyone as fo

    for name, kind in PLAIN.items():
        if not dataset.has_sample_field(name):
            dataset.add_sample_field(name, getattr(fo, kind), read_only=True)
    for name in CLASSIFICATIONS:
        if not dataset.has_sample_field(name):
            dataset.add_sample_field(name, fo.EmbeddedDocumentField, embedded_doc_type=fo.Classification)
    dataset.create_index("gradebook_id")
    config = dataset.app_config
    if "thumbnail_path" not in config.media_fields:  # later it is as its user wants it
        config.media_fields = [*config.media_fields, "thumbnail_path"]
        config.grid_media_field, config.media_fallback = "thumbnail_path", True  # those without: the file itself


def _protect(dataset: Any) -> None:
    """Marks our fields as read-only where they are not: a kill in mid-write, or an older Gradebook, left them so."""
    for name in CLASSIFICATIONS:
        _mark(dataset, name, read_only=False)
        for part in dataset.get_field(name).get_field_schema():
            _mark(dataset, f"{name}.{part}", read_only=True)
    for name in PLAIN:
        _mark(dataset, name, read_only=True)


def _mark(dataset: Any, path: str, *, read_only: bool) -> None:
    field = dataset.get_field(path)
    if bool(field.read_only) != read_only:
        field.read_only = read_only
        field.save()


def _fields(dataset: Any) -> dict[str, tuple[str, ...]]:
    """Returns the paths of each field that we write."""
    reasons = fiftyone_reasons.paths(dataset)
    return FIELDS | ({fiftyone_reasons.FIELD: reasons} if reasons else {})


def _known(dataset: Any) -> tuple[dict[str, str], dict[str, Facts]]:
    """Returns what the dataset says: sample_id -> its id in FiftyOne, and sample_id -> facts."""
    paths = [path for parts in _fields(dataset).values() for path in parts]
    ours = dataset.exists("gradebook_id")  # somebody may have added samples of their own
    ids, sample_ids, *columns = ours.values(["id", "gradebook_id", *paths])
    known = {s: dict(zip(paths, row, strict=True)) for s, *row in zip(sample_ids, *columns, strict=True)}
    return dict(zip(sample_ids, ids, strict=True)), known


def _push(
    dataset: Any, ids: Mapping[str, str], known: Mapping[str, Facts], wanted: Mapping[str, Facts]
) -> dict[str, int]:
    """Writes what differs, field by field; returns how many samples each field changed in."""
    changed = {}
    for field, parts in _fields(dataset).items():
        values = {
            ids[sample_id]: _value(field, facts)
            for sample_id, facts in wanted.items()
            if sample_id in known and any(known[sample_id][part] != facts[part] for part in parts)
        }
        if values:
            with _writable(dataset, field):
                dataset.set_values(field, values, key_field="id")
            changed[field] = len(values)
    return changed


@contextmanager
def _writable(dataset: Any, name: str) -> Iterator[None]:
    """Lets us write what users may only read."""
    if not dataset.get_field(name).read_only:  # a classification, or FiftyOne's own, such as `filepath`
        yield
        return
    _mark(dataset, name, read_only=False)
    try:
        yield
    finally:
        _mark(dataset, name, read_only=True)


def _add(dataset: Any, wanted: Mapping[str, Facts]) -> None:
    import fiftyone as fo

    fields = _fields(dataset)
    samples = (
        fo.Sample(media_type="image", gradebook_id=sample_id, **{field: _value(field, facts) for field in fields})
        for sample_id, facts in wanted.items()
    )
    dataset.add_samples(samples, num_samples=len(wanted), progress=False)


def _value(field: str, facts: Facts) -> Any:
    """Returns the value of one field as FiftyOne wants it."""
    if field == fiftyone_reasons.FIELD:
        return fiftyone_reasons.as_document(facts)
    if field not in CLASSIFICATIONS:
        return facts[field]
    if facts[f"{field}.label"] is None:
        return None
    import fiftyone as fo

    return fo.Classification(label=facts[f"{field}.label"], confidence=facts.get(f"{field}.confidence"))
