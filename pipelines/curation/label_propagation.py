"""Label propagation: proposes a sample's label for its nearest neighbours. It writes no verdict."""

from collections.abc import Container, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from gradebook.pipelines.curation.leases import turn
from gradebook.storage.events import Event, Kind, decisions, event, queue
from gradebook.storage.project import ProjectError
from gradebook.storage.samples import Split

if TYPE_CHECKING:
    from gradebook.storage.store import Store

ALIKE = ("alike", "similar to an image with this label")  # reason of a propagated label, and its sentence
ASKED = ("asked", "sent to review by a person")  # reason of a sample that a person sent to the queue, in FiftyOne

OVERSAMPLING = 8  # neighbours searched per neighbour returned, because some are already decided


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbour:
    """An unlabelled sample that is similar to a labelled one."""

    sample_id: str
    filepath: str
    label: str  # of the labelled sample; only a proposal
    similarity: float  # cosine, at most 1


def neighbours(store: "Store", sample_id: str, *, limit: int = 12) -> list[Neighbour]:
    """Returns the undecided training samples most similar to this one in the newest embedding space, nearest first.

    Raises:
        ProjectError: the sample has no label to propose, or no embedding.
    """
    decided = decisions(store.log.read())
    label = decided[sample_id].label if sample_id in decided else None
    if label is None:
        raise ProjectError(
            f"sample {sample_id} has no label to propose: label it first, with gradebook label or in the app"
        )
    if limit < 1:
        raise ProjectError(f"limit={limit} must be at least 1")
    spaces = store.vectors.spaces()
    if not spaces:
        raise ProjectError(f"there are no embeddings to compare: run: gradebook embed {store.project.root}")
    near, paths = _nearest(store, spaces[-1].backbone, sample_id, limit, decided)
    return [Neighbour(sample_id=i, filepath=paths[i], label=label, similarity=round(min(s, 1.0), 4)) for i, s in near]


def _nearest(
    store: "Store", backbone: str, sample_id: str, limit: int, decided: Container[str]
) -> tuple[list[tuple[str, float]], dict[str, str]]:
    """Returns the undecided neighbours and their paths.

    The nearest samples are searched first, and all undecided ones if too few of these are undecided.
    """
    near = store.vectors.nearest(backbone, sample_id, OVERSAMPLING * limit)
    paths = store.catalog.paths([i for i, _ in near if i not in decided], Split.TRAIN)
    if len(paths) < limit and len(near) == OVERSAMPLING * limit:
        samples = store.catalog.samples(Split.TRAIN)
        paths = {s.sample_id: s.filepath for s in samples if s.sample_id not in decided}
        near = store.vectors.nearest(backbone, sample_id, limit, among=paths)
    return [pair for pair in near if pair[0] in paths][:limit], paths


def propose(store: "Store", neighbours: Sequence[Neighbour], *, actor: str) -> int:
    """Writes a proposal for each neighbour, which puts it first in the queue; returns how many were new."""
    with turn(store.project):
        proposed = {(e.sample_id, e.label) for e in requested_proposals(store.log.read())}
        new = [n for n in neighbours if (n.sample_id, n.label) not in proposed]
        store.log.append_now(
            [
                event(Kind.PROPOSED, n.sample_id, n.label, actor=actor, reasons={ALIKE[0]: max(n.similarity, 0.0)})
                for n in new
            ]
        )
    return len(new)


def requested_proposals(events: Iterable[Event]) -> list[Event]:
    """Returns the open proposals that a person requested: the newest of each sample, in order of time."""
    newest = {e.sample_id: e for e in queue(events) if e.reasons.keys() & {ALIKE[0], ASKED[0]}}
    return sorted(newest.values(), key=lambda e: (e.at, e.event_id))


def is_from_neighbours(proposal: Event) -> bool:
    """Returns whether a proposal is the label of a similar image, not a model's prediction."""
    return ALIKE[0] in proposal.reasons


def as_json(neighbour: Neighbour) -> dict[str, Any]:
    """Returns a neighbour as plain data."""
    return asdict(neighbour)
