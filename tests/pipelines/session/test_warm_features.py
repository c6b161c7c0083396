"""The feature classifier of a session equals that of a finished run where it looks at all neighbours."""

import numpy as np

from gradebook.mpl.gaussian_classifier import nearest, nearest_among
from gradebook.pipelines.curation.feature_classifier import Predictions, mean_predictions
from gradebook.pipelines.session import warm_features
from gradebook.pipelines.session.warm_features import WarmFeatures
from gradebook.storage.samples import Split
from tests.pipelines.projects import BACKBONE, CLASSES, TRAIN, class_of, make_project


def test_the_nearest_of_all_candidates_are_the_nearest():
    random = np.random.default_rng(0)
    space = random.normal(size=(40, 5)).astype(np.float32)
    candidates, _ = nearest(space, 39)
    for one, other in zip(nearest_among(space, candidates, 7), nearest(space, 7), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_a_snapshot_has_the_output_of_a_finished_run(tmp_path, monkeypatch):
    monkeypatch.setattr(warm_features, "CANDIDATES", TRAIN)
    store = make_project(tmp_path)
    samples = store.catalog.samples(Split.TRAIN)
    ids = [s.sample_id for s in samples]
    classes = np.array([CLASSES.index(class_of(s)) for s in samples])
    predictions = Predictions(
        classes=list(CLASSES),
        sample_ids=ids[12:],
        student=np.eye(3)[classes[12:]] * 0.7 + 0.1,
        teacher=np.full((TRAIN - 12, 3), np.nan),
    )
    views = store.vectors.read(BACKBONE, ids)
    warm = WarmFeatures(store, ids, views).output(predictions, np.where(np.arange(TRAIN) < 12, classes, -1))
    assert (warm.probabilities.argmax(1) == classes).mean() > 0.8
    neighbours, similarity = nearest(warm.space.astype(np.float32))
    np.testing.assert_allclose(warm.similarity, similarity.mean(1), atol=1e-2)
    np.testing.assert_allclose(warm.neighbour_mean, warm.probabilities[neighbours].mean(1), atol=2e-2)
    assert np.isnan(mean_predictions(predictions, ids)[:12]).all()
    assert warm.sample_ids.tolist() == ids and len(warm.duplicate_of) == TRAIN
