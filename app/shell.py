"""The script that Streamlit runs for a visitor, whenever something on the page changes.

It has what all pages share: the project, the user's name and the run. Each page is a module of `app/views`.
"""

import sys
from functools import partial
from importlib import import_module
from pathlib import Path

import streamlit as st

from gradebook.app import outbox_component, progressive_render, recent_projects, sign_in
from gradebook.app.context import PageContext
from gradebook.app.data_access import open_project, preload
from gradebook.app.text import plain
from gradebook.app.theme import is_dark
from gradebook.pipelines.curation import labelling
from gradebook.pipelines.runs import Run, find_run, list_runs
from gradebook.storage.project import Project, ProjectError
from gradebook.storage.store import Store

FOLDER = Path(__file__).parent
STYLE = """<style>
.stMainBlockContainer { padding-left: 2.5rem; padding-right: 2.5rem; }
.stMainBlockContainer h1 { padding: 0 0 0.7rem; }
[data-testid=stCaptionContainer] { opacity: 0.78; }
[data-testid=stButtonGroup] button { min-height: 2.5rem; }
[data-testid=stRadioOption]:not([data-selected]) > div > div:first-child {
  box-shadow: 0 0 0 1px rgba(128, 128, 128, 0.9); }
[data-testid^=stBaseButton-primary] kbd { color: inherit; opacity: 0.9; }
.st-key-map-colour { min-height: 4.25rem; }
.st-key-pages { padding-bottom: 1.25rem; border-bottom: 1px solid rgba(128, 128, 128, 0.25); }
.stApp a:focus-visible { outline: 2px solid #2C97A0; outline-offset: 0; }
.js-plotly-plot :is(.xtick, .ytick, .g-xtitle, .g-ytitle, .annotation) text { fill: #565C63 !important; }
</style>"""  # Plotly's grey axis text has a contrast below 4.5:1
DARK = """<style>
.js-plotly-plot :is(.xtick, .ytick, .g-xtitle, .g-ytitle, .annotation) text { fill: #B4B9BF !important; }
:is([data-testid^=stBaseButton-primary], [data-testid^=stBaseLinkButton-primary]):not(:disabled) { color: #16191B; }
</style>"""  # white is hard to read on the lighter teal of the dark theme

HOME = "overview"
VIEWS = {  # page -> title, icon
    HOME: ("Overview", ":material/menu_book:"),
    "images": ("Images", ":material/add_photo_alternate:"),
    "review": ("Review", ":material/done_all:"),
    "evolution": ("Evolution", ":material/timeline:"),
    "map": ("Map", ":material/scatter_plot:"),
    "train": ("Train", ":material/model_training:"),
    "accept": ("Accept the rest", ":material/fact_check:"),
    "export": ("Export", ":material/output:"),
}


def main() -> None:
    """Draws the page in the address."""
    st.set_page_config("Gradebook", page_icon=str(FOLDER / "mark.svg"), layout="wide", initial_sidebar_state=250)
    st.html(STYLE + DARK * is_dark())
    st.logo(str(FOLDER / "logo.svg"), size="large", icon_image=str(FOLDER / "mark.svg"))
    if sign_in.is_required() and sign_in.user_name() is None:
        _draw_sign_in()
        return
    root, query = _requested_project()
    if root is None:
        _draw_welcome(None)
        return
    try:
        store = open_project(root)
    except ProjectError as error:
        _draw_welcome(str(error))
        return
    st.query_params.update(query)
    if st.session_state.get("remembered") != root:
        st.session_state["remembered"] = root
        recent_projects.remember(store.project.root)
    _draw_page(store, query)


def _draw_sign_in() -> None:
    """Asks the user to sign in, at the address of every page, so that links work after it."""
    pages = [st.Page(sign_in.render, title="Sign in", url_path=name, default=name == HOME) for name in VIEWS]
    st.navigation(pages, position="hidden").run()


