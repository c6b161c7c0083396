"""Measures how training on pixels reads an image: decoded from its file, against the cached square.

    python -m benchmarks.decoding --images 40 --rounds 5

The images are synthetic photographs, large and small, or those of `--folder`; squares have two sizes. Both ways take
turns in one process; the table has medians of CPU-milliseconds per image. Only ratios can be compared between machines.
"""

import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.throughput import photographs
from gradebook.pipelines.image_cache import SquareImages
from gradebook.pipelines.studies.command_line import footer
from gradebook.pipelines.training.image_loader import ImageFiles, Images

KINDS = {"4032 x 3024": (4032, 3024), "640 x 480": (640, 480)}  # width and height, pixels
WAYS = ("from the file", "first read", "cached")  # the first read also writes the cache


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoding:
    """Options of the benchmark."""

    folder: Path | None = None
    """Folder with images to use instead of synthetic photographs."""
    images: int = 40
    """Images of each kind."""
    sizes: tuple[int, ...] = (64, 224)
    """Height and width of the squares, in pixels."""
    rounds: int = 5
    """Number of rounds."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table; returns the exit status."""
    import tyro

    given = list(sys.argv[1:] if arguments is None else arguments)
    options = tyro.cli(Decoding, args=given, prog="python -m benchmarks.decoding", description=__doc__)
    rows = []
    with tempfile.TemporaryDirectory() as directory:
        for kind, folder in _folders(options, Path(directory)).items():
            files = sorted(path for path in folder.rglob("*") if path.is_file())[: options.images]
            rows += [row(kind, files, size, options.rounds) for size in options.sizes]
    print(as_markdown(rows, given))
    return 0


def row(kind: str, files: Sequence[Path], size: int, rounds: int) -> str:
    """Returns the table's row for these files and one size of squares."""
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
            cached = sum(path.stat().st_size for path in root.glob("squares/*/*/*"))
        finally:
            shutil.rmtree(root)
    file, first, again = (statistics.median(took[way]) for way in WAYS)
    kilobytes = f"{cached / len(files) / 1000:.0f} of {sum(map(len, content)) / len(files) / 1000:.0f}"
    return f"| {kind} | {size} | {file:.2f} | {first:.2f} | {again:.2f} | {file / again:.0f} | {kilobytes} |"


def as_markdown(rows: Sequence[str], given: Sequence[str]) -> str:
    """Returns the table."""
    return f"""
| photographs | square, px | {WAYS[0]}, ms | {WAYS[1]}, ms | {WAYS[2]}, ms | speed-up | kB cached of the file's |
| --- | --- | --- | --- | --- | --- | --- |
{chr(10).join(rows)}

{footer("-m benchmarks.decoding", given)}
"""


def _folders(options: Decoding, work: Path) -> dict[str, Path]:
    if options.folder is not None:
        return {"from --folder": options.folder}
    return {
        kind: photographs(work / str(width), options.images, width=width, height=height)
        for kind, (width, height) in KINDS.items()
    }


def _milliseconds(images: Images, count: int) -> float:
    """Returns the CPU-milliseconds per image."""
    began = time.process_time()
    for position in range(count):
        images.read(position)
    return 1000 * (time.process_time() - began) / count


if __name__ == "__main__":
    raise SystemExit(main())
