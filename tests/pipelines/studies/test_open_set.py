import numpy as np

from gradebook.pipelines.studies import open_set


def test_images_of_unknown_classes_are_found():
    random, classes = np.random.default_rng(0), np.repeat(["a", "b", "c", "d", "e", "f"], 30)
    centres = {name: random.normal(size=12) for name in np.unique(classes)}
    features = np.stack([centres[name] for name in classes]) + random.normal(scale=0.6, size=(len(classes), 12))
    rows = {
        (5, rejected, name): values
        for rejected in (0, 5)
        for name, values in open_set.measure(features.astype(np.float32), classes, 5, rejected, (0, 1, 2)).items()
    }
    auc = {key: float(values[:, 0].mean()) for key, values in rows.items()}
    assert auc[5, 5, "`unlike_any_class`"] > 0.9
    assert auc[5, 0, "`unlike_any_class`"] == auc[5, 0, "the same without the rejected images"] > 0.9
    assert open_set.as_markdown(rows).count("\n") == len(rows) + 1
