"""A file that was replaced after its import is shown as changed, and never used under the label of the old image."""

import json
import uuid
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gradebook.app.review_actions import Action, ReviewAction, apply_actions, describe_failures
from gradebook.pipelines.cli.main import main
from gradebook.pipelines.cli.train_command import parse_command
from gradebook.pipelines.curation.label_table import label_file
from gradebook.pipelines.curation.labelling import Choice, Undo, decide, label_sample, read_log
from gradebook.pipelines.curation.verdicts import Shown
from gradebook.pipelines.export.label_rows import labelled_rows
from gradebook.pipelines.export.labels import export_labels
from gradebook.pipelines.fiftyone_app import actions
from gradebook.pipelines.image_cache import SquareImages, open_preview
from gradebook.pipelines.importing.import_images import import_images
from gradebook.pipelines.maintenance.verify import verify
from gradebook.pipelines.training.dataset import load_training_set
from gradebook.storage.events import replay
from gradebook.storage.fiftyone_samples import FiftyOneSample
from gradebook.storage.project import ProjectError, create_project
from gradebook.storage.sample_files import CHANGED, ChangedFile, changed_samples
from gradebook.storage.samples import Sample
from gradebook.storage.store import Store, open_store
from tests.pipelines.importing.folders import put


@pytest.fixture
def store(tmp_path) -> Store:
    store = open_store(create_project(tmp_path / "project", []).root)
    for n in range(12):
        put(tmp_path / "images" / ("cat" if n % 2 else "dog") / f"{n}.png", n, size=(64, 48))
    import_images(store, tmp_path / "images", labels="folders")
    return open_store(store.project.root)


@pytest.fixture
def replaced(store) -> Sample:
    """A sample whose file holds another picture by now."""
    sample = next(s for s in store.catalog.samples() if s.filepath.endswith("dog/2.png"))
    put(Path(sample.filepath), 99, size=(64, 48))
    return sample


def test_it_is_found_by_size_and_time_and_then_by_content(store, replaced):
    assert changed_samples(store.catalog, store.catalog.samples()) == [replaced]
    Path(store.catalog.samples()[0].filepath).touch()
    assert changed_samples(store.catalog, store.catalog.samples()) == [replaced]


def test_nobody_reads_its_new_content_for_the_old_sample(store, replaced):
    with pytest.raises(ChangedFile, match="has changed since it was imported: import it again"):
        open_preview(store.project, replaced.sample_id, Path(replaced.filepath), 64)
    images = SquareImages(store.project, [replaced.filepath], [replaced.sample_id], 16)
    with pytest.raises(ChangedFile, match=f"{Path(replaced.filepath).name} cannot be used"):
        images.read(0)


def test_training_leaves_it_out(store, replaced, capsys):
    pixels = ("--inputs", "pixels", "--classifier", "student")
    config = parse_command(
        [str(store.project.root), "--method", "supervised", *pixels], program="train", saved=lambda *_: {}
    ).config
    training_set = load_training_set(store, config)
    assert replaced.sample_id not in training_set.sample_ids and len(training_set.sample_ids) == 11
    assert "the files of 1 training images have changed" in capsys.readouterr().err


@pytest.mark.parametrize("form", ["csv", "parquet", "coco", "folder", "fiftyone"])
def test_its_label_is_not_exported_with_its_new_content(store, replaced, tmp_path, form):
    done = export_labels(store, tmp_path / "out", form)
    assert (done.labels, done.missing) == (11, 1)
    assert done.missing_files[0][0] == replaced.filepath and "has changed" in done.missing_files[0][1]
    assert replaced.filepath not in [label.filepath for label in labelled_rows(store).labels]
    if form == "folder":
        new = Path(replaced.filepath).read_bytes()
        assert all(path.read_bytes() != new for path in (tmp_path / "out").rglob("*.png"))


