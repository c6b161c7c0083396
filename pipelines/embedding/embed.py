"""Embedding: a frozen backbone computes the features of every sample once, for training and search.

A training sample has V views: the plain image, the mirrored image and V - 2 strongly augmented ones
(`gradebook.mpl.augment.strong`). Their seeds depend on the sample's id, so the order of work and interruptions do not
change them. The plain views of all samples are computed first, since training can begin with them, and the augmented
ones in a second pass. A test sample has only the plain view.

Shape legend    N samples    V views of a sample    S pixels    D features
"""

import os
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gradebook.pipelines.embedding.backbone_setup import prepare_network, resolve_backbone
from gradebook.pipelines.embedding.feature_extractor import FeatureExtractor
from gradebook.pipelines.embedding.view_dataset import Batch, SampleViews, ViewDataset, collate
from gradebook.pipelines.process.partition import WHOLE, Part, of_part
from gradebook.pipelines.process.progress import stage
from gradebook.storage.project import ProjectError
from gradebook.storage.samples import Sample, Split
from gradebook.storage.store import Store
from gradebook.storage.vectors import Space, Views

if TYPE_CHECKING:
    from torch import nn

WORKER_BATCH = 32  # samples that a worker prepares at a time
MAX_WORKERS = 16
WORKERS_FROM = 200  # samples; fewer are read by this process, because workers take a while to start
WRITE_BATCH = 512  # samples between two writes: the most that a kill loses

Progress = Callable[[int, int], None]  # views embedded, views to embed


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedReport:
    """The result of an embedding."""

    backbone: str
    weights: str  # a sentence that names the source of the weights
    size: int  # pixels
    native_size: int  # pixels; the input size of the backbone's pretraining
    views: int
    embedded: int  # samples embedded now
    already_there: int  # samples embedded before
    broken: int  # samples whose file can no longer be read; they are not embedded
    seconds: float
    broken_files: tuple[tuple[str, str], ...]  # file and error

    def as_json(self) -> dict[str, Any]:
        """Returns the report as plain dicts and lists."""
        plain = {name: getattr(self, name) for name in EmbedReport.__slots__}
        return {**plain, "broken_files": [list(pair) for pair in self.broken_files]}


def embed(  # noqa: PLR0913  # all but the first have a default
    store: Store,
    *,
    backbone: str = "tf_efficientnet_lite0",
    views: int | None = None,
    size: int | None = None,
    batch_size: int | None = None,
    seed: int = 0,
    weights: str | None = None,
    part: Part = WHOLE,
    progress: Progress | None = None,
) -> EmbedReport:
    """Embeds every sample that lacks vectors of this backbone, the plain views of all first.

    Args:
        store: the project.
        backbone: timm's name of a model, or "local-dir:DIR" for a directory that timm saved.
        views: V. None takes that of the backbone's earlier vectors, or 2 to 5, as many as take about two minutes.
        size: S. None takes that of the backbone's earlier vectors, or its native size.
        batch_size: images per forward pass; None chooses for the device.
        seed: of the strong views, and of random weights.
        weights: "pretrained", the path of a file of weights or of a directory that timm saved, or "random", for tests
            only: features of random weights are meaningless. None takes those of the backbone's earlier vectors, or
            pretrained ones.
        part: which part of the samples to embed, if several processes share the work; see
            `gradebook.pipelines.process.partition`.
        progress: called regularly with the views embedded and the views to embed.

    Raises:
        ProjectError: there are no samples or no pretrained weights, or earlier vectors have other settings.
    """
    start = time.monotonic()
    samples = store.catalog.samples()
    if not samples:
        raise ProjectError(f"there are no images in the project: gradebook import {store.project.root} IMAGES")
    if views is not None and views < 1:
        raise ProjectError(f"views is {views}: give 1 for the plain image, or more to add augmented views")
    backbone, weights = resolve_backbone(store, backbone, weights)
    net, space, sentence, native_size = prepare_network(store, backbone, views, size, seed, weights)
    store.vectors.create(space)
    samples = list(of_part(samples, part))
    plain = _missing(samples, store.vectors.missing(backbone, [s.sample_id for s in samples]))
    train = [sample for sample in samples if sample.split is Split.TRAIN]
    augmented = _missing(train, store.vectors.missing_augmented(backbone, [s.sample_id for s in train]))
    broken = _embed(_Job(store, space, net, batch_size, progress), plain, augmented)
    stage("Updating the index")
    store.vectors.update_index(backbone)
    missing = len({sample.sample_id for sample in (*plain, *augmented)})
    return EmbedReport(
        backbone=backbone,
        weights=sentence,
        size=space.size,
        native_size=native_size,
        views=space.weak + space.strong,
        embedded=missing - len(broken),
        already_there=len(samples) - missing,
        broken=len(broken),
        seconds=round(time.monotonic() - start, 1),
        broken_files=tuple(broken.items()),
    )


