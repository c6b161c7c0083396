"""Measures augmentation: a batch at once, as in training, against one image at a time with torchvision.

    python -m benchmarks.augment --size 32 --images 64 --rounds 9

Both make the same kinds of views: translation and flip, and the same with RandAugment and Cutout. They take turns on
one thread; the table has medians of CPU-seconds. Only ratios can be compared between machines.
"""

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gradebook.pipelines.studies.command_line import footer

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Views:
    """Options of the benchmark."""

    size: int = 32
    """Height and width of the images, in pixels."""
    images: int = 64
    """Images in a batch."""
    rounds: int = 9
    """Batches of each view and implementation."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table; returns the exit status."""
    import torch
    import tyro

    given = list(sys.argv[1:] if arguments is None else arguments)
    options = tyro.cli(Views, args=given, prog="python -m benchmarks.augment", description=__doc__)
    torch.set_num_threads(1)
    images = torch.randint(0, 256, (options.images, 3, options.size, options.size), dtype=torch.uint8)
    calls = implementations(images)
    times: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(options.rounds + 1):
        for name, call in calls.items():
            began = time.process_time()
            call(number)
            if number:  # the first round is a warm-up
                times[name].append(time.process_time() - began)
    print(as_markdown({name: statistics.median(taken) / options.images for name, taken in times.items()}, given))
    return 0


def implementations(images: "Tensor") -> dict[str, Callable[[int], object]]:
    """Returns the measured functions by name; each makes the views of all images (N, 3, S, S) of a round."""
    import torch
    from torchvision.transforms import v2

    from gradebook.mpl import augment

    side = images.shape[-1]
    weak = v2.Compose(
        [v2.RandomHorizontalFlip(), v2.RandomCrop([side, side], padding=side // 8, padding_mode="reflect")]
    )
    cutout = v2.RandomErasing(1.0, (augment.CUTOUT**2, augment.CUTOUT**2), (1, 1), 127)
    strong = v2.Compose([weak, v2.RandAugment(augment.OPERATIONS, augment.MAGNITUDE), cutout])

    def seeds(number: int) -> list[int]:
        return [number * len(images) + n for n in range(len(images))]

    def one_by_one(transform: v2.Transform) -> Callable[[int], object]:
        return lambda number: torch.stack([transform(image) for image in images])

    return {
        "weak, batch": lambda number: augment.weak(images, seeds(number)),
        "weak, one by one": one_by_one(weak),
        "strong, batch": lambda number: augment.strong(images, seeds(number)),
        "strong, one by one": one_by_one(strong),
    }


def as_markdown(seconds: dict[str, float], given: Sequence[str]) -> str:
    """Returns the table of CPU time per image, and the ratio of the two implementations."""
    rows = [
        f"| {view} | {1e6 * seconds[f'{view}, batch']:.0f} | {1e6 * seconds[f'{view}, one by one']:.0f} | "
        f"{seconds[f'{view}, one by one'] / seconds[f'{view}, batch']:.1f} |"
        for view in ("weak", "strong")
    ]
    return f"""| view | batch, µs per image | one by one, µs per image | ratio |
| --- | --- | --- | --- |
{chr(10).join(rows)}

{footer("-m benchmarks.augment", given)}
"""


if __name__ == "__main__":
    sys.exit(main())
