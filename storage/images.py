"""Decodes image files to upright 8-bit RGB images: the preprocessing of everything that sees an image.

All of Gradebook decodes through this module, and `gradebook export` copies it as `preprocess.py` next to the model. It
therefore needs only Pillow and NumPy, and stays one file.

- EXIF orientation is applied. The first picture of a stack or an animation is used.
- Transparent areas become white. CMYK and palettes become RGB, without colour profiles.
- Levels of more than 8 bits are scaled by the range that the file declares, else by that of its kind in `ranges`: a
  project has one for all its images. Without one the rule of `level_range` is applied to the file alone.
- The whole image is stretched to a square, never cropped: the object of the label may be at the edge.
"""

import functools
import io
import re
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import ExifTags, Image, ImageOps

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Ranges = Mapping[str, tuple[float, float]]  # kind of levels, see `kind_of` -> the levels that become black and white
RANGES: Ranges = {}  # where a caller gives none: in an export's copy those of its project

SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".gif", ".webp", ".bmp", ".dib", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".ico", ".jp2", ".avif"),
    *(".heic", ".heif"),  # cannot be read, but are reported
)
# Formats that Pillow may open. Without EPS, which starts Ghostscript, and formats that are not of images.
FORMATS = ("JPEG", "MPO", "PNG", "GIF", "WEBP", "BMP", "DIB", "TIFF", "PPM", "TGA", "ICO", "JPEG2000", "AVIF")
MAX_PIXELS = 180_000_000  # an image with more could fill the memory

WHITES = (1.0, 255.0, 1023.0, 4095.0, 16383.0, 65535.0)  # common white levels: floats, 8, 10, 12, 14 and 16 bits
CAMERA_WHITES = (4095.0, 65535.0)  # of unsigned 16-bit images that reach none of the common white levels
REACHED = 0.995  # of a white level: a darker image may be a dark exposure of more bits
MIN_CONTRAST = 1 / 4  # of the brightest level, or unsigned 16-bit levels are stretched: of a thermal camera, say
OUTLIERS = 0.002  # share of the pixels that may be darker than black, and brighter than white
MIN_PIXELS_FOR_OUTLIERS = 100  # an image with fewer has none
MIN_SHARE = 1 / 2  # of the range from black to white that levels must fill, or the range is theirs
LEVEL_SAMPLE = 1_000_000  # pixels, evenly spaced, from which the range of a larger image is computed
PNG_HEADER = 33  # bytes
COLOUR = "colour"  # kind of the levels of colour images with 16 bits a channel
PGM_MAXIMUM = re.compile(rb"P[25]\s+(?:#[^\n]*\n\s*)*\d+\s+(?:#[^\n]*\n\s*)*\d+\s+(?:#[^\n]*\n\s*)*(\d+)\s")
PHOTOMETRIC, BITS, PLANAR, SAMPLE_FORMAT, SMIN, SMAX = 262, 258, 284, 339, 340, 341  # tags of TIFF files

# Pillow warns from half of its own limit on; MAX_PIXELS is checked before any pixel is decoded.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")  # about damaged metadata


class BrokenImage(ValueError):  # noqa: N818
    """A file cannot be decoded as an image; the message says why."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """An image file, decoded."""

    image: Image.Image  # upright, RGB
    width: int  # pixels, of the whole upright image; `image` may be smaller
    height: int
    levels: str = ""  # which levels became black and white, where they have more than 8 bits
    pictures: int = 1  # in the file; the first is taken


def load(path: str | Path, size: int, ranges: Ranges | None = None) -> "NDArray[np.uint8]":
    """Returns a file's image as the classifier takes it, uint8 RGB of shape (3, size, size); raises as `open_rgb`."""
    import numpy as np

    return np.ascontiguousarray(np.asarray(open_square(Path(path), size, ranges)).transpose(2, 0, 1))


def is_image(path: Path) -> bool:
    """Returns whether a file has the name of an image. Hidden files do not: some systems store metadata in them."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def open_rgb(path: Path, size: int | None = None, ranges: Ranges | None = None) -> Image.Image:
    """Returns the first image of a file as RGB, in its EXIF orientation, transparency on white.

    Args:
        path: the file.
        size: pixels; a JPEG may then be decoded at 1/2, 1/4 or 1/8 of its size, but at least this wide and high, which
            is several times faster. Other formats are decoded in full.
        ranges: of levels of more than 8 bits.

    Raises:
        BrokenImage: the file cannot be read, or it is empty, truncated, damaged, too large or no image.
    """
    try:
        return decode(path.read_bytes(), size, ranges)[0]
    except OSError as error:
        raise BrokenImage(f"{path} cannot be read ({error.strerror or error})") from error
    except BrokenImage as error:
        raise BrokenImage(f"{path} cannot be used: {error}") from error


def open_square(path: Path, size: int, ranges: Ranges | None = None) -> Image.Image:
    """Returns a file's image as `open_rgb` does, stretched to `size` x `size` pixels."""
    return square(open_rgb(path, size, ranges), size)


