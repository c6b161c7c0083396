"""Embedding: a frozen backbone computes vectors of every sample once, for training and searching.

A training sample has V views: the plain image and, from a second pass, the augmented ones: the mirrored image and V - 2
strong ones (`gradebook.mpl.augment.strong`), whose seeds come from the sample's id, so that neither
the order of work nor an interruption changes them. All plain views come first, since training can begin with them. A
test sample has the plain view alone.

Shape legend    N samples    V views a sample    S pixels    D features
"""

import os
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

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

MIN_DEFAULT_VIEWS, MAX_DEFAULT_VIEWS = 2, 5
DEFAULT_IMAGES = {"cpu": 20_000, "cuda": 1_000_000}  # views of all training images, by default: two minutes or so
WORKER_BATCH = 32  # samples that a worker prepares at a time
MAX_WORKERS = 16
WORKERS_FROM = 200  # samples: fewer are read by this process, since workers take a while to start
WRITE_BATCH = 512  # samples between two writes: what a kill loses at most

Progress = Callable[[int, int], None]  # images embedded, images to embed: a view is an image


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedReport:
    """What an embedding did."""

    backbone: str
    weights: str  # a sentence that says where they came from
    size: int  # pixels
    native_size: int  # pixels: what the backbone was made for
    views: int
    embedded: int  # samples
    already_there: int  # samples
    broken: int  # samples whose file cannot be read any more; they have no vectors
    seconds: float
    broken_files: tuple[tuple[str, str], ...]  # the file, and why

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
    weights: Literal["pretrained", "random"] = "pretrained",
    part: Part = WHOLE,
    progress: Progress | None = None,
) -> EmbedReport:
    """Embeds every sample that lacks vectors of this backbone, the plain views of all first.

    Args:
        store: the project.
        backbone: timm's name of a model.
        views: V; when None, as many as the project's earlier vectors have, or 2 to 5: as many as take two minutes.
        size: S; when None, that of the project's earlier vectors, or the one that the backbone was made for.
        batch_size: images in one pass of the network; when None, as many as suit the machine.
        seed: of the strong views, and of random weights.
        weights: "random" only for tests: such vectors say little.
        part: which part of the samples to embed, while other processes embed the others: see
            `gradebook.pipelines.process.partition`.
        progress: called now and then with the images embedded and the images to embed.

    Raises:
        ProjectError: there are no samples or no trained weights, or earlier vectors were made otherwise.
    """
    start = time.monotonic()
    samples = store.catalog.samples()
    if not samples:
        raise ProjectError(f"there are no images in the project: gradebook import {store.project.root} IMAGES")
    if views is not None and views < 1:
        raise ProjectError(f"views is {views}: give 1 for the plain image alone, more for augmented ones beside it")
    net, space, sentence, native_size = _prepare(store, backbone, views, size, seed, weights)
    store.vectors.create(space)
    samples = list(of_part(samples, part))
    plain = _missing(samples, store.vectors.missing(backbone, [s.sample_id for s in samples]))
    train = [sample for sample in samples if sample.split is Split.TRAIN]
    augmented = _missing(train, store.vectors.missing_augmented(backbone, [s.sample_id for s in train]))
    broken = _embed(_Job(store, space, net, batch_size, progress), plain, augmented)
    stage("Updating the index")
    store.vectors.update_index(backbone)
    todo = len({sample.sample_id for sample in (*plain, *augmented)})
    return EmbedReport(
        backbone=backbone,
        weights=sentence,
        size=space.size,
        native_size=native_size,
        views=space.weak + space.strong,
        embedded=todo - len(broken),
        already_there=len(samples) - todo,
        broken=len(broken),
        seconds=round(time.monotonic() - start, 1),
        broken_files=tuple(broken.items()),
    )


def _missing(samples: Sequence[Sample], sample_ids: Sequence[str]) -> list[Sample]:
    chosen = set(sample_ids)
    return [sample for sample in samples if sample.sample_id in chosen]


