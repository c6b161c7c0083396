"""Near-duplicates: copies are found, other pictures are not, and look-alikes by the thousand cost little."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

from gradebook.storage import duplicates
from gradebook.storage.duplicates import BYTES, FingerprintIndex, fingerprint, near_duplicates, stack_fingerprints

NONE = np.empty((0, BYTES), np.uint8)


def scene(seed: int, side: int = 96) -> Image.Image:
    """A smooth random picture: coarse noise, enlarged."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3)).astype(np.uint8)
    return Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)


def as_jpeg(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(io.BytesIO(buffer.getvalue())).convert("RGB")


def prints(images: list[Image.Image]) -> np.ndarray:
    return stack_fingerprints([fingerprint(image) for image in images])


SCENES = [scene(seed) for seed in range(60)]


def test_a_fingerprint_has_200_bytes_whatever_the_size():
    for size in ((1, 1), (8, 8), (9, 8), (3, 1000), (640, 480)):
        assert len(fingerprint(Image.new("RGB", size, "red"))) == BYTES
    assert fingerprint(SCENES[0]) == fingerprint(SCENES[0]) != fingerprint(SCENES[1])


@pytest.mark.parametrize(
    "changed",
    [
        lambda image: as_jpeg(image, 60),
        lambda image: image.resize((48, 48), Image.Resampling.LANCZOS),
        lambda image: image.resize((200, 180), Image.Resampling.BICUBIC),
        lambda image: ImageEnhance.Brightness(image).enhance(1.04),
    ],
    ids=["jpeg", "smaller", "larger", "brighter"],
)
def test_changed_copies_are_found_and_each_with_its_own_picture(changed):
    pairs = near_duplicates(prints([changed(image) for image in SCENES]), prints(SCENES))
    assert np.array_equal(pairs[:, 0], pairs[:, 1])
    assert len(pairs) >= 0.95 * len(SCENES)


def test_one_image_at_a_time_finds_what_all_at_once_do():
    """The stream's look-up against the sorted comparison, for copies and for other images."""
    new = [as_jpeg(image, 60) for image in SCENES[:40]] + [scene(seed) for seed in range(100, 140)]
    known = prints(SCENES)
    every = {int(a): int(b) for a, b in near_duplicates(prints(new), known)}
    look_up = FingerprintIndex(known)
    found = {n: like for n, image in enumerate(new) if (like := look_up.find(fingerprint(image))) is not None}
    assert found == every
    assert 38 <= len(found) <= 42
    assert FingerprintIndex(NONE).find(fingerprint(SCENES[0])) is None


def test_of_several_that_look_alike_the_most_similar_is_named():
    scenes = [as_jpeg(SCENES[0], 20), SCENES[0].resize((48, 48)), SCENES[0], as_jpeg(SCENES[0], 40)]
    known = FingerprintIndex(prints(scenes))
    assert all(known.find(one) == n for n, one in enumerate(map(fingerprint, scenes)))


def test_different_pictures_are_no_duplicates():
    assert len(near_duplicates(prints(SCENES), NONE)) == 0


def test_mirrored_and_turned_pictures_are_no_duplicates():
    mirrored = [image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for image in SCENES]
    assert len(near_duplicates(prints(mirrored), prints(SCENES))) == 0


def test_the_same_shape_in_another_colour_is_no_duplicate():
    red = Image.new("RGB", (64, 64), "white")
    red.paste((200, 40, 40), (10, 10, 50, 50))
    blue = Image.new("RGB", (64, 64), "white")
    blue.paste((70, 70, 200), (10, 10, 50, 50))
    assert len(near_duplicates(prints([blue]), prints([red]))) == 0


def test_other_small_objects_on_the_same_background_are_no_duplicates():
    x = np.linspace(150, 170, 96)
    background = np.repeat(np.tile(x, (96, 1))[:, :, None], 3, axis=2)
    images = []
    for n in range(12):
        pixels = background.copy()
        pixels[10 + 6 * n : 22 + 6 * n, 8 + 7 * (n * 5 % 12) : 20 + 7 * (n * 5 % 12)] -= 40
        images.append(Image.fromarray(pixels.astype(np.uint8)))
    assert len(near_duplicates(prints(images), NONE)) == 0


def test_two_faint_objects_in_the_same_light_are_no_duplicates():
    """Their hashes and colours agree, for the light makes both; their edges do not."""
    light = np.linspace(100, 160, 8)[None, :, None].repeat(8, axis=0).repeat(3, axis=2)
    one, other = light.copy(), light.copy()
    one[1:4, 2:4] += 14
    other[4:7, 4:7] -= 14
    made = np.zeros((2, BYTES), np.uint8)
    made[:, 8:] = np.stack([one, other]).astype(np.uint8).reshape(2, -1)
    assert np.sqrt(np.mean((made[0, 8:].astype(float) - made[1, 8:]) ** 2)) < duplicates.DISTANCE
    assert len(near_duplicates(made, NONE)) == 0
    made[1, 8:] = made[0, 8:] + 2
    assert len(near_duplicates(made, NONE)) == 1


def test_pairs_point_to_the_earlier_one_known_before_new():
    known = prints([SCENES[0], SCENES[1]])
    new = prints([SCENES[2], SCENES[1], as_jpeg(SCENES[2], 70), SCENES[3]])
    assert near_duplicates(new, known).tolist() == [[1, 1], [2, 2 + 0]]
    assert near_duplicates(NONE, known).tolist() == []
    assert near_duplicates(known, NONE).tolist() == []


def test_known_pairs_are_not_reported_again():
    known = prints([SCENES[0], SCENES[0]])
    assert len(near_duplicates(prints([SCENES[1]]), known)) == 0


def test_ten_thousand_blank_images_are_chained_not_paired_with_each_other():
    blank = np.repeat(prints([Image.new("RGB", (32, 32), "white")]), 10_000, axis=0)
    pairs = near_duplicates(blank, NONE)
    assert pairs[:, 0].tolist() == list(range(1, 10_000))
    assert not pairs[:, 1].any()


def test_thousands_of_nearly_blank_images_are_compared_with_a_bounded_number_each(monkeypatch):
    rng = np.random.default_rng(0)
    blank = np.zeros((3000, BYTES), np.uint8)
    blank[:, 8:] = 250 + rng.integers(0, 2, (3000, 192))
    compared = []
    confirmed = duplicates._confirmed
    monkeypatch.setattr(duplicates, "_confirmed", lambda f, pairs: compared.append(len(pairs)) or confirmed(f, pairs))
    pairs = near_duplicates(blank, NONE)
    assert len(pairs) > 2900
    assert sum(compared) <= 3000 * duplicates.WINDOW * duplicates.BANDS


def test_few_handwritten_digits_are_taken_for_duplicates():
    """1,797 digits of 8 x 8 pixels: 2,500 pairs have nearly the same hash, the thumbnails tell them apart."""
    datasets = pytest.importorskip("sklearn.datasets")
    levels = (datasets.load_digits().images * 15.9375).astype(np.uint8)
    pairs = near_duplicates(prints([Image.fromarray(digit).convert("RGB") for digit in levels]), NONE)
    assert len(pairs) <= 10


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_all_hashes_within_three_bits_are_candidates(data):
    """Against the plain comparison of all with all, where no band is crowded."""
    count = data.draw(st.integers(2, 25))
    base = data.draw(st.integers(0, 2**64 - 1))
    flips = data.draw(st.lists(st.lists(st.integers(0, 63), max_size=6), min_size=count, max_size=count))
    hashes = np.array([base ^ sum(1 << bit for bit in set(bits)) for bits in flips], np.uint64)
    found = {tuple(pair) for pair in duplicates._candidates(hashes, np.zeros((count, 192), np.uint8)).tolist()}
    values = [int(value) for value in hashes]
    expected = {
        (a, b) for b in range(count) for a in range(b) if (values[a] ^ values[b]).bit_count() <= duplicates.HAMMING
    }
    assert found == expected
