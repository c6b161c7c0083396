"""The app: `streamlit run app/main.py -- PROJECT`, or without a project to be asked for one.

Here stands what all pages share: which project, whose name, which run. A page is one file of `app/views`.
"""

import sys
from pathlib import Path

# Streamlit looks in this folder first: there, no module of ours may hide an installed package.
sys.path[:] = [path for path in sys.path if Path(path).resolve() != Path(__file__).resolve().parent]

from functools import partial
from importlib import import_module

import streamlit as st

from gradebook.app import progressive_render, sign_in
from gradebook.app.context import Desk, open_project, warm
from gradebook.app.text import plain
from gradebook.app.theme import is_dark
from gradebook.pipelines.curation import labelling
from gradebook.pipelines.runs import Run, find_run, list_runs
from gradebook.storage.project import Project, ProjectError
from gradebook.storage.store import Store

HERE = Path(__file__).parent
STYLE = """<style>
.stMainBlockContainer { padding-left: 2.5rem; padding-right: 2.5rem; }
.stMainBlockContainer h1 { padding: 0 0 0.7rem; }
[data-testid=stCaptionContainer] { opacity: 0.78; }
[data-testid=stButtonGroup] button { min-height: 2.5rem; }
[data-testid=stRadioOption]:not([data-selected]) > div > div:first-child {
  box-shadow: 0 0 0 1px rgba(128, 128, 128, 0.9); }
[data-testid^=stBaseButton-primary] kbd { color: inherit; opacity: 0.9; }
.st-key-pages { padding-bottom: 1.25rem; border-bottom: 1px solid rgba(128, 128, 128, 0.25); }
.stApp a:focus-visible { outline: 2px solid #2C97A0; outline-offset: 0; }
</style>"""
DARK = """<style>
:is([data-testid^=stBaseButton-primary], [data-testid^=stBaseLinkButton-primary]):not(:disabled) { color: #16191B; }
</style>"""  # white on the lighter teal of the dark theme was hard to read

FIRST = "overview"
VIEWS = {
    FIRST: ("Overview", ":material/menu_book:"),
    "images": ("Images", ":material/add_photo_alternate:"),
    "review": ("Review", ":material/done_all:"),
    "evolution": ("Evolution", ":material/timeline:"),
    "map": ("Map", ":material/scatter_plot:"),
    "train": ("Train", ":material/model_training:"),
    "export": ("Export", ":material/output:"),
}


def main() -> None:
    """Draws the page that the address names."""
    st.set_page_config("Gradebook", page_icon=str(HERE / "mark.svg"), layout="wide", initial_sidebar_state=250)
    st.html(STYLE + DARK * is_dark())
    st.logo(str(HERE / "logo.svg"), size="large", icon_image=str(HERE / "mark.svg"))
    if sign_in.is_asked_for() and sign_in.name() is None:
        _sign_in()
        return
    root, asked = _project_root()
    if root is None:
        _welcome(None)
        return
    try:
        store = open_project(root)
    except ProjectError as error:
        _welcome(str(error))
        return
    query = {"project": asked} if asked else {}
    st.query_params.update(query)
    _run_page(store, query)


def _sign_in() -> None:
    """Asks who it is, at the address of every page: whoever follows a link is not told that there is no such page."""
    pages = [st.Page(sign_in.render, title="Sign in", url_path=name, default=name == FIRST) for name in VIEWS]
    st.navigation(pages, position="hidden").run()


def _welcome(problem: str | None) -> None:
    from gradebook.app.views import welcome

    page = st.Page(partial(welcome.render, problem), title="Open a project", url_path="open", default=True)
    st.navigation([page], position="hidden").run()


def _project_root() -> tuple[Path | None, str | None]:
    """Returns the project's directory, and what the address must keep to name it: nothing if it was an argument."""
    if len(sys.argv) > 1:
        return Path(sys.argv[1]), None
    asked = st.query_params.get("project") or st.session_state.get("project")
    if not asked:
        return None, None
    st.session_state["project"] = asked  # going to another page empties the address
    return Path(asked), asked


def _run_page(store: Store, query: dict[str, str]) -> None:
    desks: list[Desk] = []  # the pages are named before the sidebar tells who sits there
    pages = {
        name: st.Page(partial(_draw, name, desks), title=title, icon=icon, url_path=name, default=name == FIRST)
        for name, (title, icon) in VIEWS.items()
    }
    page = st.navigation(list(pages.values()), position="hidden")
    if (wanted := st.session_state.pop("go_to", None)) in pages:
        st.switch_page(pages[wanted])
    beginning = page is pages[FIRST] and not progressive_render.was_drawn(FIRST)
    with st.sidebar:
        links = st.container(gap="xsmall", key="pages")
        run = None if beginning else _choose_run(store.project)
        actor = _ask_name(beginning=beginning)
        st.caption(f"{plain(store.project.root.name)}  \n{plain(str(store.project.root))}")
        if query:
            st.button("Another project", type="tertiary", icon=":material/folder_open:", on_click=_close)
    kept = {"run": st.query_params["run"]} if "run" in st.query_params else {}
    with links:  # ours rather than Streamlit's: these keep the project and the run, in a new tab of the browser too
        for one in pages.values():
            st.page_link(one, query_params=query | kept)
    desks.append(Desk(store, run, actor, pages, query | kept, beginning))
    page.run()
    if beginning:
        progressive_render.go_on_soon(FIRST)
    warm(store)


def _draw(view: str, desks: list[Desk]) -> None:
    """Draws a view, imported when it is first asked for: the app starts with what its first page needs."""
    import_module(f"gradebook.app.views.{view}").render(desks[0])


def _close() -> None:
    st.session_state.clear()
    st.query_params.clear()


def _choose_run(project: Project) -> Run | None:
    """Returns the run whose guesses and record the pages show."""
    names = [run.name for run in reversed(list_runs(project))]
    if not names:
        return None
    usual, asked = find_run(project, None).name, st.query_params.get("run")
    if asked in names and asked != st.session_state.get("run_in_address"):
        st.session_state["run"] = asked
    if st.session_state.get("run") not in names:
        st.session_state["run"] = usual
    chosen = st.selectbox(
        "Run",
        names,
        key="run",
        help="Whose guesses, reasons and record the pages show. At first: the newest run that finished.",
    )
    if chosen == usual:
        st.query_params.pop("run", None)
    else:
        st.query_params["run"] = chosen
    st.session_state["run_in_address"] = st.query_params.get("run")
    return find_run(project, chosen)


def _ask_name(*, beginning: bool) -> str:
    """Returns the name under which verdicts go into the log: of whoever has signed in, or what is typed, later."""
    if sign_in.is_asked_for():
        signed = str(sign_in.name())
        st.caption(f"Signed in as {plain(signed)}")
        sign_in.sign_out()
        return signed
    if beginning:
        return labelling.actor()
    kept = st.session_state.get("actor") or labelling.actor()
    name = st.text_input("Your name", value=kept, max_chars=60, help="Verdicts go into the log under this name.")
    st.session_state["actor"] = name.strip() or labelling.actor()
    return str(st.session_state["actor"])


if __name__ == "__main__":
    main()
