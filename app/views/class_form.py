"""Classes: the form of a project without any, and the changes of the classes of all others."""

import html
from collections.abc import Callable, Mapping, Sequence

import streamlit as st

from gradebook.app.context import PageContext
from gradebook.app.data_access import read_samples, read_stats
from gradebook.app.text import as_sentence, capitalized, count, plain
from gradebook.pipelines.curation import class_changes
from gradebook.pipelines.curation.class_changes import ClassReport, Plan, change_classes, undo_change
from gradebook.pipelines.importing.class_folders import propose_classes
from gradebook.storage.class_changes import hex_color
from gradebook.storage.project import ProjectError, join_names, split_names
from gradebook.storage.store import Store

REPORT = "class-report"  # key in the session: the change just made
SWATCH = (
    '<span style="display:inline-block;width:0.8rem;height:0.8rem;border-radius:50%;background:{color};'
    'margin-right:0.5rem;vertical-align:-0.05rem"></span>'
)


def render(store: Store, actor: str) -> None:
    """Draws the form; submitted names become the project's classes. Names of folders that look like classes are in it.

    Args:
        store: of a project without classes.
        actor: the user's name in the log.
    """
    proposed = propose_classes(sample.filepath for sample in read_samples(store).values())
    with st.form("name-classes", border=True):
        st.subheader("Name the classes")
        if proposed:
            st.caption("These are the names of the folders. Leave out what is not a class.")
        names = draw_field("class-names", "You can add and change classes later, on the page Review.", proposed)
        submitted = st.form_submit_button("Add classes", key="classes-named", type="primary", icon=":material/label:")
    if not submitted:
        return
    if not names:
        st.error("Enter the names of the classes.", icon=":material/error:")
        return
    _apply(lambda: change_classes(store, class_changes.add(names), actor=actor))


def draw_field(key: str, hint: str, proposed: Sequence[str] = ()) -> list[str]:
    """Draws the text field with a hint in its help, filled with proposed names; returns the entered names."""
    help_ = f"Separated by commas. {hint}"
    value = join_names(proposed) if proposed else ""
    return _names(st.text_input("Classes", value, placeholder="crow, heron, swan", key=key, help=help_))


def draw_changes(context: PageContext) -> None:
    """Draws the classes with their colours and keys, and a form that changes them; each change can be undone."""
    store, project = context.store, context.store.project
    counts = read_stats(store).labels_per_class
    st.html("<br>".join(_line(one.name, hex_color(one), one.key, counts) for one in project.styled_classes))
    forms: dict[str, Callable[[], Plan | None]] = {
        "Add": _add,
        "Rename": lambda: _rename(project.classes),
        "Merge": lambda: _merge(project.classes),
        "Split": lambda: _split(project.classes, counts),
        "Remove": lambda: _remove(project.classes, counts),
        "Reorder": lambda: _order(project.classes),
    }
    chosen = st.segmented_control("Change", list(forms), default="Add", required=True, key="class-change")
    plan = forms[chosen]()
    if st.button(chosen, key="change-classes", type="primary", disabled=plan is None) and plan is not None:
        _apply(lambda: change_classes(store, plan, actor=context.actor))
    if standing := project.history.standing:
        change = standing[-1].change
        assert change is not None
        if st.button(f"Undo: {plain(change.describe())}", key="undo-class-change", icon=":material/undo:"):
            _apply(lambda: undo_change(store, actor=context.actor))


def draw_report(context: PageContext) -> None:
    """Draws what the change just made did, with a link to the images that need a new label."""
    report: ClassReport | None = st.session_state.pop(REPORT, None)
    if report is None:
        return
    st.toast(f"Done: {plain(report.change)}.")
    if report.undecided:
        st.info(
            f"{count(report.undecided, 'image')} without a label now. Undo brings the labels back.",
            icon=":material/label_off:",
        )
    if report.selection and "review" in context.pages:
        query = {**context.query, "selection": report.selection}
        st.page_link(context.pages["review"], label="Label these images again", query_params=query)


def _line(name: str, color: str, key: str, counts: Mapping[str, int]) -> str:
    shown = f" · key {html.escape(key.upper())}" if key else ""
    return f"{SWATCH.format(color=color)}{html.escape(name)}{shown} · {count(counts.get(name, 0), 'label')}"


def _add() -> Plan | None:
    names = _names(st.text_input("New classes", key="add-classes", help="Separated by commas."))
    return class_changes.add(names) if names else None


def _rename(classes: tuple[str, ...]) -> Plan | None:
    old = st.selectbox("Class", classes, key="rename-class")
    new = st.text_input("New name", key="rename-to").strip()
    return class_changes.rename(old, new) if old and new else None


def _merge(classes: tuple[str, ...]) -> Plan | None:
    old = st.multiselect("Classes", classes, key="merge-classes")
    new = st.text_input("Name of the merged class", placeholder=old[0] if old else "", key="merge-to").strip()
    return class_changes.merge(old, new or old[0]) if len(old) > 1 else None


def _split(classes: tuple[str, ...], counts: Mapping[str, int]) -> Plan | None:
    old = st.selectbox("Class", classes, key="split-class")
    new = _names(st.text_input("Into", key="split-to", help="Two classes or more, separated by commas."))
    st.caption(
        f"Its {count(counts.get(old or '', 0), 'label')} must be given again. Review shows a queue of these images."
    )
    return class_changes.split(old, new) if old and len(new) > 1 else None


def _remove(classes: tuple[str, ...], counts: Mapping[str, int]) -> Plan | None:
    name = st.selectbox("Class", classes, key="remove-class")
    st.caption(f"Its {count(counts.get(name or '', 0), 'label')} are removed. Undo brings them back.")
    return class_changes.remove(name) if name else None


def _order(classes: tuple[str, ...]) -> Plan | None:
    typed = st.text_area("One class a line", "\n".join(classes), key=f"order-{hash(classes)}")
    names = [line.strip() for line in typed.splitlines() if line.strip()]
    return class_changes.order(names) if names != list(classes) else None


def _apply(change: Callable[[], ClassReport]) -> None:
    try:
        st.session_state[REPORT] = change()
    except ProjectError as error:
        st.error(plain(as_sentence(capitalized(str(error)))), icon=":material/error:")
        return
    st.session_state.pop("batch", None)  # its proposals have the names from before
    st.rerun()


def _names(typed: str) -> list[str]:
    return [name.strip() for name in split_names(typed) if name.strip()]
