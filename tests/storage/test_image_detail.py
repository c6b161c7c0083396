"""The second look: copies stay near-duplicates; frames of a fixed camera and pages of text do not."""

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance

from gradebook.storage.duplicates import FingerprintIndex, fingerprint, near_duplicates, stack_fingerprints
from gradebook.storage.image_detail import detail, file_comparison, is_same

WORDS = ("one", "word", "after", "another", "makes", "pages", "look", "alike", "from", "far", "away")


def scene(seed: int, side: int = 240, cells: int = 10) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (cells, cells, 3)).astype(np.uint8)
    return Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)


def frame(number: int, side: int = 240) -> Image.Image:
    """A fixed camera: always the same scene, with a small object somewhere and some noise."""
    random = np.random.default_rng(number)
    pixels = np.asarray(scene(0, side)).astype(float) * 0.6 + 50
    x, y = random.integers(0, side - side // 16, 2)
    pixels[y : y + side // 16, x : x + side // 16] += 70 if number % 2 else -70
    return Image.fromarray((pixels + random.normal(0, 3, pixels.shape)).clip(0, 255).astype(np.uint8))


def page(number: int) -> Image.Image:
    random = np.random.default_rng(number)
    image = Image.new("RGB", (600, 800), "white")
    for y in range(50, 750, 18):
        ImageDraw.Draw(image).text((50, y), " ".join(random.choice(WORDS, 20))[:80], fill="black")
    return image


def as_jpeg(image: Image.Image, quality: int = 60) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


def pairs_of(images: list[Image.Image], known: int = 0, **options) -> list[list[int]]:
    prints, details = stack_fingerprints([fingerprint(i) for i in images]), [detail(i) for i in images]
    found = near_duplicates(prints[known:], prints[:known], lambda a, b: is_same(details[a], details[b]), **options)
    return found.tolist()


@pytest.mark.parametrize("make", [frame, page])
def test_different_images_that_look_alike_from_far_away_are_no_duplicates(make):
    images = [make(number) for number in range(20)]
    prints = stack_fingerprints([fingerprint(image) for image in images])
    assert len(near_duplicates(prints, prints[:0])) >= 8, "by their fingerprints they are"
    assert pairs_of(images) == []


@pytest.mark.parametrize("make", [scene, frame, page])
@pytest.mark.parametrize(
    "change",
    [
        as_jpeg,
        lambda image: image.resize((image.width // 2, image.height // 2), Image.Resampling.LANCZOS),
        lambda image: image.resize((2 * image.width, 2 * image.height)),
        lambda image: ImageEnhance.Contrast(image).enhance(0.95),
    ],
    ids=["jpeg", "smaller", "larger", "paler"],
)
def test_each_copy_is_found_with_its_own_original(make, change):
    images = [make(number) for number in range(12)]
    assert pairs_of([*images, *map(change, images)], known=12) == [[number, number] for number in range(12)]


@pytest.mark.parametrize("side", [20, 32, 64])
def test_copies_of_small_images_are_found(side):
    images = [scene(number, side, 5) for number in range(20)]
    assert len(pairs_of([*images, *(as_jpeg(image, 75) for image in images)], known=20)) >= 19


def test_images_of_one_fingerprint_are_compared_with_each_other():
    """A 4 x 4 block that is too small for the fingerprint, at three places, and each once more."""
    images = [Image.new("RGB", (64, 64), "white") for _ in range(6)]
    for number, image in enumerate(images):
        image.paste("black", (20 * (number % 3), 30, 20 * (number % 3) + 1, 34))
    prints = stack_fingerprints([fingerprint(images[0])] * 6)
    details = [detail(image) for image in images]
    found = near_duplicates(prints, prints[:0], lambda a, b: is_same(details[a], details[b]))
    assert found.tolist() == [[3, 0], [4, 1], [5, 2]]


def test_only_images_of_different_groups_are_compared():
    images = [scene(1), as_jpeg(scene(1)), as_jpeg(scene(1), 80), scene(2), scene(2)]
    assert pairs_of(images, groups=np.array([0, 0, 1, 1, 1])) in ([[2, 0]], [[2, 1]])
    assert pairs_of(images, groups=np.array([0, 0, 0, 0, 1])) == [[4, 3]]


def test_the_index_takes_a_second_look_too():
    known = [frame(number) for number in range(8)]
    index, details = FingerprintIndex(stack_fingerprints([fingerprint(i) for i in known])), [detail(i) for i in known]

    def find(image: Image.Image) -> int | None:
        own = detail(image)
        return index.find(fingerprint(image), lambda other: is_same(details[other], own))

    assert [find(frame(number)) for number in range(100, 110)] == [None] * 10
    assert [find(as_jpeg(image)) for image in known] == list(range(8))


def test_where_a_file_is_gone_the_fingerprints_decide(tmp_path):
    assert file_comparison([(str(tmp_path / "a.png"), "0"), (str(tmp_path / "b.png"), "1")])(0, 1)
