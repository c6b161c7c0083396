"""What a million and a billion unlabelled images take: machines, hours, bytes and money, by arithmetic.

    python pipelines/cost/scaling.py --images 1e6 1e9

Rates and prices are assumptions to be replaced by your own, each an option; bytes are counted on rows that are made
here, or come from benchmarks/record.py. Nothing is run at that size. docs/scale.md says what the figures mean.
"""

import sys
import tracemalloc
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Annotated

from tyro.conf import arg

HOUR, TB, GB = 3600, 1e12, 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """What is assumed."""

    images: Annotated[tuple[float, ...], arg(help="unlabelled images in the folder")] = (1e6, 1e9)
    keep: float = 1e7
    """Images that the pool filter leaves at most; all are kept where there are no more."""
    classes: int = 1000
    """K."""
    image_bytes: float = 110e3
    """Mean size of a file: ImageNet's."""
    devices: int = 64
    """GPUs, eight a node."""
    score_rate: float = 2500
    """Images a second and GPU that a ResNet-50 at 224 px scores or embeds in half precision: an assumption."""
    train_rate: float = 250
    """Unlabelled images a second and GPU of a Meta Pseudo Labels step with two ResNet-50 at 224 px: an assumption."""
    decode_rate: float = 250
    """Images of that size a second and CPU core that are read and decoded: an assumption."""
    cores: int = 12
    """CPU cores a GPU."""
    epochs: float = 10
    """Times that training sees each image."""
    dim: int = 2048
    """D, numbers of a vector; one float16 vector an image."""
    row_bytes: float = 17.4
    """Bytes of a row of the record on disk (benchmarks/record.py)."""
    gpu_hour: float = 2.5
    """Dollars for a GPU and hour."""
    tb_month: float = 23.0
    """Dollars for a terabyte and month of object storage."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What one size takes."""

    images: float
    kept: float
    pool_hours: float  # all images scored once, by all devices
    embed_hours: float  # those that are kept
    train_hours: float
    read_gb: float  # a second, by all nodes, while images are scored or embedded
    files_tb: float
    catalogue_gb: float  # of the kept, in the memory of every process that opens the project
    vectors_gb: float
    record_gb: float
    predictions_gb: float  # of teacher and student, in memory at the end of a run
    dollars: float  # GPU hours
    dollars_month: float  # storage


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table; returns the exit status."""
    import tyro

    given = list(sys.argv[1:] if arguments is None else arguments)
    assumed = tyro.cli(Scale, args=given, prog="scaling.py", description=__doc__)
    print(as_markdown(assumed, [needs(assumed, n) for n in assumed.images], given))
    return 0


def needs(assumed: Scale, images: float) -> Needs:
    """Returns what so many images take; the cores of the devices' nodes read while the devices compute."""
    kept = min(images, assumed.keep)
    look = min(assumed.score_rate, assumed.decode_rate * assumed.cores) * assumed.devices  # images a second
    learn = min(assumed.train_rate, assumed.decode_rate * assumed.cores) * assumed.devices
    pool = images / look if kept < images else 0.0
    embed, train = kept / look, kept * assumed.epochs / learn
    stored = images * assumed.image_bytes + kept * (2 * assumed.dim + assumed.epochs * assumed.row_bytes)
    return Needs(
        images=images,
        kept=kept,
        pool_hours=pool / HOUR,
        embed_hours=embed / HOUR,
        train_hours=train / HOUR,
        read_gb=look * assumed.image_bytes / GB,
        files_tb=images * assumed.image_bytes / TB,
        catalogue_gb=kept * bytes_a_sample() / GB,
        vectors_gb=kept * 2 * assumed.dim / GB,
        record_gb=kept * assumed.epochs * assumed.row_bytes / GB,
        predictions_gb=kept * 2 * 4 * assumed.classes / GB,
        dollars=(pool + embed + train) / HOUR * assumed.devices * assumed.gpu_hour,
        dollars_month=stored / TB * assumed.tb_month,
    )


def bytes_a_sample(made: int = 2000) -> float:
    """Returns the bytes of memory that one `Sample` of the catalogue takes, counted on samples that are made here."""
    from gradebook.storage.samples import Sample, Split

    tracemalloc.start()
    kept = [
        Sample(
            sample_id=f"{n:032x}",
            filepath=f"/data/images/{n:040}.jpg",
            split=Split.TRAIN,
            width=500,
            height=375,
            fingerprint=n.to_bytes(200),
        )
        for n in range(made)
    ]
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return taken / len(kept)


def as_markdown(assumed: Scale, found: Sequence[Needs], given: Sequence[str]) -> str:
    """Returns the table, a column a size, with all that one needs to make it again."""
    lines = {
        "images that training sees": [f"{n.kept:,.0f}" for n in found],
        f"pool filter, hours on {assumed.devices} GPUs": [f"{n.pool_hours:,.1f}" for n in found],
        f"embedding, hours on {assumed.devices} GPUs": [f"{n.embed_hours:,.2f}" for n in found],
        f"training, {assumed.epochs:g} epochs, hours on {assumed.devices} GPUs": [
            f"{n.train_hours:,.1f}" for n in found
        ],
        "read meanwhile by all nodes, GB a second": [f"{n.read_gb:,.1f}" for n in found],
        "image files, TB": [f"{n.files_tb:,.2f}" for n in found],
        "catalogue in memory, GB a process": [f"{n.catalogue_gb:,.2f}" for n in found],
        "vectors on disk, GB": [f"{n.vectors_gb:,.1f}" for n in found],
        "record on disk, GB": [f"{n.record_gb:,.2f}" for n in found],
        "predictions in memory at a run's end, GB": [f"{n.predictions_gb:,.1f}" for n in found],
        f"GPU hours at {assumed.gpu_hour:g} dollars": [f"{n.dollars:,.0f}" for n in found],
        f"storage a month at {assumed.tb_month:g} dollars a TB": [f"{n.dollars_month:,.0f}" for n in found],
    }
    head = "".join(f" {n.images:,.0f} images |" for n in found)
    rows = "\n".join(f"| {name} | {' | '.join(cells)} |" for name, cells in lines.items())
    return f"""| |{head}
| --- |{" --- |" * len(found)}
{rows}

`python pipelines/cost/scaling.py {" ".join(given)}`, {date.today()}
"""


if __name__ == "__main__":
    sys.exit(main())
