"""The images page: bring images in, see what was odd about them, and let the backbone look at them once."""

import os
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any, Literal

import streamlit as st

from gradebook.app.context import Desk, read_samples
from gradebook.app.job_progress import follow
from gradebook.app.text import ago, count, plain
from gradebook.app.views import chosen, next_steps
from gradebook.pipelines.importing.fiftyone_datasets import PREFIX
from gradebook.pipelines.importing.zip_archive import LARGEST
from gradebook.pipelines.jobs import commands
from gradebook.pipelines.jobs.launcher import Job, JobState
from gradebook.storage.vectors import Space

LABELS = {"none": "None yet", "folders": "The name of an image's folder", "csv": "A CSV file"}
SPLITS = {"train": "Train on them", "test": "Test on them, never train"}
SHOWN = 1000  # rows of a table
WHAT = (
    "A folder, searched through; a .zip; a table, .csv or .parquet, with a column filepath; or the folder of a "
    "FiftyOne dataset with its labels.json. The path is one of the machine that Gradebook runs on. Images stay where "
    f"they are, unchanged; a zip of at most {LARGEST // 2**30} GiB is unpacked into the project."
)
FILES, NAMED = "Files", "A FiftyOne dataset"
WHOSE = (
    "As FiftyOne on the machine that Gradebook runs on lists it, in its own database or the one that "
    "FIFTYONE_DATABASE_URI names. It is read, not changed."
)
STYLE = """<style>
.refused { max-height: 300px; overflow-y: auto; margin: 0; padding: 0.6rem 0.8rem !important; border-radius: 0.45rem;
  border: 1px solid rgba(128, 128, 128, 0.25); font-size: 0.87rem; }
.refused dt { font-weight: 600; overflow-wrap: anywhere; }
.refused dd { margin: 0 0 0.45rem; overflow-wrap: anywhere; }
.refused dd:last-child { margin: 0; }
</style>"""
TABLES = (  # of the report: key, title, what to make of it, columns
    ("broken_files", "Files that cannot be used", "They were left out.", ("file", "why")),
    (
        "conflict_files",
        "Images whose files have different labels",
        "They were given none: choose on Review.",
        ("image", "labels"),
    ),
    ("label_problem_places", "Labels that could not be used", "", ("where", "why")),
    (
        "leak_files",
        "Images that are in the other split",
        "They stay there, so that no image is trained and tested on.",
        ("file", "split"),
    ),
    (
        "duplicate_files",
        "Files with the same bytes as another",
        "They count as one sample.",
        ("file", "same as"),
    ),
    (
        "near_duplicate_pairs",
        "Images that look almost like another",
        "Both are samples; the review page does not ask for both at once.",
        ("file", "looks like"),
    ),
    ("moved_files", "Files that have moved", "Their labels have come along.", ("now", "before")),
    ("changed_files", "Files that hold another image than before", "The new image is another sample.", ("file",)),
)

WITH_PATHS = [
    key for key, _, _, columns in TABLES if columns[0] in ("file", "now")
]  # tables whose rows begin with a path


def render(desk: Desk) -> None:
    """Draws the page."""
    st.title("Images")
    job = commands.newest(desk.store.project, "import", "embed")
    busy = job is not None and commands.job_state(job) is JobState.RUNNING
    left, right = st.columns([4, 6], gap="large")
    with left:
        _import(desk, busy)
        _embed(desk, busy)
    with right:
        _found(desk)


def _import(desk: Desk, busy: bool) -> None:
    """Draws the form that imports images, and the newest import while it goes on."""
    with st.container(border=True, key="import-box"):
        st.subheader("Bring images in")
        kept = st.segmented_control(
            "From", (FILES, NAMED), default=FILES, required=True, key="from", bind="query-params"
        )
        typed, source = _files() if kept == FILES else _dataset()
        split = st.radio(
            "What they are for", list(SPLITS), format_func=SPLITS.__getitem__, key="split", horizontal=True
        )
        job = commands.newest(desk.store.project, "import")
        halted = job is not None and _is_halted(job)
        look: Any = "secondary" if halted else "primary"
        if st.button("Import", key="import", type=look, icon=":material/add_photo_alternate:", disabled=busy):
            if typed and source:
                _start(desk, typed, source, split)
                st.rerun()
            st.error(_missing_words(kept, typed), icon=":material/error:")
        if not typed and kept == FILES:
            st.caption("A folder, a zip, or a table of files. Your images stay as they are.")
        if job is not None:
            _follow_import(desk, job)


