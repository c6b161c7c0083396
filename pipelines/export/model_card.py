"""The model card of an exported student: data, labels, settings, scores, and how to use it."""

import json
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

from gradebook.pipelines.runs import Run
from gradebook.pipelines.training.config import TrainConfig

if TYPE_CHECKING:
    from gradebook.pipelines.training.student import FullModel

PREPROCESS = "preprocess"  # the module beside the card that decodes images
ONNX_CODE = f"""\
import json, onnxruntime, {PREPROCESS}
about = json.load(open("classes.json"))
images = {PREPROCESS}.load("image.jpg", about["size"])[None]
(probabilities,) = onnxruntime.InferenceSession("model.onnx").run(None, {{"images": images}})
print(about["classes"][probabilities[0].argmax()])
"""
TIMM_CODE = f"""\
import json, timm, torch, {PREPROCESS}
about = json.load(open("classes.json"))
model = timm.create_model("local-dir:.", pretrained=True).eval()
mean, std = (torch.tensor(model.pretrained_cfg[name])[:, None, None] for name in ("mean", "std"))
images = torch.from_numpy({PREPROCESS}.load("image.jpg", about["size"]))[None] / 255
probabilities = model((images - mean) / std).softmax(-1).detach().numpy()
print(about["classes"][probabilities[0].argmax()])
"""
NOT_IN_TIMM = """timm has no model like it: its head is not one linear layer on the backbone's features.
`model.safetensors` holds the weights of the backbone (`0.`) and of the head (`1.`), which takes the features of the
backbone without its own classifier."""


def card_programs(card: str) -> list[str]:
    """Returns the Python programs in a card, each from its imports to what it prints."""
    lines = [line[4:] for line in card.splitlines() if line.startswith("    ")]
    starts = [n for n, line in enumerate(lines) if line.startswith("import json")]
    ends = [next(n for n in range(start, len(lines)) if lines[n].startswith("print(")) for start in starts]
    return ["\n".join(lines[start : end + 1]) for start, end in zip(starts, ends, strict=True)]


def model_card(
    run: Run, config: TrainConfig[Any], model: "FullModel", scores: dict[str, Any] | None, project: str
) -> str:
    """Returns the card as Markdown.

    Args:
        run: the run that trained the student.
        config: its settings.
        model: the exported network.
        scores: `Evaluation.as_json()` on the test split; None where it has no labels.
        project: the project's name.
    """
    classes, size = run.config()["classes"], model.size
    labels = Counter(run.labels().values())
    in_timm = f"or with timm:\n\n{_indented(TIMM_CODE)}" if model.is_timm else NOT_IN_TIMM
    given = "\n".join(f"| {_cell(name)} | {labels[name]} |" for name in classes)
    return f"""# Classifier `{run.name}` of the project {_cell(project)}

An image classifier for {len(classes)} classes, trained by Gradebook with the method `{config.method}`
({config.steps} steps, seed {config.seed}) from {sum(labels.values())} labels.

## Use

    gradebook predict THIS_DIRECTORY image.jpg

or without Gradebook, in this directory, with onnxruntime, Pillow and NumPy:

{_indented(ONNX_CODE)}

{in_timm}

`preprocess.py` decodes images as they were decoded for training: turned by their EXIF orientation, transparency on
white, CMYK and palettes as RGB, levels of more than 8 bits scaled to 8 by the rule in its `level_range`, of stacks and
animations the first picture; then stretched to {size} x {size} pixels (bicubic), without cropping. Another way to
decode gives other probabilities, timm's own transforms among them.

## Labels

| class | labels that it learned from or was validated on |
| --- | --- |
{given}

## Scores

{_score_table(scores)}

## Settings

    {json.dumps(run.config(), ensure_ascii=False)}

Backbone `{config.backbone}`, fed with {"cached views of the frozen network" if config.inputs == "views" else "images"}.
The student's averaged weights are exported, the ones that predict; its settings were not chosen on the test split.
"""


def _indented(code: str) -> str:
    return "\n".join(f"    {line}" for line in code.splitlines())


def _score_table(scores: dict[str, Any] | None) -> str:
    if scores is None:
        return "The project has no labelled test images, so nothing is known of the classifier's accuracy."
    rows = "\n".join(
        f"| {_cell(name)} | {row['n']} | {'' if row['accuracy'] is None else format(row['accuracy'], '.1%')} |"
        for name, row in scores["per_class"].items()
    )
    unknown = ", ".join(f"{_cell(name)} ({n})" for name, n in scores["unknown_classes"].items())
    low, high = scores["accuracy_interval"]
    return (
        f"Accuracy {scores['accuracy']:.1%} (95 % interval {low:.1%} to {high:.1%}) on the {scores['n']} labelled "
        f"images of the test split, balanced accuracy {scores['balanced_accuracy']:.1%}, "
        f"expected calibration error {scores['ece']:.3f} (15 bins).\n\n"
        + (f"Images of classes that it does not know count as wrong: {unknown}.\n\n" if unknown else "")
        + f"| class | test images | accuracy |\n| --- | --- | --- |\n{rows}"
    )


def _cell(text: str) -> str:
    """Escapes text for a table cell, so that a class name never becomes a link, an image or markup."""
    return re.sub(r"([!-+:-@\[-`{-~])", r"\\\1", text.replace("\n", " "))
