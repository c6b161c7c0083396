"""Opening image files: whatever is in the file, three channels of eight bits come out, the right way up.

Needs Pillow and nothing of ours, so that predicting with an exported classifier needs no more either.
"""

import functools
import io
import warnings
from pathlib import Path

from PIL import ExifTags, Image, ImageOps

SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".gif", ".webp", ".bmp", ".dib", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".ico", ".jp2", ".avif"),
    *(".heic", ".heif"),  # cannot be read, but their owner wants to be told
)
# What we let Pillow recognise. Not EPS, which starts Ghostscript, nor formats that hold other things than pictures.
FORMATS = ("JPEG", "MPO", "PNG", "GIF", "WEBP", "BMP", "DIB", "TIFF", "PPM", "TGA", "ICO", "JPEG2000", "AVIF")
BOMB = 180_000_000  # pixels; an image with more could fill the memory

# Pillow warns from half of its own limit on; ours is checked before any pixel is read.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")  # of damaged notes beside good pixels


class BrokenImage(ValueError):  # noqa: N818
    """A file is not an image that can be read; the message says why."""


def is_image(path: Path) -> bool:
    """Tells by its name whether a file should be an image. Hidden files are not: some systems keep notes in them."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def content_of(path: Path) -> bytes:
    """Returns what is in a file.

    Raises:
        BrokenImage: the file cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise BrokenImage(f"it cannot be read ({error.strerror or error})") from error


def open_rgb(path: Path, size: int | None = None) -> Image.Image:
    """Returns a file's (first) image as RGB, turned as its EXIF data says, transparency on white.

    Args:
        path: the file.
        size: pixels; when given, a JPEG may be read at a fraction of its size (1/2, 1/4 or 1/8) that is still at
            least this wide and high, which is several times faster. Other formats come in full.

    Raises:
        BrokenImage: the file cannot be read, is empty, cut short, damaged, too large or no image.
    """
    return open_with_content(path, size)[0]


def open_with_content(path: Path, size: int | None = None) -> tuple[Image.Image, bytes]:
    """Returns what `open_rgb` does, and what is in the file; raises what `open_rgb` raises."""
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

    Stretched and not cropped: what an image is labelled for may stand at its edge.
    """
    return image if image.size == (size, size) else image.resize((size, size), Image.Resampling.BICUBIC, reducing_gap=3)


def decode(content: bytes, size: int | None = None) -> tuple[Image.Image, tuple[int, int]]:
    """Returns what `open_rgb` does from the bytes of a file, and the full width and height in pixels, turned."""
    if not content:
        raise BrokenImage("the file is empty")
    try:
        image = Image.open(io.BytesIO(content), formats=_formats())
    except Image.DecompressionBombError:
        raise BrokenImage(f"it has more than {BOMB:,} pixels: scale it down") from None
    except Exception as error:  # a damaged header may make Pillow raise anything
        known = "JPEG, PNG, GIF, WebP, BMP, TIFF, AVIF, JPEG 2000, PPM, TGA, ICO"
        raise BrokenImage(f"it is not an image, or of a kind that cannot be read here (can be: {known})") from error
    full = image.size
    if full[0] * full[1] > BOMB:
        raise BrokenImage(f"it has {full[0] * full[1]:,} pixels, more than {BOMB:,}: scale it down")
    if size is not None:
        image.draft(None, (size, size))
    try:
        image.load()
    except Exception as error:  # as above
        raise BrokenImage(f"its image is cut short or damaged ({_first_line(error)})") from error
    if _turn(image):
        full = full[1], full[0]
    return _rgb(image), full


@functools.cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _turn(image: Image.Image) -> bool:
    """Turns the image as its EXIF data says; tells whether width and height changed places."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
        ImageOps.exif_transpose(image, in_place=True)
    except Exception:  # damaged EXIF data is no reason to refuse a good image
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
        raise BrokenImage(f"its colours are of the kind {image.mode}: save it as RGB") from error


def _eight_bits(image: Image.Image) -> Image.Image:
    """Scales grey levels of more than eight bits to 0..255, where `convert` would cut them off at 255.

    Sixteen bits have 65535 as white. Wider integers and fractions say nothing of their white: 1, 255 and 65535
    are taken, whichever is the first that no pixel exceeds, and beyond that the brightest pixel.
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
