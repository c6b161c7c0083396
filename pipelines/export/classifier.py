"""Exports a run's student as a directory that stands alone: weights for timm, ONNX, class names and a model card."""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradebook.pipelines.export.check_images import write_check_images
from gradebook.pipelines.export.directory import check_target, written_directory
from gradebook.pipelines.export.model_card import PREPROCESS, card_programs, model_card
from gradebook.pipelines.inference.classifier import CLASSES, MODEL
from gradebook.pipelines.inference.evaluate import evaluate
from gradebook.pipelines.process.errors import stop_immediately
from gradebook.pipelines.process.progress import say
from gradebook.pipelines.runs import Run
from gradebook.pipelines.training.config import ConfigError, TrainConfig
from gradebook.pipelines.training.presets import config_from_json
from gradebook.pipelines.training.student import (
    FullModel,
    full_model,
    load_run_student,
    predict_samples,
    with_preprocessing,
)
from gradebook.storage import images
from gradebook.storage.images import BrokenImage, load, square
from gradebook.storage.run_classes import run_classes
from gradebook.storage.sample_files import open_sample
from gradebook.storage.samples import Split

if TYPE_CHECKING:
    from torch import nn

    from gradebook.storage.store import Store


CARD = "README.md"
KIND = "classifier"
HELPER = f"{PREPROCESS}.py"
MAX_DIFFERENCE = 0.05  # of a probability, between exported model and student: cached views are rounded
MAX_CARD_DIFFERENCE = 1e-3  # of a probability, between the card's program and the network
# Runs the program of a card, its first argument, with each of the other arguments in the place of image.jpg.
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
CHECKED = 64  # images on which the exported model is compared with the student
STAGES = (
    "Putting the classifier together",
    "Writing the weights for timm",
    "Writing ONNX",
    "Comparing with the student",
    "Measuring on the test images",
    "Running the program of the model card",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """The result of `gradebook export`."""

    dir: str
    files: list[str]
    run: str
    checked: int  # images on which exported model and student were compared
    largest_difference: float  # of a probability, on those
    replaced: bool  # whether an earlier export was in the directory


def export(
    store: "Store", run: Run, directory: Path, *, progress: Callable[[int, int, str], None] | None = None
) -> Export:
    """Writes the finished student of a run into a directory, which must be new, empty, or an earlier export's.

    `model.onnx` takes uint8 images (N, 3, S, S) named `images` and returns probabilities (N, K); `classes.json` names
    the classes; `preprocess.py` decodes images; `README.md` says where it all came from and how to use it.
    `model.safetensors` and `config.json` are what timm loads as `local-dir:DIRECTORY`. Of a student with hidden units,
    or on a backbone whose own classifier is not one linear layer, there are the weights alone, those of the backbone
    under `0.` and of the head under `1.`.

    Args:
        store: the project.
        run: of the project.
        directory: see above.
        progress: called with the stages done, those there are, and the one that begins.

    Raises:
        ConfigError: the run has not finished, the directory holds other files, or the exported model does not do
            what the student does.
    """
    config, known = config_from_json(run.config()), run_classes(run.config(), store.project.history)
    classes = known.output_names
    if known.have_changed and classes == list(known.knew):
        say(f"the classifier has the classes that {run.name} knew; {known.describe()}")
    begin = _stages(progress)
    begin(0)
    student = load_run_student(run)
    full = full_model(student, config, store, classes)
    replaced = check_target(directory.expanduser().resolve(), KIND)
    with written_directory(directory, KIND) as draft:
        tidy = partial(shutil.rmtree, draft, ignore_errors=True)
        with stop_immediately(tidy):  # torch takes 20 seconds to heed Ctrl-C while it writes ONNX
            begin(1)
            _write_weights(full, draft, classes)
            begin(2)
            _write_onnx(full, draft / MODEL)
            about = {"classes": classes, "size": full.size, "run": run.name, "backbone": config.backbone}
            (draft / CLASSES).write_text(json.dumps(about, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
            shutil.copyfile(images.__file__, draft / HELPER)
            begin(3)
            checked, difference = _compare(student, config, store, draft)
            begin(4)
            card = model_card(run, config, full, _scores(store, run), store.project.root.name)
            (draft / CARD).write_text(card, encoding="utf-8")
            begin(5)
            check_card(full, draft)
    files = sorted(path.name for path in directory.expanduser().iterdir() if not path.name.startswith("."))
    return Export(
        dir=str(directory),
        files=files,
        run=run.name,
        checked=checked,
        largest_difference=difference,
        replaced=replaced,
    )


def _stages(progress: Callable[[int, int, str], None] | None) -> Callable[[int], None]:
    def begin(stage: int) -> None:
        if progress is not None:
            progress(stage, len(STAGES), STAGES[stage])

    return begin


def _write_weights(full: FullModel, directory: Path, classes: list[str]) -> None:
    """Writes model.safetensors, and config.json as timm reads it where it can."""
    from safetensors.torch import save_file
    from timm.models import save_for_hf

    from gradebook.mpl.backbones import set_input_size

    if not full.is_timm:
        save_file(full.model.state_dict(), directory / "model.safetensors")
        return
    model: Any = full.model
    arguments = {"img_size": full.size} if set_input_size(model, full.size) else None
    inputs = {
        "input_size": (3, full.size, full.size),
        "crop_pct": 1.0,
        "crop_mode": "squash",
        "interpolation": "bicubic",
    }
    model.pretrained_cfg = dict(model.pretrained_cfg) | inputs | {"fixed_input_size": False}
    save_for_hf(
        model, str(directory), model_config={"label_names": classes}, model_args=arguments, safe_serialization=True
    )


def _write_onnx(full: FullModel, path: Path) -> None:
    """Writes the network with its preprocessing: uint8 images in, probabilities out, any number at a time."""
    import torch

    example = torch.zeros(2, 3, full.size, full.size, dtype=torch.uint8)
    program = torch.onnx.export(
        with_preprocessing(full),
        (example,),
        input_names=["images"],
        output_names=["probabilities"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        opset_version=20,
        dynamo=True,
        verbose=False,
    )
    assert program is not None
    program.save(path, external_data=False)


def _compare(student: "nn.Module", config: TrainConfig[Any], store: "Store", directory: Path) -> tuple[int, float]:
    """Returns on how many of the project's images the exported model was compared, and the largest difference.

    Images whose file is missing, or has changed since it was imported, are left out.

    Raises:
        ConfigError: the two differ by more than rounding.
    """
    import numpy as np

    from gradebook.pipelines.inference.classifier import Classifier

    classifier = Classifier(directory)
    pixels = {}
    for sample in store.catalog.samples()[:CHECKED]:
        with suppress(BrokenImage):
            image = square(open_sample(Path(sample.filepath), sample.sample_id, classifier.size)[0], classifier.size)
            pixels[sample] = np.asarray(image).transpose(2, 0, 1)
    if not pixels:
        return 0, 0.0
    exported = classifier.probabilities(np.stack(list(pixels.values())))
    expected = predict_samples(student, config, store, list(pixels))
    difference = float(np.abs(exported - expected).max())
    if difference > MAX_DIFFERENCE:
        raise ConfigError(
            f"the exported model differs from the student by {difference:.3f} in a probability: the backbone's weights "
            f"are not those that made the cached views; embed again, train again, then export"
        )
    return len(pixels), difference


def check_card(full: FullModel, directory: Path) -> float:
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
        pixels = torch.from_numpy(np.stack([load(file, full.size) for file in files]))
    with torch.inference_mode():
        expected = with_preprocessing(full).cpu()(pixels).numpy()
    difference = float(np.abs(np.array(json.loads(done.stdout.splitlines()[-1])) - expected).max())
    if difference > MAX_CARD_DIFFERENCE:
        raise ConfigError(f"the program in the model card differs from the student by {difference:.4f}: export again")
    return difference


def _scores(store: "Store", run: Run) -> dict[str, Any] | None:
    try:
        return evaluate(store, run, split=Split.TEST).as_json()
    except ConfigError:
        return None
