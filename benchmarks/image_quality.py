"""What cleanvision's measures cost an import, and whether they find the same on the small image as on the whole one.

python -m benchmarks.image_quality FOLDER [IMAGES]
"""

import random
import sys
import time
from pathlib import Path

from PIL import Image

from gradebook.pipelines.importing.image_quality import OF_PIXELS, judge, measure
from gradebook.pipelines.importing.image_reader import SIZE
from gradebook.storage.images import inspect, is_image
from gradebook.storage.samples import Sample, Split


def main(folder: Path, number: int) -> None:
    """Prints CPU-seconds for 1,000 images, and how many images have each problem, both ways."""
    files = sorted(path for path in folder.rglob("*") if is_image(path))
    files = random.Random(0).sample(files, min(number, len(files)))
    seconds, samples, small, whole = dict.fromkeys(("decode", "small", "whole"), 0.0), [], [], []
    measure(Image.new("RGB", (SIZE, SIZE)))  # loads cleanvision
    for path in files:
        content = path.read_bytes()
        start = time.process_time()
        decoded = inspect(content, SIZE)
        seconds["decode"] += time.process_time() - start
        image = decoded.image.reduce(max(1, min(decoded.image.size) // SIZE))
        for name, picture, rows in (("small", image, small), ("whole", Image.open(path).convert("RGB"), whole)):
            start = time.process_time()
            rows.append(measure(picture))
            seconds[name] += time.process_time() - start
        size = {"width": decoded.width, "height": decoded.height}
        samples.append(
            Sample(sample_id=str(path), filepath=str(path), split=Split.TRAIN, fingerprint=bytes(200), **size)
        )
    print(
        len(files), "images, CPU-seconds for 1,000:", {k: round(1000 * v / len(files), 2) for k, v in seconds.items()}
    )
    found = [{(f.sample_id, f.problem) for f in judge(samples, rows)} for rows in (small, whole)]
    for problem in OF_PIXELS:
        a, b = ({i for i, name in flags if name == problem} for flags in found)
        print(f"{problem}: {len(a)} on the small image, {len(b)} on the whole one, {len(a & b)} the same")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 300)
