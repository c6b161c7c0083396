"""Embedding: a frozen backbone looks at every sample once, and its vectors are kept for training and searching.

A training sample has V views: the plain image, the same mirrored, and V - 2 strong ones
(`gradebook.mpl.augment.strong`), whose seeds come from the sample's id: neither the order of work nor an interruption
changes them. A test sample is never trained on, so it is only looked at plainly; it is stored with its plain vector in
the place of every view.

Shape legend    N samples    V views a sample    M views a batch    S pixels    D features
"""

import os
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from gradebook.pipelines.embedding.view_dataset import Batch, Made, ViewsOf, collate
from gradebook.pipelines.process.partition import WHOLE, Part, of_part
from gradebook.pipelines.process.progress import stage
from gradebook.storage.project import ProjectError
from gradebook.storage.samples import Sample
from gradebook.storage.store import Store
from gradebook.storage.vectors import Space, Views

if TYPE_CHECKING:
    from torch import nn

WEAK = 2  # the plain image and the mirrored one
SMALL = 64  # pixels: images whose median longer side is at most this are looked at in this size
LARGE = 224  # pixels, for others
PASS = {"cpu": 200_000, "cuda": 13_000_000}  # pixels in one pass: more make a CPU wait for fresh memory, not faster
SAMPLES = 32  # a batch, read by one worker
WORKERS = 16  # at most
FEW = 200  # samples that are read here rather than by workers, which take a while to start
WRITE = 512  # samples between two writes: what a kill loses at most

Progress = Callable[[int, int], None]  # samples done, samples to do


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedReport:
    """What an embedding did."""

    backbone: str
    weights: str  # a sentence that says where they came from
    size: int  # pixels
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


def embed(
    store: Store,
    *,
    backbone: str = "tf_efficientnet_lite0",
    views: int = 5,
    size: int | None = None,
    batch_size: int | None = None,
    seed: int = 0,
    weights: Literal["pretrained", "random"] = "pretrained",
    part: Part = WHOLE,
    progress: Progress | None = None,
) -> EmbedReport:
    """Looks at every sample that has no vectors of this backbone yet.

    Args:
        store: the project.
        backbone: timm's name of a model.
        views: V, at least 2; with 2 there are no strong views to train on.
        size: S; when None, that of the project's earlier vectors, or one that fits the images and the backbone.
        batch_size: images in one pass of the network; when None, as many as suit the machine.
        seed: of the strong views, and of random weights.
        weights: "random" only for tests: such vectors say little.
        part: which part of the samples to look at, while other processes look at the others: see
            `gradebook.pipelines.process.partition`.
        progress: called now and then with the samples done and the samples to do.

    Raises:
        ProjectError: there are no samples or no trained weights, or earlier vectors were made otherwise.
    """
    start = time.monotonic()
    samples = store.catalog.samples()
    if not samples:
        raise ProjectError(f"there are no images in the project: gradebook import {store.project.root} IMAGES")
    if views < WEAK:
        raise ProjectError(
            f"views is {views}: give at least {WEAK}, the plain image and the mirrored one, or 5 to train"
        )
    net, space, sentence = _prepare(store, samples, backbone, views, size, seed, weights)
    store.vectors.create(space)
    mine = list(of_part(samples, part))
    missing = set(store.vectors.missing(backbone, [sample.sample_id for sample in mine]))
    todo = [sample for sample in mine if sample.sample_id in missing]
    broken = _embed(store, space, todo, net, batch_size, progress or (lambda done, total: None))
    stage("Putting the vectors in order")
    store.vectors.update_index(backbone)
    return EmbedReport(
        backbone=backbone,
        weights=sentence,
        size=space.size,
        views=views,
        embedded=len(todo) - len(broken),
        already_there=len(mine) - len(todo),
        broken=len(broken),
        seconds=round(time.monotonic() - start, 1),
        broken_files=tuple(broken),
    )


def _prepare(
    store: Store, samples: Sequence[Sample], backbone: str, views: int, size: int | None, seed: int, weights: Any
) -> tuple["nn.Module", Space, str]:
    """Makes the network, on the device it will run on, and describes the vectors that it will make."""
    stage("Loading the network")
    import torch

    from gradebook.mpl.backbones import BackboneError, create, digest, features
    from gradebook.mpl.batchnorm_fusion import folded
    from gradebook.mpl.networks import ImageClassifier

    try:
        size = _size(store, samples, backbone, size)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model, sentence = create(backbone, weights=weights)
    except BackboneError as error:
        raise ProjectError(str(error)) from error
    normal: Any = model.pretrained_cfg
    made_of = f"{weights}, {digest(model)}"
    device = "cuda" if torch.cuda.is_available() else "cpu"
    net = ImageClassifier(folded(model), tuple(normal["mean"]), tuple(normal["std"]))
    net = net.eval().to(device).to(memory_format=torch.channels_last)
    dim = features(net, torch.zeros(1, 3, size, size, dtype=torch.uint8, device=device), precise=True).shape[1]
    space = Space(backbone=backbone, weights=made_of, size=size, dim=dim, weak=WEAK, strong=views - WEAK, seed=seed)
    return net, space, sentence


