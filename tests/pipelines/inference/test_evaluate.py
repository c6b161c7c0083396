import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from gradebook.pipelines.inference.baseline import logistic_baseline
from gradebook.pipelines.inference.evaluate import evaluate
from gradebook.pipelines.process.run_status import State, status_now, write_status
from gradebook.pipelines.runs import Run
from gradebook.pipelines.training.config import ConfigError
from gradebook.pipelines.training.presets import config_from_json
from gradebook.pipelines.training.student import load_run_student, predict_samples
from gradebook.storage.events import Kind, event
from gradebook.storage.samples import Split
from gradebook.storage.store import Store, open_store
from tests.class_changes import add_classes
from tests.pipelines.projects import (
    BACKBONE,
    CLASSES,
    LABELLED,
    TEST,
    TRAIN,
    class_of,
    make_project,
    run_of,
    saved,
    trained,
)


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> Store:
    store = make_project(tmp_path_factory.mktemp("template"))
    trained(store, "--method", "supervised", "--student.lr", "0.3", steps=40)
    return store


def predictions_of(store: Store, samples) -> np.ndarray:
    run = run_of(store)
    return predict_samples(load_run_student(run), config_from_json(run.config()), store, samples)


def test_accuracy_confusion_and_classes_come_from_the_test_split(store):
    samples = store.catalog.samples(Split.TEST)
    probabilities = predictions_of(store, samples)
    assert probabilities.shape == (TEST, 3)
    assert probabilities.sum(1) == pytest.approx(1, abs=1e-6)
    truth = [CLASSES.index(class_of(s)) for s in samples]
    wanted = [[0] * 3 for _ in CLASSES]
    for label, row in zip(truth, probabilities, strict=True):
        wanted[label][int(row.argmax())] += 1
    found = evaluate(store, run_of(store))
    assert found.confusion == wanted
    assert (found.n, found.run, found.on) == (TEST, "r", "test split")
    assert found.accuracy == pytest.approx(sum(wanted[k][k] for k in range(3)) / TEST)
    assert found.accuracy > 0.8, "clusters this clear are found"
    assert found.per_class["owl"] == {"n": 4, "accuracy": wanted[2][2] / 4}
    assert 0 <= found.ece <= 1
    assert {"run", "accuracy", "n", "ece", "per_class", "confusion"} <= found.as_json().keys()


def test_labels_that_the_run_read_are_never_counted(store):
    """On the training split only labels given later count, however often the log repeats the others."""
    samples = store.catalog.samples(Split.TRAIN)
    with pytest.raises(ConfigError, match="no image of the train split has a label to compare with"):
        evaluate(store, run_of(store), split=Split.TRAIN)
    read, new = samples[:LABELLED], samples[LABELLED : LABELLED + 7]
    store.log.append([event(Kind.RELABELLED, s.sample_id, CLASSES[0], actor="ada") for s in read])
    store.log.append([event(Kind.RELABELLED, s.sample_id, class_of(s), actor="ada") for s in new])
    found = evaluate(store, run_of(store), split=Split.TRAIN)
    assert found.n == 7
    assert found.on == "training images whose labels the run never saw"
    predicted = [CLASSES[k] for k in predictions_of(store, new).argmax(1)]
    assert found.accuracy == np.mean([name == class_of(s) for name, s in zip(predicted, new, strict=True)])
    assert evaluate(store, run_of(store)).n == TEST, "and the test split is not mixed in"


def test_a_class_without_test_images_has_no_accuracy(store):
    owls = [s for s in store.catalog.samples(Split.TEST) if class_of(s) == "owl"]
    store.log.append([event(Kind.REJECTED, s.sample_id, actor="ada") for s in owls])
    found = evaluate(store, run_of(store))
    assert found.n == TEST - 4
    assert found.per_class["owl"] == {"n": 0, "accuracy": None}
    assert found.confusion[2] == [0, 0, 0]


