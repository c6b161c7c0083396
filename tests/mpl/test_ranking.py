import numpy as np

from gradebook.mpl.ranking import duplicate_groups, rank, spread, top

NAN = np.nan


def test_rank_is_by_score_with_stable_ties_and_unknown_scores_last():
    assert rank(np.array([0.2, NAN, 0.9, 0.2, 0.9])).tolist() == [2, 4, 0, 3, 1]


def test_without_vectors_a_diverse_batch_is_the_ranking():
    scores = np.random.default_rng(0).random(50)
    assert spread(scores, 10).tolist() == rank(scores)[:10].tolist()
    assert spread(scores, 80).tolist() == rank(scores).tolist()


def test_of_near_duplicates_only_the_most_uncertain_is_shown():
    groups = duplicate_groups(np.array([-1, 0, -1, 1, 2]))
    assert groups.tolist() == [0, 0, 2, 0, 2]
    assert spread(np.array([0.5, 0.9, 0.1, 0.7, 0.3]), 5, groups=groups).tolist() == [1, 4]


def test_every_class_gets_its_share_while_there_are_samples_of_it():
    scores = np.linspace(1, 0, 40)
    classes = np.array([0] * 30 + [1] * 8 + [2] * 2)
    chosen = spread(scores, 12, classes=classes)
    assert np.bincount(classes[chosen]).tolist() == [6, 4, 2]  # the two that class 2 has not go to the best
    assert np.bincount(classes[rank(scores)[:12]]).tolist() == [12]


def test_clusters_are_covered_where_a_ranking_stays_in_one():
    """Four clusters; the scores of the first are highest throughout."""
    random = np.random.default_rng(0)
    cluster = np.repeat(np.arange(4), 20)
    space = (np.eye(4, 8)[cluster] + 0.05 * random.normal(size=(80, 8))).astype(np.float32)
    scores = 1 - cluster / 4 - np.tile(np.linspace(0, 0.2, 20), 4)
    assert set(cluster[rank(scores)[:8]]) == {0}
    assert set(cluster[spread(scores, 8, space=space)]) == {0, 1, 2, 3}
    assert spread(scores, 8, space=space)[0] == rank(scores)[0]


def test_only_uncertain_samples_are_spread_over_clusters():
    random = np.random.default_rng(0)
    scores, space = random.random(1000), random.normal(size=(1000, 4)).astype(np.float32)
    chosen = spread(scores, 5, space=space)
    assert set(chosen) <= set(rank(scores)[:50])
    assert len(set(chosen.tolist())) == 5
    assert chosen.tolist() == spread(scores, 5, space=space).tolist()


def test_an_empty_pool_gives_an_empty_batch():
    assert spread(np.empty(0), 3, space=np.empty((0, 2), np.float32), classes=np.empty(0, np.int64)).tolist() == []


def test_the_top_k_are_the_first_of_the_whole_order_with_ties():
    draw = np.random.default_rng(0)
    few = np.where(draw.random(50) < 0.2, draw.random(50), -1.0)
    for scores in (draw.random(50), draw.integers(0, 3, 50) / 2, np.ones(50), few):
        for k in (1, 7, 49, 50, 60):
            np.testing.assert_array_equal(top(scores, k), rank(scores)[:k])
