"""Every kind of image file comes out as upright RGB, and every broken one as a sentence."""

import io
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gradebook.storage.images import MAX_PIXELS, BrokenImage, decode, is_image, open_rgb, open_square


def picture(width: int = 40, height: int = 24) -> Image.Image:
    """Left half red, right half blue, a white block in the upper left corner."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, : width // 2, 0] = pixels[:, width // 2 :, 2] = 200
    pixels[: height // 3, : width // 4] = 255
    return Image.fromarray(pixels)


def saved(image: Image.Image, path: Path, **options) -> Path:
    image.save(path, **options)
    return path


def assert_like(image: Image.Image, expected: Image.Image, tolerance: float) -> None:
    assert (image.mode, image.size) == ("RGB", expected.size)
    difference = np.abs(np.asarray(image, float) - np.asarray(expected.convert("RGB"), float))
    assert difference.mean() <= tolerance


@pytest.mark.parametrize(
    ("suffix", "options", "tolerance"),
    [
        (".png", {}, 0),
        (".bmp", {}, 0),
        (".tiff", {}, 0),
        (".tif", {"compression": "tiff_lzw"}, 0),
        (".webp", {"lossless": True}, 0),
        (".webp", {"quality": 90}, 20),
        (".jpg", {"quality": 95, "subsampling": 0}, 4),
        (".jpeg", {"progressive": True, "subsampling": 0, "quality": 95}, 4),
        (".ppm", {}, 0),
        (".tga", {}, 0),
        (".gif", {}, 3),
        (".jp2", {}, 1),
    ],
)
def test_every_image_format_is_read(tmp_path, suffix, options, tolerance):
    path = saved(picture(), tmp_path / f"a{suffix}", **options)
    assert is_image(path)
    assert_like(open_rgb(path), picture(), tolerance)


@pytest.mark.parametrize("mode", ["L", "P", "1", "LA", "RGBA", "RGBX"])
def test_every_image_mode_is_read(tmp_path, mode):
    image = picture().convert(mode)
    path = tmp_path / ("a.tiff" if mode == "RGBX" else "a.png")
    assert_like(open_rgb(saved(image, path)), image, 0)


def test_cmyk_comes_out_in_its_colours(tmp_path):
    path = saved(picture().convert("CMYK"), tmp_path / "a.jpg", quality=95, subsampling=0)
    assert Image.open(path).mode == "CMYK"
    assert_like(open_rgb(path), picture(), 5)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_lies_on_white(tmp_path, mode):
    image = Image.new("RGBA", (4, 2), (0, 0, 0, 0))
    image.paste((10, 10, 10, 255), (0, 0, 2, 2))
    path = saved(image.convert(mode), tmp_path / "a.png")
    pixels = np.asarray(open_rgb(path))
    assert np.all(pixels[:, :2] == 10)
    assert np.all(pixels[:, 2:] == 255)


def test_a_transparent_colour_without_an_alpha_channel_lies_on_white(tmp_path):
    image = Image.new("RGB", (2, 1), (1, 2, 3))
    image.putpixel((0, 0), (9, 9, 9))
    path = saved(image, tmp_path / "a.png", transparency=(1, 2, 3))
    assert [open_rgb(path).getpixel((x, 0)) for x in (0, 1)] == [(9, 9, 9), (255, 255, 255)]


def test_half_transparent_is_mixed_with_white(tmp_path):
    path = saved(Image.new("RGBA", (1, 1), (0, 0, 0, 128)), tmp_path / "a.png")
    assert open_rgb(path).getpixel((0, 0)) == (127, 127, 127)


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_sixteen_bits_are_scaled_not_cut_off(tmp_path, suffix):
    levels = np.array([[0, 255, 256, 257 * 100, 32768, 65535]], np.uint16)
    path = saved(Image.fromarray(levels), tmp_path / f"a{suffix}")
    grey = np.asarray(open_rgb(path))[0, :, 0]
    assert grey.tolist() == [0, 1, 1, 100, 128, 255]


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        (np.array([[0.0, 0.5, 1.0]], np.float32), [0, 128, 255]),
        (np.array([[0.0, 51.0, 255.0]], np.float32), [0, 51, 255]),
        (np.array([[0, 257, 65535]], np.int32), [0, 1, 255]),
        (np.array([[0, 500_000, 1_000_000]], np.int32), [0, 128, 255]),
        (np.array([[-1.0, 0.0, 1.0]], np.float32), [0, 128, 255]),
        (np.zeros((1, 3), np.float32), [0, 0, 0]),
    ],
)
def test_wide_numbers_are_scaled(tmp_path, levels, expected):
    path = saved(Image.fromarray(levels), tmp_path / "a.tiff")
    assert np.asarray(open_rgb(path))[0, :, 0].tolist() == expected


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [None, 16])
def test_exif_turns_the_image_and_its_size(tmp_path, orientation, size):
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    upright = picture(160, 96)
    stored = upright.transpose(undo[orientation]) if orientation in undo else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(stored, tmp_path / "a.jpg", exif=exif, quality=95, subsampling=0)
    image, full = decode(path.read_bytes(), size)
    assert full == (160, 96)
    assert_like(image, upright.resize(image.size, Image.Resampling.BOX), 4)
    assert image.size == ((160, 96) if size is None else (40, 24))


def test_a_jpeg_is_read_smaller_but_never_below_the_size_asked(tmp_path):
    path = saved(picture(1000, 500), tmp_path / "a.jpg")
    assert open_rgb(path).size == (1000, 500)
    assert open_rgb(path, 100).size == (250, 125)
    assert open_rgb(path, 600).size == (1000, 500)


@pytest.mark.parametrize("shape", [(1000, 500), (20, 40), (32, 32)])
def test_a_square_shows_the_whole_image(tmp_path, shape):
    path = saved(picture(*shape), tmp_path / "a.jpg", quality=95, subsampling=0)
    square = open_square(path, 32)
    assert_like(square, picture(*shape).resize((32, 32), Image.Resampling.BOX), 8)


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png", ".tiff"])
def test_the_first_frame_of_an_animation_is_returned(tmp_path, suffix):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "green", "blue")]
    options = {"lossless": True} if suffix == ".webp" else {}
    path = saved(frames[0], tmp_path / f"a{suffix}", save_all=True, append_images=frames[1:], **options)
    assert getattr(Image.open(path), "n_frames", 1) == 3
    assert open_rgb(path).getpixel((4, 4)) == (255, 0, 0)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".bmp", ".tiff", ".gif"])
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_truncated_file_is_broken(tmp_path, suffix, share):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8).astype(np.uint8))
    path = saved(noise, tmp_path / f"a{suffix}")
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(BrokenImage, match=r"truncated or damaged|not an image"):
        open_rgb(path)


@pytest.mark.parametrize(
    "content", [b"hello, I am a text", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"%!PS-Adobe-3.0 EPSF"]
)
def test_the_error_says_that_a_file_is_not_an_image(tmp_path, content):
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    with pytest.raises(BrokenImage, match=r"a\.jpg cannot be used: it is not an image") as error:
        open_rgb(path)
    assert "\n" not in str(error.value)


def test_empty_missing_and_directory_are_broken(tmp_path):
    (tmp_path / "empty.png").touch()
    (tmp_path / "dir.png").mkdir()
    for name, reason in {"empty": "the file is empty", "none": "No such file", "dir": "Is a directory"}.items():
        with pytest.raises(BrokenImage, match=reason):
            open_rgb(tmp_path / f"{name}.png")


@pytest.mark.parametrize("side", [14_000, 30_000])
def test_an_oversized_image_is_refused_before_it_is_decoded(side):
    row = zlib.compress(bytes(1000))

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = zlib.crc32(kind + content).to_bytes(4, "big")
        return len(content).to_bytes(4, "big") + kind + content + check

    header = side.to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", row) + chunk(b"IEND", b"")
    assert side * side > MAX_PIXELS
    with pytest.raises(BrokenImage, match="scale it down"):
        decode(content)


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=150, deadline=None)
@given(
    kind=st.sampled_from(["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF"]),
    where=st.floats(0, 0.999),
    junk=st.binary(min_size=1, max_size=8),
)
def test_a_damaged_file_is_an_image_or_broken_and_nothing_else(kind, where, junk):
    buffer = io.BytesIO()
    picture().save(buffer, kind)
    content = bytearray(buffer.getvalue())
    start = int(where * len(content))
    content[start : start + len(junk)] = junk
    try:
        assert decode(bytes(content), 16)[0].mode == "RGB"
    except BrokenImage as error:
        assert "\n" not in str(error)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_damaged_exif_does_not_break_a_good_image(tmp_path):
    path = saved(
        picture(), tmp_path / "a.jpg", exif=b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\xff\xff\x01\x12junk", quality=95
    )
    assert open_rgb(path).size == (40, 24)


def test_images_are_recognised_by_their_names():
    for name in ("a.jpg", "A.JPEG", "b.WebP", "c.tar.png", "d.heic"):
        assert is_image(Path("x") / name)
    for name in ("a.txt", "png", ".png", "._a.jpg", ".hidden.jpg", "a.jpg.part", "a.pdf", "a.eps"):
        assert not is_image(Path("x") / name)


def test_decoding_needs_only_pillow():
    heavy = {"numpy", "torch", "lancedb", "pyarrow", "filelock"}
    code = f"import sys, gradebook.storage.images; print({heavy!r} & {{*sys.modules}})"
    root = Path(__file__).parents[2]
    out = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "set()"
