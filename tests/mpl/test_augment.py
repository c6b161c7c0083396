import pytest
import torch

from mpl import augment


@pytest.fixture
def image() -> torch.Tensor:
    return torch.randint(0, 256, (3, 32, 40), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


VIEWS = pytest.mark.parametrize("view", [augment.weak, augment.strong])


@VIEWS
def test_a_view_depends_on_image_and_seed_alone(image, view):
    first = view(image, 5)
    torch.rand(3)
    assert torch.equal(first, view(image, 5))
    assert not torch.equal(first, view(image, 6))


@VIEWS
def test_a_view_keeps_shape_and_type_and_the_image_itself(image, view):
    before = image.clone()
    for seed in range(20):
        made = view(image, seed)
        assert (made.shape, made.dtype) == (image.shape, torch.uint8)
    assert torch.equal(image, before)


@VIEWS
def test_drawing_a_view_leaves_the_global_generator_alone(image, view):
    state = torch.get_rng_state()
    view(image, 2**63 - 1)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_weak_view_is_a_shift_of_at_most_an_eighth_mirrored_half_of_the_time(image):
    """Every weak view is found again among all shifts of the image and its mirror image."""
    pad = 40 // 8
    padded = [torch.nn.functional.pad(i[None].float(), [pad] * 4, mode="reflect")[0] for i in (image, image.flip(-1))]
    mirrored = []
    for seed in range(40):
        view = augment.weak(image, seed).float()
        places = [
            (flip, top, left)
            for flip, canvas in enumerate(padded)
            for top in range(2 * pad + 1)
            for left in range(2 * pad + 1)
            if torch.equal(canvas[:, top : top + 32, left : left + 40], view)
        ]
        assert len(places) == 1, seed
        mirrored.append(places[0][0])
    assert 10 <= sum(mirrored) <= 30


def test_a_strong_view_has_a_grey_square_and_changes_more(image):
    side = int(augment.CUT * 32)
    for seed in range(10):
        view = augment.strong(image, seed)
        grey = (view == 127).all(0).float()[None, None]
        squares = torch.nn.functional.avg_pool2d(grey, side, stride=1)
        assert squares.max() == 1.0, seed
        assert not torch.equal(view, augment.weak(image, seed))


def test_the_smallest_images_are_no_trouble():
    tiny = torch.zeros(3, 2, 2, dtype=torch.uint8)
    assert augment.strong(tiny, 0).shape == (3, 2, 2)
