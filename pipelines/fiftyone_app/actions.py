"""What people do in FiftyOne's App, as events: the functions behind the buttons of `pipelines/fiftyone_plugin`.

Each takes the project's dataset and the ids that its samples have in FiftyOne, and returns a sentence on what was done.
The dataset's `info` names the project and the run. The events are those that the app would write, and the fields of
these samples say at once what the log says.
"""

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradebook.pipelines.curation.label_propagation import ASKED, asked_for
from gradebook.pipelines.curation.labelling import actor
from gradebook.pipelines.curation.verdicts import Shown, last_verdict, undo, verdict
from gradebook.storage.events import VERDICTS, Event, Kind, decisions, event, replay
from gradebook.storage.fiftyone_dataset import show_labels
from gradebook.storage.fiftyone_samples import FiftyOneSample, fiftyone_ids, read_samples
from gradebook.storage.project import ProjectError
from gradebook.storage.samples import Split

if TYPE_CHECKING:
    from gradebook.storage.store import Store

ALIKE = 60  # samples shown beside the one that they are like
_deciding = threading.Lock()  # FiftyOne's server runs operators in threads: of two quick presses, one writes first


def accept(dataset: Any, ids: Sequence[str]) -> str:
    """Accepts what the teacher says of the samples, as the dataset shows it."""
    return _decide(dataset, ids, lambda seen: seen.teacher, "accepted")


def assign(dataset: Any, ids: Sequence[str], label: str) -> str:
    """Gives the samples a label.

    Raises:
        ProjectError: it is no class of the project.
    """
    open_project(dataset).project.check_label(label)
    return _decide(dataset, ids, lambda seen: label, f"labelled {label}")


def take_back(dataset: Any, ids: Sequence[str]) -> str:
    """Takes back the verdicts of whoever is at the keyboard on these samples; without samples, their last one."""
    store, me = open_project(dataset), actor()
    with _deciding:
        events = store.log.read()
        if ids:
            decided = decisions(events)
            found = [decided[s.sample_id] for s in read_samples(dataset, ids) if s.sample_id in decided]
            mine = [e for e in found if e.kind in VERDICTS and e.actor == me]
        else:
            last = last_verdict(events, me)
            mine = [last] if last else []
        if not mine:
            raise ProjectError(
                f"{'these samples have' if ids else 'there is'} no verdict of yours ({me}) to take back"
                + (": select none to take back your last one" if ids else "")
            )
        store.log.append([undo(e, actor=me) for e in mine])
    _show(store, dataset, [e.sample_id for e in mine])
    return f"{_count(len(mine), 'verdict')} taken back."


def ask(dataset: Any, ids: Sequence[str]) -> str:
    """Puts samples that nobody has decided at the front of the queue, the teacher's label as the guess."""
    store, seen = open_project(dataset), _selected(dataset, ids)
    with _deciding:
        events = store.log.read()
        decided, waiting = decisions(events), {e.sample_id for e in asked_for(events)}
        free = [s for s in seen if s.sample_id not in decided and s.split == Split.TRAIN.value]
        new = [s for s in free if s.sample_id not in waiting]
        store.log.append([_proposal(s) for s in new])
    said = [f"{_count(len(new), 'sample')} sent to the front of the queue."]
    said += [f"{len(free) - len(new)} waited there already."] if len(free) > len(new) else []
    said += [f"{len(seen) - len(free)} stayed out: decided, or a test image."] if len(seen) > len(free) else []
    return " ".join(said)


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
        raise ProjectError("this dataset shows no project: open one with: gradebook fiftyone PROJECT")
    return open_store(Path(root))


def warm_up() -> None:
    """Imports in the background what the first verdict needs, so that it does not wait seconds for it."""
    threading.Thread(target=_import, daemon=True).start()


def _import() -> None:
    import lancedb  # noqa: F401
    import pyarrow.parquet  # noqa: F401


def _decide(dataset: Any, ids: Sequence[str], choose: Callable[[FiftyOneSample], str | None], done: str) -> str:
    """Writes one verdict a sample, unless it was decided since the dataset was brought up to date."""
    store, seen, me = open_project(dataset), _selected(dataset, ids), actor()
    run = dataset.info.get("run")
    with _deciding:
        decided = decisions(store.log.read())
        fates = {s.sample_id: _fate(s, choose(s), decided.get(s.sample_id)) for s in seen}
        judged = [s for s in seen if fates[s.sample_id] is None]
        store.log.append([e for s in judged for e in verdict(_shown(s, run), choose(s), actor=me)])
    _show(store, dataset, list(fates))
    left = Counter(fate for fate in fates.values() if fate)
    return " ".join([f"{_count(len(judged), 'sample')} {done}.", *(f"{n} {fate}." for fate, n in left.items())])


def _fate(seen: FiftyOneSample, label: str | None, now: Event | None) -> str | None:
    """Returns why a sample gets no verdict, None if it gets one."""
    if label is None:
        return "left as before: no run has said anything of it"
    if (now.label if now else None) != seen.label:
        return "decided by somebody meanwhile: look again"
    return (
        "left as before: a person has said so already" if now and now.kind in VERDICTS and now.label == label else None
    )


def _shown(seen: FiftyOneSample, run: str | None) -> Shown:
    return Shown(sample_id=seen.sample_id, label=seen.teacher, probability=seen.confidence, run=run)


def _proposal(seen: FiftyOneSample) -> Event:
    return event(
        Kind.PROPOSED,
        seen.sample_id,
        seen.teacher,
        actor=actor(),
        confidence=seen.confidence,
        reasons={ASKED[0]: 1.0},
    )


def _selected(dataset: Any, ids: Sequence[str]) -> list[FiftyOneSample]:
    seen = read_samples(dataset, ids) if ids else []
    if not seen:
        raise ProjectError("select samples of the project in the grid, or open one, and press again")
    return seen


def _show(store: "Store", dataset: Any, sample_ids: Sequence[str]) -> None:
    labels: Mapping[str, str] = replay(store.log.read())
    show_labels(dataset, {sample_id: labels.get(sample_id) for sample_id in sample_ids})


def _count(number: int, one: str) -> str:
    return f"{number} {one}{'' if number == 1 else 's'}"
