"""Cached views belong to samples of the catalogue, and are finite vectors of the size that their space has."""

from collections import Counter
from collections.abc import Iterator

import numpy as np

from gradebook.pipelines.maintenance.checks.finding import Finding, Subject
from gradebook.storage.lance_vectors import augmented_table_name, table_name
from gradebook.storage.vectors import Views

CHUNK = 2_000  # samples whose views are read at once


def vectors_of_samples(subject: Subject) -> Iterator[Finding]:
    """Vectors are of samples of the catalogue, one row a sample."""
    for space in subject.store.vectors.spaces():
        ids = subject.store.vectors.ids(space.backbone)
        unknown = sorted(set(ids) - subject.known_ids)
        if unknown:
            yield Finding(
                problem=f"{len(unknown)} vectors of {space.backbone} are of samples that are not in the catalogue",
                where=tuple(unknown),
                advice="import their images again; until then these vectors are not used",
            )
        twice = [i for i, n in Counter(ids).items() if n > 1]
        if twice:
            yield Finding(
                problem=f"{len(twice)} samples have two rows of vectors of {space.backbone}",
                where=tuple(twice),
                advice=_embed_again(subject, space.backbone),
            )


def views_are_whole(subject: Subject) -> Iterator[Finding]:
    """Views are finite and of their space's size: of the first and last sample, with content of all samples."""
    vectors = subject.store.vectors
    for space in vectors.spaces():
        chunks = _chunks(subject, space.backbone)
        try:
            bad = [i for part in chunks if part for i in _not_finite(part, vectors.read(space.backbone, part))]
        except (ValueError, TypeError) as error:
            problem = f"the vectors of {space.backbone} do not have {space.dim} numbers a view ({error})"
            yield Finding(problem=problem, advice=_embed_again(subject, space.backbone))
            continue
        if bad:
            problem = f"{len(bad)} samples have vectors of {space.backbone} that are not finite"
            yield Finding(problem=problem, where=tuple(bad), advice=_embed_again(subject, space.backbone))


def _chunks(subject: Subject, backbone: str) -> list[list[str]]:
    """Returns the samples to read, those with augmented views apart from those with plain ones alone."""
    ids = list(dict.fromkeys(subject.store.vectors.ids(backbone)))
    plain_only = set(subject.store.vectors.missing_augmented(backbone, ids))
    groups = [[i for i in ids if i not in plain_only], [i for i in ids if i in plain_only]]
    if not subject.content:
        return [ends for group in groups for ends in (group[:1], group[-1:])]
    return [group[n : n + CHUNK] for group in groups for n in range(0, len(group), CHUNK)]


def _not_finite(ids: list[str], views: Views) -> list[str]:
    return [i for i, view in zip(ids, views, strict=True) if not np.isfinite(view).all()]


def _embed_again(subject: Subject, backbone: str) -> str:
    lance = subject.store.project.root / "lance"
    return (
        f"delete {lance / table_name(backbone)}.lance and {augmented_table_name(backbone)}.lance beside it, and "
        f"compute them again: gradebook embed {subject.store.project.root} --backbone {backbone}"
    )
