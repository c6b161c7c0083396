"""The fields of a project's FiftyOne dataset. They are read and written one field at a time, for all samples.

The fields are read-only for users, because a refresh overwrites them. Of a classification only its parts are read-only:
for a read-only classification FiftyOne 1.22 generates a label schema of type `str`, which it then rejects with a red
"invalid label schema(s)" whenever the App opens the dataset (fiftyone/core/annotation/generate_label_schemas.py returns
before it checks the document's type).
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from gradebook.storage import fiftyone_reasons

Values = dict[str, Any]  # path of a field -> value of one sample

FIELDS = {
    "filepath": ("filepath",),
    "split": ("split",),
    "label": ("label.label",),
    "decision": ("decision",),
    "prediction": ("prediction.label", "prediction.confidence"),
    "teacher": ("teacher.label", "teacher.confidence"),
    "student": ("student.label", "student.confidence"),
    "feedback": ("feedback",),
    "flips": ("flips",),
    "mean_probability": ("mean_probability",),
    "disagreement": ("disagreement",),
    "thumbnail_path": ("thumbnail_path",),
    "metadata": ("metadata.width", "metadata.height"),
}
CLASSIFICATIONS = ("label", "prediction", "teacher", "student")
COLORS = {"label": "#2C97A0", "prediction": "#8A63D2", "teacher": "#0072B2", "student": "#E69F00"}  # by field
DESCRIPTIONS = {  # {run} is the run that the dataset shows
    "label": "Given by a person or an import",
    "prediction": "What the queue proposes: the final prediction of the student of {run}, or the label of a similar "
    "image. Accept takes this label",
    "teacher": "Record of training: the teacher's last prediction in {run}",
    "student": "Record of training: the student's last prediction in {run}",
}
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


def declare_fields(dataset: Any) -> None:
    """Creates missing fields and makes all read-only; a kill, or an older Gradebook, can have left them otherwise."""
    import fiftyone as fo

    for name, kind in PLAIN.items():
        if not dataset.has_sample_field(name):
            dataset.add_sample_field(name, getattr(fo, kind), read_only=True)
    for name in CLASSIFICATIONS:
        if not dataset.has_sample_field(name):
            dataset.add_sample_field(name, fo.EmbeddedDocumentField, embedded_doc_type=fo.Classification)
    dataset.create_index("gradebook_id")
    config = dataset.app_config
    if "thumbnail_path" not in config.media_fields:  # afterwards it is the user's choice
        config.media_fields = [*config.media_fields, "thumbnail_path"]
        config.grid_media_field, config.media_fallback = "thumbnail_path", True  # or the file, if there is none
    _make_read_only(dataset)


def describe(dataset: Any, run: str | None, class_colors: Mapping[str, str]) -> None:
    """Writes which run the fields show, and the colors of fields and classes."""
    import fiftyone as fo

    for name, text in DESCRIPTIONS.items():
        field, description = dataset.get_field(name), text.format(run=run or "no run")
        if field.description != description:
            field.description = description
            field.save()
    values = [{"value": name, "color": color} for name, color in class_colors.items()]
    scheme = fo.ColorScheme(
        color_by="field",
        fields=[
            {"path": name, "fieldColor": color, "colorByAttribute": "label", "valueColors": values}
            for name, color in COLORS.items()
        ],
    )
    dataset.app_config.color_scheme = scheme
    dataset.description = f"Predictions and record of {run}" if run else "No run yet: labels alone"


def _make_read_only(dataset: Any) -> None:
    for name in CLASSIFICATIONS:
        _set_read_only(dataset, name, read_only=False)
        for part in dataset.get_field(name).get_field_schema():
            _set_read_only(dataset, f"{name}.{part}", read_only=True)
    for name in PLAIN:
        _set_read_only(dataset, name, read_only=True)


def _set_read_only(dataset: Any, path: str, *, read_only: bool) -> None:
    field = dataset.get_field(path)
    if bool(field.read_only) != read_only:
        field.read_only = read_only
        field.save()


def _written_fields(dataset: Any) -> dict[str, tuple[str, ...]]:
    """Returns the fields that are written, each with its paths."""
    reasons = fiftyone_reasons.paths(dataset)
    return FIELDS | ({fiftyone_reasons.FIELD: reasons} if reasons else {})


def read_values(dataset: Any) -> tuple[dict[str, str], dict[str, Values]]:
    """Returns the dataset's samples: sample_id -> id in FiftyOne, and sample_id -> values."""
    paths = [path for parts in _written_fields(dataset).values() for path in parts]
    ours = dataset.exists("gradebook_id")  # users may have added samples of their own
    ids, sample_ids, *columns = ours.values(["id", "gradebook_id", *paths])
    known = {s: dict(zip(paths, row, strict=True)) for s, *row in zip(sample_ids, *columns, strict=True)}
    return dict(zip(sample_ids, ids, strict=True)), known


def write_changes(
    dataset: Any, ids: Mapping[str, str], known: Mapping[str, Values], wanted: Mapping[str, Values]
) -> dict[str, int]:
    """Writes the values that differ, field by field; returns the number of samples changed in each field."""
    changed = {}
    for field, parts in _written_fields(dataset).items():
        values = {
            ids[sample_id]: _value(field, values)
            for sample_id, values in wanted.items()
            if sample_id in known and any(known[sample_id][part] != values[part] for part in parts)
        }
        if values:
            with _writable(dataset, field):
                dataset.set_values(field, values, key_field="id")
            changed[field] = len(values)
    return changed


@contextmanager
def _writable(dataset: Any, name: str) -> Iterator[None]:
    """Makes a field writable while the block runs."""
    if not dataset.get_field(name).read_only:  # a classification, or FiftyOne's own, such as `filepath`
        yield
        return
    _set_read_only(dataset, name, read_only=False)
    try:
        yield
    finally:
        _set_read_only(dataset, name, read_only=True)


def add_samples(dataset: Any, wanted: Mapping[str, Values]) -> None:
    """Adds samples with their values."""
    import fiftyone as fo

    fields = _written_fields(dataset)
    samples = (
        fo.Sample(media_type="image", gradebook_id=sample_id, **{field: _value(field, values) for field in fields})
        for sample_id, values in wanted.items()
    )
    dataset.add_samples(samples, num_samples=len(wanted), progress=False)


def _value(field: str, values: Values) -> Any:
    """Returns the value of one field in FiftyOne's type."""
    if field == fiftyone_reasons.FIELD:
        return fiftyone_reasons.as_document(values)
    if field == "metadata":
        import fiftyone as fo

        return fo.ImageMetadata(width=values["metadata.width"], height=values["metadata.height"])
    if field not in CLASSIFICATIONS:
        return values[field]
    if values[f"{field}.label"] is None:
        return None
    import fiftyone as fo

    return fo.Classification(label=values[f"{field}.label"], confidence=values.get(f"{field}.confidence"))
