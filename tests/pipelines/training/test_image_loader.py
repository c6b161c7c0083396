from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gradebook.mpl import augment
from gradebook.pipelines.training.config import ConfigError
from gradebook.pipelines.training.image_loader import ImageFiles, ImageLoader
from gradebook.pipelines.training.sampler import Sampler

N, SIZE = 9, 24


@pytest.fixture
def files(tmp_path) -> list[str]:
    random = np.random.default_rng(0)
    paths = [tmp_path / f"{n}.png" for n in range(N)]
    for path in paths:
        Image.fromarray(random.integers(0, 256, (SIZE, SIZE, 3)).astype(np.uint8)).save(path)
    return [str(path) for path in paths]


def pixels(files, *, workers: int = 0) -> ImageLoader:
    return ImageLoader(ImageFiles(files, SIZE), workers=workers, device=torch.device("cpu"))


def stored(path: str) -> torch.Tensor:
    return torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1)


def draws(steps: int, *, unlabelled: int = 6):
    sampler = Sampler(
        labelled=np.arange(3), unlabelled=np.arange(3, 3 + unlabelled), batch_labelled=2, batch_unlabelled=4, seed=0
    )
    return [sampler.draw(step) for step in range(steps)]


def test_a_batch_has_the_views_of_its_draw(files):
    labels = torch.arange(N) % 3
    drawn = draws(3)
    batches = list(pixels(files).batches(drawn, labels))
    assert len(batches) == 3
    for draw, batch in zip(drawn, batches, strict=True):
        assert batch.id_u.tolist() == draw.unlabelled.tolist()
        assert batch.y_l.tolist() == [n % 3 for n in draw.labelled]
        labelled, unlabelled = (
            torch.stack([stored(files[n]) for n in part]) for part in (draw.labelled, draw.unlabelled)
        )
        assert torch.equal(batch.x_l, augment.weak(labelled, draw.seeds[:2]))
        assert torch.equal(batch.x_uw, augment.weak(unlabelled, draw.seeds[2:6]))
        assert torch.equal(batch.x_us, augment.strong(unlabelled, draw.seeds[6:]))


def test_the_number_of_workers_changes_nothing(files):
    labels = torch.arange(N) % 3
    none, two = (list(pixels(files, workers=w).batches(draws(4), labels)) for w in (0, 2))
    for one, other in zip(none, two, strict=True):
        for name in ("x_l", "y_l", "x_uw", "x_us", "id_u"):
            assert torch.equal(getattr(one, name), getattr(other, name))


def test_a_batch_may_have_no_unlabelled_images(files):
    (batch,) = pixels(files).batches(draws(1, unlabelled=0), torch.zeros(N, dtype=torch.int64))
    assert (len(batch.x_l), len(batch.x_uw), len(batch.x_us), len(batch.id_u)) == (2, 0, 0, 0)


def test_plain_images_come_unchanged_in_the_order_asked(files):
    parts = list(pixels(files).unaugmented(np.array([7, 2, 5]), batch=2))
    assert [len(part) for part in parts] == [2, 1]
    for image, n in zip(torch.cat(parts), (7, 2, 5), strict=True):
        assert torch.equal(image, stored(files[n]))
    assert list(pixels(files).unaugmented(np.zeros(0, np.int64), batch=2)) == []


@pytest.mark.parametrize("workers", [0, 1])
def test_reading_images_leaves_the_global_generator_alone(files, workers):
    """A resumed run starts its loader once more than one that was not stopped."""
    state = torch.get_rng_state()
    list(pixels(files, workers=workers).batches(draws(1), torch.zeros(N, dtype=torch.int64)))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_cannot_be_read_is_named(files, workers):
    Path(files[4]).write_bytes(b"no image")
    with pytest.raises(ConfigError, match=r"4\.png cannot be used.*put the file back"):
        list(pixels(files, workers=workers).unaugmented(np.arange(N), batch=4))
