"""Levels of more than 8 bits: the same file gives the same 8 bits everywhere, by a rule that outliers do not move."""

import zlib

import numpy as np
import pytest
from PIL import Image

from gradebook.storage.images import Decoded, inspect, level_range, load

tifffile = pytest.importorskip("tifffile")
RAMP = np.linspace(0, 1, 64)[None].repeat(40, 0)


def decoded(levels: np.ndarray, path, **options) -> Decoded:
    if path.suffix == ".png":
        Image.fromarray(levels).save(path)
    else:
        tifffile.imwrite(path, levels, **options)
    return inspect(path.read_bytes())


def ends(image: Decoded) -> tuple[int, int]:
    """Returns the levels at the left and at the right end of a ramp."""
    row = np.asarray(image.image)[20, :, 0]
    return int(row[0]), int(row[-1])


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_a_ramp_of_any_depth_becomes_black_to_white(tmp_path, bits, suffix):
    image = decoded((RAMP * (2**bits - 1)).astype(np.uint16), tmp_path / f"a{suffix}")
    assert ends(image) == (0, 255)
    assert image.levels == f"0 to {2**bits - 1}"


@pytest.mark.parametrize("dtype", ["int16", "uint32", "int32", "float32"])
@pytest.mark.parametrize("white", [1.0, 1.01, 3.0, 255.0, 257.0, 4095.0, 30_000.0])
def test_a_ramp_of_any_type_and_height_is_seen(tmp_path, dtype, white):
    image = decoded((RAMP * white).astype(dtype), tmp_path / "a.tif")
    black, brightest = ends(image)
    assert black == 0 and brightest > 100


@pytest.mark.parametrize("suffix", [".png", ".tif", ".pgm"])
@pytest.mark.parametrize("maxima", [(4095, 2000, 1000, 500, 100), (65535, 40_000, 20_000, 10_000, 6_000)])
def test_differently_exposed_images_of_a_camera_keep_their_order(tmp_path, suffix, maxima):
    images = [exposed(tmp_path / f"a{suffix}", maximum, maxima[0]) for maximum in maxima]
    assert {image.levels for image in images} == {f"0 to {65535 if suffix == '.pgm' else maxima[0]}"}
    brightest = [ends(image)[1] for image in images]
    assert np.abs(np.array(brightest) - 255 * np.array(maxima) / maxima[0]).max() <= 1


def exposed(path, maximum: int, white: int) -> Decoded:
    levels = (RAMP * maximum).astype(np.uint16)
    if path.suffix != ".pgm":
        return decoded(levels, path)
    path.write_bytes(b"P5 # a camera\n64 40\n%d\n" % white + levels.astype(">u2").tobytes())
    return inspect(path.read_bytes())


@pytest.mark.parametrize("bits", [10, 14])
def test_a_png_file_may_declare_its_significant_bits(tmp_path, bits):
    Image.fromarray((RAMP * 300).astype(np.uint16)).save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    chunk = b"sBIT" + bytes([bits])
    declared = content[:33] + b"\0\0\0\1" + chunk + zlib.crc32(chunk).to_bytes(4, "big") + content[33:]
    assert inspect(declared).levels == f"0 to {2**bits - 1}"
    assert inspect(content).levels == "0 to 4095"


def test_a_thermal_image_whose_levels_differ_little_is_stretched(tmp_path):
    image = decoded((7000 + 1500 * RAMP).astype(np.uint16), tmp_path / "a.png")
    assert ends(image) == (0, 255)


@pytest.mark.parametrize("outlier", [np.nan, np.inf, -np.inf, 1e30, -1e30])
def test_what_is_not_finite_and_single_outliers_change_nothing_else(tmp_path, outlier):
    levels = RAMP.astype(np.float32)
    plain = np.asarray(decoded(levels, tmp_path / "a.tif").image)
    levels[3, 3] = outlier
    spoilt = np.asarray(decoded(levels, tmp_path / "b.tif").image)
    assert np.all(np.delete(plain.reshape(-1, 3), 3 * 64 + 3, 0) == np.delete(spoilt.reshape(-1, 3), 3 * 64 + 3, 0))


