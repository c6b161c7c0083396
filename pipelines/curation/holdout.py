"""Draws a random test set from the unlabelled images, before they are labelled, so that test accuracy is unbiased.

The draw is stratified by clusters of the embeddings, in proportion to their sizes, and every image is equally likely.
Near-copies stay together. Near-copies of a labelled image are never drawn, because testing on them would be too easy. A
drawn image moves to the test split: it is labelled without a shown prediction, and never trained on.

Shape legend    G groups of near-copies    D features
"""

import uuid
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradebook.pipelines.curation.leases import turn
from gradebook.pipelines.process.run_status import ACTIVE_STATES
from gradebook.pipelines.runs import list_runs
from gradebook.storage.events import decisions
from gradebook.storage.project import ProjectError
from gradebook.storage.samples import Sample, Split
from gradebook.storage.splits import SplitChange, drawn_for_testing

if TYPE_CHECKING:
    from gradebook.storage.store import Store

MAX_CLUSTERS = 50
FITTED = 20_000  # random images at most to which the clusters are fitted
CHUNK = 20_000  # images whose vectors are in memory at once

Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Holdout:
    """The drawn test images of a project, and the result of a draw or an undo."""

    drawn: int  # images that this call put into the test split
    returned: int  # images that this call put back into the training split
    test: int  # drawn images in the test split now
    unlabelled: int  # of these, without a label
    clusters: int  # of the embeddings that the draw was stratified by; 0 without a draw
    near_copies: int  # unlabelled images that were not drawn, because they are near-copies of a labelled one
    seed: int | None  # of the draw
    files: list[str]  # the drawn images without a label

    def as_json(self) -> dict[str, Any]:
        """Returns it as plain data."""
        return asdict(self)


def draw(store: "Store", count: int, *, seed: int, actor: str) -> Holdout:
    """Puts random unlabelled images into the test split, until `count` of the project's test images were drawn.

    Near-copies are drawn together, so there can be a few more.

    Raises:
        ProjectError: the count cannot be met, images lack embeddings, or something trains at the moment.
    """
    already = drawn_ids(store)
    if count < 1:
        raise ProjectError(f"--test {count} must be at least 1: give the number of test images")
    if len(already) >= count:
        return _state(store)
    _check_nothing_trains(store)
    decided, samples = decisions(store.log.read()), store.catalog.samples()
    groups, excluded = _groups(samples, decided)
    available = sum(map(len, groups))
    if count - len(already) >= available:
        raise ProjectError(
            f"{count - len(already)} test images cannot be drawn from {available} unlabelled images: give a smaller "
            "--test, so that images are left to train on, or import more"
        )
    clusters = _clusters(store, [group[0] for group in groups], seed)
    chosen = [i for group in systematic(groups, clusters, count - len(already), seed) for i in group]
    with turn(store.project):
        decided = decisions(store.log.read())  # somebody may have labelled one of them meanwhile
        chosen = [i for i in chosen if i not in decided]
        _write(store, chosen, Split.TEST, uuid.uuid4().hex, actor)
    return _state(store, drawn=len(chosen), clusters=len(np.unique(clusters)), near_copies=excluded, seed=seed)


def undo(store: "Store", *, actor: str) -> Holdout:
    """Puts the images of the newest draw back into the training split, labelled ones too.

    Raises:
        ProjectError: no draw is left to undo, or something trains at the moment.
    """
    _check_nothing_trains(store)
    with turn(store.project):
        newest: dict[str, SplitChange] = {c.sample_id: c for c in store.catalog.split_changes()}
        in_test = [c for c in newest.values() if c.split is Split.TEST]
        if not in_test:
            raise ProjectError(
                f"no drawn test image can be put back: gradebook split {store.project.root} --test N draws some"
            )
        last = max(in_test, key=lambda c: c.at).draw
        ids = [c.sample_id for c in in_test if c.draw == last]
        _write(store, ids, Split.TRAIN, last, actor)
    return _state(store, returned=len(ids))


def state(store: "Store") -> Holdout:
    """Returns the drawn test images of a project."""
    return _state(store)


def drawn_ids(store: "Store") -> set[str]:
    """Returns the ids of the drawn images that are in the test split."""
    return drawn_for_testing(store.catalog.split_changes())


def to_label(store: "Store", decided: Collection[str]) -> list[str]:
    """Returns the ids of the drawn test images that are not decided, in order of import."""
    waiting = drawn_ids(store) - set(decided)
    return [s.sample_id for s in store.catalog.samples(Split.TEST, waiting)] if waiting else []


