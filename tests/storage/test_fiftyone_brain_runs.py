"""FiftyOne Brain on the project's own vectors and map: same results, and no copy."""

import numpy as np
import pytest
from PIL import Image

from gradebook.storage.fiftyone_samples import ids_by_sample
from gradebook.storage.project import create_project
from gradebook.storage.samples import Sample, Split, sample_id
from gradebook.storage.store import Store, open_store
from gradebook.storage.vectors import Space

pytestmark = pytest.mark.slow

SPACE = Space(backbone="tiny", weights="random", size=8, dim=4, weak=1, strong=0, seed=0)
N = 12


@pytest.fixture
def store(tmp_path, mongodb) -> Store:
    store = open_store(create_project(tmp_path / "birds", ["crow"]).root)
    samples = []
    for n in range(N):
        path = tmp_path / f"{n}.png"
        Image.new("RGB", (8, 8), (20 * n, 0, 0)).save(path)
        name = sample_id(path.read_bytes())
        at = {"filepath": str(path), "split": Split.TRAIN}
        samples.append(Sample(sample_id=name, **at, width=8, height=8, fingerprint=b""))
    store.catalog.add(samples, [])
    store.vectors.create(SPACE)
    return store


@pytest.fixture
def dataset(store):
    import fiftyone as fo

    from gradebook.storage.fiftyone_dataset import refresh

    return fo.load_dataset(refresh(store, None).dataset)


def embedded(store: Store, many: slice = slice(None)) -> dict[str, np.ndarray]:
    """Gives samples vectors, as `gradebook embed` does; returns those of all."""
    ids = [sample.sample_id for sample in store.catalog.samples()]
    x = np.random.default_rng(0).normal(size=(N, 1, SPACE.dim)).astype(np.float16)
    store.vectors.add("tiny", ids[many], x[many])
    return dict(zip(ids, x[:, 0].astype(np.float32), strict=True))


def nearest(vectors: dict[str, np.ndarray], query: np.ndarray) -> list[str]:
    return sorted(vectors, key=lambda name: -vectors[name] @ query / np.linalg.norm(vectors[name]))


def test_sorting_by_similarity_uses_the_projects_vectors(store, dataset):
    from gradebook.storage.fiftyone_brain_runs import VECTORS, register_similarity

    vectors = embedded(store)
    register_similarity(dataset, embedded=True)
    (first, *others), k = list(vectors)[3:6], 5
    ids = ids_by_sample(dataset)
    view = dataset.sort_by_similarity(ids[first], k=k, brain_key=VECTORS)
    assert view.values("gradebook_id") == nearest(vectors, vectors[first])[:k]
    assert view.values("gradebook_id")[0] == first
    mean = sum(vectors[one] / np.linalg.norm(vectors[one]) for one in (first, *others))
    view = dataset.sort_by_similarity([ids[one] for one in (first, *others)], k=k, brain_key=VECTORS)
    assert view.values("gradebook_id") == nearest(vectors, mean)[:k]
    some = dict(list(vectors.items())[6:])
    view = dataset.select([ids[one] for one in some]).sort_by_similarity(ids[first], k=k, brain_key=VECTORS)
    assert view.values("gradebook_id") == nearest(some, vectors[first])[:k], "only what the view shows"
    assert len(dataset.sort_by_similarity(ids[first], brain_key=VECTORS)) == N


def test_the_index_reads_the_projects_vectors_and_cannot_change_them(store, dataset):
    from gradebook.storage.fiftyone_brain_runs import VECTORS, register_similarity

    register_similarity(dataset, embedded=False)
    assert dataset.list_brain_runs() == []
    vectors = embedded(store, slice(0, 8))
    register_similarity(dataset, embedded=True)
    index = dataset.load_brain_results(VECTORS)
    assert index.total_index_size == 8
    embedded(store)
    assert index.total_index_size == N, "those that were embedded since"
    found, ids, _ = index.get_embeddings()
    assert dict(zip(dataset.select(list(ids), ordered=True).values("gradebook_id"), found.tolist(), strict=True)) == {
        name: vector.tolist() for name, vector in vectors.items()
    }
    for change in (index.add_to_index, index.remove_from_index):
        with pytest.raises(ValueError, match="belong to the project"):
            change([[0.0]], ["x"])
    dataset.delete_brain_run(VECTORS)
    assert store.vectors.count("tiny") == N


def test_an_image_without_vectors_is_an_error_that_says_what_to_do(store, dataset):
    from gradebook.storage.fiftyone_brain_runs import VECTORS, register_similarity

    vectors = embedded(store, slice(0, 8))
    register_similarity(dataset, embedded=True)
    with pytest.raises(ValueError, match="gradebook embed"):
        dataset.sort_by_similarity(ids_by_sample(dataset)[list(vectors)[9]], k=3, brain_key=VECTORS)


def test_the_embeddings_panel_gets_the_coordinates_of_the_map(store, dataset):
    from gradebook.storage.fiftyone_brain_runs import MAP, register_map

    ids = [sample.sample_id for sample in store.catalog.samples()][:8]
    xy = np.random.default_rng(0).integers(1, 65_534, (9, 2)).astype(np.uint16)
    register_map(dataset, [*ids, "gone"], xy, "1 a 0")
    drawn = dataset.load_brain_results(MAP)
    assert dataset.select(list(drawn.sample_ids), ordered=True).values("gradebook_id") == ids
    np.testing.assert_array_equal(drawn.points[:, 0], xy[:8, 0])
    np.testing.assert_array_equal(np.argsort(drawn.points[:, 1]), np.argsort(-xy[:8, 1].astype(int)), "up is up")
    before = dataset.get_brain_info(MAP).timestamp
    register_map(dataset, [*ids, "gone"], xy, "1 a 0")
    assert dataset.get_brain_info(MAP).timestamp == before, "it has that one"
    register_map(dataset, ids[:2], xy[:2], "1 b 0")
    assert len(dataset.load_brain_results(MAP).points) == 2
