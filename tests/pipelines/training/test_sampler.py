import numpy as np
import pytest

from gradebook.pipelines.training.sampler import Draw, Sampler

LABELLED, UNLABELLED = np.arange(100, 107), np.arange(23)


def sampler(*, seed: int = 0, b: int = 4, u: int = 8, unlabelled=UNLABELLED) -> Sampler:
    return Sampler(labelled=LABELLED, unlabelled=unlabelled, batch_labelled=b, batch_unlabelled=u, seed=seed)


def same(one: Draw, other: Draw) -> bool:
    return all(np.array_equal(getattr(one, n), getattr(other, n)) for n in ("labelled", "unlabelled", "seeds"))


def test_a_draw_depends_on_seed_and_step_alone():
    order = [7, 0, 3, 7]
    first = [sampler().draw(step) for step in order]
    assert all(same(d, sampler().draw(step)) for d, step in zip(first, order, strict=True))
    assert not same(first[0], first[1])
    assert not same(first[1], sampler(seed=1).draw(0))


def test_a_draw_leaves_the_global_generators_alone():
    np.random.seed(3)
    sampler().draw(5)
    here = np.random.random()
    np.random.seed(3)
    assert here == np.random.random()


@pytest.mark.parametrize("processes", [2, 4])
def test_the_processes_slices_are_the_one_process_batch(processes):
    for step in range(5):
        one = sampler().draw(step)
        many = [sampler().draw(step, process=rank, processes=processes) for rank in range(processes)]
        assert np.array_equal(np.concatenate([d.labelled for d in many]), one.labelled)
        assert np.array_equal(np.concatenate([d.unlabelled for d in many]), one.unlabelled)
        parts = [np.split(d.seeds, [4 // processes, 12 // processes]) for d in many]
        assert np.array_equal(np.concatenate([np.concatenate(kind) for kind in zip(*parts, strict=True)]), one.seeds)


def test_each_epoch_draws_every_sample_once_in_another_order():
    drawn = np.concatenate([sampler().draw(step).unlabelled for step in range(23)])  # 8 * 23 cards: 8 passes
    passes = drawn.reshape(8, 23)
    assert all(np.array_equal(np.sort(one), UNLABELLED) for one in passes)
    assert len({tuple(one) for one in passes}) == 8


def test_a_batch_larger_than_the_data_repeats_samples():
    drawn = sampler(b=16).draw(0).labelled
    assert all(count in (2, 3) for count in np.unique(drawn, return_counts=True)[1])
    assert set(drawn) == set(LABELLED)


def test_labelled_and_unlabelled_samples_are_drawn_independently():
    alike = Sampler(labelled=UNLABELLED, unlabelled=UNLABELLED, batch_labelled=23, batch_unlabelled=23, seed=0)
    drawn = alike.draw(0)
    assert not np.array_equal(drawn.labelled, drawn.unlabelled)


def test_without_unlabelled_samples_there_are_no_seeds_for_them():
    drawn = sampler(unlabelled=np.zeros(0, np.int64)).draw(2, process=1, processes=2)
    assert (len(drawn.labelled), len(drawn.unlabelled), len(drawn.seeds)) == (2, 0, 2)
    assert np.array_equal(drawn.labelled, sampler().draw(2, process=1, processes=2).labelled)