def systematic(groups: Sequence[Sequence[str]], clusters: Indices, count: int, seed: int) -> list[Sequence[str]]:
    """Returns groups with at least `count` images in total, every group equally likely to be among them.

    In each cluster the groups are in random order, and the k-th of n has the key (k + u) / n, with one u, uniform in
    [0, 1), for the cluster. The groups with the smallest keys are chosen: the same share of each cluster, up to one
    group.

    Args:
        groups: G groups of sample ids.
        clusters: (G,) cluster of each group.
        count: of images.
        seed: of the order and of u.
    """
    random = np.random.default_rng(seed)
    keys = np.empty(len(groups))
    for cluster in np.unique(clusters):
        members = np.flatnonzero(clusters == cluster)
        keys[random.permutation(members)] = (np.arange(len(members)) + random.random()) / len(members)
    chosen, total = list[Sequence[str]](), 0
    for k in np.argsort(keys, kind="stable").tolist():
        if total >= count:
            break
        chosen.append(groups[k])
        total += len(groups[k])
    return chosen


def _groups(samples: Sequence[Sample], decided: Collection[str]) -> tuple[list[list[str]], int]:
    """Returns the groups of near-copies to draw from, and how many undecided images are copies of a labelled one."""
    from gradebook.pipelines.importing.near_copies import NearCopies

    root: dict[str, str] = {s.sample_id: s.sample_id for s in samples}
    for later, earlier in NearCopies([], samples).pairs():
        root[_find(root, later.sample_id)] = _find(root, earlier.sample_id)
    members: dict[str, list[str]] = defaultdict(list)
    seen = {_find(root, s.sample_id) for s in samples if s.split is Split.TRAIN and s.sample_id in decided}
    excluded = 0
    for sample in samples:
        if sample.split is Split.TRAIN and sample.sample_id not in decided:
            if _find(root, sample.sample_id) in seen:
                excluded += 1
            else:
                members[_find(root, sample.sample_id)].append(sample.sample_id)
    return list(members.values()), excluded


def _find(root: dict[str, str], sample_id: str) -> str:
    while root[sample_id] != sample_id:
        root[sample_id] = root[root[sample_id]]
        sample_id = root[sample_id]
    return sample_id


def _clusters(store: "Store", ids: Sequence[str], seed: int) -> Indices:
    """Returns the cluster of each image, by k-means on the unit-length features of the newest embeddings."""
    from sklearn.cluster import KMeans

    spaces = store.vectors.spaces()
    backbone = spaces[-1].backbone if spaces else ""
    missing = store.vectors.missing(backbone, ids) if spaces else ids
    if missing:
        raise ProjectError(
            f"{len(missing)} images have no embedding, by which the draw is stratified: "
            f"run: gradebook embed {store.project.root}"
        )
    fitted = np.random.default_rng(seed).permutation(len(ids))[:FITTED]
    count = int(min(MAX_CLUSTERS, max(1, np.sqrt(len(ids) / 2))))
    model = KMeans(count, n_init=1, random_state=seed).fit(
        _features(store, backbone, [ids[k] for k in np.sort(fitted)])
    )
    parts = [ids[start : start + CHUNK] for start in range(0, len(ids), CHUNK)]
    return np.concatenate([model.predict(_features(store, backbone, part)) for part in parts]).astype(np.int64)


def _features(store: "Store", backbone: str, ids: Sequence[str]) -> NDArray[np.float32]:
    x = store.vectors.read(backbone, ids, views=1)[:, 0].astype(np.float32)
    return np.asarray(x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12))


def _check_nothing_trains(store: "Store") -> None:
    """Checks that no run could train on images that are about to change their split."""
    busy = [run.name for run in list_runs(store.project) if run.status().state in ACTIVE_STATES]
    if busy:
        raise ProjectError(f"{' and '.join(busy)} trains on images that could be drawn: wait for it, or stop it first")


def _write(store: "Store", ids: Sequence[str], split: Split, draw_id: str, actor: str) -> None:
    now = datetime.now(UTC)
    store.catalog.change_splits([SplitChange(sample_id=i, split=split, draw=draw_id, at=now, actor=actor) for i in ids])


def _state(
    store: "Store",
    *,
    drawn: int = 0,
    returned: int = 0,
    clusters: int = 0,
    near_copies: int = 0,
    seed: int | None = None,
) -> Holdout:
    ids = drawn_ids(store)
    waiting = store.catalog.samples(Split.TEST, to_label(store, decisions(store.log.read())))
    return Holdout(
        drawn=drawn,
        returned=returned,
        test=len(ids),
        unlabelled=len(waiting),
        clusters=clusters,
        near_copies=near_copies,
        seed=seed,
        files=[sample.filepath for sample in waiting],
    )