def _draw_welcome(problem: str | None) -> None:
    from gradebook.app.views import welcome

    page = st.Page(partial(welcome.render, problem), title="Open a project", url_path="open", default=True)
    st.navigation([page], position="hidden").run()


def _requested_project() -> tuple[Path | None, dict[str, str]]:
    """Returns the project's folder, and the parameters that name it in an address (none if it is an argument)."""
    if len(sys.argv) > 1:
        return Path(sys.argv[1]), {}
    requested = st.query_params.get("project") or st.session_state.get("project")
    if not requested:
        return None, {}
    st.session_state["project"] = requested  # a change of page clears the address
    return Path(requested), {"project": requested}


def _draw_page(store: Store, query: dict[str, str]) -> None:
    """Draws the sidebar and the page in the address."""
    contexts: list[PageContext] = []  # filled after the pages are declared: the sidebar has the rest of the context
    pages = {
        name: st.Page(
            partial(_render_view, name, contexts), title=title, icon=icon, url_path=name, default=name == HOME
        )
        for name, (title, icon) in VIEWS.items()
    }
    page = st.navigation(list(pages.values()), position="hidden")
    if (target := st.session_state.pop("go_to", None)) in pages:
        st.switch_page(pages[target])
    first_pass = page is pages[HOME] and not progressive_render.is_first_pass_drawn(HOME)
    with st.sidebar:
        links = st.container(gap="xsmall", key="pages")
        run = None if first_pass else _choose_run(store.project)
        actor = _user_name(first_pass=first_pass)
        st.caption(f"{plain(store.project.root.name)}  \n{plain(str(store.project.root))}")
        if query:
            st.button("Another project", type="tertiary", icon=":material/folder_open:", on_click=_close_project)
    if "run" in st.query_params:
        query = {**query, "run": st.query_params["run"]}
    with links:  # Streamlit's own links would drop the project and the run
        for link in pages.values():
            st.page_link(link, query_params=query)
    context = PageContext(store, run, actor, pages, query, first_pass)
    contexts.append(context)
    with st.sidebar:
        outbox_component.draw(context)
    page.run()
    if first_pass:
        progressive_render.schedule_second_pass(HOME)
    preload(store)


def _render_view(view: str, contexts: list[PageContext]) -> None:
    """Draws a view. It is imported here, so that the app starts with no more than its first page needs."""
    import_module(f"gradebook.app.views.{view}").render(contexts[0])


def _close_project() -> None:
    st.session_state.clear()
    st.query_params.clear()


def _choose_run(project: Project) -> Run | None:
    """Draws the choice of a run and returns it; the address has any run but the default one."""
    names = [run.name for run in reversed(list_runs(project))]
    if not names:
        return None
    default, requested = find_run(project, None).name, st.query_params.get("run")
    if requested in names and requested != st.session_state.get("run_in_address"):
        st.session_state["run"] = requested
    if st.session_state.get("run") not in names or st.session_state["run"] == st.session_state.get("default_run"):
        st.session_state["run"] = default  # also when another run has become the default
    st.session_state["default_run"] = default
    help_ = "The pages show this run's predictions, reasons and record. By default, the newest finished run."
    chosen = st.selectbox("Run", names, key="run", help=help_)
    if chosen == default:
        st.query_params.pop("run", None)
    else:
        st.query_params["run"] = chosen
    st.session_state["run_in_address"] = st.query_params.get("run")
    return find_run(project, chosen)


def _user_name(*, first_pass: bool) -> str:
    """Returns the user's name in the log: the address they signed in with, or else a name that they can type."""
    if sign_in.is_required():
        email = str(sign_in.user_name())
        st.caption(f"Signed in as {plain(email)}")
        sign_in.sign_out_button()
        return email
    if first_pass:
        return labelling.actor()
    default = st.session_state.get("actor") or labelling.actor()
    name = st.text_input("Your name", value=default, max_chars=60, help="The log records your labels under this name.")
    st.session_state["actor"] = name.strip() or labelling.actor()
    return str(st.session_state["actor"])


if __name__ == "__main__":
    main()
