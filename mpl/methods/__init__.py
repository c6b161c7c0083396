"""The methods by their names on the command line, one module for each paper."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gradebook.mpl.methods import (
    fixmatch,
    flexmatch,
    freematch,
    ict,
    mean_teacher,
    mixmatch,
    mpl,
    noisy_student,
    pseudo_label,
    reduced_mpl,
    remixmatch,
    softmatch,
    supervised,
    temporal_ensembling,
    uda,
    vat,
)
from gradebook.mpl.step import StepReport


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """A method: its settings, its step, and whether it trains a teacher in addition to the student.

    A method with a first teacher gets one only if its size differs from the student's.
    """

    settings: type[Any]
    step: Callable[..., StepReport]
    teacher: bool = False
    first_teacher: bool = False


METHODS: dict[str, Method] = {
    "supervised": Method(settings=supervised.Settings, step=supervised.step),
    "pseudo_label": Method(settings=pseudo_label.Settings, step=pseudo_label.step, teacher=True),
    "noisy_student": Method(settings=noisy_student.Settings, step=noisy_student.step, first_teacher=True),
    "uda": Method(settings=uda.Settings, step=uda.step),
    "mpl": Method(settings=mpl.Settings, step=mpl.step, teacher=True),
    "reduced_mpl": Method(settings=reduced_mpl.Settings, step=reduced_mpl.step, teacher=True),
    "fixmatch": Method(settings=fixmatch.Settings, step=fixmatch.step),
    "mean_teacher": Method(settings=mean_teacher.Settings, step=mean_teacher.step),
    "mixmatch": Method(settings=mixmatch.Settings, step=mixmatch.step),
    "remixmatch": Method(settings=remixmatch.Settings, step=remixmatch.step),
    "vat": Method(settings=vat.Settings, step=vat.step),
    "temporal_ensembling": Method(settings=temporal_ensembling.Settings, step=temporal_ensembling.step),
    "ict": Method(settings=ict.Settings, step=ict.step),
    "flexmatch": Method(settings=flexmatch.Settings, step=flexmatch.step),
    "freematch": Method(settings=freematch.Settings, step=freematch.step),
    "softmatch": Method(settings=softmatch.Settings, step=softmatch.step),
}
