"""Every setting of a training with its meaning, to read and to change before a run is started."""

from collections.abc import Mapping

import streamlit as st

from gradebook.app.text import count, listed, plain, sentence
from gradebook.pipelines.training import settings_schema
from gradebook.pipelines.training.settings_schema import Setting, Value
from gradebook.storage.project import ProjectError

WIDE = 780  # pixels that the longest meaning takes
TYPED = "settings-typed"  # in the session: (preset, method) -> setting -> text


def choose(preset: str, method: str) -> dict[str, Value]:
    """Draws the way to all settings and what was changed there; returns the changed ones."""
    if st.button("Every setting", key="settings", icon=":material/tune:"):
        _dialog(preset, method)
    typed: Mapping[str, str] = st.session_state.get(TYPED, {}).get((preset, method), {})
    if not typed:
        return {}
    more = settings_schema.changed_settings(_known(preset, method), typed)
    st.caption(f"Changed: {plain(listed([f'{name} {value}' for name, value in more.items()]))}")
    return more


@st.dialog("Every setting", width="large")
def _dialog(preset: str, method: str) -> None:
    try:
        known = _known(preset, method)
    except ProjectError as error:
        st.error(plain(sentence(str(error))), icon=":material/error:")
        return
    typed = st.session_state.get(TYPED, {}).get((preset, method), {})
    st.caption(f"{count(len(known), 'setting')} of {method} with the preset {preset}. Change the middle column.")
    rows = [{"setting": s.name, "value": typed.get(s.name, s.value), "what it means": s.meaning} for s in known]
    edited = st.data_editor(
        rows,
        key=f"settings-{preset}-{method}",
        hide_index=True,
        height=480,
        disabled=("setting", "what it means"),
        column_config={
            "setting": st.column_config.TextColumn(width=150),
            "value": st.column_config.TextColumn(width=130),
            "what it means": st.column_config.TextColumn(width=WIDE),
        },
    )
    now = {str(row["setting"]): str(row["value"] or "") for row in edited}
    with st.container(horizontal=True):
        use = st.button("Use these", key="settings-use", type="primary")
        back = st.button("Back to the preset's", key="settings-back")
    try:
        more = settings_schema.changed_settings(known, now)
    except ProjectError as error:
        st.error(plain(sentence(str(error))), icon=":material/error:")
        return
    if use or back:
        kept = {name: now[name] for name in more} if use else {}
        st.session_state[TYPED] = {**st.session_state.get(TYPED, {}), (preset, method): kept}
        st.rerun()


@st.cache_data(max_entries=64, show_spinner="Asking the method")
def _known(preset: str, method: str) -> list[Setting]:
    return settings_schema.load_settings(preset, method)