def _prepare(
    store: Store, backbone: str, views: int | None, size: int | None, seed: int, weights: Any
) -> tuple["nn.Module", Space, str, int]:
    """Makes the network, on the device it will run on.

    Returns:
        The network, the space of the vectors that it will make, a sentence on its weights, and its native size.
    """
    stage("Loading the network")
    import torch

    from gradebook.mpl.backbones import digest, features
    from gradebook.mpl.batchnorm_fusion import fuse_batchnorm
    from gradebook.mpl.networks import ImageClassifier

    earlier = next((space for space in store.vectors.spaces() if space.backbone == backbone), None)
    model, sentence, native_size = _create(backbone, size, seed, weights)
    normal: Any = model.pretrained_cfg
    device = "cuda" if torch.cuda.is_available() else "cpu"
    net = ImageClassifier(fuse_batchnorm(model), tuple(normal["mean"]), tuple(normal["std"]))
    net = net.eval().to(device).to(memory_format=torch.channels_last)
    size = size or (earlier.size if earlier else native_size)
    weak, strong = _views(views, earlier, DEFAULT_IMAGES[device] // max(1, len(store.catalog.samples(Split.TRAIN))))
    space = Space(
        backbone=backbone,
        weights=f"{weights}, {digest(model)}",
        size=size,
        dim=features(net, torch.zeros(1, 3, size, size, dtype=torch.uint8, device=device), precise=True).shape[1],
        weak=weak,
        strong=strong,
        seed=seed,
    )
    return net, space, sentence, native_size


def _create(backbone: str, size: int | None, seed: int, weights: Any) -> tuple["nn.Module", str, int]:
    """Returns the model, a sentence on its weights, and its native size."""
    import torch

    from gradebook.mpl.backbones import BackboneError, create, input_size

    try:
        native_size, fixed = input_size(backbone)
        if fixed and size not in (None, native_size):
            raise ProjectError(f"{backbone} only takes images of {native_size} px: leave the size out")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return *create(backbone, weights=weights), native_size
    except BackboneError as error:
        raise ProjectError(str(error)) from error


def _views(asked: int | None, earlier: Space | None, affordable: int) -> tuple[int, int]:
    """Returns how many weak and strong views a sample gets; those of earlier vectors where that is what is asked."""
    if earlier is not None and asked in (None, earlier.weak + earlier.strong):
        return earlier.weak, earlier.strong
    views = min(max(affordable, MIN_DEFAULT_VIEWS), MAX_DEFAULT_VIEWS) if asked is None else asked
    weak = min(views, 2)
    return weak, views - weak


@dataclass(frozen=True, slots=True)
class _Job:
    """What both passes over the samples share."""

    store: Store
    space: Space
    net: "nn.Module"
    batch_size: int | None
    progress: Progress | None


@dataclass(frozen=True, slots=True)
class _Embedded:
    """Some samples that went through the network."""

    sample_ids: list[str]
    vectors: Views  # (N, V, D), of the views of this pass
    broken: list[tuple[str, str]]


def _embed(job: _Job, plain: Sequence[Sample], augmented: Sequence[Sample]) -> dict[str, str]:
    """Embeds the plain views of some samples, then the augmented views of some.

    What is done when it is stopped is kept. Returns the files that cannot be read, and why.
    """
    per_sample = job.space.weak + job.space.strong - 1
    total = len(plain) + per_sample * len(augmented)
    extractor = FeatureExtractor(job.net, job.space.size, job.space.dim, images=total, batch_size=job.batch_size)
    broken: dict[str, str] = {}
    done = 0
    for samples, is_augmented in ((plain, False), (augmented, True)):
        todo = [sample for sample in samples if sample.filepath not in broken]
        done += (len(samples) - len(todo)) * per_sample
        for part in _pass(job, todo, extractor, augmented=is_augmented):
            broken.update(part.broken)
            done += (len(part.sample_ids) + len(part.broken)) * (per_sample if is_augmented else 1)
            if job.progress is not None:
                job.progress(done, total)
    return broken


def _pass(job: _Job, samples: Sequence[Sample], extractor: FeatureExtractor, *, augmented: bool) -> Iterator[_Embedded]:
    """Embeds the plain or the augmented views of samples, and stores them now and then."""
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
        for part in _embedded(ViewDataset(samples, job.space, augmented=augmented), extractor, precise=not augmented):
            pending.append(part)
            if len(pending) * WORKER_BATCH >= WRITE_BATCH:
                write()
            yield part
    finally:
        write()


def _embedded(dataset: Any, extractor: FeatureExtractor, *, precise: bool) -> Iterator[_Embedded]:
    """Yields a dataset of views in batches that went through the network.

    On a CPU each worker runs the network too, on one core: one network on all cores would share them with the
    workers, and its threads then mostly wait for each other (measured: up to 8 times slower).

    The plain view, which a student predicts from, is computed in float32, so that an exported classifier predicts what
    the student predicts. The others are noisy by design and take half precision where that is faster.
    """
    import torch
    from torch.utils.data import DataLoader

    run = _Run(extractor, precise)
    loader = DataLoader(
        dataset,
        batch_size=WORKER_BATCH,
        num_workers=0 if len(dataset) < WORKERS_FROM else min(MAX_WORKERS, os.cpu_count() or 1),
        collate_fn=run.from_views if extractor.device == "cpu" else collate,
        generator=torch.Generator(),  # one of its own leaves the caller's untouched
    )
    with warnings.catch_warnings():
        # LanceDB warns of forks in the middle of its work; here it rests, and the workers never touch it.
        warnings.filterwarnings("ignore", message="lancedb fork support", category=RuntimeWarning)
        batches = iter(loader)
    for batch in batches:
        yield run(batch) if isinstance(batch, Batch) else batch


@dataclass(frozen=True, slots=True)
class _Run:
    """The network, as it is used in one pass."""

    extractor: FeatureExtractor
    precise: bool

    def from_views(self, made: list[SampleViews]) -> _Embedded:
        """Embeds what `ViewDataset` made."""
        return self(collate(made))

    def __call__(self, batch: Batch) -> _Embedded:
        """Passes a batch through the network."""
        if not batch.sample_ids:
            return _Embedded([], np.empty((0, 0, self.extractor.dim), np.float16), batch.broken)
        n, views = batch.images.shape[:2]
        vectors = self.extractor(batch.images.flatten(0, 1), precise=self.precise)
        return _Embedded(batch.sample_ids, vectors.view(n, views, -1).numpy(), batch.broken)