def square(image: Image.Image, size: int) -> Image.Image:
    """Returns an image stretched to `size` x `size` pixels."""
    return image if image.size == (size, size) else image.resize((size, size), Image.Resampling.BICUBIC, reducing_gap=3)


def square_of_pixels(image: Image.Image, size: int, ranges: Ranges | None = None) -> Image.Image:
    """Returns an image that is in memory as `open_square` returns that of a file: upright, RGB, `size` x `size` pixels.

    Raises:
        BrokenImage: its pixels cannot be read or converted.
    """
    try:
        image.load()
        eight_bits = _eight_bits_of_grey(image, b"", ranges)[0] if _is_deep_grey(image) else image
    except Exception as error:  # Pillow reads an opened file only now, and may raise anything
        message = (str(error).splitlines() or [type(error).__name__])[0]
        raise BrokenImage(f"the image is truncated or damaged ({message})") from error
    upright = eight_bits.copy()
    _apply_orientation(image, upright)
    return square(_rgb(upright), size)


def decode(
    content: bytes, size: int | None = None, ranges: Ranges | None = None
) -> tuple[Image.Image, tuple[int, int]]:
    """Returns the image as `open_rgb` does from the content of a file, and its full upright (width, height)."""
    decoded = inspect(content, size, ranges, count_pictures=False)
    return decoded.image, (decoded.width, decoded.height)


def inspect(
    content: bytes, size: int | None = None, ranges: Ranges | None = None, *, count_pictures: bool = True
) -> Decoded:
    """Decodes the content of a file as `open_rgb` does, and says what was done; raises `BrokenImage` as well.

    To count the pictures of a stack or an animation, each of them is opened.
    """
    image = _open(content)
    pictures = _count_pictures(image) if count_pictures else 1
    width, height = image.size
    if size is not None:
        image.draft(None, (size, size))
    try:
        _use_planes_of_16_bits(image)
        image.load()
        eight_bits, levels = _eight_bits(image, content, ranges)
    except Exception as error:  # a damaged file may make Pillow raise anything
        message = (str(error).splitlines() or [type(error).__name__])[0]
        raise BrokenImage(f"the image is truncated or damaged ({message})") from error
    if _apply_orientation(image, eight_bits):
        width, height = height, width
    return Decoded(_rgb(eight_bits), width, height, levels, pictures)


def deep_levels(content: bytes) -> "tuple[str, NDArray[Any]] | None":
    """Returns the levels of an image file and their kind if a project chooses their range; else None.

    It chooses none for 8 bits, and none where the file declares one. Raises as `inspect`.
    """
    image = _open(content)
    try:
        _use_planes_of_16_bits(image)
        image.load()
        if not _is_deep_grey(image):
            is_deep = _has_16_bits(image, content)
            return (COLOUR, _levels_of_colour(image, content)[..., :3]) if is_deep else None
        levels = _levels_of_grey(image)
    except Exception as error:  # a damaged file may make Pillow raise anything
        raise BrokenImage(f"the image is truncated or damaged ({error})") from error
    is_declared = _declared_range(getattr(image, "tag_v2", {})) or _range_of_header(content)
    return None if is_declared else (kind_of(levels), levels)


def kind_of(levels: "NDArray[Any]") -> str:
    """Returns the kind of levels, each of which has one range in a project: float, uint16 or int; see also `COLOUR`."""
    return "float" if levels.dtype.kind == "f" else "uint16" if _is_camera(levels) else "int"


def _is_camera(levels: "NDArray[Any]") -> bool:
    return levels.dtype.kind == "u" and levels.dtype.itemsize == 2  # in either byte order


