from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from PIL import Image

from gradebook.storage.catalog import GONE
from gradebook.storage.events import Kind, event
from gradebook.storage.project import create_project
from gradebook.storage.samples import File, Sample, Split
from gradebook.storage.store import Store, memory_store


@dataclass
class Signals:
    """Stands in for a record: only its last word counts here."""

    table: object

    def dynamics(self, run: str) -> object:
        assert run == "mpl-001"
        return self.table


@pytest.fixture
def store(tmp_path: Path, mongodb: None) -> Store:
    store = memory_store(create_project(tmp_path / "birds", ["crow", "heron"]))
    for n in range(4):
        Image.new("RGB", (8, 8), (n, n, n)).save(tmp_path / f"{n}", format="PNG")  # no extension: still an image
    samples = [
        Sample(
            sample_id=f"s{n}",
            filepath=str(tmp_path / f"{n}"),
            split=Split.TEST if n == 3 else Split.TRAIN,
            width=8,
            height=8,
            fingerprint=b"",
        )
        for n in range(4)
    ]
    store.catalog.add(samples, [])
    store.log.append([event(Kind.IMPORTED, "s0", "crow", actor="import")])
    return replace(store, record=Signals(signals(["crow", "heron", None], ["crow", "heron", "crow"], [0, 2, 1])))


def signals(teacher: list[str | None], student: list[str], flips: list[int]) -> object:
    import pyarrow as pa

    return pa.table(
        {
            "sample_id": [f"s{n}" for n in range(3)],
            "teacher_label": pa.array(teacher, pa.string()),
            "teacher_probability": pa.array([0.5 if t else None for t in teacher], pa.float32()),
            "student_label": student,
            "student_probability": pa.array([0.25] * 3, pa.float32()),
            "mean_feedback": pa.array([0.1, -0.1, float("nan")], pa.float32()),
            "flips": flips,
            "mean_probability": pa.array([0.5, 0.25, None], pa.float32()),
        }
    )


def dataset(store: Store):
    import fiftyone as fo

    from gradebook.storage.fiftyone_dataset import dataset_name

    return fo.load_dataset(dataset_name(store.project))


def test_a_dataset_has_the_labels_of_the_store(store):
    from gradebook.storage.fiftyone_dataset import refresh

    assert refresh(store, "mpl-001").added == 4
    view = dataset(store)
    assert view.persistent
    assert view.values("gradebook_id") == ["s0", "s1", "s2", "s3"]
    assert view.values("split") == ["train", "train", "train", "test"]
    assert view.values("label.label") == ["crow", None, None, None]
    assert view.values("teacher.label") == ["crow", "heron", None, None]
    assert view.values("teacher.confidence") == [0.5, 0.5, None, None]
    assert view.values("student.label") == ["crow", "heron", "crow", None]
    assert view.values("student.confidence") == [0.25, 0.25, 0.25, None]
    assert view.values("feedback") == pytest.approx([0.1, -0.1, None, None])
    assert view.values("flips") == [0, 2, 1, None]
    assert view.values("mean_probability") == [0.5, 0.25, None, None]
    assert view.values("disagreement") == [False] * 4
    assert view.default_classes == ["crow", "heron"]


def test_a_refresh_writes_only_what_changed(store):
    from gradebook.storage.fiftyone_dataset import refresh

    refresh(store, "mpl-001")
    ids = dataset(store).values("id")
    again = refresh(store, "mpl-001")
    assert (again.added, again.changed) == (0, {})
    store.log.append([event(Kind.RELABELLED, "s1", "crow", actor="ada")])
    labelled = refresh(store, "mpl-001")
    assert labelled.changed == {"label": 1, "disagreement": 1}
    dataset(store).reload()
    assert dataset(store).values("disagreement") == [False, True, False, False], "ada says crow, the teacher heron"
    store.log.append([event(Kind.REJECTED, "s1", actor="ada")])
    assert refresh(store, "mpl-001").changed == {"label": 1, "disagreement": 1}
    assert dataset(store).values("label.label") == ["crow", None, None, None]
    assert refresh(store, None).changed["teacher"] == 2, "without a run there are no predictions"
    assert dataset(store).values("teacher.label") == [None] * 4
    assert dataset(store).values("id") == ids, "open pages keep their samples"


