import math

import numpy as np
import pytest
import torch
from torchvision.transforms import v2

from gradebook.mpl import augment

N = 40
SEEDS = np.random.default_rng(1).integers(2**63, size=N, dtype=np.uint64)


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randint(0, 256, (N, 3, 32, 40), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


VIEWS = pytest.mark.parametrize("view", [augment.weak, augment.strong])


@VIEWS
def test_a_view_depends_on_image_and_seed_alone(images, view):
    """Not on the other images of the batch, nor on the global generator."""
    together = view(images, SEEDS)
    torch.rand(3)
    for k in range(N):
        assert torch.equal(view(images[k : k + 1], SEEDS[k : k + 1])[0], together[k]), k
    assert not torch.equal(together, view(images, SEEDS[::-1]))


@VIEWS
def test_a_view_keeps_shape_and_type_and_the_image_itself(images, view):
    before = images.clone()
    made = view(images, SEEDS)
    assert (made.shape, made.dtype) == (images.shape, torch.uint8)
    assert torch.equal(images, before)


@VIEWS
def test_drawing_a_view_leaves_the_global_generator_alone(images, view):
    state = torch.get_rng_state()
    view(images[:1], [2**63 - 1])
    assert torch.equal(torch.get_rng_state(), state)


@VIEWS
def test_an_empty_batch_is_accepted(images, view):
    assert view(images[:0], SEEDS[:0]).shape == (0, 3, 32, 40)


def test_a_weak_view_is_a_shift_of_at_most_an_eighth_mirrored_half_of_the_time(images):
    """Every weak view is found again among all shifts of the image and its mirror image."""
    pad = 40 // 8
    shifts = []
    for image, view in zip(images, augment.weak(images, SEEDS), strict=True):
        both = torch.stack([image, image.flip(-1)]).float()
        padded = torch.nn.functional.pad(both, [pad] * 4, mode="reflect").to(torch.uint8)
        places = [
            (flip, top, left)
            for flip in range(2)
            for top in range(2 * pad + 1)
            for left in range(2 * pad + 1)
            if torch.equal(padded[flip, :, top : top + 32, left : left + 40], view)
        ]
        assert len(places) == 1
        shifts += places
    mirrored, tops, lefts = np.array(shifts).T
    assert 10 <= sum(mirrored) <= 30
    for shift in (tops, lefts):
        assert len(set(shift)) >= 8
        assert 3.5 <= shift.mean() <= 6.5


def test_a_strong_view_has_a_grey_square_and_changes_more(images):
    side = int(augment.CUTOUT * 32)
    views = augment.strong(images, SEEDS)
    grey = (views == 127).all(1, keepdim=True).float()
    squares = torch.nn.functional.avg_pool2d(grey, side, stride=1).flatten(1)
    assert (squares.amax(1) == 1).all()
    assert len(set(squares.argmax(1).tolist())) > N // 2
    assert not (views == augment.weak(images, SEEDS)).flatten(1).all(1).any()


@pytest.mark.parametrize("magnitude", [0, 9, 16, 30])
def test_the_operations_are_those_of_torchvisions_randaugment(images, magnitude):
    """Each of its operations, in both signs, gives the same pixels."""
    image = images[:1]
    theirs = v2.RandAugment(magnitude=magnitude)
    names = list(theirs._AUGMENTATION_SPACE)
    changes = augment._transforms(magnitude, 32, 40)
    assert len(changes) == len(names) == 14
    for name, (plus, minus) in zip(names, changes, strict=True):
        size, signed = theirs._AUGMENTATION_SPACE[name]
        sizes = size(31, 32, 40)
        by = 0.0 if sizes is None else float(sizes[magnitude])
        for sign, change in ((1, plus), (-1, minus)):
            expected = theirs._apply_image_or_video_transform(
                image, name, by * sign if signed else by, interpolation=theirs.interpolation, fill=theirs._fill
            )
            assert torch.equal(change(image), expected), (name, sign)


def test_every_operation_and_sign_is_equally_likely():
    """What strong draws for 28 changes, over many seeds, by a chi-square whose 99.9 % point is 55.5 at 27."""
    drawn = augment._integers(augment._uniforms(np.arange(28_000), 7)[:, 3], 28)
    counts = np.bincount(drawn, minlength=28)
    assert ((counts - 1000) ** 2 / 1000).sum() < 55.5


def test_random_numbers_of_neighbouring_seeds_are_unrelated():
    drawn = augment._uniforms(np.arange(20_000), 7)
    assert ((drawn >= 0) & (drawn < 1)).all()
    both = np.concatenate([drawn[:-1], drawn[1:]], axis=1)
    correlations = np.corrcoef(both.T)[np.triu_indices(14, k=1)]
    assert np.abs(correlations).max() < 5 / math.sqrt(20_000)


def test_the_smallest_images_are_accepted():
    tiny = torch.zeros(2, 3, 2, 2, dtype=torch.uint8)
    assert augment.strong(tiny, [0, 1]).shape == (2, 3, 2, 2)
