"""The project's map: where each sample to train on lies in two dimensions, made once and kept. Loads no torch.

It is one file, `map.npz`, written whole and then renamed. It names the samples that it was made of, so that images
which were embedded since are noticed; they are not on the map until it is made again.

Shape legend    N samples
"""

import json
import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradebook.pipelines.process.progress import stage
from gradebook.storage.files import atomic_path
from gradebook.storage.project import Project, ProjectError
from gradebook.storage.samples import Split

if TYPE_CHECKING:
    from gradebook.storage.store import Store
    from gradebook.storage.vectors import Space

MAP = "map.npz"
FORM = 1  # counts the ways in which maps were made: older ones are made again
SIDE = 65_535  # a map's places are whole numbers in (0, SIDE) both ways: what is drawn along the edges holds all

Tell = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Projection:
    """Where samples lie on the map."""

    sample_ids: tuple[str, ...]
    places: NDArray[np.uint16]  # (N, 2) in (0, SIDE), as far apart both ways as on the map
    backbone: str
    seed: int
    made_of: str  # says which vectors, in which way


@dataclass(frozen=True, slots=True, kw_only=True)
class MapReport:
    """What making the map did."""

    points: int
    backbone: str
    seed: int
    already_there: bool  # it was made of these very vectors before, and is as it was
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """Returns it as plain data."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """How a map differs from the project as it is now."""

    new: int  # samples that have vectors now and are not on it
    gone: int  # samples on it that the catalogue has no more


def make(store: "Store", *, backbone: str | None = None, seed: int = 0, tell: Tell | None = None) -> MapReport:
    """Makes the map of every sample to train on that has vectors, unless it is there already.

    Args:
        store: the project.
        backbone: whose vectors; None takes the newest that there are.
        seed: of everything random in it.
        tell: is told how far it is.

    Raises:
        ProjectError: there are no images to train on, or no vectors of them.
    """
    stage("Loading what finds like images")
    from gradebook.mpl.tsne import project

    began = time.monotonic()
    space, ids = _embedded(store, backbone)
    made_of = _made_of(space, ids, seed)
    kept = read_map(store.project)
    if kept is None or kept.made_of != made_of:
        stage("Reading what the network saw")
        vectors = store.vectors.read(space.backbone, ids, views=1)[:, 0]
        _keep(store.project, ids, project(vectors, seed=seed, tell=tell), space.backbone, seed, made_of)
    return MapReport(
        points=len(ids),
        backbone=space.backbone,
        seed=seed,
        already_there=kept is not None and kept.made_of == made_of,
        seconds=round(time.monotonic() - began, 1),
    )


def read_map(project: Project) -> Projection | None:
    """Returns the map that is kept, None where there is none, or only an older or torn one: then make it again."""
    try:
        with np.load(project.root / MAP) as file:
            if int(file["form"]) != FORM:
                return None
            return Projection(
                sample_ids=tuple(file["sample_ids"].astype(str).tolist()),
                places=_whole(file["places"]),
                backbone=str(file["backbone"]),
                seed=int(file["seed"]),
                made_of=str(file["made_of"]),
            )
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def compare(store: "Store", there: Projection) -> Gap:
    """Returns how the map differs from what is embedded now."""
    on_it, now = set(there.sample_ids), {s.sample_id for s in store.catalog.samples(Split.TRAIN)}
    embedded = set(store.vectors.ids(there.backbone)) & now
    return Gap(new=len(embedded - on_it), gone=len(on_it - now))


def age(project: Project) -> int:
    """Returns when the map was made, nanoseconds since 1970; 0 where there is none."""
    try:
        return (project.root / MAP).stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def _embedded(store: "Store", backbone: str | None) -> tuple["Space", list[str]]:
    """Returns a space, and the samples to train on that have vectors in it, in order of import."""
    root = store.project.root
    samples = [sample.sample_id for sample in store.catalog.samples(Split.TRAIN)]
    if not samples:
        raise ProjectError(f"there are no images to train on in the project: gradebook import {root} IMAGES")
    spaces = [space for space in store.vectors.spaces() if backbone in (None, space.backbone)]
    known = set(store.vectors.ids(spaces[-1].backbone)) if spaces else set()
    ids = [sample_id for sample_id in samples if sample_id in known]
    if not ids:
        more = f" --backbone {backbone}" if backbone else ""
        raise ProjectError(f"a map needs the images' vectors, and there are none: gradebook embed {root}{more}")
    return spaces[-1], ids


def _made_of(space: "Space", ids: Sequence[str], seed: int) -> str:
    import hashlib

    said = hashlib.blake2b("\n".join([json.dumps(asdict(space)), *ids]).encode(), digest_size=8)
    return f"{FORM} {said.hexdigest()} {seed}"


def _keep(
    project: Project, ids: Sequence[str], places: NDArray[np.float32], backbone: str, seed: int, made_of: str
) -> None:
    with atomic_path(project.root / MAP) as temporary, temporary.open("wb") as file:
        np.savez(
            file,
            form=np.array(FORM),
            sample_ids=np.array(ids, "S32"),
            places=places,
            backbone=np.array(backbone),
            seed=np.array(seed),
            made_of=np.array(made_of),
        )


def _whole(places: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Returns places as whole numbers that fill the square as far as they can, the shorter side in its middle."""
    low, high = places.min(0), places.max(0)
    scale = (SIDE - 2) / max(float((high - low).max()), 1e-12)
    middle = (low + high) / 2
    return np.asarray(np.clip(np.rint((places - middle) * scale + SIDE / 2), 0, SIDE), np.uint16)
