"""The model card of an exported student: data, labels, settings, scores, and how to use it."""

import json
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gradebook.mpl.metrics import macro_f1, macro_f1_interval
from gradebook.pipelines.runs import Run
from gradebook.pipelines.training.config import TrainConfig

if TYPE_CHECKING:
    from gradebook.pipelines.training.student import FullModel
    from gradebook.storage.store import Store

MAX_CONFUSION = 20  # classes of a confusion matrix that is printed
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a card says of the data."""

    project: str  # its name
    images: int  # in the training split
    test_images: int
    givers: dict[str, int]  # who gave the labels that the run has read -> how many


def facts_of(store: "Store", run: Run) -> Facts:
    """Returns the facts of a run's data."""
    from gradebook.storage.events import decisions
    from gradebook.storage.samples import Split

    splits = Counter(sample.split for sample in store.catalog.samples())
    decided = decisions(store.log.read())
    givers = Counter(decided[i].actor for i in run.labels() if i in decided)
    return Facts(
        project=store.project.root.name,
        images=splits[Split.TRAIN],
        test_images=splits[Split.TEST],
        givers=dict(givers.most_common()),
    )


def model_card(
    run: Run, config: TrainConfig[Any], model: "FullModel", scores: dict[str, Any] | None, facts: Facts
) -> str:
    """Returns the card as Markdown.

    Args:
        run: the run that trained the student.
        config: its settings.
        model: the exported network.
        scores: `Evaluation.as_json()` on the test split; None where it has no labels.
        facts: of the data.
    """
    classes, size = run.config()["classes"], model.size
    labels = Counter(run.labels().values())
    in_timm = f"or with timm:\n\n{_indented(TIMM_CODE)}" if model.is_timm else NOT_IN_TIMM
    label_rows = "\n".join(f"| {_cell(name)} | {labels[name]} |" for name in classes)
    labelled = ", ".join(f"{_cell(name)} ({n})" for name, n in facts.givers.items()) or "nobody"
    licence = _licence(model)
    return f"""{_front_matter(run, config, scores, licence)}
# Classifier `{run.name}` of the project {_cell(facts.project)}

An image classifier for {len(classes)} classes, trained by Gradebook with the method `{config.method}`
({config.steps} steps, seed {config.seed}) from {sum(labels.values())} labels.

## Intended use

It assigns images like those that it was trained on to the classes below. It always returns one of these classes, even
for an image that belongs to none, so check predictions with a low probability. It was not tested on images from other
sources, nor for decisions about people.

## Use

    gradebook predict THIS_DIRECTORY image.jpg

or without Gradebook, in this directory, with only onnxruntime, Pillow and NumPy:

    pip install -r requirements.txt
    python predict.py image.jpg

or in your own program:

{_indented(ONNX_CODE)}

{in_timm}

`preprocess.py` decodes images as in training. It applies the EXIF orientation, puts transparency on white, converts
CMYK and palettes to RGB, scales levels of more than 8 bits by the rule in its `level_range`, and uses the first picture
of stacks and animations. It then stretches the image to {size} x {size} pixels (bicubic), without cropping. Other
decoding, including timm's own transforms, gives other probabilities.

## Data and labels

{facts.images} training images, of which {sum(labels.values())} had a label, and {facts.test_images} test images. Labels
were given by: {labelled} (`import` is a file or a folder's name). The method trained on the other images with
pseudo-labels.

| class | labels for training and validation |
| --- | --- |
{label_rows}

## Scores

{_score_table(scores)}{_calibration(run)}

## Limits

- The accuracy above is that of the test images of this project. With few of them its interval is wide.
- Classes with few labels or few test images may be much less accurate than the average.
- Images are stretched to a square, so small details of large images may be lost.

## Licence

The weights derive from those of the backbone `{config.backbone}` ({licence or "timm names no licence for them"}).
Permission to use this classifier also depends on the images and labels that it was trained on.

## Settings

    {json.dumps(run.config(), ensure_ascii=False)}

Inputs: {"cached views of the frozen backbone" if config.inputs == "views" else "images"} (`{config.backbone}`).
The exported weights are the student's averaged weights. No setting was chosen on the test split.
Exported by Gradebook {version()}.
"""


