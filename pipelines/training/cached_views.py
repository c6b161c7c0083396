"""The inputs of a run on the features of a frozen backbone: cached views of each sample.

Shape legend    N samples    V views    D features    B labelled    U unlabelled
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradebook.pipelines.process.progress import say
from gradebook.pipelines.training.config import ConfigError, TrainConfig
from gradebook.pipelines.training.sampler import Draw, Positions

if TYPE_CHECKING:
    from torch import Tensor

    from gradebook.mpl.step import Batch
    from gradebook.storage.store import Store

RMS_BATCH = 8192  # rows squared at once


class CachedViews:
    """Features (N, V, D) of V views of each sample by a frozen backbone, in float16 on the device."""

    def __init__(self, views: "Tensor", weak: int):
        self._views = views
        self._weak = weak

    @property
    def features(self) -> int:
        """D, the number of features."""
        return int(self._views.shape[-1])

    @cached_property
    def scale(self) -> float:
        """The factor that brings the root mean square of the features to one half."""
        import torch

        plain = self._views[:, 0]
        squares = sum(float(part.float().square().sum(dtype=torch.float64)) for part in plain.split(RMS_BATCH))
        return 0.5 / max(math.sqrt(squares / plain.numel()), 1e-12)

    def batches(self, draws: Iterable[Draw], labels: "Tensor") -> "Iterator[Batch]":
        """See `training.dataset.InputSource`. A labelled image comes as any of its views, weak or strong."""
        import torch

        from gradebook.mpl.step import Batch

        views = self._views.shape[1]
        first = self._weak % views  # the first strong view; where there are none, any view serves as one
        for draw in draws:
            b, u = len(draw.labelled), len(draw.unlabelled)
            any_view, weak, strong = np.split(draw.seeds, [b, b + u])
            positions = [torch.from_numpy(p).to(self._views.device) for p in (draw.labelled, draw.unlabelled)]
            yield Batch(
                x_l=self._take(positions[0], any_view % views),
                y_l=labels[positions[0]],
                x_uw=self._take(positions[1], weak % self._weak),
                x_us=self._take(positions[1], first + strong % (views - first)),
                id_u=positions[1],
            )

    def unaugmented(self, positions: Positions, *, batch: int) -> "Iterator[Tensor]":
        """See `training.dataset.InputSource`."""
        import torch

        for part in torch.from_numpy(positions).split(batch):
            yield self._views[part.to(self._views.device), 0].float()

    def array(self) -> NDArray[np.float16]:
        """Returns the features of all views of every sample, (N, V, D)."""
        return self._views.cpu().numpy()

    def plain_array(self) -> NDArray[np.float16]:
        """Returns the features of every sample's plain view, (N, D)."""
        return self._views[:, 0].cpu().numpy()

    def augmented_array(self, positions: Positions) -> NDArray[np.float16] | None:
        """Returns the features of these samples' augmented views, (M, V - 1, D); None where there is none."""
        if self._views.shape[1] == 1:
            return None
        import torch

        return self._views[torch.from_numpy(positions).to(self._views.device), 1:].cpu().numpy()

    def _take(self, positions: "Tensor", views: NDArray[Any]) -> "Tensor":
        import torch

        return self._views[positions, torch.from_numpy(views.astype(np.int64)).to(positions.device)].float()


def load_views(
    store: "Store", backbone: str, sample_ids: Sequence[str], views: int | None = None
) -> tuple[NDArray[np.float16], int]:
    """Returns the cached views (N, V, D) of these samples, and how many of the V are weak.

    Args:
        store: the project.
        backbone: that made the views.
        sample_ids: of the N samples.
        views: V, the plain view first; None for as many as all samples have.

    Raises:
        ConfigError: some samples have not been embedded with this backbone.
    """
    remedy = f"run: gradebook embed {store.project.root} --backbone {backbone}"
    space = next((s for s in store.vectors.spaces() if s.backbone == backbone), None)
    if space is None:
        raise ConfigError(f"there are no cached views of {backbone} in this project: {remedy}")
    missing = store.vectors.missing(backbone, sample_ids)
    if missing:
        raise ConfigError(f"{len(missing)} images have no cached views of {backbone} yet: {remedy}")
    features = store.vectors.read(backbone, sample_ids, views)
    return features, min(space.weak, features.shape[1])


def embedded_backbone(store: "Store", default: str) -> str:
    """Returns the default backbone, or the one embedded last in a project that has no vectors of the default."""
    embedded = [space.backbone for space in store.vectors.spaces()]
    return embedded[-1] if embedded and default not in embedded else default


def view_count(store: "Store", config: TrainConfig[Any], sample_ids: Sequence[str]) -> int | None:
    """Returns how many cached views all of these samples have; None for pixels. Reports samples that lack some."""
    space = next((s for s in store.vectors.spaces() if s.backbone == config.backbone), None)
    if config.inputs == "pixels" or space is None:
        return None
    missing = len(store.vectors.missing_augmented(config.backbone, sample_ids))
    if missing:
        say(
            f"{missing} of {len(sample_ids)} training images have no augmented views yet, so the run trains on plain "
            f"views alone: gradebook embed {store.project.root} --backbone {config.backbone} makes the others"
        )
    return 1 if missing else space.weak + space.strong
