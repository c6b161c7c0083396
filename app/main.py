"""The app's server: `streamlit run app/main.py -- PROJECT`; without a project, the app asks for one."""

import sys
from pathlib import Path

# Streamlit puts this folder first on the path, where our modules could shadow installed packages.
sys.path[:] = [path for path in sys.path if Path(path).resolve() != Path(__file__).resolve().parent]

import streamlit as st
from starlette.routing import Route

from gradebook.app import late_actions

app = st.App(
    Path(__file__).with_name("shell.py"), routes=[Route(late_actions.PATH, late_actions.receive, methods=["POST"])]
)