def test_classes_added_since_do_not_shift_the_others(store):
    add_classes(store.project, ["raven"])
    again = open_store(store.project.root)
    before = evaluate(again, run_of(again))
    sample = store.catalog.samples(Split.TEST)[0]
    again.log.append([event(Kind.RELABELLED, sample.sample_id, "raven", actor="ada")])
    after = evaluate(again, run_of(again))
    assert before.classes == list(CLASSES)
    assert (before.unknown_classes, after.unknown_classes) == ({}, {"raven": 1})
    right = round(before.accuracy * TEST) - (before.confusion[0][0] - after.confusion[0][0])
    assert (after.n, after.accuracy) == (TEST, right / TEST), "an image of a class that the run does not know is wrong"
    assert after.balanced_accuracy == pytest.approx(
        sum(float(row["accuracy"] or 0) for row in after.per_class.values()) / 4
    )
    assert np.sum(after.confusion) == TEST - 1


def test_scores_come_with_intervals_and_the_baseline_beside_them(store):
    found = evaluate(store, run_of(store), baseline=True)
    low, high = found.accuracy_interval
    assert 0 <= low < found.accuracy <= high <= 1
    low, high = found.balanced_accuracy_interval
    assert 0 <= low < found.balanced_accuracy <= high <= 1
    assert found.baseline is not None
    assert found.baseline.accuracy > 0.8, "clusters this clear are found"
    assert {"accuracy", "balanced_accuracy", "accuracy_interval"} <= found.as_json()["baseline"].keys()
    assert evaluate(store, run_of(store)).baseline is None


def test_the_baseline_is_scikit_learns_on_the_labels_of_the_run(store):
    pool = store.catalog.samples(Split.TRAIN)
    held_out = set(saved(store, "samples.json")["validation"])
    shown = [n for n in range(LABELLED) if n not in held_out]
    views = store.vectors.read(BACKBONE, [s.sample_id for s in pool], views=1)[:, 0].astype(np.float64)
    mean, deviation = views.mean(0), views.std(0)
    model = LogisticRegression(max_iter=1000).fit(
        (views[shown] - mean) / deviation, [CLASSES.index(class_of(pool[n])) for n in shown]
    )
    test = store.catalog.samples(Split.TEST)
    x = store.vectors.read(BACKBONE, [s.sample_id for s in test], views=1)[:, 0].astype(np.float64)
    found = logistic_baseline(store, run_of(store), test)
    np.testing.assert_allclose(found, model.predict_proba((x - mean) / deviation), atol=1e-3)


def test_a_student_on_pixels_is_evaluated_from_files(store):
    trained(store, "--inputs", "pixels", "--method", "supervised", run="pixels", steps=2)
    found = evaluate(store, run_of(store, "pixels"))
    assert found.n == TEST
    assert evaluate(store, run_of(store, "pixels"), baseline=True).baseline is None, "it has no vectors"


def test_an_impossible_evaluation_is_a_one_line_error(store, tmp_path):
    path = store.project.runs / "stopped"
    path.mkdir()
    write_status(path, status_now(State.STOPPED, pid=0, step=1, steps=2))
    with pytest.raises(ConfigError, match="before it had written its settings"):
        evaluate(store, Run(path))
    (run_of(store).path / "student.safetensors").unlink()
    with pytest.raises(ConfigError, match=r"run r has not finished: resume it with: gradebook train .*--run r"):
        evaluate(store, run_of(store))
    bare = make_project(tmp_path / "bare")
    trained(bare, steps=2)
    assert len(bare.catalog.samples()) == TRAIN + TEST
    bare.log.append([event(Kind.REJECTED, s.sample_id, actor="ada") for s in bare.catalog.samples(Split.TEST)])
    with pytest.raises(
        ConfigError, match=r"no image of the test split has a label .* gradebook import .* --split test"
    ):
        evaluate(bare, run_of(bare))