def test_new_samples_are_added_and_a_lost_dataset_is_made_again(store):
    import fiftyone as fo

    from gradebook.storage.fiftyone_dataset import dataset_name, refresh

    refresh(store, "mpl-001")
    (first,) = store.catalog.get(["s0"])
    store.catalog.add([replace(first, sample_id="s4")], [])
    assert (refresh(store, "mpl-001").added, len(dataset(store))) == (1, 5)
    dataset(store).delete_samples(dataset(store).limit(2))
    assert (refresh(store, "mpl-001").added, len(dataset(store))) == (2, 5)
    store.catalog.add([], [File(filepath=first.filepath, sample_id=GONE, size=0, mtime_ns=0)])
    assert (refresh(store, "mpl-001").removed, len(dataset(store))) == (2, 3), "both had that one file"
    dataset(store).add_sample(fo.Sample(first.filepath, media_type="image"))
    assert (refresh(store, "mpl-001").removed, len(dataset(store))) == (0, 4), "a guest stays"
    fo.delete_dataset(dataset_name(store.project))
    assert refresh(store, "mpl-001").added == 3


def test_the_saved_views_are_there(store):
    from gradebook.storage.fiftyone_dataset import refresh

    refresh(store, "mpl-001")
    view = dataset(store)
    assert sorted(view.list_saved_views()) == ["disagreements", "flipped", "unlabeled"]
    assert view.load_saved_view("flipped").values("gradebook_id") == ["s1", "s2"], "most flips first"
    assert view.load_saved_view("unlabeled").values("gradebook_id") == ["s1", "s2", "s3"]
    store.log.append([event(Kind.RELABELLED, "s2", "heron", actor="ada")])
    refresh(store, "mpl-001")
    assert view.load_saved_view("disagreements").values("gradebook_id") == ["s2"]


def test_each_reason_is_a_field_and_a_saved_view_rewritten_only_on_change(store):
    from gradebook.storage.fiftyone_dataset import refresh
    from gradebook.storage.fiftyone_reasons import Reason, Reasons

    known = {"flips": Reason("the teacher kept changing its mind"), "mislabelled": Reason("is wrong", of_labels=True)}
    scores = {"s0": {"mislabelled": 0.7}, "s1": {"flips": 0.25}, "s2": {"flips": 0.75}, "s3": {"flips": 0.0}}
    refresh(store, None)
    assert refresh(store, "mpl-001", Reasons(known, scores)).changed["reasons"] == 4
    view = dataset(store)
    assert view.values("reasons.flips") == [None, 0.25, 0.75, 0.0]
    assert view.load_saved_view("by flips").values("gradebook_id") == ["s2", "s1"], "the strongest first"
    assert view.load_saved_view("by mislabelled").values("gradebook_id") == ["s0"], "about labels, not guesses"
    assert view.get_saved_view_info("by flips")["description"] == "The teacher kept changing its mind"
    ids = saved(view)
    assert refresh(store, "mpl-001", Reasons(known, scores)).changed == {}
    assert saved(view) == ids, "a running server identifies them by their ids"
    store.log.append([event(Kind.RELABELLED, "s2", "crow", actor="ada")])
    refresh(store, "mpl-001", Reasons(known, {"s1": {"flips": 0.5}}))
    assert view.load_saved_view("by flips").values("gradebook_id") == ["s1"]
    assert view.values("reasons.flips") == [None, 0.5, None, None]
    with pytest.raises(ValueError, match="read-only"):
        view.set_values("reasons.flips", [1.0] * 4)


def saved(view):
    view.reload()
    return {str(doc.id) for doc in view._doc.get_saved_views()}


