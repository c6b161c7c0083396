"""Actions in FiftyOne's App, written as events: the functions behind the buttons of `pipelines/fiftyone_app/plugin`.

Each takes the project's dataset and the ids of its samples in FiftyOne, and returns a sentence about what was done. The
dataset's `info` names the project and the run. The events are those that the app would write, and the fields of the
samples are updated at once.
"""

import base64
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradebook.pipelines.curation import labelling, leases
from gradebook.pipelines.curation.label_propagation import ASKED, requested_proposals
from gradebook.pipelines.curation.labelling import Choice, Conflict, Undo, actor
from gradebook.pipelines.curation.verdicts import Shown
from gradebook.storage.events import VERDICTS, Event, Kind, decisions, event
from gradebook.storage.fiftyone_dataset import show_decisions
from gradebook.storage.fiftyone_samples import FiftyOneSample, fiftyone_ids, read_samples
from gradebook.storage.images import BrokenImage
from gradebook.storage.project import ProjectError
from gradebook.storage.sample_files import CHANGED, file_problem
from gradebook.storage.samples import Split

if TYPE_CHECKING:
    from gradebook.storage.store import Store

PICTURE = 160  # pixels either way at most of a picture in a dialog
ALIKE = 60  # samples shown beside the one that they are like


def accept(dataset: Any, ids: Sequence[str]) -> str:
    """Accepts what the queue proposes for the samples, as on the page Review and as the dataset shows it."""
    return _decide(dataset, ids, lambda seen: seen.prediction, "accepted")


def assign(dataset: Any, ids: Sequence[str], label: str) -> str:
    """Gives the samples a label.

    Raises:
        ProjectError: it is no class of the project.
    """
    open_project(dataset).project.check_label(label)
    return _decide(dataset, ids, lambda seen: label, f"labelled {label}")


def take_back(dataset: Any, ids: Sequence[str]) -> str:
    """Takes back the current user's verdicts on these samples; without samples, their last one."""
    store, me = open_project(dataset), actor()
    log = labelling.read_log(store)
    items = [Undo(ref=None)]
    if ids:
        now = [(s, log.decided.get(s.sample_id)) for s in read_samples(dataset, ids)]
        mine = [(s, e) for s, e in now if e is not None and e.kind in VERDICTS and e.actor == me]
        items = [Undo(ref=e.event_id, expected=s.decision) for s, e in mine]
    outcome = labelling.decide(store, items, actor=me, read=partial(labelling.read_log, store, log))
    if not outcome.taken and all(conflict.by is None for conflict in outcome.conflicts):
        raise ProjectError(
            f"{'these samples have' if ids else 'there is'} no verdict of yours ({me}) to take back"
            + (": select none to take back your last one" if ids else "")
        )
    _show(store, dataset, [*(e.sample_id for e in outcome.taken), *_samples(outcome.conflicts)])
    return " ".join([f"{_count(len(outcome.taken), 'verdict')} taken back.", *_overtaken(outcome.conflicts)])


def ask(dataset: Any, ids: Sequence[str]) -> str:
    """Puts samples that nobody has decided at the front of the queue, with what it proposes for them."""
    store, selected = open_project(dataset), _selected(dataset, ids)
    with leases.turn(store.project):
        events = store.log.read()
        decided, waiting = decisions(events), {e.sample_id for e in requested_proposals(events)}
        free = [s for s in selected if s.sample_id not in decided and s.split == Split.TRAIN.value]
        new = [s for s in free if s.sample_id not in waiting]
        store.log.append_now([_proposal(s) for s in new])
    sentences = [f"{_count(len(new), 'sample')} sent to the front of the queue."]
    sentences += [f"{len(free) - len(new)} waited there already."] if len(free) > len(new) else []
    sentences += (
        [f"{len(selected) - len(free)} stayed out: decided, or a test image."] if len(selected) > len(free) else []
    )
    return " ".join(sentences)


def pictures(dataset: Any, ids: Sequence[str], limit: int) -> list[tuple[str, str | None]]:
    """Returns the file name of each of the samples and, of the first ones, a small picture as a data address.

    Raises:
        ProjectError: no sample is selected, or the dataset belongs to no project.
    """
    store, selected = open_project(dataset), _selected(dataset, ids)
    return [(Path(s.filepath).name, _picture(store, s) if n < limit else None) for n, s in enumerate(selected)]


def _picture(store: "Store", seen: FiftyOneSample) -> str | None:
    from gradebook.pipelines.image_cache import as_jpeg, open_preview

    try:
        content = as_jpeg(open_preview(store.project, seen.sample_id, Path(seen.filepath), PICTURE), PICTURE)
    except BrokenImage:
        return None
    return f"data:image/jpeg;base64,{base64.b64encode(content).decode()}"


def evolution(dataset: Any, ids: Sequence[str]) -> tuple[FiftyOneSample, list[dict[str, Any]]]:
    """Returns the first of the samples, and its record in the run whose labels the dataset shows."""
    from gradebook.pipelines.reporting.sample_history import history

    first, *_ = _selected(dataset, ids[:1])
    run = dataset.info.get("run")
    return first, history(open_project(dataset), first.sample_id, run) if run else []


