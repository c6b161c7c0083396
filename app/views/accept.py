"""The page Accept the rest: draw an audit, follow its answers, and accept predictions together."""

import streamlit as st

from gradebook.app.context import PageContext
from gradebook.app.data_access import read_events
from gradebook.app.text import capitalized, count, plain
from gradebook.app.views import blind_queues, next_steps
from gradebook.pipelines.curation import accept_rest, audit_files
from gradebook.pipelines.curation.accept_rest import AuditReport
from gradebook.pipelines.curation.audit_draw import Request
from gradebook.pipelines.curation.audit_files import Audit, State
from gradebook.pipelines.curation.audit_parts import Part
from gradebook.storage.project import ProjectError

ABOUT = (
    "Random images are drawn from those without a label, and you label them without seeing the prediction. If your "
    "answers show that the error of all the others is below the target, their predictions become labels, all together. "
    "Your answers are labels too."
)


def render(context: PageContext) -> None:
    """Draws the page."""
    st.title("Accept the rest")
    audit = accept_rest.newest(context.store)
    if audit is not None and audit.state is State.OPEN:
        _draw_open(context, audit)
        return
    if audit is not None:
        _draw_result(context, accept_rest.progress(context.store, audit))
    _draw_form(context)


def _draw_form(context: PageContext) -> None:
    """Draws the form that begins an audit."""
    st.caption(ABOUT)
    if context.run is None or not context.run.has_results:
        st.caption("There is no finished run yet whose predictions could be accepted.")
        next_steps.links(context, [("train", "Train")])
        return
    with st.container(border=True, key="audit-form"):
        with st.container(horizontal=True):
            error = st.number_input("Tolerated error, %", 0.1, 49.0, 2.0, 0.5, key="audit-error")
            confidence = st.number_input("Confidence, %", 50.0, 99.9, 95.0, 1.0, key="audit-confidence")
        each = st.checkbox("In each class by itself", key="audit-each", help="This takes many more answers.")
        if st.button("Draw images", key="audit-begin", type="primary", icon=":material/casino:"):
            request = Request(target=error / 100, confidence=confidence / 100, seed=0, each_class=each)
            try:
                accept_rest.begin(context.store, context.run, request, actor=context.actor)
            except ProjectError as problem:
                st.error(plain(capitalized(str(problem))))
                return
            st.rerun()


def _draw_open(context: PageContext, audit: Audit) -> None:
    """Draws what an open audit waits for, or what its answers allow."""
    store, decided = context.store, read_events(context.store).decided
    waiting = [i for i in audit.drawn if i not in decided]
    st.progress(
        1 - len(waiting) / len(audit.drawn), text=f"{len(audit.drawn) - len(waiting)} of {len(audit.drawn)} answered"
    )
    if waiting:
        blind_queues.draw_link(context, waiting, f"{count(len(waiting), 'image')} to answer", blind_queues.AUDIT)
    else:
        report = accept_rest.progress(store, audit)
        _draw_parts(report)
        label = "Accept the predictions" if any(part.accepted for part in report.parts) else "Close the audit"
        if st.button(label, key="audit-settle", type="primary", icon=":material/done_all:"):
            result = accept_rest.settle(store, audit)
            st.toast(f"{count(result.accepted, 'label')} accepted.")
            st.rerun()
    if st.button("Give up this audit", key="audit-cancel", type="tertiary"):
        accept_rest.cancel(store, audit)
        st.rerun()


def _draw_result(context: PageContext, report: AuditReport) -> None:
    """Draws what the last audit accepted, with a button that takes it back."""
    actor = audit_files.ACTOR + report.audit
    standing = sum(e.actor == actor for e in read_events(context.store).decided.values())
    texts = {
        State.ACCEPTED: f"The last audit accepted predictions of {report.run}: with {report.confidence:.0%} confidence "
        f"at most {report.error:.1%} of them are wrong. {count(standing, 'label')} came from it.",
        State.REFUSED: f"The last audit accepted nothing: its answers do not show an error below {report.error:.1%}.",
        State.CANCELLED: "The last audit was given up. Its answers are labels.",
        State.UNDONE: "The labels that the last audit accepted were taken back.",
    }
    st.markdown(plain(texts[report.state]))
    if report.state is State.ACCEPTED and st.button("Take these labels back", key="audit-undo", icon=":material/undo:"):
        taken = accept_rest.undo(context.store, report.audit, actor=context.actor)
        st.toast(f"{count(taken, 'label')} undone.")
        st.rerun()
    _draw_parts(report)


def _draw_parts(report: AuditReport) -> None:
    """Draws a table of what the answers say."""
    if not report.parts:
        return
    st.caption(f"{report.wrong} of {report.answered} answers differ from the predictions of {plain(report.run)}.")
    percent = st.column_config.NumberColumn(format="%.1f%%", help="An exact upper limit of the error of the rest.")
    st.dataframe(
        [_row(part, report.state) for part in report.parts],
        key="audit-parts",
        hide_index=True,
        column_config={"error at most": percent},
    )


def _row(part: Part, state: str) -> dict[str, object]:
    row: dict[str, object] = {
        "part": part.label or part.group,
        "confidence rank": part.band,
        "images": part.images,
        "answers": part.audited,
        "differ": part.wrong,
        "error at most": 100 * part.upper,
    }
    return row if state == State.UNDONE else row | {"accepted": part.accepted}
