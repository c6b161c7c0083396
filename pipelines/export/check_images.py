"""Small images of every kind that programs decode differently, on which an exported classifier is tested."""

from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

SIDE = 48  # pixels


def write_check_images(directory: Path) -> list[Path]:
    """Writes the images into a directory and returns their paths."""
    colour = _picture()
    ramp = np.linspace(0, 4095, SIDE)[None].repeat(SIDE, 0)
    ramp[:9, :9] = 3000
    transparent = colour.convert("RGBA")
    transparent.paste((0, 0, 0, 0), (0, 0, SIDE // 2, SIDE))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6  # to be turned by 90 degrees
    images = {
        "rgb.png": colour,
        "exif.jpg": colour,
        "rgba.png": transparent,
        "grey_alpha.png": transparent.convert("LA"),
        "palette.png": transparent.convert("P"),
        "cmyk.jpg": colour.convert("CMYK"),
        "16_bits.png": Image.fromarray(ramp.astype(np.uint16)),
        "32_bits.tif": Image.fromarray(ramp.astype(np.int32) * 1000),
        "float.tif": Image.fromarray((ramp / 4000).astype(np.float32)),
        "wide.png": colour.resize((5 * SIDE, 3)),
        "one_pixel.png": colour.resize((1, 1)),
        "large.jpg": colour.resize((40 * SIDE, 30 * SIDE), Image.Resampling.BICUBIC),
    }
    for name, image in images.items():
        if name == "exif.jpg":
            image.save(directory / name, exif=exif)
        else:
            image.save(directory / name)
    return [directory / name for name in images]


def _picture() -> Image.Image:
    """Returns a picture that looks different turned by 90 degrees, and whose channels differ."""
    levels = np.random.default_rng(0).integers(0, 256, (6, 6, 3)).astype(np.uint8)
    levels[:2, :, 0], levels[:, 4:, 2] = 255, 20
    return Image.fromarray(levels).resize((SIDE, SIDE - 12), Image.Resampling.BICUBIC)