def test_status_queue_and_verify_show_it(store, tmp_path, capsys):
    put(tmp_path / "more" / "new.png", 50)
    import_images(store, tmp_path / "more")
    put(tmp_path / "more" / "new.png", 51, size=(30, 30))
    root = str(store.project.root)
    assert main(["status", root]) == 0
    assert "1 files have changed since they were imported and are not used" in capsys.readouterr().out
    assert main(["queue", root]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "new.png" in line]
    assert line.endswith("THE FILE HAS CHANGED: import it again")
    assert main(["queue", root, "--json"]) == 0
    assert [row["changed"] for row in json.loads(capsys.readouterr().out)] == [True]
    (finding,) = verify(store.project.root).findings
    assert finding.check == "files_hold_their_sample" and "gradebook import" in finding.advice


def test_imported_again_its_new_content_is_a_new_image(store, replaced, tmp_path):
    import_images(store, tmp_path / "images")
    assert changed_samples(store.catalog, store.catalog.samples()) == []
    assert replaced.sample_id not in {sample.sample_id for sample in store.catalog.samples()}
    assert len(labelled_rows(store).labels) == 11


def test_a_square_that_was_cached_is_of_the_old_image(store, tmp_path):
    """The cache is named by content, so that it never shows the new picture under the old id."""
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3)).astype(np.uint8)
    Image.fromarray(noise).save(tmp_path / "images" / "cat" / "large.png")
    import_images(store, tmp_path / "images")
    sample = store.catalog.samples()[-1]
    images = SquareImages(store.project, [sample.filepath], [sample.sample_id], 16)
    before = images.read(0)
    Image.new("RGB", (300, 300), "red").save(sample.filepath)
    assert np.array_equal(images.read(0), before)


def test_a_label_for_its_path_does_not_land_on_the_old_image(store, replaced, tmp_path):
    other = store.catalog.samples()[0]
    table = tmp_path / "labels.csv"
    table.write_text(f"filepath,label\n{replaced.filepath},cat\n{other.filepath},cat\n")
    report = label_file(store, table)
    assert (report.labelled, report.problems) == (1, [(replaced.filepath, CHANGED)])
    assert replay(store.log.read())[replaced.sample_id] == "dog"


def test_no_verdict_is_written_on_a_replaced_file_and_an_undo_is(store, replaced):
    """In the one place that writes verdicts, so it holds for the app, FiftyOne, the commands and the Python API."""
    other = store.catalog.samples()[0]
    choices = [
        Choice(shown=Shown(sample_id=s.sample_id), label=None, expected=read_log(store).decided[s.sample_id].event_id)
        for s in (replaced, other)
    ]
    outcome = decide(store, choices, actor="ada")
    assert [e.sample_id for e in outcome.taken] == [other.sample_id]
    assert outcome.changed == (choices[0],) and not outcome.conflicts
    with pytest.raises(ProjectError, match=r"has changed since it was imported: import it again$"):
        label_sample(store, replaced.sample_id, "cat")
    assert decide(store, [Undo(ref=None)], actor="ada").taken


def test_the_page_says_why_a_verdict_on_a_replaced_file_was_not_saved(store, replaced):
    action = ReviewAction(
        action_id=uuid.uuid4().hex, action=Action.LABEL, sample_id=replaced.sample_id, label="cat", expected=None
    )
    (failure,) = describe_failures(apply_actions(store, None, "ada", [action], {}))
    assert failure["text"] == f"Your verdict (cat) was not saved: {CHANGED}."
    assert len(store.log.read()) == 12


def test_a_verdict_in_fiftyone_on_its_new_picture_is_not_written(store, replaced):
    shown = FiftyOneSample(
        id="1",
        sample_id=replaced.sample_id,
        filepath=replaced.filepath,
        split="train",
        label="dog",
        decision=None,
        prediction="cat",
        confidence=0.9,
    )
    assert actions._needless(shown, "cat", None) == CHANGED
