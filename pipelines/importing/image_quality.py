"""Image quality at import: dark, bright, blurred, nearly empty, and oddly sized images, by cleanvision.

Measures and thresholds are cleanvision's (https://github.com/cleanlab/cleanvision, version 0.3). They are taken from
the image as an import decodes it, some 64 to 128 pixels wide, instead of the whole one: docs/log.md has what that
changes. cleanvision is an extra; without it nothing is measured, and the report of the import says so.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from gradebook.storage.quality import Flag
from gradebook.storage.samples import Sample

if TYPE_CHECKING:
    from PIL.Image import Image

EXTRA = "quality"
# The name of a problem -> cleanvision's. `near_uniform` is "low information": little entropy of the grey levels.
OF_PIXELS = {"dark": "dark", "bright": "light", "blurred": "blurry", "near_uniform": "low_information"}
ASPECT_RATIO, SIZE = ("odd_aspect_ratio", "odd_aspect_ratio"), ("odd_size", "odd_size")
MEASURED = ("dark", "blurry", "low_information")  # cleanvision measures light together with dark

Measures = Mapping[str, Any]  # cleanvision's numbers of one image


@cache
def is_available() -> bool:
    """Returns whether cleanvision is installed."""
    return find_spec("cleanvision") is not None


def measure(image: "Image") -> Measures:
    """Returns the numbers by which an RGB image is judged; needs cleanvision."""
    properties = _manager().image_properties
    return {name: value for kind in MEASURED for name, value in properties[kind].calculate(image).items()}


def judge(samples: Sequence[Sample], measures: Sequence[Measures]) -> list[Flag]:
    """Returns the problems of samples: what their pixels show, and their aspect ratio."""
    import pandas as pd

    if not samples:
        return []
    ids, table = [sample.sample_id for sample in samples], pd.DataFrame(measures)
    table["aspect_ratio"] = [min(s.width / s.height, s.height / s.width) for s in samples]
    problems = [*OF_PIXELS.items(), ASPECT_RATIO]
    return [flag for problem, kind in problems for flag in _flags(ids, table, problem, kind)]


def judge_sizes(samples: Sequence[Sample]) -> list[Flag]:
    """Returns the samples that are much larger or smaller than most: three interquartile ranges from the quartiles."""
    import pandas as pd

    if not samples:
        return []
    table = pd.DataFrame({"size": [(sample.width * sample.height) ** 0.5 for sample in samples]})
    return _flags([sample.sample_id for sample in samples], table, *SIZE)


def _flags(ids: Sequence[str], table: Any, problem: str, kind: str) -> list[Flag]:
    """Returns the images that cleanvision marks; its scores are 0 for the worst, and lie below a threshold."""
    judge = _manager().image_properties[kind]
    options = dict(_manager().params[kind])
    threshold = options.pop("threshold", None)
    scores = judge.get_scores(raw_scores=table, issue_type=kind, **options)
    marked = judge.mark_issue(scores, kind, threshold).iloc[:, 0].to_numpy()
    limit = judge.threshold if threshold is None else threshold
    return [
        Flag(ids[n], problem, round(1 - float(scores.iloc[n, 0]) / (2 * limit), 4))
        for n in marked.nonzero()[0].tolist()
    ]


@cache
def _manager() -> Any:
    from cleanvision.issue_managers.image_property_issue_manager import ImagePropertyIssueManager

    return ImagePropertyIssueManager()
