"""Changes of a project's classes: events of the log, checked and written under the lock for verdicts. Loads no torch.

Labels follow automatically: `gradebook.storage.events` returns them under the present names. A change is refused if a
training in progress could not follow it.
"""

import shlex
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from gradebook.pipelines.curation import leases
from gradebook.pipelines.curation.audit_files import open_audit
from gradebook.pipelines.curation.selections import save_selection
from gradebook.pipelines.process.run_status import ACTIVE_STATES
from gradebook.pipelines.runs import list_runs
from gradebook.storage.class_changes import KEYS, PALETTE, Action, ClassChange, ProjectClass
from gradebook.storage.class_history import ClassEvent, ClassHistory
from gradebook.storage.events import Event, class_event, class_history, decisions, retraction
from gradebook.storage.project import Project, ProjectError, check_names, read_project, split_names, write_classes

if TYPE_CHECKING:
    from gradebook.storage.store import Store

Plan = Callable[[Project], ClassChange]  # returns the change of a project with these classes, or raises ProjectError
FORMS = {"rename": "old=new", "merge": "a,b=c", "split": "a=b,c"}
FOLLOWED_BY_RUNS = frozenset({Action.ADD})  # a run in progress continues with the classes that it has


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassReport:
    """The result of a change."""

    change: str  # in words
    event_id: str
    undecided: int  # samples that have lost their label
    selection: str | None  # of the samples to tell apart after a split, for the page Review

    def as_json(self) -> dict[str, Any]:
        """Returns it as plain data."""
        return asdict(self)


def add(names: Sequence[str]) -> Plan:
    """Plans to add classes at the end; those that the project has already are left out."""

    def plan(project: Project) -> ClassChange:
        distinct = check_names(list(dict.fromkeys(name.strip() for name in names)))
        new = [name for name in distinct if name not in project.classes]
        if not new:
            raise ProjectError(f"the project has {', '.join(names)} already: nothing to add")
        return ClassChange(action=Action.ADD, new=_styled(project, new))

    return plan


def rename(old: str, new: str) -> Plan:
    """Plans to rename a class; it keeps labels, color and key."""

    def plan(project: Project) -> ClassChange:
        (one,), (name,) = _present(project, [old]), check_names([new])
        if name in project.classes:
            raise ProjectError(f"{name} is a class already: to join the two, merge {old} and {name}")
        return ClassChange(
            action=Action.RENAME, old=(old,), new=(ProjectClass(name=name, color=one.color, key=one.key),)
        )

    return plan


def merge(old: Sequence[str], new: str) -> Plan:
    """Plans to merge classes into one; it keeps color and key of the class of that name, or else of the first."""

    def plan(project: Project) -> ClassChange:
        merged, (name,) = _present(project, old), check_names([new])
        if len(merged) < 2:
            raise ProjectError("a merge needs two classes or more: give them as a,b=c")
        if name in project.classes and name not in old:
            raise ProjectError(f"{name} is another class: merge it too, as {','.join([*old, name])}={name}")
        like = next((c for c in merged if c.name == name), merged[0])
        return ClassChange(
            action=Action.MERGE, old=tuple(old), new=(ProjectClass(name=name, color=like.color, key=like.key),)
        )

    return plan


def split(old: str, new: Sequence[str]) -> Plan:
    """Plans to split a class; its samples become undecided. A resulting class can be one that exists already."""

    def plan(project: Project) -> ClassChange:
        (one,), names = _present(project, [old]), check_names(new)
        if len(names) < 2:
            raise ProjectError("a split results in two classes or more: give them as a=b,c")
        present = {c.name: c for c in project.styled_classes}
        styles = {c.name: c for c in _styled(project, [name for name in names if name not in present])}
        return ClassChange(action=Action.SPLIT, old=(one.name,), new=tuple((present | styles)[n] for n in names))

    return plan


def remove(name: str) -> Plan:
    """Plans to remove a class; its samples become undecided."""

    def plan(project: Project) -> ClassChange:
        (one,) = _present(project, [name])
        return ClassChange(action=Action.REMOVE, old=(one.name,))

    return plan


def order(names: Sequence[str]) -> Plan:
    """Plans to list the classes in another order; colors and keys stay."""

    def plan(project: Project) -> ClassChange:
        _present(project, names)
        if len(set(names)) < len(names) or len(names) < len(project.classes):
            raise ProjectError(f"give each class once, in the new order: {', '.join(project.classes)}")
        return ClassChange(action=Action.ORDER, old=tuple(names))

    return plan


def parse(option: str, text: str) -> Plan:
    """Returns the plan of an option of `gradebook classes`, such as rename and old=new.

    Raises:
        ProjectError: the text has another form.
    """
    plans: dict[str, Callable[[list[str]], Plan]] = {"add": add, "order": order}
    if option in plans:
        return plans[option](split_names(text))
    if option == "remove":
        return remove(text.strip())
    left, sign, right = text.partition("=")
    old, new = split_names(left.strip()), split_names(right.strip())
    if not sign or not old or not new or (option != "merge" and len(old) > 1) or (option != "split" and len(new) > 1):
        raise ProjectError(f"--{option} {text!r} cannot be read: give it as {FORMS[option]}")
    if option == "rename":
        return rename(old[0], new[0])
    return merge(old, new[0]) if option == "merge" else split(old[0], new)


def change_classes(store: "Store", plan: Plan, *, actor: str) -> ClassReport:
    """Changes the classes.

    Raises:
        ProjectError: the change is not possible, or a run trains that could not follow it; nothing was changed.
    """
    with leases.turn(store.project):
        events = store.log.read()
        project = _as_logged(store.project, class_history(events))
        change = plan(project)
        if change.action not in FOLLOWED_BY_RUNS:
            _check_unused(project)
        new = [class_event(change, actor=actor)]
        if not project.history:
            initial = ClassChange(action=Action.INITIAL, new=project.styled_classes)
            new = [class_event(initial, actor=actor), *new]
        written = store.log.append_now(new)
        project = write_classes(project, class_history([*events, *written]))
    return _report(store, project, change.describe(), written[-1], events)


