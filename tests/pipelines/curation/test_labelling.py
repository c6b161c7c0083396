from dataclasses import replace
from datetime import timedelta

import pytest

from gradebook.pipelines.curation import label_table
from gradebook.pipelines.curation.label_table import label_file
from gradebook.pipelines.curation.labelling import LabelReport, actor, label_sample
from gradebook.pipelines.curation.retractions import take_back
from gradebook.pipelines.importing.labels import read_labels
from gradebook.storage.events import Kind, event, replay
from gradebook.storage.project import ProjectError, create_project
from gradebook.storage.samples import File, Sample, Split
from gradebook.storage.store import Store, memory_store


@pytest.fixture
def store(tmp_path) -> Store:
    store = memory_store(create_project(tmp_path / "project", ["crow", "heron"]))
    samples = [
        Sample(
            sample_id=f"s{n}",
            filepath=str(tmp_path / "images" / f"{n}.png"),
            split=Split.TRAIN,
            width=1,
            height=1,
            fingerprint=bytes(200),
        )
        for n in range(4)
    ]
    files = [File(filepath=s.filepath, sample_id=s.sample_id, size=1, mtime_ns=1) for s in samples]
    copy = File(filepath=str(tmp_path / "images" / "copy of 0.png"), sample_id="s0", size=1, mtime_ns=1)
    store.catalog.add(samples, [*files, copy])
    return store


def csv(tmp_path, *rows: str):
    path = tmp_path / "labels.csv"
    path.write_text("filepath,label\n" + "\n".join(rows) + "\n")
    return path


def test_one_sample_gets_a_verdict_with_a_name(store):
    assert label_sample(store, "s1", "heron") == LabelReport(labelled=1, unchanged=0, problems=[])
    (logged,) = store.log.read()
    assert (logged.kind, logged.sample_id, logged.label, logged.actor) == (Kind.RELABELLED, "s1", "heron", actor())
    assert logged.actor


def test_the_same_label_again_writes_nothing(store):
    label_sample(store, "s1", "heron")
    assert label_sample(store, "s1", "heron") == LabelReport(labelled=0, unchanged=1, problems=[])
    assert len(store.log.read()) == 1
    assert label_sample(store, "s1", "crow").labelled == 1
    assert replay(store.log.read()) == {"s1": "crow"}


def test_a_label_changes_one_that_is_ahead_of_the_clock(store):
    """A clock that was set back, or another machine's, must not let the old label stand."""
    ahead = event(Kind.RELABELLED, "s1", "crow", actor="zoe")
    store.log.append([replace(ahead, at=ahead.at + timedelta(minutes=10))])
    assert label_sample(store, "s1", "heron").labelled == 1
    assert replay(store.log.read()) == {"s1": "heron"}
    take_back(store, store.log.read()[-1].event_id, actor="zoe")
    assert replay(store.log.read()) == {"s1": "crow"}


def test_a_sample_decided_while_a_file_is_read_is_skipped_and_reported(store, tmp_path, monkeypatch):
    def meanwhile(*arguments):
        store.log.append_now([event(Kind.RELABELLED, i, "heron", actor="zoe") for i in ("s0", "s1")])
        return read_labels(*arguments)

    monkeypatch.setattr(label_table, "read_labels", meanwhile)
    report = label_file(store, csv(tmp_path, "images/0.png,crow", "images/1.png,heron", "images/2.png,crow"))
    assert report == LabelReport(labelled=1, unchanged=1, problems=[("s0", "zoe has just decided it (heron)")])
    assert replay(store.log.read()) == {"s0": "heron", "s1": "heron", "s2": "crow"}


def test_a_person_who_confirms_an_imported_label_is_recorded(store):
    store.log.append([event(Kind.IMPORTED, "s1", "heron", actor="import")])
    assert label_sample(store, "s1", "heron").labelled == 1


def test_a_file_names_images_absolutely_or_beside_itself(store, tmp_path):
    path = csv(tmp_path, "images/0.png,crow", f"{tmp_path}/images/1.png,heron", "./images/../images/2.png,heron")
    assert label_file(store, path) == LabelReport(labelled=3, unchanged=0, problems=[])
    assert replay(store.log.read()) == {"s0": "crow", "s1": "heron", "s2": "heron"}
    assert label_file(store, path) == LabelReport(labelled=0, unchanged=3, problems=[])


def test_unusable_rows_are_reported_and_the_others_applied(store, tmp_path):
    path = csv(tmp_path, "images/0.png,crow", "images/9.png,crow", "images/1.png,", ",crow", "images/2.png,heron")
    report = label_file(store, path)
    assert report.labelled == 2
    assert [place for place, _ in report.problems] == ["labels.csv line 3", "labels.csv line 4", "labels.csv line 5"]
    assert replay(store.log.read()) == {"s0": "crow", "s2": "heron"}


def test_a_file_that_contradicts_itself_gives_no_label_there(store, tmp_path):
    report = label_file(store, csv(tmp_path, "images/0.png,crow", "images/0.png,heron", "images/1.png,crow"))
    assert report.labelled == 1
    assert report.problems == [(str(tmp_path / "images" / "0.png"), "it is labelled crow and heron")]
    assert replay(store.log.read()) == {"s1": "crow"}


def test_copies_of_an_image_that_are_labelled_differently_give_no_label(store, tmp_path):
    report = label_file(store, csv(tmp_path, "images/0.png,crow", "images/copy of 0.png,heron", "images/1.png,crow"))
    assert replay(store.log.read()) == {"s1": "crow"}
    assert len(report.problems) == 1 and "crow and heron" in report.problems[0][1]


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (["images/0.png,crow", "images/1.png,dodo"], "label 'dodo' is not a class of this project .*--add dodo"),
        (["images/7.png,crow"], r"no row of .*labels\.csv can be used; the first one: .*7\.png is not among"),
    ],
)
def test_an_unusable_file_gives_no_label(store, tmp_path, rows, says):
    with pytest.raises(ProjectError, match=says):
        label_file(store, csv(tmp_path, *rows))
    assert store.log.read() == []


def test_an_unknown_sample_or_class_is_a_one_line_error(store, tmp_path):
    with pytest.raises(ProjectError, match="s9"):
        label_sample(store, "s9", "crow")
    with pytest.raises(ProjectError, match="'dodo' is not a class"):
        label_sample(store, "s1", "dodo")
    with pytest.raises(ProjectError, match="there is no file"):
        label_file(store, tmp_path / "none.csv")
    assert store.log.read() == []
