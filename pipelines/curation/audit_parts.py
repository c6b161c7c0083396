"""What the answers of an audit say of each part of its pseudo-labels, and which of these may be accepted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gradebook.mpl import acceptance
from gradebook.mpl.acceptance import Answers
from gradebook.pipelines.curation.audit_files import Group

SHOWN_LEVEL = 0.05  # error level of the limits of a class in a band, which nothing is accepted by

Labels = Mapping[str, str | None]  # sample_id -> class name, None where no class applies


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The pseudo-labels of one class in one confidence band, or of a whole group, and what the audit says of them."""

    group: str
    label: str  # the class; empty for all of the group that was tested
    band: str  # from the most confident images on, such as 60 to 80 %
    images: int
    audited: int
    wrong: int
    upper: float  # upper limit of the share of wrong ones, at the group's level for tested sets, else at 95 %
    accepted: bool


def accepted_end(group: Group, target: float, labels: Labels, drawn: frozenset[str]) -> int:
    """Returns how many of a group's images, from the most confident one on, have few enough wrong pseudo-labels."""
    sizes = acceptance.band_sizes(len(group.sample_ids))
    tested = [_answers(group, range(n), labels, drawn) for n in sizes]
    band = acceptance.accepted_band(sizes[-1], group.share, target, group.level, tested)
    return 0 if band is None else sizes[band]


def describe_parts(group: Group, labels: Labels, drawn: frozenset[str], end: int) -> list[Part]:
    """Returns the nested sets that are tested, then each class in each band.

    Args:
        group: of the audit.
        labels: given so far, without those that the audit accepted.
        drawn: ids of the images that were drawn.
        end: how many of its images are accepted.
    """

    def part(rows: Sequence[int], level: float, *, label: str, band: str, accepted: bool) -> Part:
        answers = _answers(group, rows, labels, drawn)
        upper = acceptance.upper_limit(len(rows), group.share, answers, level)
        return Part(
            group=group.name,
            label=label,
            band=band,
            images=len(rows),
            audited=answers.audited,
            wrong=answers.wrong,
            upper=round(upper, 4),
            accepted=accepted,
        )

    sizes = acceptance.band_sizes(len(group.sample_ids))
    parts = []
    for share, size, weight in zip(acceptance.BANDS, sizes, acceptance.WEIGHTS, strict=True):
        level = weight * group.level
        parts.append(part(range(size), level, label="", band=f"first {share:.0%}", accepted=size <= end))
    for first, last, low, high in zip([0, *sizes], sizes, (0.0, *acceptance.BANDS), acceptance.BANDS, strict=False):
        for label in sorted(set(group.labels[first:last])):
            rows = [k for k in range(first, last) if group.labels[k] == label]
            band = f"{low:.0%} to {high:.0%}"
            parts.append(part(rows, SHOWN_LEVEL, label=label, band=band, accepted=last <= end))
    return parts


def _answers(group: Group, rows: Sequence[int], labels: Labels, drawn: frozenset[str]) -> Answers:
    known = [k for k in rows if group.sample_ids[k] in labels]
    given = [(group.sample_ids[k] in drawn, labels[group.sample_ids[k]] != group.labels[k]) for k in known]
    return Answers(
        audited=sum(is_drawn for is_drawn, _ in given),
        wrong=sum(is_drawn and wrong for is_drawn, wrong in given),
        others=sum(not is_drawn for is_drawn, _ in given),
        others_wrong=sum(not is_drawn and wrong for is_drawn, wrong in given),
    )