def _missing(samples: Sequence[Sample], sample_ids: Sequence[str]) -> list[Sample]:
    chosen = set(sample_ids)
    return [sample for sample in samples if sample.sample_id in chosen]


@dataclass(frozen=True, slots=True)
class _Job:
    """The inputs of both passes over the samples."""

    store: Store
    space: Space
    net: "nn.Module"
    batch_size: int | None
    progress: Progress | None


@dataclass(frozen=True, slots=True)
class _Embedded:
    """A batch of embedded samples."""

    sample_ids: list[str]
    vectors: Views  # (N, V, D), of the views of this pass
    broken: list[tuple[str, str]]  # file and error


def _embed(job: _Job, plain: Sequence[Sample], augmented: Sequence[Sample]) -> dict[str, str]:
    """Embeds the plain views of samples, then the augmented views; an interruption keeps what was written.

    Returns:
        Path -> error of the files that cannot be read.
    """
    per_sample = job.space.weak + job.space.strong - 1
    total = len(plain) + per_sample * len(augmented)
    extractor = FeatureExtractor(job.net, job.space.size, job.space.dim, images=total, batch_size=job.batch_size)
    broken: dict[str, str] = {}
    done = 0
    for samples, is_augmented in ((plain, False), (augmented, True)):
        readable = [sample for sample in samples if sample.filepath not in broken]
        done += (len(samples) - len(readable)) * per_sample
        for part in _pass(job, readable, extractor, augmented=is_augmented):
            broken.update(part.broken)
            done += (len(part.sample_ids) + len(part.broken)) * (per_sample if is_augmented else 1)
            if job.progress is not None:
                job.progress(done, total)
    return broken


def _pass(job: _Job, samples: Sequence[Sample], extractor: FeatureExtractor, *, augmented: bool) -> Iterator[_Embedded]:
    """Embeds the plain or the augmented views of samples, and writes them every `WRITE_BATCH` samples."""
    if not samples:
        return
    pending: list[_Embedded] = []
    add = job.store.vectors.add_augmented if augmented else job.store.vectors.add

    def write() -> None:
        ids = [sample_id for part in pending for sample_id in part.sample_ids]
        if ids:
            add(job.space.backbone, ids, np.concatenate([part.vectors for part in pending if part.sample_ids]))
        pending.clear()

    try:
        dataset = ViewDataset(samples, job.space, job.store.project.levels, augmented=augmented)
        for part in _embedded(dataset, extractor, precise=not augmented):
            pending.append(part)
            if len(pending) * WORKER_BATCH >= WRITE_BATCH:
                write()
            yield part
    finally:
        write()


def _embedded(dataset: Any, extractor: FeatureExtractor, *, precise: bool) -> Iterator[_Embedded]:
    """Yields the embedded batches of a dataset.

    On a CPU each worker also runs the network, on one core. A single network on all cores would compete with the
    workers, and was up to 8 times slower.

    The plain view, from which a student predicts, is computed in float32, so that an exported classifier gives the same
    predictions as the student. The augmented views use half precision where that is faster.
    """
    import torch
    from torch.utils.data import DataLoader

    run = _ForwardPass(extractor, precise)
    loader = DataLoader(
        dataset,
        batch_size=WORKER_BATCH,
        num_workers=0 if len(dataset) < WORKERS_FROM else min(MAX_WORKERS, os.cpu_count() or 1),
        collate_fn=run.from_views if extractor.device == "cpu" else collate,
        generator=torch.Generator(),  # its own generator, so that the caller's is not changed
    )
    with warnings.catch_warnings():
        # LanceDB warns about forks while it is working; here it is idle, and the workers never use it.
        warnings.filterwarnings("ignore", message="lancedb fork support", category=RuntimeWarning)
        batches = iter(loader)
    for batch in batches:
        yield run(batch) if isinstance(batch, Batch) else batch


@dataclass(frozen=True, slots=True)
class _ForwardPass:
    """Embeds batches with one precision; can be sent to worker processes."""

    extractor: FeatureExtractor
    precise: bool

    def from_views(self, loaded: list[SampleViews]) -> _Embedded:
        """Embeds samples of a `ViewDataset`."""
        return self(collate(loaded))

    def __call__(self, batch: Batch) -> _Embedded:
        """Embeds a batch."""
        if not batch.sample_ids:
            return _Embedded([], np.empty((0, 0, self.extractor.dim), np.float16), batch.broken)
        n, views = batch.images.shape[:2]
        vectors = self.extractor(batch.images.flatten(0, 1), precise=self.precise)
        return _Embedded(batch.sample_ids, vectors.view(n, views, -1).numpy(), batch.broken)
