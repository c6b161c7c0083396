"""Decodes image files to upright 8-bit RGB images.

Needs only Pillow and no other module of Gradebook, so that an exported classifier can predict with it.
"""

import functools
import io
import warnings
from pathlib import Path

from PIL import ExifTags, Image, ImageOps

SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".gif", ".webp", ".bmp", ".dib", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".ico", ".jp2", ".avif"),
    *(".heic", ".heif"),  # cannot be read, but are reported
)
# Formats that Pillow may open. Without EPS, which starts Ghostscript, and formats that are not of images.
FORMATS = ("JPEG", "MPO", "PNG", "GIF", "WEBP", "BMP", "DIB", "TIFF", "PPM", "TGA", "ICO", "JPEG2000", "AVIF")
MAX_PIXELS = 180_000_000  # an image with more could fill the memory

# Pillow warns from half of its own limit on; MAX_PIXELS is checked before any pixel is decoded.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")  # about damaged metadata


class BrokenImage(ValueError):  # noqa: N818
    """A file cannot be decoded as an image; the message says why."""


def is_image(path: Path) -> bool:
    """Returns whether a file has the name of an image. Hidden files do not: some systems store metadata in them."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def content_of(path: Path) -> bytes:
    """Returns the content of a file.

    Raises:
        BrokenImage: the file cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise BrokenImage(f"it cannot be read ({error.strerror or error})") from error


def open_rgb(path: Path, size: int | None = None) -> Image.Image:
    """Returns the first image of a file as RGB, in its EXIF orientation, transparency on white.

    Args:
        path: the file.
        size: pixels; a JPEG may then be decoded at 1/2, 1/4 or 1/8 of its size, but at least this wide and high, which
            is several times faster. Other formats are decoded in full.

    Raises:
        BrokenImage: the file cannot be read, or it is empty, truncated, damaged, too large or no image.
    """
    return open_with_content(path, size)[0]


def open_with_content(path: Path, size: int | None = None) -> tuple[Image.Image, bytes]:
    """Returns the image and the content of a file; returns and raises as `open_rgb` does."""
    try:
        content = path.read_bytes()
        return decode(content, size)[0], content
    except OSError as error:
        raise BrokenImage(f"{path} cannot be read ({error.strerror or error})") from error
    except BrokenImage as error:
        raise BrokenImage(f"{path} cannot be used: {error}") from error


def open_square(path: Path, size: int) -> Image.Image:
    """Returns a file's image as `open_rgb` does, stretched to `size` x `size` pixels."""
    return square(open_rgb(path, size), size)


def square(image: Image.Image, size: int) -> Image.Image:
    """Returns an image stretched to `size` x `size` pixels.

    Not cropped: the object of the label may be at the edge.
    """
    return image if image.size == (size, size) else image.resize((size, size), Image.Resampling.BICUBIC, reducing_gap=3)


def decode(content: bytes, size: int | None = None) -> tuple[Image.Image, tuple[int, int]]:
    """Returns the image as `open_rgb` does from the content of a file, and its full upright (width, height)."""
    if not content:
        raise BrokenImage("the file is empty")
    try:
        image = Image.open(io.BytesIO(content), formats=_formats())
    except Image.DecompressionBombError:
        raise BrokenImage(f"it has more than {MAX_PIXELS:,} pixels: scale it down") from None
    except Exception as error:  # a damaged header may make Pillow raise anything
        known = "JPEG, PNG, GIF, WebP, BMP, TIFF, AVIF, JPEG 2000, PPM, TGA, ICO"
        raise BrokenImage(f"it is not an image, or its format is not supported: use one of {known}") from error
    full = image.size
    if full[0] * full[1] > MAX_PIXELS:
        raise BrokenImage(f"it has {full[0] * full[1]:,} pixels, more than {MAX_PIXELS:,}: scale it down")
    if size is not None:
        image.draft(None, (size, size))
    try:
        image.load()
    except Exception as error:  # as above
        raise BrokenImage(f"the image is truncated or damaged ({_first_line(error)})") from error
    if _apply_orientation(image):
        full = full[1], full[0]
    return _rgb(image), full


@functools.cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _apply_orientation(image: Image.Image) -> bool:
    """Rotates the image to its EXIF orientation; returns whether that swaps width and height."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
        ImageOps.exif_transpose(image, in_place=True)
    except Exception:  # an image with damaged EXIF data is still good
        return False
    return orientation in (5, 6, 7, 8)


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        image = _eight_bits(image)
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(white, layer).convert("RGB")
    try:
        return image.convert("RGB")
    except ValueError as error:
        raise BrokenImage(f"its colour mode {image.mode} is not supported: save it as RGB") from error


def _eight_bits(image: Image.Image) -> Image.Image:
    """Scales grey levels of more than eight bits to 0..255; `convert` would clip them at 255.

    White is 65535 in 16 bits. Wider integers and floats do not define it: white is then the first of 1, 255 and
    65535 that no pixel exceeds, else the brightest pixel.
    """
    levels = image.convert("F")
    low, high = (float(level) for level in levels.getextrema())  # type: ignore[arg-type]  # one channel: two numbers
    white = 65535.0 if image.mode.startswith("I;16") else _white(image.mode, high)
    black = min(low, 0.0)
    scale = 255.0 / (white - black)
    return levels.point(lambda level: level * scale + (0.5 - black * scale)).convert("L")


def _white(mode: str, high: float) -> float:
    steps = (1.0, 255.0, 65535.0) if mode == "F" else (255.0, 65535.0)
    return next((white for white in steps if high <= white), high)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
