"""The app's server: `streamlit run app/main.py -- PROJECT`; without a project, the app asks for one.

It requires the token in the link that it prints, so that other users of the machine and other web pages cannot use the
app. If users sign in (docs/shared.md), it requires none. The environment variable GRADEBOOK_TOKEN sets the token; an
empty value turns it off.
"""

import sys
from pathlib import Path

# Streamlit puts this folder first on the path, where our modules could shadow installed packages.
sys.path[:] = [path for path in sys.path if Path(path).resolve() != Path(__file__).resolve().parent]

import streamlit as st
from starlette.middleware import Middleware
from starlette.routing import Route

from gradebook.app import late_actions, serving
from gradebook.pipelines.process.access_gate import AccessGate

token = serving.token()
gate = Middleware(
    AccessGate, token=token, command=serving.COMMAND, hosts=serving.hosts(), open_paths=(serving.HEALTH_PATH,)
)
app = st.App(
    Path(__file__).with_name("shell.py"),
    routes=[Route(late_actions.PATH, late_actions.receive, methods=["POST"])],
    middleware=[gate],
    lifespan=serving.announced(token),
)
