"""Exports a run's student as a self-contained directory: weights for timm, ONNX, class names and a model card."""

import json
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradebook.pipelines.export import standalone
from gradebook.pipelines.export.card_check import CARD, check_card
from gradebook.pipelines.export.directory import check_target, written_directory
from gradebook.pipelines.export.model_card import PREPROCESS, facts_of, model_card
from gradebook.pipelines.export.onnx_model import write_onnx, write_torch_program
from gradebook.pipelines.export.openvino_model import check_installed, write_openvino
from gradebook.pipelines.export.quantization import CALIBRATION, INT8, Int8Report, compare_int8, write_int8
from gradebook.pipelines.inference.classifier import CLASSES, MODEL, Classifier
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
)
from gradebook.storage import images
from gradebook.storage.events import replay
from gradebook.storage.images import BrokenImage, square
from gradebook.storage.run_classes import run_classes
from gradebook.storage.sample_files import open_sample
from gradebook.storage.samples import Sample, Split

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import nn

    from gradebook.storage.store import Store


TORCH_PROGRAM = "model.pt2"
KIND = "classifier"
HELPER = f"{PREPROCESS}.py"
PROGRAM, REQUIREMENTS = "predict.py", "requirements.txt"
PACKAGES = ("numpy>=1.26", "onnxruntime>=1.20", "pillow>=11")  # that the two programs need: the extra `predict`
MAX_DIFFERENCE = 0.05  # of a probability, between exported model and student: cached views are rounded
MAX_COMPARED = 500  # test images on which the int8 model is compared
CHECKED = 64  # images on which the exported model is compared with the student
STAGES = (
    "Putting the classifier together",
    "Writing the weights for timm",
    "Writing ONNX",
    "Comparing with the student",
    "Rounding to int8",
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
    int8: Int8Report | None = None  # what rounding costs, where an int8 model was asked for
    openvino: float | None = None  # the largest difference of a probability, where a model for OpenVINO was asked for


def export(  # noqa: PLR0913  # all but the first three have a default
    store: "Store",
    run: Run,
    directory: Path,
    *,
    int8: bool = False,
    torch_program: bool = False,
    openvino: bool = False,
    progress: Callable[[int, int, str], None] | None = None,
) -> Export:
    """Writes the finished student of a run into a directory, which must be new, empty, or an earlier export's.

    `model.onnx` takes uint8 images (N, 3, S, S) named `images` and returns probabilities (N, K); `classes.json` names
    the classes; `preprocess.py` decodes images, and `predict.py` predicts them where the packages in `requirements.txt`
    are installed; `README.md` is the model card. timm loads
    `model.safetensors` and `config.json` as `local-dir:DIRECTORY`. For a student with hidden units, or a backbone whose
    own classifier is not one linear layer, there are only the weights: those of the backbone under `0.`, and those of
    the head under `1.`.

    Args:
        store: the project.
        run: of the project.
        directory: see above.
        int8: whether to add `model-int8.onnx`, calibrated on training images.
        torch_program: whether to add `model.pt2`, which `torch.export.load` opens.
        openvino: whether to add `model.xml` and `model.bin` for OpenVINO.
        progress: called with the stages done, those there are, and the one that begins.

    Raises:
        ConfigError: the run has not finished, the directory holds other files, or the exported model and the
            student predict differently.
    """
    config, class_map = config_from_json(run.config()), run_classes(run.config(), store.project.history)
    classes = class_map.output_names
    if class_map.have_changed and classes == list(class_map.trained):
        say(f"the classifier has the classes of {run.name}; {class_map.describe()}")
    if openvino:
        check_installed()
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
            write_onnx(full, draft / MODEL, classes, run.name)
            if torch_program:
                write_torch_program(full, draft / TORCH_PROGRAM)
            about = {"classes": classes, "size": full.size, "run": run.name, "backbone": config.backbone}
            about |= {"levels": store.project.levels} if store.project.levels else {}
            _write_program(draft, about)
            begin(3)
            checked, difference = _compare(student, config, store, draft)
            report = _add_int8(store, draft, classes, begin) if int8 else None
            off = write_openvino(Classifier(draft), draft) if openvino else None
            begin(5)
            card = model_card(run, config, full, _scores(store, run), facts_of(store, run))
            (draft / CARD).write_text(card, encoding="utf-8")
            begin(6)
            check_card(full, draft, store.project.levels or {})
    files = sorted(path.name for path in directory.expanduser().iterdir() if not path.name.startswith("."))
    return Export(
        dir=str(directory),
        files=files,
        run=run.name,
        checked=checked,
        largest_difference=difference,
        replaced=replaced,
        int8=report,
        openvino=off,
    )


def _write_program(directory: Path, about: dict[str, Any]) -> None:
    """Writes classes.json, and the program that predicts with the directory alone."""
    (directory / CLASSES).write_text(json.dumps(about, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    (directory / HELPER).write_text(_helper(about.get("levels", {})), encoding="utf-8")
    shutil.copyfile(Path(standalone.__file__).with_name(PROGRAM), directory / PROGRAM)
    (directory / REQUIREMENTS).write_text("".join(f"{line}\n" for line in PACKAGES), encoding="utf-8")


def _helper(ranges: images.Ranges) -> str:
    """Returns the module that decodes images, with the ranges of the project's levels."""
    code, line = Path(images.__file__).read_text(encoding="utf-8"), "RANGES: Ranges = {}"
    assert line in code
    return code.replace(line, f"RANGES: Ranges = {dict(ranges)!r}", 1)


def _add_int8(store: "Store", directory: Path, classes: list[str], begin: Callable[[int], None]) -> Int8Report:
    """Writes the int8 model and returns how it differs from the other one, on labelled test images if there are any.

    Raises:
        ConfigError: no training image can be read.
    """
    import numpy as np

    begin(4)
    classifier = Classifier(directory)
    train = _pixels(store.catalog.samples(Split.TRAIN), classifier, CALIBRATION)
    if not train:
        raise ConfigError("no training image can be read to calibrate the int8 model: leave --int8 out")
    write_int8(directory, np.stack(list(train.values())))
    given, number = replay(store.log.read()), {name: k for k, name in enumerate(classes)}
    labelled = [s for s in store.catalog.samples(Split.TEST) if given.get(s.sample_id) in number]
    tested = _pixels(labelled, classifier, MAX_COMPARED)
    compared = tested or train
    labels = np.array([number[given[s.sample_id]] if tested else -1 for s in compared])
    small = Classifier(directory, INT8)
    return compare_int8(classifier, small, np.stack(list(compared.values())), labels, len(train))


def _pixels(samples: Sequence[Sample], classifier: Classifier, limit: int) -> "dict[Sample, NDArray[np.uint8]]":
    """Returns the first samples whose file holds them still, as (3, S, S)."""
    import numpy as np

    pixels: dict[Sample, NDArray[np.uint8]] = {}
    for sample in samples[:limit]:
        with suppress(BrokenImage):
            image, _ = open_sample(Path(sample.filepath), sample.sample_id, classifier.size, classifier.ranges)
            pixels[sample] = np.asarray(square(image, classifier.size)).transpose(2, 0, 1)
    return pixels


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


def _compare(student: "nn.Module", config: TrainConfig[Any], store: "Store", directory: Path) -> tuple[int, float]:
    """Returns on how many of the project's images the exported model was compared, and the largest difference.

    Images whose file is missing, or has changed since it was imported, are left out.

    Raises:
        ConfigError: the two differ by more than rounding.
    """
    import numpy as np

    classifier = Classifier(directory)
    pixels = _pixels(store.catalog.samples(), classifier, CHECKED)
    if not pixels:
        return 0, 0.0
    exported = classifier.probabilities(np.stack(list(pixels.values())))
    expected = predict_samples(student, config, store, list(pixels))
    difference = float(np.abs(exported - expected).max())
    if difference > MAX_DIFFERENCE:
        raise ConfigError(
            f"the exported model differs from the student by {difference:.3f} in a probability: the backbone's weights "
            f"are not those of the cached views: embed again, train again, then export"
        )
    return len(pixels), difference


def _scores(store: "Store", run: Run) -> dict[str, Any] | None:
    try:
        return evaluate(store, run, split=Split.TEST).as_json()
    except ConfigError:
        return None
