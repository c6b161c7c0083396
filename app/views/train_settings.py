"""The dialog with all settings of a training, their values and their meanings."""

from collections.abc import Mapping, Sequence

import streamlit as st

from gradebook.app.text import as_sentence, count, join_names, plain
from gradebook.pipelines.training import settings_schema
from gradebook.pipelines.training.settings_schema import Setting, Value
from gradebook.storage.project import ProjectError

NAME_PX, VALUE_PX, MEANING_PX, TABLE_PX = 150, 130, 780, 480
TYPED = "settings-typed"  # session key: (preset, method) -> setting -> text


def choose(preset: str, method: str) -> dict[str, Value]:
    """Draws the button that opens the dialog, and returns the settings that were changed there."""
    if st.button("Advanced settings", key="settings", icon=":material/tune:"):
        _dialog(preset, method)
    typed: Mapping[str, str] = st.session_state.get(TYPED, {}).get((preset, method), {})
    if not typed:
        return {}
    changed = settings_schema.changed_settings(_settings(preset, method), typed)
    st.caption(f"Changed: {plain(join_names([f'{name} {value}' for name, value in changed.items()]))}")
    return changed


@st.dialog("Advanced settings", width="large")
def _dialog(preset: str, method: str) -> None:
    try:
        settings = _settings(preset, method)
    except ProjectError as error:
        st.error(plain(as_sentence(str(error))), icon=":material/error:")
        return
    typed = st.session_state.get(TYPED, {}).get((preset, method), {})
    st.caption(f"{count(len(settings), 'setting')} of {method} with the preset {preset}. Edit the column value.")
    values = _draw_table(settings, typed, key=f"settings-{preset}-{method}")
    with st.container(horizontal=True):
        apply = st.button("Apply", key="settings-use", type="primary")
        reset = st.button("Reset to the preset", key="settings-back")
    try:
        changed = settings_schema.changed_settings(settings, values)
    except ProjectError as error:
        st.error(plain(as_sentence(str(error))), icon=":material/error:")
        return
    if apply or reset:
        saved = {name: values[name] for name in changed} if apply else {}
        st.session_state[TYPED] = {**st.session_state.get(TYPED, {}), (preset, method): saved}
        st.rerun()


def _draw_table(settings: Sequence[Setting], typed: Mapping[str, str], *, key: str) -> dict[str, str]:
    """Draws the settings with an editable column of values; returns setting -> text."""
    rows = [{"setting": s.name, "value": typed.get(s.name, s.value), "meaning": s.meaning} for s in settings]
    edited = st.data_editor(
        rows,
        key=key,
        hide_index=True,
        height=TABLE_PX,
        disabled=("setting", "meaning"),
        column_config={
            "setting": st.column_config.TextColumn(width=NAME_PX),
            "value": st.column_config.TextColumn(width=VALUE_PX),
            "meaning": st.column_config.TextColumn(width=MEANING_PX),
        },
    )
    return {str(row["setting"]): str(row["value"] or "") for row in edited}


@st.cache_data(max_entries=64, show_spinner="Loading the settings")
def _settings(preset: str, method: str) -> list[Setting]:
    return settings_schema.load_settings(preset, method)
