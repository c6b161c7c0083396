"""Each strategy on hand-made pools, and against plainer versions of itself."""

from itertools import combinations

import numpy as np
import pytest

from gradebook.mpl import facility_location as covering
from gradebook.mpl import query_strategies
from gradebook.mpl.facility_location import cover
from gradebook.mpl.query_strategies import COLD, STRATEGIES, Pool


def drawing(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def pool(n: int = 40, labelled: int = 6, d: int = 5, classes: int = 3, seed: int = 0) -> Pool:
    random = drawing(seed)
    return Pool(
        features=random.normal(size=(n, d)).astype(np.float32),
        labelled=random.normal(size=(labelled, d)).astype(np.float32),
        student=random.dirichlet(np.full(classes, 0.5), n),
    )


@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize("labelled", [0, 6])
def test_every_strategy_chooses_the_number_asked_without_repeats_and_reproducibly(name, labelled):
    given = pool(labelled=labelled)
    chosen = STRATEGIES[name](given, 7, drawing(3))
    assert len(set(chosen.tolist())) == len(chosen) == 7
    assert chosen.min() >= 0 and chosen.max() < 40
    assert STRATEGIES[name](given, 7, drawing(3)).tolist() == chosen.tolist()


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_small_pool_is_chosen_whole_even_if_its_images_are_identical(name):
    same = Pool(
        features=np.ones((4, 3), np.float32),
        labelled=np.ones((2, 3), np.float32),
        student=np.tile([0.5, 0.25, 0.25], (4, 1)),
    )
    assert sorted(STRATEGIES[name](same, 9, drawing()).tolist()) == [0, 1, 2, 3]


def test_strategies_that_need_no_student_work_without_one():
    given = pool()
    other = Pool(features=given.features, labelled=given.labelled, student=np.roll(given.student, 1, axis=0))
    ask = COLD - {"herding"}  # which takes all candidates to be equally doubtful then
    assert all((STRATEGIES[n](given, 5, drawing()) == STRATEGIES[n](other, 5, drawing())).all() for n in ask)
    assert any((STRATEGIES[n](given, 5, drawing()) != STRATEGIES[n](other, 5, drawing())).any() for n in STRATEGIES)


def test_entropy_and_margin_disagree_where_they_should():
    """Rows: certain; two classes level; three nearly level. Two level classes have margin 0 but less entropy."""
    student = np.array([[0.98, 0.01, 0.01], [0.5, 0.5, 0.0], [0.36, 0.33, 0.31]])
    given = Pool(features=np.zeros((3, 2), np.float32), labelled=np.zeros((0, 2), np.float32), student=student)
    assert query_strategies.entropy(given, 3, drawing()).tolist() == [2, 1, 0]
    assert query_strategies.margin(given, 3, drawing()).tolist() == [1, 2, 0]


def test_k_centre_goes_to_the_far_ends_of_a_line():
    """On the line 0 1 2 ... 10 with 0 labelled: 10 is farthest, then 5 (5 from both), then one in between."""
    line = np.arange(1, 11, dtype=np.float32)[:, None]
    given = Pool(features=line, labelled=np.zeros((1, 1), np.float32), student=np.full((10, 2), 0.5))
    chosen = line[query_strategies.k_centre(given, 3, drawing()), 0].tolist()
    assert chosen[:2] == [10, 5] and chosen[2] in (2, 3, 7, 8)


def test_k_centre_is_within_twice_the_best_radius():
    """The guarantee of the greedy algorithm (Gonzalez 1985), against all choices of three."""
    given = pool(n=14, labelled=0, d=2)
    x = given.features
    far = np.linalg.norm(x[:, None] - x[None], axis=2)

    def radius(chosen) -> float:
        return float(far[:, list(chosen)].min(1).max())

    best = min(radius(three) for three in combinations(range(14), 3))
    assert 0 < best <= radius(query_strategies.k_centre(given, 3, drawing())) <= 2 * best


def test_badge_draws_as_kmeans_plus_plus_on_the_gradients_written_out():
    """The same draws on the (N, K·D) gradients themselves."""
    given = pool(n=30, seed=2)
    hot = np.eye(3)[given.student.argmax(1)]
    gradients = ((given.student - hot)[:, :, None] * given.features[:, None, :]).reshape(30, -1)
    random = drawing(5)
    expected = [int((gradients**2).sum(1).argmax())]
    while len(expected) < 8:
        near = ((gradients[:, None] - gradients[expected][None]) ** 2).sum(2).min(1)
        left = [k for k in range(30) if k not in expected]
        expected.append(int(random.choice(left, p=near[left] / near[left].sum())))
    assert query_strategies.badge(given, 8, drawing(5)).tolist() == expected


def test_badge_chooses_at_most_one_sample_without_a_gradient():
    student = np.array([[1.0, 0.0]] * 20 + [[0.5, 0.5]] * 6)
    x = drawing().normal(size=(26, 4)).astype(np.float32)
    given = Pool(features=x, labelled=np.zeros((0, 4), np.float32), student=student)
    chosen = np.stack([query_strategies.badge(given, 6, drawing(seed)) for seed in range(20)])
    assert (chosen[:, 0] == 20 + np.linalg.norm(x[20:], axis=1).argmax()).all(), "the longest comes first"
    assert ((chosen < 20).sum(1) <= 1).all() and (chosen < 20).any()


@pytest.mark.parametrize("labelled", [0, 5])
def test_cover_is_the_greedy_choice_of_the_explicit_sum(labelled):
    given = pool(n=70, labelled=labelled, seed=4)
    doubt = drawing(1).random(70)
    every = np.concatenate([given.features, given.labelled]).astype(float)
    every -= every.mean(0)
    every /= np.linalg.norm(every, axis=1, keepdims=True)
    kernel = np.exp(-((every[:, None] - every[None]) ** 2).sum(2))[:70]

    def covered(chosen) -> float:
        seen = [*range(70, 70 + labelled), *chosen]
        return float((doubt * kernel[:, seen].max(1)).sum())

    expected: list[int] = []
    for _ in range(6):
        expected.append(max((k for k in range(70) if k not in expected), key=lambda k: covered([*expected, k])))
    assert cover(given.features, given.labelled, doubt, 6, drawing()).tolist() == expected


def test_cover_takes_one_of_each_cluster_first_and_skips_labelled_clusters():
    random = drawing(7)
    centres = np.eye(4, 8) * 10
    heap = np.repeat([0, 1, 2, 3], [40, 30, 20, 10])
    x = (centres[heap] + random.normal(scale=0.5, size=(100, 8))).astype(np.float32)
    alike = np.ones(100)
    unseen = heap[cover(x, np.zeros((0, 8), np.float32), alike, 4, drawing())]
    assert unseen.tolist() == [0, 1, 2, 3], "the largest heap first, where nothing is known"
    known = centres[[0, 2]].astype(np.float32)
    assert heap[cover(x, known, alike, 2, drawing())].tolist() == [1, 3]
    assert heap[cover(x, known, np.where(heap == 3, 1.0, 0.1), 1, drawing())].tolist() == [3], "doubt outweighs size"


def test_cover_of_a_large_pool_draws_the_samples_to_cover(monkeypatch):
    given = pool(n=200)
    everything = cover(given.features, given.labelled, np.ones(200), 5, drawing())
    monkeypatch.setattr(covering, "MAX_GOALS", 50)
    some = cover(given.features, given.labelled, np.ones(200), 5, drawing())
    assert len(set(some.tolist())) == 5
    assert some.tolist() != everything.tolist()
    assert some.tolist() == cover(given.features, given.labelled, np.ones(200), 5, drawing()).tolist()
