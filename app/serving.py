"""Who may reach the app's server, and how users and FiftyOne find it."""

import os
import sys
import tempfile
import threading
import webbrowser
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager, contextmanager
from html import escape
from pathlib import Path
from typing import Any

import streamlit as st

from gradebook.app import sign_in
from gradebook.pipelines.process import servers
from gradebook.pipelines.process.access_gate import LOOPBACK, TOKEN_VARIABLE, new_token
from gradebook.storage.project import SETTINGS

COMMAND = "gradebook app"
HEALTH_PATH = "/_stcore/health"  # says that the server runs, nothing else; the check of a container has no token


def token() -> str | None:
    """Returns the token to ask for: the one in the environment, else a new one; None if users sign in."""
    chosen = os.environ.get(TOKEN_VARIABLE)
    if chosen is not None:
        return chosen or None
    return None if sign_in.is_required() else new_token()


def hosts() -> tuple[str, ...]:
    """Returns the names that the server goes by: this machine's, and those that the configuration names."""
    address = st.get_option("browser.serverAddress").partition("/")[0]
    return tuple(filter(None, (*LOOPBACK, *st.get_option("server.allowedHosts"), address, sign_in.public_host())))


def announced(token: str | None) -> Callable[[Any], AbstractAsyncContextManager[None]]:
    """Returns a lifespan in which the server is registered with its project, printed and opened in the browser."""

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        port = int(st.get_option("server.port"))
        link = servers.Server(f"http://{servers.ADDRESS}:{port}", token).link()
        with ExitStack() as until_the_end:
            folder = _register(port, token, until_the_end)
            print(f"Gradebook is at {link} (Ctrl-C ends)", flush=True)
            if not st.get_option("server.headless"):
                until_the_end.enter_context(opened_in_browser(link, folder))
            yield

    return lifespan


def _register(port: int, token: str | None, until_the_end: ExitStack) -> Path | None:
    """Lets others find the server of the project that the app was started for, and returns its folder of servers."""
    root = Path(sys.argv[1]).expanduser().resolve() if len(sys.argv) > 1 else None
    if root is None or not (root / SETTINGS).is_file():
        return None
    try:
        entry = servers.registered(root, servers.APP, port=port, pid=os.getpid(), token=token)
        until_the_end.enter_context(entry)
        return servers.directory(root)
    except OSError as error:
        print(f"FiftyOne cannot link to the app: {error}", file=sys.stderr)
        return None


@contextmanager
def opened_in_browser(link: str, folder: Path | None) -> Iterator[None]:
    """Opens a link in the browser; the block runs as long as the server.

    The browser is given a file that only this user can read, because everybody can read the arguments of a process. It
    is in `folder` if possible: a browser that is confined to the user's home cannot read temporary files.
    """
    with tempfile.NamedTemporaryFile("w", dir=folder, prefix="open-", suffix=".html") as file:
        file.write(f'<!doctype html><meta http-equiv="refresh" content="0; url={escape(link)}">')
        file.flush()
        threading.Thread(target=webbrowser.open, args=(Path(file.name).as_uri(),), daemon=True).start()
        yield