def test_a_hot_pixel_does_not_darken_an_image_of_integers(tmp_path):
    levels = (RAMP * 4095).astype(np.uint16)
    levels[3, 3] = 65535
    assert ends(decoded(levels, tmp_path / "a.png")) == (0, 255)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_white_may_be_the_lowest_level(tmp_path, dtype):
    levels = (RAMP * (1 if dtype == "float32" else np.iinfo(dtype).max)).astype(dtype)
    image = decoded(levels, tmp_path / "a.tif", photometric="miniswhite")
    assert ends(image) == (255, 0)


def test_the_range_that_a_file_declares_counts(tmp_path):
    declared = [(340, "H", 1, 1000, True), (341, "H", 1, 3000, True)]
    image = decoded((RAMP * 4095).astype(np.uint16), tmp_path / "a.tif", extratags=declared)
    row = np.asarray(image.image)[0, :, 0]
    assert image.levels == "1000 to 3000"
    assert row[15] == 0 and row[47] == 255 and 100 < row[31] < 156


@pytest.mark.parametrize("factor", [256, 257])
def test_an_image_of_8_bits_keeps_its_levels_in_16_however_dark_it_is(tmp_path, factor):
    levels = (RAMP * 40).astype(np.uint16)
    image = np.asarray(decoded(levels * factor, tmp_path / "a.png").image)[..., 0]
    assert np.abs(image.astype(int) - levels).max() <= 1


def test_levels_that_fill_little_of_the_range_are_stretched(tmp_path):
    image = decoded((280 + 30 * RAMP).astype(np.float32), tmp_path / "a.tif")  # temperatures in kelvin
    assert ends(image) == (0, 255)


def test_an_even_image_stays_even(tmp_path):
    for level in (0, 7, 500):
        image = decoded(np.full((20, 20), level, np.uint16), tmp_path / "a.png")
        assert np.ptp(np.asarray(image.image)) == 0


def test_the_range_needs_no_finite_level():
    assert level_range(np.full((20, 20), np.nan)) == (0.0, 1.0)


def picture() -> np.ndarray:
    pixels = np.zeros((40, 30, 3), np.uint8)
    pixels[:20, :, 0], pixels[:, 15:, 1], pixels[5:9, 5:9, 2] = 200, 150, 255
    return pixels


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("planes", ["contig", "separate"])
@pytest.mark.parametrize("factor", [257, 16], ids=["16 bits", "12 bits"])
def test_colours_of_16_bits_come_out_right(tmp_path, order, planes, factor):
    levels = (picture().astype(np.uint16) * factor).astype(f"{order}u2")
    levels = np.moveaxis(levels, 2, 0) if planes == "separate" else levels
    image = decoded(levels, tmp_path / "a.tif", photometric="rgb", planarconfig=planes, byteorder=order)
    assert np.abs(np.asarray(image.image).astype(int) - picture()).max() <= 1


def test_the_pictures_of_a_stack_are_counted_and_the_first_is_taken(tmp_path):
    stack = np.stack([RAMP, 1 - RAMP, RAMP]).astype(np.float32)
    image = decoded(stack, tmp_path / "a.tif", photometric="minisblack")
    assert image.pictures == 3 and ends(image) == (0, 255)
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "green")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert inspect((tmp_path / "a.gif").read_bytes()).pictures == 2


def test_a_file_is_loaded_as_a_classifier_takes_it(tmp_path):
    decoded((RAMP * 4095).astype(np.uint16), tmp_path / "a.png")
    pixels = load(tmp_path / "a.png", 16)
    assert (pixels.shape, pixels.dtype, pixels.flags.writeable) == ((3, 16, 16), np.uint8, True)
