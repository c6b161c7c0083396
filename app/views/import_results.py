"""The results of an import: what was added, and a table for each kind of problem."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import streamlit as st

from gradebook.app.context import PageContext
from gradebook.app.data_access import read_samples
from gradebook.app.text import ago, count, plain
from gradebook.app.views import sample_gallery
from gradebook.pipelines.importing.image_quality import EXTRA
from gradebook.pipelines.jobs import commands
from gradebook.pipelines.jobs.launcher import Job, JobState
from gradebook.storage.install_advice import install_command

MAX_ROWS = 1000  # of a table
TABLE_PX = 300  # height of a long table
REASON = "reason"  # a column of sentences
STYLE = """<style>
.reasons { max-height: 300px; overflow-y: auto; margin: 0; padding: 0.6rem 0.8rem !important; border-radius: 0.45rem;
  border: 1px solid rgba(128, 128, 128, 0.25); font-size: 0.87rem; }
.reasons dt { font-weight: 600; overflow-wrap: anywhere; }
.reasons dd { margin: 0 0 0.45rem; overflow-wrap: anywhere; }
.reasons dd:last-child { margin: 0; }
</style>"""


@dataclass(frozen=True, slots=True)
class Problem:
    """A list in the report of an import."""

    key: str  # in the report
    title: str
    advice: str
    columns: tuple[str, ...]


PROBLEMS = (
    Problem("broken_files", "Unreadable files", "They were left out.", ("file", REASON)),
    Problem(
        "conflict_files",
        "Images with contradicting labels",
        "They got no label: choose one on Review.",
        ("image", "labels"),
    ),
    Problem("label_problem_places", "Invalid labels", "", ("where", REASON)),
    Problem(
        "leak_files",
        "Images of the other split",
        "They stay there, so that no image is both trained and tested on.",
        ("file", "split"),
    ),
    Problem(
        "near_leak_pairs",
        "Near-copies in the other split",
        "The accuracy on the test images is too high: delete one file of each pair, then use gradebook forget.",
        ("file", "similar to"),
    ),
    Problem("duplicate_files", "Duplicates", "Files with equal bytes count as one image.", ("file", "same as")),
    Problem(
        "near_duplicate_pairs",
        "Near-duplicates",
        "Both are imported; Review does not show both at once.",
        ("file", "similar to"),
    ),
    Problem("moved_files", "Moved files", "Their labels were kept.", ("now", "before")),
    Problem("changed_files", "Changed files", "The new content counts as another image.", ("file",)),
    Problem(
        "converted_files",
        "Images of more than 8 bits",
        "These levels became black and white.",
        ("file", "levels"),
    ),
    Problem("stack_files", "Files with several pictures", "One of them is taken.", ("file", "picture")),
    Problem("uniform_files", "Almost uniform images", "These images are almost uniform.", ("file",)),
    Problem(
        "quality_files",
        "Images with quality problems",
        "They are imported. Order by one of these reasons on Review to decide on them.",
        ("file", "problems"),
    ),
)
WITH_PATHS = [problem.key for problem in PROBLEMS if problem.columns[0] in ("file", "now")]


def render(context: PageContext) -> None:
    """Draws the results of the newest import that has ended."""
    job = commands.newest(context.store.project, "import")
    report = commands.result(job) if job is not None else None
    if job is None or report is None:
        _draw_empty(context, job)
        return
    _, source, *_ = commands.command_of(job)
    st.subheader("Import results")
    st.caption(f"{plain(source)}, {ago(job.started)}")
    _draw_numbers(report)
    problems = [problem for problem in PROBLEMS if report.get(problem.key)]
    if not problems:
        st.success("No problems found.", icon=":material/check_circle:")
        _draw_some(context)
    if report.get("quality_measured") is False:
        st.caption(f"Image quality was not measured: {plain(install_command(EXTRA))}, then import again.")
    folder = _common_folder(_paths(report))
    if folder:
        st.caption(f"Paths are relative to {plain(folder)}.")
    for problem in problems:
        items = report[problem.key]
        st.markdown(f"**{problem.title}**: {len(items):,}. {problem.advice}")
        rows = [[cell.removeprefix(f"{folder}/") for cell in row] for row in _to_rows(problem.key, items)]
        draw_table(rows, problem.columns, key=problem.key)


def draw_table(rows: Sequence[Sequence[str]], columns: Sequence[str], *, key: str) -> None:
    """Draws the first `MAX_ROWS` rows; sentences as a list, because a table would cut them off."""
    if columns[-1] == REASON:
        items = "".join(f"<dt>{escape(name)}</dt><dd>{escape(reason)}</dd>" for name, reason in rows[:MAX_ROWS])
        st.html(f'{STYLE}<dl class="reasons" tabindex="0">{items}</dl>')
    else:
        table = [dict(zip(columns, row, strict=True)) for row in rows[:MAX_ROWS]]
        st.dataframe(table, key=key, hide_index=True, height="auto" if len(table) < 8 else TABLE_PX)
    if len(rows) > MAX_ROWS:
        st.caption(f"The first {MAX_ROWS:,} of {len(rows):,}; gradebook import --json lists all.")


def _draw_numbers(report: dict[str, Any]) -> None:
    numbers = {
        "New": report["imported"],
        "Known": report["already_known"],
        "Labels": report["labelled"],
        "Unreadable": report["broken"],
    }
    for column, (name, number) in zip(st.columns(len(numbers)), numbers.items(), strict=True):
        column.container(border=True).metric(name, f"{number:,}")


def _draw_empty(context: PageContext, job: Job | None) -> None:
    """Draws the state of the project before any import has ended."""
    samples = read_samples(context.store)
    if job is not None and commands.job_state(job) is JobState.RUNNING:
        st.caption("The results appear here when all images have been read.")
    elif samples:
        st.caption(f"The project has {count(len(samples), 'image')}. The results of the next import appear here.")
        _draw_some(context)
    else:
        text = "The project has no images yet. Enter a path on the left and press Import."
        st.info(text, icon=":material/arrow_back:")
        st.caption("Duplicates, near-duplicates, contradicting labels and unreadable files are listed here.")


def _draw_some(context: PageContext) -> None:
    """Draws some images, evenly from the first to the last."""
    samples, shown = list(read_samples(context.store).values()), sample_gallery.MAX_THUMBNAILS
    sample_gallery.draw_thumbnails(context, samples[:: max(1, len(samples) // shown)][:shown], new_tab=True)


def _paths(report: dict[str, Any]) -> list[str]:
    """Returns the paths of all problems whose rows begin with one."""
    rows = [row for key in WITH_PATHS for row in report.get(key, ())]
    return [cell for row in rows for cell in ([row] if isinstance(row, str) else row)]


def _common_folder(paths: Sequence[str]) -> str:
    """Returns the deepest folder that has all these files, empty if there is none but the root."""
    folders = [os.path.dirname(path) for path in paths if isinstance(path, str) and path.startswith("/")]  # noqa: PTH120
    common = os.path.commonpath(folders) if folders else ""
    return "" if common == "/" else common


def _to_rows(key: str, items: Sequence[Any]) -> list[Sequence[str]]:
    if key == "conflict_files":
        return [(files[0][0], ", ".join(f"{Path(file).name}: {label}" for file, label in files)) for files in items]
    return [[item] if isinstance(item, str) else item for item in items]