def test_fields_are_read_only_so_that_no_label_is_typed_where_it_would_be_lost(store):
    from gradebook.storage.fiftyone_dataset import refresh

    refresh(store, "mpl-001")
    store.log.append([event(Kind.RELABELLED, "s1", "crow", actor="ada")])
    refresh(store, "mpl-001")
    view = dataset(store)
    view.reload()
    for path, value in (("label.label", "heron"), ("teacher.confidence", 1.0), ("split", "train"), ("flips", 0)):
        with pytest.raises(ValueError, match="read-only"):
            view.set_values(path, [value] * 4)
    sample = view.first()
    sample.label.label = "heron"
    with pytest.raises(ValueError, match="read-only"):
        sample.save()


def test_fiftyone_makes_valid_label_schemas_of_the_fields(store):
    """What its App asks for whenever it opens a dataset: a fault is a red notice."""
    from gradebook.storage.fiftyone_dataset import refresh
    from gradebook.storage.fiftyone_reasons import Reason, Reasons

    refresh(store, "mpl-001", Reasons({"flips": Reason("changed its mind")}, {"s1": {"flips": 0.25}}))
    view = dataset(store)
    schemas = view.generate_label_schemas(scan_samples=False)
    assert all(schemas[name]["type"] == "classification" for name in ("label", "teacher", "student"))
    ours = ("label", "teacher", "student", "split", "gradebook_id", "flips", "disagreement", "reasons.flips")
    assert all(schemas[name]["read_only"] for name in ours)


def test_field_settings_of_an_older_version_are_restored(store):
    from gradebook.storage.fiftyone_dataset import refresh

    refresh(store, "mpl-001")
    for name, read_only in (("label", True), ("flips", False)):
        field = dataset(store).get_field(name)
        field.read_only = read_only
        field.save()
    refresh(store, "mpl-001")
    view = dataset(store)
    view.reload()
    assert view.generate_label_schemas("label", scan_samples=False)["read_only"]
    assert view.get_field("flips").read_only


def test_two_projects_in_folders_of_one_name_have_two_datasets(tmp_path):
    from gradebook.storage.fiftyone_dataset import dataset_name

    names = [dataset_name(create_project(tmp_path / place / "birds", ["crow"])) for place in ("a", "b")]
    assert names[0] != names[1]
    assert all(name.startswith("birds-") for name in names)


def test_the_grid_shows_thumbnails_where_there_are_some(store):
    from gradebook.storage import cache_files
    from gradebook.storage.fiftyone_dataset import refresh

    thumbnails = cache_files.thumbnails(store.project)
    thumbnails.write("s1", b"a small picture")
    refresh(store, None)
    view = dataset(store)
    assert view.values("thumbnail_path") == [None, str(thumbnails.path("s1")), None, None]
    config = view.app_config
    assert (config.grid_media_field, config.modal_media_field) == ("thumbnail_path", "filepath")
    assert config.media_fallback, "the others are shown themselves"
    config.grid_media_field = "filepath"
    view.save()
    thumbnails.path("s1").unlink()
    assert refresh(store, None).changed == {"thumbnail_path": 1}
    assert dataset(store).app_config.grid_media_field == "filepath", "as its user wants it"


def test_an_older_dataset_gets_thumbnails(store):
    from gradebook.storage import cache_files
    from gradebook.storage.fiftyone_dataset import refresh

    refresh(store, None)
    old = dataset(store)
    old.app_config.media_fields, old.app_config.grid_media_field = ["filepath"], "filepath"
    old.get_field("thumbnail_path").read_only = False
    old.get_field("thumbnail_path").save()
    old.delete_sample_field("thumbnail_path")
    cache_files.thumbnails(store.project).write("s1", b"a small picture")
    assert refresh(store, None).changed == {"thumbnail_path": 1}
    assert dataset(store).app_config.grid_media_field == "thumbnail_path"
