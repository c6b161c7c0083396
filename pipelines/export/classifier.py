"""Exports a run's student as a directory that stands alone: weights for timm, ONNX, class names and a model card."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradebook.pipelines.export.model_card import model_card
from gradebook.pipelines.inference.evaluate import evaluate
from gradebook.pipelines.inference.predict import CLASSES, MODEL
from gradebook.pipelines.process.errors import stop_immediately
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
from gradebook.storage.samples import Split

if TYPE_CHECKING:
    from torch import nn

    from gradebook.storage.store import Store


CARD = "README.md"
CHECKED = 64  # images on which the exported model is compared with the student
STAGES = (
    "Putting the classifier together",
    "Writing the weights for timm",
    "Writing ONNX",
    "Comparing with the student",
    "Measuring on the test images",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """What `gradebook export` answers."""

    dir: str
    files: list[str]
    run: str
    checked: int  # images on which exported model and student were compared
    largest_difference: float  # of a probability, on those


def export(
    store: "Store", run: Run, directory: Path, *, progress: Callable[[int, int, str], None] | None = None
) -> Export:
    """Writes the finished student of a run into a directory, which must be new, empty, or an earlier export.

    `model.onnx` takes uint8 images (N, 3, S, S) named `images` and returns probabilities (N, K); `classes.json` names
    the classes; `README.md` tells where it all came from. `model.safetensors` and `config.json` are what timm loads as
    `local-dir:DIRECTORY`; of a student with hidden units, or on a backbone whose own classifier is not one linear
    layer, there are the weights alone, those of the backbone under `0.` and of the head under `1.`. `progress` is
    called with the stages done, those there are, and the one that begins.

    Raises:
        ConfigError: the run has not finished, the directory holds other files, or the exported model does not do
            what the student does.
    """
    config, classes = config_from_json(run.config()), list(run.config()["classes"])
    begin = _stages(progress)
    begin(0)
    student = load_run_student(run)
    whole = full_model(student, config, store, classes)
    draft = _draft(directory)
    tidy = partial(shutil.rmtree, draft, ignore_errors=True)
    try:
        with stop_immediately(tidy):  # torch takes 20 seconds to heed Ctrl-C while it writes ONNX
            begin(1)
            _write_weights(whole, draft, classes)
            begin(2)
            _write_onnx(whole, draft / MODEL)
            about = {"classes": classes, "size": whole.size, "run": run.name, "backbone": config.backbone}
            (draft / CLASSES).write_text(json.dumps(about, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
            begin(3)
            checked, difference = _compare(student, config, store, draft)
            begin(4)
            card = model_card(run, config, whole, _scores(store, run), store.project.root.name)
            (draft / CARD).write_text(card, encoding="utf-8")
        _replace(draft, directory)
    finally:
        tidy()
    files = sorted(path.name for path in directory.iterdir())
    return Export(dir=str(directory), files=files, run=run.name, checked=checked, largest_difference=difference)


def _stages(progress: Callable[[int, int, str], None] | None) -> Callable[[int], None]:
    def begin(stage: int) -> None:
        if progress is not None:
            progress(stage, len(STAGES), STAGES[stage])

    return begin


def _write_weights(whole: FullModel, directory: Path, classes: list[str]) -> None:
    """Writes model.safetensors, and config.json as timm reads it where it can."""
    from safetensors.torch import save_file
    from timm.models import save_for_hf

    from gradebook.mpl.backbones import set_input_size

    if not whole.is_timm:
        save_file(whole.model.state_dict(), directory / "model.safetensors")
        return
    model: Any = whole.model
    told = {"img_size": whole.size} if set_input_size(model, whole.size) else None
    fed = {
        "input_size": (3, whole.size, whole.size),
        "crop_pct": 1.0,
        "crop_mode": "squash",
        "interpolation": "bicubic",
    }
    model.pretrained_cfg = dict(model.pretrained_cfg) | fed | {"fixed_input_size": False}
    save_for_hf(model, str(directory), model_config={"label_names": classes}, model_args=told, safe_serialization=True)


def _write_onnx(whole: FullModel, path: Path) -> None:
    """Writes the network with its preprocessing: uint8 images in, probabilities out, any number at a time."""
    import torch

    example = torch.zeros(2, 3, whole.size, whole.size, dtype=torch.uint8)
    program = torch.onnx.export(
        with_preprocessing(whole),
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

    Raises:
        ConfigError: the two differ by more than rounding.
    """
    import numpy as np

    from gradebook.pipelines.inference.predict import Classifier
    from gradebook.storage.images import BrokenImage, open_square

    classifier = Classifier(directory)
    opened = {}
    for sample in store.catalog.samples()[:CHECKED]:
        try:
            opened[sample] = np.asarray(open_square(Path(sample.filepath), classifier.size)).transpose(2, 0, 1)
        except BrokenImage:
            continue
    if not opened:
        return 0, 0.0
    exported = classifier.probabilities(np.stack(list(opened.values())))
    expected = predict_samples(student, config, store, list(opened))
    difference = float(np.abs(exported - expected).max())
    if difference > 0.05:
        raise ConfigError(
            f"the exported model differs from the student by {difference:.3f} in a probability: the backbone's weights "
            f"are not those that made the cached views; embed again, train again, then export"
        )
    return len(opened), difference


def _scores(store: "Store", run: Run) -> dict[str, Any] | None:
    try:
        return evaluate(store, run, split=Split.TEST).as_json()
    except ConfigError:
        return None


def _draft(directory: Path) -> Path:
    """Returns an empty directory beside the wanted one, to be moved there when all is written."""
    if directory.exists() and (
        not directory.is_dir() or (any(directory.iterdir()) and not (directory / CLASSES).exists())
    ):
        raise ConfigError(f"{directory} holds other files: choose a new directory for the export")
    draft = directory.parent / f".{directory.name}.draft"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    return draft


def _replace(draft: Path, directory: Path) -> None:
    """Puts the written files into the wanted directory; those of an earlier export are replaced one by one."""
    directory.mkdir(parents=True, exist_ok=True)
    for file in draft.iterdir():
        file.replace(directory / file.name)
