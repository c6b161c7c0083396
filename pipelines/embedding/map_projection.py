"""The project's map: t-SNE coordinates of every training sample, computed once and saved. Loads no torch.

The map is one file, `map.npz`. It lists its samples, so images that were embedded later are noticed. They appear on the
map when it is computed again.

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
SCHEMA_VERSION = 1  # maps of other versions are computed again
SIDE = 65_535  # coordinates lie strictly between 0 and SIDE, so that a lasso along the edges selects every point

Progress = Callable[[str, int, int], None]  # phase, steps done, steps in total


@dataclass(frozen=True, slots=True, kw_only=True)
class Projection:
    """The coordinates of samples on the map."""

    sample_ids: tuple[str, ...]
    xy: NDArray[np.uint16]  # (N, 2) between 0 and SIDE; the aspect ratio of t-SNE's output is preserved
    backbone: str
    seed: int
    fingerprint: str  # of the embeddings and the seed


@dataclass(frozen=True, slots=True, kw_only=True)
class MapReport:
    """The result of `compute_map`."""

    points: int
    backbone: str
    seed: int
    already_there: bool  # a map of the same embeddings and seed existed and was left as it is
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """Returns the report as plain data."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class MapDifference:
    """How the map differs from the project as it is now."""

    new: int  # embedded samples that are not on the map
    removed: int  # samples on the map that are no longer in the catalogue


def compute_map(
    store: "Store", *, backbone: str | None = None, seed: int = 0, on_progress: Progress | None = None
) -> MapReport:
    """Computes the map of all embedded training samples, unless it exists already.

    Args:
        store: the project.
        backbone: whose embeddings; None for the newest.
        seed: of t-SNE.
        on_progress: called with the phase, the steps done and the steps in total.

    Raises:
        ProjectError: there are no training images, or none is embedded.
    """
    stage("Loading openTSNE")
    from gradebook.mpl.tsne import project

    began = time.monotonic()
    space, ids = _embedded(store, backbone)
    fingerprint = _fingerprint(space, ids, seed)
    saved = read_map(store.project)
    up_to_date = saved is not None and saved.fingerprint == fingerprint
    if not up_to_date:
        stage("Reading embeddings")
        vectors = store.vectors.read(space.backbone, ids, views=1)[:, 0]
        xy = project(vectors, seed=seed, on_progress=on_progress)
        _write_map(store.project, ids, xy, space.backbone, seed, fingerprint)
    return MapReport(
        points=len(ids),
        backbone=space.backbone,
        seed=seed,
        already_there=up_to_date,
        seconds=round(time.monotonic() - began, 1),
    )


def read_map(project: Project) -> Projection | None:
    """Returns the saved map; None if there is none, or it is corrupt or of another version: then compute it again."""
    try:
        with np.load(project.root / MAP) as file:
            if int(file["form"]) != SCHEMA_VERSION:
                return None
            return Projection(
                sample_ids=tuple(file["sample_ids"].astype(str).tolist()),
                xy=_to_grid(file["places"]),
                backbone=str(file["backbone"]),
                seed=int(file["seed"]),
                fingerprint=str(file["made_of"]),
            )
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def compare(store: "Store", projection: Projection) -> MapDifference:
    """Returns how the map differs from the samples that are embedded now."""
    on_map, current = set(projection.sample_ids), {s.sample_id for s in store.catalog.samples(Split.TRAIN)}
    embedded = set(store.vectors.ids(projection.backbone)) & current
    return MapDifference(new=len(embedded - on_map), removed=len(on_map - current))


def modified_ns(project: Project) -> int:
    """Returns when the map was written, in nanoseconds since 1970; 0 if there is none."""
    try:
        return (project.root / MAP).stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def _embedded(store: "Store", backbone: str | None) -> tuple["Space", list[str]]:
    """Returns an embedding space, and the training samples that are embedded in it, in order of import."""
    root = store.project.root
    samples = [sample.sample_id for sample in store.catalog.samples(Split.TRAIN)]
    if not samples:
        raise ProjectError(f"the project has no training images: gradebook import {root} IMAGES")
    spaces = [space for space in store.vectors.spaces() if backbone in (None, space.backbone)]
    embedded = set(store.vectors.ids(spaces[-1].backbone)) if spaces else set()
    ids = [sample_id for sample_id in samples if sample_id in embedded]
    if not ids:
        more = f" --backbone {backbone}" if backbone else ""
        raise ProjectError(f"the map needs embeddings, and there are none: gradebook embed {root}{more}")
    return spaces[-1], ids


def _fingerprint(space: "Space", ids: Sequence[str], seed: int) -> str:
    import hashlib

    digest = hashlib.blake2b("\n".join([json.dumps(asdict(space)), *ids]).encode(), digest_size=8)
    return f"{SCHEMA_VERSION} {digest.hexdigest()} {seed}"


def _write_map(
    project: Project, ids: Sequence[str], xy: NDArray[np.float32], backbone: str, seed: int, fingerprint: str
) -> None:
    with atomic_path(project.root / MAP) as temporary, temporary.open("wb") as file:
        np.savez(
            file,
            form=np.array(SCHEMA_VERSION),
            sample_ids=np.array(ids, "S32"),
            places=xy,
            backbone=np.array(backbone),
            seed=np.array(seed),
            made_of=np.array(fingerprint),
        )


def _to_grid(xy: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Returns the coordinates as integers: scaled to fill the square, the shorter side centred."""
    low, high = xy.min(0), xy.max(0)
    scale = (SIDE - 2) / max(float((high - low).max()), 1e-12)
    middle = (low + high) / 2
    return np.asarray(np.clip(np.rint((xy - middle) * scale + SIDE / 2), 0, SIDE), np.uint16)
