"""Images in memory are prepared as files are."""

import numpy as np
import pytest
from PIL import Image

from gradebook.pipelines.export.check_images import write_check_images
from gradebook.storage.images import load, square_of_pixels


def test_a_pillow_image_has_the_pixels_of_its_file(tmp_path):
    for path in write_check_images(tmp_path):
        with Image.open(path) as image:
            pixels = np.asarray(square_of_pixels(image, 32)).transpose(2, 0, 1)
            mode, size = image.mode, image.size
        with Image.open(path) as again:
            assert (again.mode, again.size) == (mode, size), "the caller's image is as it was"
        if path.name == "large.jpg":  # a file of this size is decoded at an eighth, as in training
            assert np.abs(pixels.astype(int) - load(path, 32)).mean() < 2
        else:
            np.testing.assert_array_equal(pixels, load(path, 32), err_msg=path.name)


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3), (5, 7, 4), (1, 1, 3)])
def test_arrays_of_each_accepted_shape_become_squares(shape):
    image = Image.fromarray(np.full(shape, 255, np.uint8))
    assert np.asarray(square_of_pixels(image, 8)).shape == (8, 8, 3)