def version() -> str:
    """Returns the version of Gradebook."""
    from gradebook import __version__

    return __version__


def _licence(model: "FullModel") -> str:
    """Returns the licence of the backbone's weights as timm names it, empty if it does not."""
    configuration = getattr(model.model, "pretrained_cfg", None)
    if configuration is None and not model.is_timm:
        configuration = getattr(model.model[0], "pretrained_cfg", None)  # type: ignore[index]
    return str((configuration or {}).get("license") or "")


def _front_matter(run: Run, config: TrainConfig[Any], scores: dict[str, Any] | None, licence: str) -> str:
    """Returns the YAML by which Hugging Face's hub lists a model. JSON strings are valid YAML."""
    lines = [
        *("---", f"license: {json.dumps(licence or 'other')}", "library_name: timm"),
        *("pipeline_tag: image-classification", "tags:", "- image-classification", "- timm", "- gradebook"),
    ]
    if not config.backbone.startswith("local-dir:"):
        lines.append(f"base_model: {json.dumps('timm/' + config.backbone)}")
    if scores is not None:
        lines += [
            *("metrics:", "- accuracy", "model-index:", f"- name: {json.dumps(run.name, ensure_ascii=False)}"),
            *("  results:", "  - task: {type: image-classification}"),
            "    dataset: {name: test split of the project, type: private}",
            f"    metrics: [{{type: accuracy, value: {scores['accuracy']:.4f}}}]",
        ]
    return "\n".join([*lines, "---"])


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
    balanced_low, balanced_high = scores["balanced_accuracy_interval"]
    matrix = np.array(scores["confusion"])
    f1_low, f1_high = macro_f1_interval(matrix)
    return (
        f"Accuracy {scores['accuracy']:.1%} (95 % interval {low:.1%} to {high:.1%}) on the {scores['n']} labelled "
        f"images of the test split, balanced accuracy {scores['balanced_accuracy']:.1%} "
        f"({balanced_low:.1%} to {balanced_high:.1%}), F1 {macro_f1(matrix):.1%} ({f1_low:.1%} to {f1_high:.1%}; mean "
        f"over the classes, bootstrap), expected calibration error {scores['ece']:.3f} (15 bins).\n\n"
        + (f"Images of classes that it does not know count as wrong: {unknown}.\n\n" if unknown else "")
        + f"| class | test images | accuracy |\n| --- | --- | --- |\n{rows}"
        + _confusion(scores)
    )


def _calibration(run: Run) -> str:
    """Returns how the probabilities were calibrated; empty where they were not."""
    row = next((row for row in reversed(run.metrics()) if "temperature" in row), None)
    if row is None:
        return ""
    sentence = (
        f"\n\nProbabilities are scaled by the temperature {row['temperature']:.2f}, which was fitted to predictions of "
        "the labelled images by classifiers that had not seen them"
    )
    errors = row.get("held_out_calibration_error")
    if errors is None:  # a run of an earlier release
        return f"{sentence}."
    measured = f"was {errors['before']:.3f} before and {errors['after']:.3f} after (15 bins)"
    return f"{sentence}. On these the expected calibration error {measured}."


def _confusion(scores: dict[str, Any]) -> str:
    """Returns the confusion matrix as a table, empty where it would be too wide to read."""
    names = scores["classes"]
    if len(names) > MAX_CONFUSION:
        return ""
    head = " | ".join(map(_cell, names))
    rows = (
        f"| {_cell(name)} | {' | '.join(map(str, counts))} |"
        for name, counts in zip(names, scores["confusion"], strict=True)
    )
    title = "Confusion: a row for each label, a column for each predicted class."
    return f"\n\n{title}\n\n| | {head} |\n|{' --- |' * (len(names) + 1)}\n" + "\n".join(rows)


def _cell(text: str) -> str:
    """Escapes text for a table cell, so that a class name never becomes a link, an image or markup."""
    return re.sub(r"([!-+:-@\[-`{-~])", r"\\\1", text.replace("\n", " "))
