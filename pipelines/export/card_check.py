"""Runs the program in a model card on images that programs decode differently, before the export is done."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from gradebook.pipelines.export.check_images import write_check_images
from gradebook.pipelines.export.model_card import card_programs
from gradebook.pipelines.training.config import ConfigError
from gradebook.pipelines.training.student import FullModel, with_preprocessing
from gradebook.storage.images import Ranges, load

CARD = "README.md"
MAX_CARD_DIFFERENCE = 1e-3  # of a probability, between the card's program and the network
# Runs the program of a card, its first argument, with each of the other arguments instead of image.jpg.
RUN_CARD = """
import json, sys
sys.path.insert(0, "")
program, *files = sys.argv[1:]
rows = []
for file in files:
    names = {}
    exec(program.replace('"image.jpg"', repr(file)), names)
    rows.append(names["probabilities"][0].tolist())
print(json.dumps(rows))
"""


def check_card(full: FullModel, directory: Path, ranges: Ranges) -> float:
    """Runs the card's program for onnxruntime on images that programs decode differently.

    Returns:
        The largest difference of a probability from what the network says of them in Gradebook.

    Raises:
        ConfigError: the program fails, or the two differ by more than rounding.
    """
    import numpy as np
    import torch

    program, *_ = card_programs((directory / CARD).read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as temporary:
        files = write_check_images(Path(temporary))
        arguments = [program, *map(str, files)]
        done = subprocess.run(
            [sys.executable, "-B", "-c", RUN_CARD, *arguments],
            cwd=directory,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise ConfigError(f"the program in the model card fails: {done.stderr.strip().rpartition(chr(10))[2]}")
        pixels = torch.from_numpy(np.stack([load(file, full.size, ranges) for file in files]))
    with torch.inference_mode():
        expected = with_preprocessing(full).cpu()(pixels).numpy()
    difference = float(np.abs(np.array(json.loads(done.stdout.splitlines()[-1])) - expected).max())
    if difference > MAX_CARD_DIFFERENCE:
        raise ConfigError(f"the program in the model card differs from the student by {difference:.4f}: export again")
    return difference
