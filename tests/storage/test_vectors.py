"""One contract for every keeper of vectors."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from gradebook.storage.lance_vectors import LanceVectors
from gradebook.storage.project import ProjectError
from gradebook.storage.vectors import MemoryVectors, Space, Vectors

SPACE = Space(backbone="tiny", weights="random", size=32, dim=4, weak=2, strong=1, seed=0)


@pytest.fixture(params=["memory", "lance"])
def vectors(request, tmp_path) -> Vectors:
    return {"memory": MemoryVectors, "lance": lambda: LanceVectors(tmp_path)}[request.param]()


def views(n: int, space: Space = SPACE, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, space.weak + space.strong, space.dim)).astype(np.float16)


def names(n: int) -> list[str]:
    return [f"s{i}" for i in range(n)]


def test_spaces_are_saved_and_may_be_saved_again(vectors):
    odd = replace(SPACE, backbone="hf-hub:timm/ViT b/14.x", dim=7)
    assert vectors.spaces() == []
    for space in (SPACE, odd, SPACE, odd):
        vectors.create(space)
    assert vectors.spaces() == [SPACE, odd]
    vectors.add(odd.backbone, ["s0"], views(1, odd))
    np.testing.assert_array_equal(vectors.read(odd.backbone, ["s0"]), views(1, odd))
    assert vectors.missing("tiny", ["s0"]) == ["s0"]


def test_many_spaces_are_all_listed(vectors):
    spaces = [replace(SPACE, backbone=f"b{n}") for n in range(15)]
    for space in spaces:
        vectors.create(space)
    assert vectors.spaces() == spaces


def test_another_space_under_the_same_backbone_is_an_error_that_says_what_differs(vectors):
    vectors.create(SPACE)
    with pytest.raises(ProjectError, match=r"size 32 \(now 64\)"):
        vectors.create(replace(SPACE, size=64))
    assert vectors.spaces() == [SPACE]


def test_a_backbone_without_a_space_is_an_error_that_says_what_to_do(vectors):
    for ask in (lambda: vectors.read("nope", []), lambda: vectors.missing("nope", ["s0"])):
        with pytest.raises(ProjectError, match="gradebook embed --backbone nope"):
            ask()
    with pytest.raises(ProjectError, match="no vectors of nope"):
        vectors.add("nope", ["s0"], views(1))


def test_reading_keeps_the_order_asked_and_repeats(vectors):
    vectors.create(SPACE)
    x = views(5)
    vectors.add("tiny", names(3), x[:3])
    vectors.add("tiny", names(5)[3:], x[3:])
    order = [4, 0, 2, 0, 3]
    back = vectors.read("tiny", [f"s{i}" for i in order])
    assert back.dtype == np.float16
    np.testing.assert_array_equal(back, x[order])
    assert vectors.read("tiny", []).shape == (0, 3, 4)
    with pytest.raises(ProjectError, match="s9 has no vectors"):
        vectors.read("tiny", ["s0", "s9"])


def test_the_first_views_are_read_without_the_others(vectors):
    vectors.create(SPACE)
    vectors.add("tiny", names(3), views(3))
    np.testing.assert_array_equal(vectors.read("tiny", ["s2", "s0"], views=1), views(3)[[2, 0], :1])


def test_reading_many_vectors_is_the_same_as_reading_few(vectors):
    vectors.create(SPACE)
    x = views(3000)
    vectors.add("tiny", names(3000), x)
    order = np.random.default_rng(1).permutation(3000)[:2500]
    np.testing.assert_array_equal(vectors.read("tiny", [f"s{i}" for i in order]), x[order])


def test_samples_without_vectors_are_listed_in_the_order_asked(vectors):
    vectors.create(SPACE)
    assert vectors.missing("tiny", ["s1", "s0"]) == ["s1", "s0"]
    vectors.add("tiny", ["s0"], views(1))
    assert vectors.missing("tiny", ["s2", "s0", "s1"]) == ["s2", "s1"]


def test_ids_are_those_with_vectors(vectors):
    assert vectors.ids("tiny") == []
    vectors.create(SPACE)
    vectors.add("tiny", ["s2", "s0"], views(2))
    vectors.add("tiny", ["s0", "s1"], views(2))
    assert vectors.ids("tiny") == ["s2", "s0", "s1"]


def test_the_first_vectors_of_a_sample_are_not_replaced(vectors):
    vectors.create(SPACE)
    x = views(4)
    vectors.add("tiny", ["s0", "s0"], x[:2])
    vectors.add("tiny", ["s0", "s1"], x[2:])
    np.testing.assert_array_equal(vectors.read("tiny", ["s0", "s1"]), x[[0, 3]])
    assert len(vectors.nearest("tiny", "s0", 10)) == 1


@pytest.mark.parametrize("fault", ["shape", "dtype", "infinite", "nan"])
def test_vectors_that_do_not_fit_are_refused(vectors, fault):
    vectors.create(SPACE)
    x = views(2)
    bad = {
        "shape": x[:, :2],
        "dtype": x.astype(np.float32),
        "infinite": np.where(x == x[0, 0, 0], np.float16("inf"), x),
        "nan": np.where(x == x[0, 0, 0], np.float16("nan"), x),
    }[fault]
    with pytest.raises(ValueError, match="float16"):
        vectors.add("tiny", names(2), bad)
    assert vectors.missing("tiny", names(2)) == names(2)


def test_nearest_ranks_by_the_cosine_of_view_0(vectors):
    vectors.create(SPACE)
    x = views(30)
    vectors.add("tiny", names(30), x)
    plain = x[:, 0].astype(np.float64)
    unit = plain / np.linalg.norm(plain, axis=1, keepdims=True)
    cosine = unit @ unit[7]
    expected = [i for i in np.argsort(-cosine) if i != 7][:5]
    found = vectors.nearest("tiny", "s7", 5)
    assert [name for name, _ in found] == [f"s{i}" for i in expected]
    np.testing.assert_allclose([score for _, score in found], cosine[expected], atol=1e-3)


def test_nearest_searches_only_the_given_samples(vectors):
    vectors.create(SPACE)
    vectors.add("tiny", names(30), views(30))
    among = {"s1", "s2", "s7", "it's not here"}
    assert {name for name, _ in vectors.nearest("tiny", "s7", 5, among)} == {"s1", "s2"}
    assert vectors.nearest("tiny", "s7", 5, []) == vectors.nearest("tiny", "s7", 5, ["s7"]) == []
    assert vectors.nearest("tiny", "s7", 0) == []
    with pytest.raises(ProjectError, match="s99 has no vectors"):
        vectors.nearest("tiny", "s99", 5)


def test_any_vector_can_be_searched_for(vectors):
    vectors.create(SPACE)
    x = views(30)
    vectors.add("tiny", names(30), x)
    plain = x[:, 0].astype(np.float32)
    query = 1e6 * (plain[3] + plain[8])  # longer than float16 can say
    cosine = plain @ query / np.linalg.norm(plain, axis=1) / np.linalg.norm(query)
    expected = np.argsort(-cosine)[:5]
    found = vectors.nearest_to("tiny", query, 5)
    assert [name for name, _ in found] == [f"s{i}" for i in expected]
    np.testing.assert_allclose([score for _, score in found], cosine[expected], atol=2e-3)
    assert vectors.nearest_to("tiny", x[3, 0], 1)[0][0] == "s3", "it is there itself"
    assert {name for name, _ in vectors.nearest_to("tiny", query, 5, ["s1", "s2", "gone"])} == {"s1", "s2"}
    assert vectors.nearest_to("tiny", query, 5, []) == vectors.nearest_to("tiny", 0 * query, 5) == []


def test_nearest_among_many_is_the_same_as_among_few(vectors):
    vectors.create(SPACE)
    x = views(2500)
    x[3] = 0
    vectors.add("tiny", names(2500), x)
    plain = np.delete(x[:, 0].astype(np.float64), 3, axis=0)
    cosine = plain @ x[7, 0].astype(np.float64) / np.linalg.norm(plain, axis=1) / np.linalg.norm(x[7, 0].astype(float))
    found = vectors.nearest("tiny", "s7", 5, names(2400))
    assert [score for _, score in found] == pytest.approx(np.sort(np.delete(cosine[:2399], 6))[::-1][:5], abs=2e-3)
    assert {"s7", "s3"}.isdisjoint(name for name, _ in found)


def test_a_zero_vector_has_no_neighbours(vectors):
    vectors.create(SPACE)
    x = views(3)
    x[1] = 0
    vectors.add("tiny", names(3), x)
    assert [name for name, _ in vectors.nearest("tiny", "s0", 5)] == ["s2"]
    assert vectors.nearest("tiny", "s1", 5) == []


def test_many_vectors_get_a_lasting_index_that_finds_almost_all(tmp_path, monkeypatch):
    """Cells of 40: a search of twelve of them must find what comparing with all does."""
    monkeypatch.setattr("gradebook.storage.vector_index.INDEX_FROM", 500)
    monkeypatch.setattr("gradebook.storage.vector_index.CELL_ROWS", 40)
    monkeypatch.setattr("gradebook.storage.vector_index.PROBES", 12)
    vectors, space = LanceVectors(tmp_path), replace(SPACE, dim=8)
    vectors.create(space)
    x = views(1500, space)
    x[3] = 0

    def indices() -> list[tuple[str, int, int]]:
        table = vectors._tables.open("vectors-tiny")
        assert table is not None
        stats = {index.name: table.index_stats(index.name) for index in table.list_indices()}
        return sorted((name, s.num_indexed_rows, s.num_unindexed_rows) for name, s in stats.items())

    def found(k: int = 10, among: list[str] | None = None) -> float:
        """Returns the share of the true neighbours that is found, over ten samples."""
        unit = (
            x[:, 0].astype(np.float64) / np.maximum(np.linalg.norm(x[:, 0].astype(np.float64), axis=1), 1e-9)[:, None]
        )
        unit = unit[: vectors.count("tiny")]
        places = np.arange(len(unit)) if among is None else np.array([int(name[1:]) for name in among])
        hits = 0
        for one in range(10, 20):
            there = places[(places != one) & (places != 3)]
            true = {f"s{i}" for i in there[np.argsort(-(unit[there] @ unit[one]))[:k]]}
            got = [name for name, _ in vectors.nearest("tiny", f"s{one}", k, among)]
            assert len(got) == k == len(set(got)) and f"s{one}" not in got and "s3" not in got
            hits += len(true & set(got))
        return hits / (10 * k)

    vectors.add("tiny", names(499), x[:499])
    vectors.update_index("tiny")
    assert indices() == [] and found() == 1.0
    vectors.add("tiny", names(600)[499:], x[499:600])
    vectors.update_index("tiny")
    assert [index[0] for index in indices()] == ["cells-15", "sample_id_idx"]
    assert found() > 0.9
    vectors.add("tiny", names(1000)[600:], x[600:1000])
    assert found() > 0.9, "what is not indexed yet is found too"
    vectors.update_index("tiny")
    assert indices() == [("cells-15", 1000, 0), ("sample_id_idx", 1000, 0)]
    vectors.add("tiny", names(1500)[1000:], x[1000:])
    vectors.update_index("tiny")
    assert [index[0] for index in indices()] == ["cells-37", "sample_id_idx"], "made anew once it is twice as long"
    assert found() > 0.9
    monkeypatch.setattr("gradebook.storage.vector_index.MAX_IDS_IN_CONDITION", 100)
    assert found(among=names(1500)[::3]) > 0.9
    monkeypatch.setattr("gradebook.storage.vector_index.MAX_IDS_IN_CONDITION", 5)
    assert found(k=5, among=names(1500)[:8]) == 1.0, "so few that the cells looked at do not have them: each is"
    vectors.update_index("nope")


def test_augmented_views_may_come_after_the_plain_ones(vectors):
    vectors.create(SPACE)
    x = views(3)
    vectors.add("tiny", names(3), x[:, :1])
    assert vectors.missing("tiny", names(4)) == ["s3"]
    assert vectors.missing_augmented("tiny", names(3)) == names(3)
    np.testing.assert_array_equal(vectors.read("tiny", names(3)), x[:, :1])
    vectors.add_augmented("tiny", ["s2", "s0"], x[[2, 0], 1:])
    assert vectors.missing_augmented("tiny", names(3)) == ["s1"]
    np.testing.assert_array_equal(vectors.read("tiny", ["s0", "s2"]), x[[0, 2]])
    np.testing.assert_array_equal(vectors.read("tiny", names(3)), x[:, :1], "s1 has its plain view alone")
    with pytest.raises(ProjectError, match="s1 has no vectors"):
        vectors.read("tiny", names(3), views=2)
    with pytest.raises(ValueError, match="float16"):
        vectors.add_augmented("tiny", ["s1"], x[1:2])


def test_a_space_of_plain_views_has_no_missing_views(vectors):
    vectors.create(replace(SPACE, weak=1, strong=0))
    vectors.add("tiny", ["s0"], views(1)[:, :1])
    assert vectors.missing_augmented("tiny", ["s0"]) == []
    np.testing.assert_array_equal(vectors.read("tiny", ["s0"]), views(1)[:, :1])


def test_a_table_with_all_views_together_is_read_and_split_at_the_next_addition(tmp_path):
    """Projects made before 2026-12 have such tables; a kill while one is split up loses nothing."""
    vectors = LanceVectors(tmp_path)
    vectors.create(SPACE)
    x = views(3)
    columns = [pa.FixedSizeListArray.from_arrays(pa.array(x[:2, n].ravel()), SPACE.dim) for n in range(3)]
    together = pa.table([pa.array(names(2)), *columns], names=["sample_id", "view_0", "view_1", "view_2"])
    with vectors._tables.open_for_writing("vectors-tiny", together.schema) as table:
        table.add(together)
    with vectors._tables.open_for_writing("vectors-tiny-augmented", together.schema) as killed:
        killed.add(together.slice(0, 1))
    np.testing.assert_array_equal(vectors.read("tiny", names(2)), x[:2])
    assert vectors.missing_augmented("tiny", names(3)) == ["s2"]
    vectors.add("tiny", names(3), x)
    np.testing.assert_array_equal(vectors.read("tiny", names(3)), x)
    np.testing.assert_array_equal(vectors.read("tiny", names(3), views=1), x[:, :1])
    assert "view_1" not in vectors._tables.open("vectors-tiny").schema.names