def add_missing(store: "Store", names: Sequence[str], *, actor: str) -> Project:
    """Adds those of these classes that the project lacks; returns the project with them."""
    project = read_project(store.project.root)
    if new := [name for name in names if name.strip() not in project.classes]:
        change_classes(store, add(new), actor=actor)
    return read_project(store.project.root)


def undo_change(store: "Store", *, actor: str, event_id: str | None = None) -> ClassReport:
    """Retracts the newest change of classes, or the newest undo of one; all labels are as they were before it.

    Args:
        store: the project.
        actor: the person's name.
        event_id: the change or the undo; None for the newest change.

    Raises:
        ProjectError: there is no change to undo, a later one builds on it, or a run trains that could not follow.
    """
    with leases.turn(store.project):
        events = store.log.read()
        project = _as_logged(store.project, class_history(events))
        newest = _to_retract(project, event_id)
        _check_unused(project)
        row = next(e for e in events if e.event_id == newest.event_id)
        written = store.log.append_now([retraction(row, actor=actor)])
        project = write_classes(project, class_history([*events, *written]))
    what = "undo" if newest.change is None else newest.change.describe()
    return _report(store, project, f"undo: {what}", written[-1], events)


def bring_up_to_date(store: "Store", history: ClassHistory) -> Project:
    """Returns the project with the classes that the log has, which are written to its file if that has others.

    The file lacks a change if a process was killed in the middle of one. Call it under the lock for verdicts.
    """
    project = store.project
    if not history or history == project.history:
        return project
    now = read_project(project.root)
    return now if now.history == history else write_classes(now, history)


def _to_retract(project: Project, event_id: str | None) -> ClassEvent:
    """Returns the class event to retract: the newest change that stands, or the newest event if it is an undo."""
    standing, newest = project.history.standing, project.history.events[-1:]
    if event_id is not None and newest and newest[0].event_id == event_id and newest[0].change is None:
        return newest[0]
    if not standing:
        raise ProjectError(f"the classes of {project.root} have no change to undo")
    if event_id not in (None, standing[-1].event_id):
        command = shlex.join(["gradebook", "classes", str(project.root), "--undo"])
        raise ProjectError(f"{event_id} is not the newest change of classes: undo the later ones first: {command}")
    return standing[-1]


def _as_logged(project: Project, history: ClassHistory) -> Project:
    return write_classes(project, history) if history else read_project(project.root)


def _report(store: "Store", project: Project, change: str, written: Event, before: Sequence[Event]) -> ClassReport:
    """Returns the report of a change that has been written, with a selection of the samples to label again."""
    were, now = decisions(before), decisions(store.log.read())
    lost = [i for i, e in were.items() if e.label is not None and i not in now]
    planned = written.change
    selection = None
    if lost and planned is not None and planned.action is Action.SPLIT:
        position = {i: k for k, i in enumerate(store.catalog.ids())}
        names = " and ".join(c.name for c in planned.new)
        why = f"to tell {names} apart; they were labelled {planned.old[0]}"
        selection = save_selection(project, sorted(lost, key=lambda i: position.get(i, len(position))), why)
    return ClassReport(change=change, event_id=written.event_id, undecided=len(lost), selection=selection)


def _present(project: Project, names: Sequence[str]) -> list[ProjectClass]:
    present = {c.name: c for c in project.styled_classes}
    for name in names:
        if name not in present:
            project.check_label(name)
    return [present[name] for name in dict.fromkeys(names)]


def _styled(project: Project, names: Sequence[str]) -> tuple[ProjectClass, ...]:
    """Returns new classes with colors and keys that no class has; those that none ever had come first."""
    present = project.styled_classes
    past = [*present, *(c for e in project.history.events if e.change for c in e.change.new)]
    colors = _unused(range(len(PALETTE)), [c.color for c in past], [c.color for c in present])
    keys = _unused(KEYS, [c.key for c in past], [c.key for c in present])
    if all(len(name) == 1 and name in "0123456789" for name in (*project.classes, *names)):
        keys = list(names)
    missing = len(names) - min(len(colors), len(keys))
    colors, keys = [*colors, *[None] * missing], [*keys, *[""] * missing]
    return tuple(ProjectClass(name=n, color=c, key=k) for n, c, k in zip(names, colors, keys, strict=False))


def _unused(values: Sequence[Any], past: Sequence[Any], present: Sequence[Any]) -> list[Any]:
    never = [value for value in values if value not in past]
    return never + [value for value in values if value in past and value not in present]


def _check_unused(project: Project) -> None:
    """Raises ProjectError if a run that trains, or an open audit, is of the present classes."""
    active = [run for run in list_runs(project) if run.status().state in ACTIVE_STATES]
    if any(run.is_session for run in active):
        command = shlex.join(["gradebook", "session", str(project.root), "--stop"])
        raise ProjectError(
            f"a live session trains on the present classes: switch it off on Review, or end it with {command}, and "
            "change them then"
        )
    names = [run.name for run in active]
    if names:
        raise ProjectError(
            f"{' and '.join(names)} is training on the present classes: stop it, or wait until it has ended, and then "
            "change them"
        )
    if open_audit(project) is not None:
        command = shlex.join(["gradebook", "accept-rest", str(project.root), "--cancel"])
        raise ProjectError(f"an audit of the present classes is open: answer it, or cancel it with: {command}")