def alike(dataset: Any, ids: Sequence[str], many: int = ALIKE) -> list[str]:
    """Returns the ids in FiftyOne of the first of the samples and of those most like it, nearest first.

    They are found in the project's own vectors, in their newest space.

    Raises:
        ProjectError: the sample has no vectors.
    """
    store, (first, *_) = open_project(dataset), _selected(dataset, ids[:1])
    spaces = store.vectors.spaces()
    if not spaces or store.vectors.missing(spaces[-1].backbone, [first.sample_id]):
        raise ProjectError(f"this image has no vectors to compare: run: gradebook embed {store.project.root}")
    near = [sample_id for sample_id, _ in store.vectors.nearest(spaces[-1].backbone, first.sample_id, many)]
    return fiftyone_ids(dataset, [first.sample_id, *near])


def open_project(dataset: Any) -> "Store":
    """Opens the project that a dataset shows.

    Raises:
        ProjectError: the dataset is none of ours, or the project is gone.
    """
    from gradebook.storage.store import open_store

    if dataset is None or not (root := (dataset.info or {}).get("gradebook")):
        raise ProjectError("this dataset belongs to no project: open one with: gradebook fiftyone PROJECT")
    return open_store(Path(root))


def warm_up() -> None:
    """Imports in the background what the first verdict needs, so that it does not wait seconds for it."""
    threading.Thread(target=_import, daemon=True).start()


def _import() -> None:
    import lancedb  # noqa: F401
    import pyarrow.parquet  # noqa: F401


def _decide(dataset: Any, ids: Sequence[str], choose: Callable[[FiftyOneSample], str | None], done: str) -> str:
    """Writes one verdict a sample, unless it was decided since the dataset was brought up to date."""
    store, selected = open_project(dataset), _selected(dataset, ids)
    log = labelling.read_log(store)
    reasons = {s.sample_id: _needless(s, choose(s), log.decided.get(s.sample_id)) for s in selected}
    asked = {e.sample_id: e for e in requested_proposals(log.events)}
    choices = [
        Choice(shown=_shown(s, dataset.info.get("run"), asked.get(s.sample_id)), label=choose(s), expected=s.decision)
        for s in selected
        if reasons[s.sample_id] is None
    ]
    outcome = labelling.decide(store, choices, actor=actor(), read=partial(labelling.read_log, store, log))
    _show(store, dataset, [s.sample_id for s in selected])
    left = Counter([*filter(None, reasons.values()), *(CHANGED for _ in outcome.changed)])
    sentences = [f"{_count(len(outcome.taken), 'sample')} {done}.", *_overtaken(outcome.conflicts)]
    return " ".join([*sentences, *(f"{n} left as before: {reason}." for reason, n in left.items())])


def _needless(seen: FiftyOneSample, label: str | None, now: Event | None) -> str | None:
    """Returns why a sample needs no verdict, None if it needs one."""
    if label is None:
        return "the queue proposes no label for it"
    if file_problem(Path(seen.filepath), seen.sample_id) == CHANGED:
        return CHANGED
    if now is None or now.event_id != seen.decision:  # not as it was shown: a conflict
        return None
    return "a person gave this label already" if now.kind in VERDICTS and now.label == label else None


def _overtaken(conflicts: Sequence[Conflict]) -> list[str]:
    return [f"{len(conflicts)} decided by somebody meanwhile: look again."] if conflicts else []


def _samples(conflicts: Sequence[Conflict]) -> list[str]:
    return [conflict.by.sample_id for conflict in conflicts if conflict.by is not None]


def _shown(seen: FiftyOneSample, run: str | None, asked: Event | None) -> Shown:
    """Returns what the dataset shows of a sample: an open proposal of the log, or the run's prediction."""
    proposal = asked.event_id if asked is not None and asked.label == seen.prediction else None
    return Shown(
        sample_id=seen.sample_id, label=seen.prediction, probability=seen.confidence, run=run, proposal=proposal
    )


def _proposal(seen: FiftyOneSample) -> Event:
    return event(
        Kind.PROPOSED,
        seen.sample_id,
        seen.prediction,
        actor=actor(),
        confidence=seen.confidence,
        reasons={ASKED[0]: 1.0},
    )


def _selected(dataset: Any, ids: Sequence[str]) -> list[FiftyOneSample]:
    selected = read_samples(dataset, ids) if ids else []
    if not selected:
        raise ProjectError("select samples of the project in the grid, or open one, and press again")
    return selected


def _show(store: "Store", dataset: Any, sample_ids: Sequence[str]) -> None:
    decided = decisions(store.log.read())
    show_decisions(dataset, {sample_id: decided.get(sample_id) for sample_id in sample_ids})


def _count(number: int, one: str) -> str:
    return f"{number} {one}{'' if number == 1 else 's'}"
