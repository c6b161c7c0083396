"""What a training on pixels pays for an image: from its file each time, against from the square that is kept of it.

    python -m benchmarks.decoding --images 40 --rounds 5

Photographs as a telephone takes them and small ones, made up, or those of a `--folder`, at two sizes of squares. One
process, in turns; medians of CPU-milliseconds an image. Ratios of one run are comparable; milliseconds are not.
"""

import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from benchmarks.throughput import photographs
from gradebook.pipelines.image_cache import SquareImages
from gradebook.pipelines.studies.method_comparison import machine
from gradebook.pipelines.training.image_loader import ImageFiles, Images

KINDS = {"4032 x 3024": (4032, 3024), "640 x 480": (640, 480)}  # width and height, pixels
WAYS = ("from its file", "the first time", "from then on")


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoding:
    """What to measure."""

    folder: Path | None = None
    """Images of your own, instead of photographs that are made up."""
    images: int = 40
    """Of each kind."""
    sizes: tuple[int, ...] = (64, 224)
    """Pixels a side of the squares."""
    rounds: int = 5
    """How often each is read."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table; returns the exit status."""
    import tyro

    given = list(sys.argv[1:] if arguments is None else arguments)
    asked = tyro.cli(Decoding, args=given, prog="decoding.py", description=__doc__)
    rows = []
    with tempfile.TemporaryDirectory() as directory:
        for kind, folder in _folders(asked, Path(directory)).items():
            files = sorted(path for path in folder.rglob("*") if path.is_file())[: asked.images]
            rows += [row(kind, files, size, asked.rounds) for size in asked.sizes]
    print(as_markdown(rows, given))
    return 0


def row(kind: str, files: Sequence[Path], size: int, rounds: int) -> str:
    """Returns the table's row of these files at one size of squares."""
    from gradebook.storage.project import create_project
    from gradebook.storage.samples import sample_id

    paths, content = [str(path) for path in files], [path.read_bytes() for path in files]
    took: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(rounds):
        root = Path(tempfile.mkdtemp())
        try:
            squares = SquareImages(create_project(root, ["one"]), paths, list(map(sample_id, content)), size)
            for way, images in zip(WAYS, (ImageFiles(paths, size), squares, squares), strict=True):
                took[way].append(_milliseconds(images, len(files)))
            kept = sum(path.stat().st_size for path in root.glob("squares/*/*/*"))
        finally:
            shutil.rmtree(root)
    file, first, again = (statistics.median(took[way]) for way in WAYS)
    bytes_kept = f"{kept / len(files) / 1000:.0f} of {sum(map(len, content)) / len(files) / 1000:.0f}"
    return f"| {kind} | {size} | {file:.2f} | {first:.2f} | {again:.2f} | {file / again:.0f} | {bytes_kept} |"


def as_markdown(rows: Sequence[str], given: Sequence[str]) -> str:
    """Returns the table."""
    return f"""
| photographs | square, px | {WAYS[0]}, ms | {WAYS[1]}, ms | {WAYS[2]}, ms | times less | kB kept of an image's |
| --- | --- | --- | --- | --- | --- | --- |
{chr(10).join(rows)}

`python -m benchmarks.decoding {" ".join(given)}`, {date.today()}, {machine()}
"""


def _folders(asked: Decoding, work: Path) -> dict[str, Path]:
    if asked.folder is not None:
        return {"of the folder": asked.folder}
    return {
        kind: photographs(work / str(width), asked.images, width=width, height=height)
        for kind, (width, height) in KINDS.items()
    }


def _milliseconds(images: Images, count: int) -> float:
    """Returns the CPU-milliseconds that an image takes to read."""
    began = time.process_time()
    for position in range(count):
        images.read(position)
    return 1000 * (time.process_time() - began) / count


if __name__ == "__main__":
    raise SystemExit(main())