def level_range(levels: "NDArray[Any]") -> tuple[float, float]:
    """Returns the levels that become black and white in an image of more than 8 bits which does not declare them.

    The darkest and brightest 0.2 % of the pixels are ignored, and those that are not finite. Black is 0, and white is

    - 65535 for integers that are all multiples of 16 or of 257, which come from fewer bits;
    - for other unsigned 16-bit levels 255, 1023, 4095 or 16383 if the brightest is that level, else 4095 if none is
      above it, else 65535, so that differently exposed images of one camera keep their order;
    - for floats and other integers the first of 1, 255, 1023, 4095, 16383 and 65535 that is not exceeded.

    Levels are stretched from the darkest to the brightest if they are negative or above 65535, if unsigned 16-bit ones
    differ by less than a quarter of the brightest, and if others fill less than half of that range.
    """
    import numpy as np

    some = levels.ravel()[:: max(1, levels.size // LEVEL_SAMPLE)]
    some = np.sort(some[np.isfinite(some)])
    if not len(some):
        return 0.0, 1.0
    ignored = int(np.ceil(OUTLIERS * len(some))) if len(some) >= MIN_PIXELS_FOR_OUTLIERS else 0
    some = some[ignored : len(some) - ignored]
    low, high = float(some[0]), float(some[-1])
    is_camera = _is_camera(levels)
    white = _camera_white(high) if is_camera else next((white for white in WHITES if high <= white), None)
    is_shifted = levels.dtype.kind in "ui" and not all(np.any(some % number) for number in (16, 257))
    if is_shifted and 4095 < high <= WHITES[-1]:
        return 0.0, WHITES[-1]
    if low == high:  # nothing to stretch
        return min(low, 0.0), max(white or high, 1.0)
    if low < 0 or white is None or high - low < (MIN_CONTRAST * high if is_camera else MIN_SHARE * white):
        return low, high
    return 0.0, white


def _camera_white(high: float) -> float:
    """Returns the white level of unsigned 16-bit levels up to `high`."""
    reached = (white for white in WHITES[1:] if REACHED * white <= high <= white)
    return next(reached, None) or next(white for white in CAMERA_WHITES if high <= white)


def _open(content: bytes) -> Image.Image:
    if not content:
        raise BrokenImage("the file is empty")
    try:
        image = Image.open(io.BytesIO(content), formats=_formats())
    except Image.DecompressionBombError:
        raise BrokenImage(f"it has more than {MAX_PIXELS:,} pixels: scale it down") from None
    except Exception as error:  # a damaged header may make Pillow raise anything
        known = "JPEG, PNG, GIF, WebP, BMP, TIFF, AVIF, JPEG 2000, PPM, TGA, ICO"
        raise BrokenImage(f"it is not an image, or not of a supported kind: use one of {known}") from error
    pixels = image.size[0] * image.size[1]
    if pixels > MAX_PIXELS:
        raise BrokenImage(f"it has {pixels:,} pixels, more than {MAX_PIXELS:,}: scale it down")
    return image


@functools.cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _count_pictures(image: Image.Image) -> int:
    """Returns the number of pictures in a file. A phone's JPEG counts as one: its others are previews and depths."""
    if image.format in ("JPEG", "MPO"):
        return 1
    try:
        return int(getattr(image, "n_frames", 1))
    except Exception:  # a later picture is damaged, and the first is what counts
        return 1


def _apply_orientation(original: Image.Image, image: Image.Image) -> bool:
    """Rotates the image to the original's EXIF orientation; returns whether that swaps width and height."""
    try:
        exif = original.getexif()
        orientation = exif.get(ExifTags.Base.Orientation, 1)
        if image is not original:
            image.getexif()[ExifTags.Base.Orientation] = orientation
        ImageOps.exif_transpose(image, in_place=True)
    except Exception:  # an image with damaged EXIF data is still good
        return False
    return orientation in (5, 6, 7, 8)


def _rgb(image: Image.Image) -> Image.Image:
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(white, layer).convert("RGB")
    try:
        return image.convert("RGB")
    except ValueError as error:
        raise BrokenImage(f"its colour mode {image.mode} is not supported: save it as RGB") from error


def _eight_bits(image: Image.Image, content: bytes, ranges: Ranges | None) -> tuple[Image.Image, str]:
    """Returns a loaded image with 8 bits a channel, and which levels became black and white where it had more."""
    if _is_deep_grey(image):
        return _eight_bits_of_grey(image, content, ranges)
    if _has_16_bits(image, content):
        chosen = (RANGES if ranges is None else ranges).get(COLOUR)
        if chosen != (0.0, WHITES[-1]) and (chosen or _is_dark(image)):
            return _eight_bits_of_colour(image, content, chosen)
    return image, ""


def _is_deep_grey(image: Image.Image) -> bool:
    return image.mode.startswith("I;16") or image.mode in ("I", "F")


def _levels_of_grey(image: Image.Image) -> "NDArray[Any]":
    import numpy as np

    tags, levels = getattr(image, "tag_v2", {}), np.asarray(image)
    if image.mode == "I" and image.format in ("PNG", "PPM"):
        return levels.astype(np.uint16)
    if image.mode == "I" and tags.get(BITS) == (32,) and tags.get(SAMPLE_FORMAT, (1,)) == (1,):
        return levels.view(np.uint32)  # Pillow reads them as signed
    return levels


def _eight_bits_of_grey(image: Image.Image, content: bytes, ranges: Ranges | None) -> tuple[Image.Image, str]:
    tags, levels = getattr(image, "tag_v2", {}), _levels_of_grey(image)
    declared = _declared_range(tags) or _range_of_header(content)
    black, white = declared or (RANGES if ranges is None else ranges).get(kind_of(levels)) or level_range(levels)
    is_white_zero = tags.get(PHOTOMETRIC) == 0
    grey = _scaled(levels, *((white, black) if is_white_zero else (black, white)))
    return Image.fromarray(grey), f"{black:.6g} to {white:.6g}" + (", white is the lowest" if is_white_zero else "")


def _declared_range(tags: Any) -> tuple[float, float] | None:
    """Returns the range of levels that a TIFF file declares."""
    import numpy as np

    black, white = float(np.ravel(tags.get(SMIN, 0.0))[0]), float(np.ravel(tags.get(SMAX, 0.0))[0])
    if white > black:
        return black, white
    bits = tags.get(BITS, ())
    return (0.0, 2.0 ** bits[0] - 1) if len(bits) == 1 and 8 < bits[0] < 16 else None


def _range_of_header(content: bytes) -> tuple[float, float] | None:
    """Returns the range that a PNG file declares by its significant bits (`sBIT`), or a PGM file by its maximum."""
    if maximum := PGM_MAXIMUM.match(content):
        return None if int(maximum[1]) == 65535 else (0.0, 65535.0)  # to which Pillow has scaled the levels
    at = content.find(b"sBIT", PNG_HEADER, 4096)
    if not content.startswith(b"\x89PNG") or at < 0 or b"IDAT" in content[PNG_HEADER:at]:
        return None
    bits = content[at + 4]
    return (0.0, 2.0**bits - 1) if 8 < bits <= 16 else None


def _scaled(levels: "NDArray[Any]", black: float, white: float) -> "NDArray[np.uint8]":
    """Maps black to 0 and white to 255, linearly; what is not a number becomes black."""
    import numpy as np

    exact: Any = np.float64 if levels.dtype.itemsize > 2 and levels.dtype.kind in "ui" else np.float32
    values: Any = levels.astype(exact)
    scaled = (values - black) * (255.0 / (white - black)) + 0.5
    pixels: NDArray[np.uint8] = np.nan_to_num(scaled, nan=0.0, posinf=255.0, neginf=0.0).clip(0, 255).astype(np.uint8)
    return pixels


def _has_16_bits(image: Image.Image, content: bytes) -> bool:
    """Returns whether a colour image has channels of 16 bits, of which Pillow reads the upper 8."""
    tags = getattr(image, "tag_v2", {})
    bits = content[24] if image.format == "PNG" else max(tags.get(BITS, (8,)))  # a PNG's header starts at byte 16
    return bits == 16 and image.mode in ("RGB", "RGBA")


def _is_dark(image: Image.Image) -> bool:
    """Returns whether a colour image of 16 bits uses few of the upper 8."""
    extrema: Any = image.convert("RGB").getextrema()
    return max(int(high) for _, high in extrema) < 64


def _levels_of_colour(image: Image.Image, content: bytes) -> "NDArray[np.uint16]":
    """Returns levels of 16 bits (H, W, 3 or 4); Pillow reads the lower byte as that of the other byte order."""
    import numpy as np

    other: Any = _open(content)
    _use_planes_of_16_bits(other)
    other.tile = [tile._replace(args=_with_other_bytes(tile.args)) for tile in other.tile]
    levels: NDArray[np.uint16] = (np.asarray(image).astype(np.uint16) << 8) | np.asarray(other)
    return levels


def _eight_bits_of_colour(
    image: Image.Image, content: bytes, chosen: tuple[float, float] | None
) -> tuple[Image.Image, str]:
    import numpy as np

    levels = _levels_of_colour(image, content)
    black, white = chosen or level_range(levels[..., :3])
    pixels = _scaled(levels, black, white)
    pixels[..., 3:] = np.asarray(image)[..., 3:]
    return Image.fromarray(pixels), f"{black:.6g} to {white:.6g}"


def _with_other_bytes(args: Any) -> Any:
    """Returns a tile's arguments with the raw mode of the other byte order."""
    if not isinstance(args, str):
        return _with_other_bytes(args[0]), *args[1:]
    mode, _, order = args.rpartition(";16")
    is_little = order == "L" or (order == "N" and sys.byteorder == "little")
    return f"{mode};16{'B' if is_little else 'L'}"


def _use_planes_of_16_bits(image: Any) -> None:
    """Has Pillow read uncompressed planes of 16 bits as such; it takes them for planes of 8 bits."""
    tags: Any = getattr(image, "tag_v2", {})
    if tags.get(PLANAR) != 2 or image.mode not in ("RGB", "RGBA") or max(tags.get(BITS, (8,))) != 16:
        return
    if all(tile.codec_name == "raw" for tile in image.tile):
        order = ";16L" if tags.prefix == b"II" else ";16B"
        image.tile = [tile._replace(args=(tile.args[0] + order, *tile.args[1:])) for tile in image.tile]