def _follow_import(desk: Desk, job: Job) -> None:
    """Draws how an import is; one that was stopped goes on as it was asked for, also where the page was reloaded."""
    follow(job, doing="Starting", stopped="What was read is kept; press Go on to read the rest.")
    if _is_halted(job):
        press: dict[str, Any] = {"key": "import-again", "type": "primary", "icon": ":material/play_arrow:"}
        st.button("Go on", on_click=_import_again, args=(desk, job), **press)


def _import_again(desk: Desk, job: Job) -> None:
    commands.restart(desk.store.project, job)


def _is_halted(job: Job) -> bool:
    return commands.job_state(job) is JobState.FAILED and commands.was_stopped(job)


def _missing_words(kept: str, typed: str) -> str:
    if kept == NAMED:
        return "Say what the dataset is called."
    return f"Say where the {'labels' if typed else 'images'} are."


def _files() -> tuple[str, str]:
    """Draws where the images and their labels are, and returns both as typed."""
    typed = st.text_input("Where they are", placeholder="/home/you/pictures", key="images", help=WHAT).strip()
    source = st.selectbox("Their labels", list(LABELS), format_func=LABELS.__getitem__, key="labels")
    if source == "csv":
        help_ = "Columns filepath and label; one in a zip will do."
        source = st.text_input("The CSV file", placeholder="labels.csv", key="csv", help=help_).strip()
    return typed, source


def _dataset() -> tuple[str, str]:
    """Draws which dataset of FiftyOne to read, and returns it as an import takes it, and the field of its labels."""
    name = st.text_input("Its name in FiftyOne", placeholder="birds", key="dataset", help=WHOSE).strip()
    field = st.text_input("Field with the labels", placeholder="ground_truth, or the only one", key="field").strip()
    return f"{PREFIX}{name}" if name else "", field or "none"


def _start(desk: Desk, typed: str, labels: str, split: str) -> None:
    if typed.startswith(PREFIX):
        commands.start_import(desk.store.project, Path(typed), labels=labels, split=split)
        return
    images = Path(typed).expanduser().absolute()
    commands.start_import(desk.store.project, images, labels=_source(labels, images), split=split)


def _source(labels: str, images: Path) -> str:
    """Returns where labels come from; a CSV file may be named by its path in the images' folder, or beside it."""
    if labels in LABELS:
        return labels
    near = [folder / Path(labels).expanduser() for folder in (images, images.parent)]
    return next(
        (str(path) for path in near if path.is_file()), labels if images.suffix.lower() == ".zip" else str(near[-1])
    )


def _embed(desk: Desk, busy: bool) -> None:
    """Draws how many images the backbone has looked at, and the means to let it look at the others."""
    samples = read_samples(desk.store)
    with st.container(border=True, key="embed-box"):
        st.subheader("Look at them once")
        if not samples:
            st.caption("Once there are images: a frozen network looks at each, for quick training and for neighbours.")
            return
        spaces = desk.store.vectors.spaces()
        space = spaces[-1] if spaces else None  # the newest, as everywhere
        left = len(samples) if space is None else _missing(desk, space, len(samples), busy)
        whole = f"All {count(len(samples), 'image')} are looked at."
        some = "None" if left == len(samples) else f"{len(samples) - left:,}"
        st.markdown(f"{some} of {count(len(samples), 'image')} looked at so far." if left else whole)
        st.caption("A frozen network looks at each image, so that trainings take seconds and neighbours are found.")
        look: Literal["primary", "secondary"] = "primary" if left and not busy else "secondary"
        if left and st.button("Embed", key="embed", type=look, icon=":material/visibility:", disabled=busy):
            commands.start_embed(desk.store.project, space)
            st.rerun()
        job = commands.newest(desk.store.project, "embed")
        if job is not None and (left or busy):
            follow(job, doing="Starting", stopped="What was looked at is kept; press Embed to go on.")
            _unread(commands.result(job))
        elif not left:
            _next(desk)


def _missing(desk: Desk, space: Space, samples: int, busy: bool) -> int:
    """Returns the number of samples without vectors, counted anew when a job has ended or the samples are others."""
    job = commands.newest(desk.store.project, "embed")
    return _counted(desk.root, samples, str(job.path) if job else "", busy, space.backbone, desk)