def _size(store: Store, samples: Sequence[Sample], backbone: str, asked: int | None) -> int:
    from gradebook.mpl.backbones import input_size

    trained_at, fixed = input_size(backbone)
    if fixed and asked not in (None, trained_at):
        raise ProjectError(f"{backbone} only takes images of {trained_at} px: leave the size out")
    if asked is not None:
        return asked
    earlier = next((space.size for space in store.vectors.spaces() if space.backbone == backbone), None)
    if earlier is not None:
        return earlier
    small = median(max(sample.width, sample.height) for sample in samples) <= SMALL
    return trained_at if fixed else SMALL if small else LARGE


def _embed(
    store: Store, space: Space, todo: Sequence[Sample], net: "nn.Module", batch_size: int | None, progress: Progress
) -> list[tuple[str, str]]:
    """Embeds `todo` and returns the files that cannot be read. What is done when it is stopped is kept."""
    broken: list[tuple[str, str]] = []
    waiting: list[_Seen] = []
    done = 0
    try:
        for seen in _seen(todo, space, _Look(net, space, batch_size)):
            waiting.append(seen)
            broken += seen.broken
            done += len(seen.sample_ids) + len(seen.broken)
            if len(waiting) * SAMPLES >= WRITE:
                _write(store, space, waiting)
            progress(done, len(todo))
    finally:
        _write(store, space, waiting)
    return broken


def _write(store: Store, space: Space, waiting: "list[_Seen]") -> None:
    """Moves the vectors to the store."""
    ids = [sample_id for seen in waiting for sample_id in seen.sample_ids]
    if ids:
        store.vectors.add(space.backbone, ids, np.concatenate([seen.vectors for seen in waiting]))
    waiting.clear()


@dataclass(frozen=True, slots=True)
class _Seen:
    """Some samples that the network has looked at."""

    sample_ids: list[str]
    vectors: Views  # (N, V, D)
    broken: list[tuple[str, str]]


def _seen(todo: Sequence[Sample], space: Space, look: "_Look") -> Iterator[_Seen]:
    """Yields `todo` in batches.

    On a CPU each worker runs the network too, on one core: one network on all cores would share them with the
    workers, and its threads then mostly wait for each other (measured: up to 8 times slower).
    """
    import torch
    from torch.utils.data import DataLoader

    dataset: Any = ViewsOf(todo, space)  # a DataLoader asks for no more than __getitem__ and __len__
    loader = DataLoader(
        dataset,
        batch_size=SAMPLES,
        num_workers=0 if len(todo) < FEW else min(WORKERS, os.cpu_count() or 1),
        collate_fn=look.at if look.device == "cpu" else collate,
        generator=torch.Generator(),  # one of its own leaves the caller's untouched
    )
    with warnings.catch_warnings():
        # LanceDB warns of forks in the middle of its work; here it rests, and the workers never touch it.
        warnings.filterwarnings("ignore", message="lancedb fork support", category=RuntimeWarning)
        batches = iter(loader)
    for batch in batches:
        yield look.through(batch) if isinstance(batch, Batch) else batch


class _Look:
    """The network, and how it is used."""

    def __init__(self, net: "nn.Module", space: Space, batch_size: int | None):
        self.device = next(net.buffers()).device.type
        self._net = net
        self._space = space
        self._at_once = batch_size or max(1, PASS[self.device] // space.size**2)

    def at(self, made: list[Made]) -> _Seen:
        """Looks at what `ViewsOf` made."""
        return self.through(collate(made))

    def through(self, batch: Batch) -> _Seen:
        """Passes a batch through the network.

        The plain view, which a student predicts from, is computed in float32, so that an exported classifier says what
        the student says. The others are noisy by design and take half precision where that is faster.
        """
        import torch

        from gradebook.mpl.backbones import features

        plain = torch.zeros(len(batch.images), dtype=torch.bool)
        plain[np.cumsum([0, *batch.views])[:-1]] = True
        rows = torch.empty(len(batch.images), self._space.dim, dtype=torch.float16)
        for precise, chosen in ((True, plain), (False, ~plain)):
            for places in chosen.nonzero()[:, 0].split(self._at_once):
                rows[places] = features(self._net, batch.images[places].to(self.device), precise=precise).half().cpu()
        every = self._space.weak + self._space.strong
        vectors = np.empty((len(batch.sample_ids), every, self._space.dim), np.float16)
        for place, views in enumerate(rows.split(batch.views)):
            vectors[place] = views.numpy()  # of a test sample one for all
        return _Seen(batch.sample_ids, vectors, batch.broken)
