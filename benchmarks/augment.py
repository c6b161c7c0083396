"""What the views of a batch cost: all images together, as training makes them, against one by one with torchvision.

    python benchmarks/augment.py --size 32 --images 64 --rounds 9

Both draw the same kinds of views: a shift and mirror, and the same under RandAugment with a square cut out. One thread,
in turns; medians of CPU-seconds. Ratios of one run are comparable; seconds are not.
"""

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from gradebook.pipelines.studies.method_comparison import machine

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Views:
    """What to measure."""

    size: int = 32
    """Pixels a side."""
    images: int = 64
    """Of a batch."""
    rounds: int = 9
    """Batches of each kind and way."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table; returns the exit status."""
    import torch
    import tyro

    given = list(sys.argv[1:] if arguments is None else arguments)
    asked = tyro.cli(Views, args=given, prog="augment.py", description=__doc__)
    torch.set_num_threads(1)
    images = torch.randint(0, 256, (asked.images, 3, asked.size, asked.size), dtype=torch.uint8)
    ways = ways_of(images)
    times: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(asked.rounds + 1):
        for name, way in ways.items():
            began = time.process_time()
            way(number)
            if number:  # the first warms up
                times[name].append(time.process_time() - began)
    print(as_markdown({name: statistics.median(taken) / asked.images for name, taken in times.items()}, given))
    return 0


def ways_of(images: "Tensor") -> dict[str, Callable[[int], object]]:
    """Returns what is measured, by name: each makes the views of all images (N, 3, S, S) from a number."""
    import torch
    from torchvision.transforms import v2

    from gradebook.mpl import augment

    side = images.shape[-1]
    weak = v2.Compose(
        [v2.RandomHorizontalFlip(), v2.RandomCrop([side, side], padding=side // 8, padding_mode="reflect")]
    )
    cut = v2.RandomErasing(1.0, (augment.CUT**2, augment.CUT**2), (1, 1), 127)
    strong = v2.Compose([weak, v2.RandAugment(augment.OPERATIONS, augment.MAGNITUDE), cut])

    def seeds(number: int) -> list[int]:
        return [number * len(images) + n for n in range(len(images))]

    def one_by_one(transform: v2.Transform) -> Callable[[int], object]:
        return lambda number: torch.stack([transform(image) for image in images])

    return {
        "weak, together": lambda number: augment.weak(images, seeds(number)),
        "weak, one by one": one_by_one(weak),
        "strong, together": lambda number: augment.strong(images, seeds(number)),
        "strong, one by one": one_by_one(strong),
    }


def as_markdown(seconds: dict[str, float], given: Sequence[str]) -> str:
    """Returns the table of CPU-seconds an image, with how many times as much the other way takes."""
    rows = [
        f"| {view} | {1e6 * seconds[f'{view}, together']:.0f} | {1e6 * seconds[f'{view}, one by one']:.0f} | "
        f"{seconds[f'{view}, one by one'] / seconds[f'{view}, together']:.1f} |"
        for view in ("weak", "strong")
    ]
    return f"""| view | together, µs an image | one by one, µs an image | times |
| --- | --- | --- | --- |
{chr(10).join(rows)}

`python benchmarks/augment.py {" ".join(given)}`, {date.today()}, {machine()}
"""


if __name__ == "__main__":
    sys.exit(main())