@st.cache_data(max_entries=8, ttl=20, show_spinner=False)
def _counted(root: str, samples: int, job: str, busy: bool, backbone: str, _desk: Desk) -> int:
    return len(_desk.store.vectors.missing(backbone, list(read_samples(_desk.store))))


def _unread(answer: dict[str, Any] | None) -> None:
    if answer is not None and answer["broken_files"]:
        st.warning(f"{count(answer['broken'], 'file')} cannot be read any more.", icon=":material/broken_image:")
        _draw(answer["broken_files"], ("file", "why"), key="unread")


def _next(desk: Desk) -> None:
    next_steps.links(desk, [("review", "Label some"), ("train", "Train")])


def _found(desk: Desk) -> None:
    """Draws what the newest import that ended has found."""
    job = commands.newest(desk.store.project, "import")
    report = commands.result(job) if job is not None else None
    if job is None or report is None:
        _empty(desk, job)
        return
    _, folder, *_ = commands.command_of(job)
    st.subheader("What the import found")
    st.caption(f"{plain(folder)}, {ago(job.began)}")
    numbers = [
        ("New", report["imported"]),
        ("Known", report["already_known"]),
        ("Labels", report["labelled"]),
        ("Broken", report["broken"]),
    ]
    for column, (name, number) in zip(st.columns(len(numbers)), numbers, strict=True):
        column.container(border=True).metric(name, f"{number:,}")
    odd = [table for table in TABLES if report[table[0]]]
    if not odd:
        st.success("Nothing odd: no duplicates, conflicts or broken files.", icon=":material/check_circle:")
        _some(desk)
    base = _base(
        [path for key in WITH_PATHS for row in report[key] for path in ([row] if isinstance(row, str) else row)]
    )
    if base:
        st.caption(f"Below, files are named by their path in {plain(base)}.")
    for key, title, advice, columns in odd:
        st.markdown(f"**{title}**: {len(report[key]):,}. {advice}")
        rows = [[cell.removeprefix(f"{base}/") for cell in row] for row in _rows(key, report[key])]
        _draw(rows, columns, key=key)


def _base(paths: Sequence[Any]) -> str:
    """Returns the directory that all these files are in, empty if that is none in particular."""
    absolute = [os.path.dirname(path) for path in paths if isinstance(path, str) and path.startswith("/")]  # noqa: PTH120
    base = os.path.commonpath(absolute) if absolute else ""
    return "" if base == "/" else base


def _empty(desk: Desk, job: Job | None) -> None:
    samples = read_samples(desk.store)
    if job is not None and commands.job_state(job) is JobState.RUNNING:
        st.caption("What is odd about the images stands here when all are read.")
    elif samples:
        st.caption(f"The project has {count(len(samples), 'image')}. What the next import finds stands here.")
        _some(desk)
    else:
        st.info(
            "The project has no images yet. Say on the left where some are, then press Import.",
            icon=":material/arrow_back:",
        )
        st.caption("Duplicates, near-duplicates, labels that contradict each other and broken files are shown here.")


def _some(desk: Desk) -> None:
    """Draws a few of the project's images, from its first to its last."""
    samples = list(read_samples(desk.store).values())
    chosen.shelf(desk, samples[:: max(1, len(samples) // chosen.SOME)][: chosen.SOME])


def _rows(key: str, found: Sequence[Any]) -> list[Sequence[str]]:
    if key == "conflict_files":
        return [(pairs[0][0], ", ".join(f"{Path(file).name} says {label}" for file, label in pairs)) for pairs in found]
    return [[row] if isinstance(row, str) else row for row in found]


def _draw(rows: Sequence[Sequence[str]], columns: Sequence[str], *, key: str) -> None:
    """Draws a table, its first `SHOWN` rows; sentences below each other, for they are as long as they are."""
    if columns[-1] == "why":
        told = "".join(f"<dt>{escape(what)}</dt><dd>{escape(why)}</dd>" for what, why in rows[:SHOWN])
        st.html(f'{STYLE}<dl class="refused" tabindex="0">{told}</dl>')
    else:
        table = [dict(zip(columns, row, strict=True)) for row in rows[:SHOWN]]
        st.dataframe(table, key=key, hide_index=True, height="auto" if len(table) < 8 else 300)
    if len(rows) > SHOWN:
        st.caption(f"The first {SHOWN:,} of {len(rows):,}; gradebook import --json names all.")
