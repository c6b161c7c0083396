"""The page Images: import images, see the results of the import, and compute embeddings."""

from pathlib import Path
from typing import Any, Literal

import streamlit as st

from gradebook.app.context import PageContext
from gradebook.app.data_access import read_samples
from gradebook.app.job_progress import follow
from gradebook.app.text import count
from gradebook.app.views import import_results, next_steps
from gradebook.pipelines.importing.fiftyone_datasets import PREFIX
from gradebook.pipelines.importing.zip_archive import MAX_BYTES
from gradebook.pipelines.jobs import commands
from gradebook.pipelines.jobs.launcher import Job, JobState
from gradebook.storage.project import Project
from gradebook.storage.store import Store
from gradebook.storage.vectors import Space

FILES, DATASET = "Files", "FiftyOne dataset"
LABELS = {"none": "None", "folders": "Folder names", "csv": "CSV file"}
SPLITS = {"train": "Training", "test": "Test only"}
PATH_HELP = (
    "A folder, searched with its subfolders; a .zip; a table (.csv, .parquet, .jsonl) with a column filepath; a file "
    "of COCO, Label Studio (.json) or CVAT (.xml); a dataset of Hugging Face, or of FiftyOne with labels.json. The "
    "path is on the machine that Gradebook runs on. Your "
    f"images stay where they are, unchanged; a zip of at most {MAX_BYTES // 2**30} GiB is unpacked into the project."
)
DATASET_HELP = (
    "The name in FiftyOne on the machine that Gradebook runs on, in its own database or the one in "
    "FIFTYONE_DATABASE_URI. The dataset is not changed."
)
CSV_HELP = "With the columns filepath and label. It may be inside the zip."
PENDING_TTL_S = 20  # of the cached number of images without embeddings


def render(context: PageContext) -> None:
    """Draws the page."""
    st.title("Images")
    store = context.store
    job = commands.newest(store.project, "import", "embed")
    busy = job is not None and commands.job_state(job) is JobState.RUNNING
    left, right = st.columns([4, 6], gap="large")
    with left:
        _draw_import(store.project, busy)
        _draw_embeddings(context, busy)
    with right:
        import_results.render(context)


def _draw_import(project: Project, busy: bool) -> None:
    """Draws the form that starts an import, and the progress of the newest one."""
    with st.container(border=True, key="import-box"):
        st.subheader("Import images")
        kinds = (FILES, DATASET)
        kind = st.segmented_control("From", kinds, default=FILES, required=True, key="from", bind="query-params")
        source, labels = _ask_files() if kind == FILES else _ask_dataset()
        split = st.radio("Split", list(SPLITS), format_func=SPLITS.__getitem__, key="split", horizontal=True)
        job = commands.newest(project, "import")
        button: Literal["primary", "secondary"] = "secondary" if job is not None and _was_stopped(job) else "primary"
        if st.button("Import", key="import", type=button, icon=":material/add_photo_alternate:", disabled=busy):
            if source and labels:
                _start_import(project, source, labels, split)
                st.rerun()
            st.error(_missing_input(kind, source), icon=":material/error:")
        if not source and kind == FILES:
            st.caption("A folder, a zip, or a table of files. Your images stay unchanged.")
        if job is not None:
            _draw_import_job(project, job)


def _draw_import_job(project: Project, job: Job) -> None:
    """Draws the progress of an import; one that was stopped can continue with the same arguments."""
    follow(job, first_task="Starting", after_stop="The images read so far are saved. Press Continue to read the rest.")
    if _was_stopped(job):
        icon = ":material/play_arrow:"
        st.button("Continue", key="import-again", type="primary", icon=icon, on_click=_restart, args=(project, job))


def _restart(project: Project, job: Job) -> None:
    commands.restart(project, job)


def _was_stopped(job: Job) -> bool:
    return commands.job_state(job) is JobState.FAILED and commands.was_stopped(job)


def _missing_input(kind: str, source: str) -> str:
    if kind == DATASET:
        return "Enter the name of the dataset."
    return f"Enter where the {'labels' if source else 'images'} are."


def _ask_files() -> tuple[str, str]:
    """Draws the fields for files, and returns the path of the images and the source of the labels."""
    source = st.text_input("Path", placeholder="/home/you/pictures", key="images", help=PATH_HELP).strip()
    labels = st.selectbox("Labels", list(LABELS), format_func=LABELS.__getitem__, key="labels")
    if labels == "csv":
        labels = st.text_input("CSV file", placeholder="labels.csv", key="csv", help=CSV_HELP).strip()
    return source, labels


def _ask_dataset() -> tuple[str, str]:
    """Draws the fields for a FiftyOne dataset, and returns its source and the field of the labels."""
    name = st.text_input("Dataset", placeholder="birds", key="dataset", help=DATASET_HELP).strip()
    field = st.text_input("Label field", placeholder="ground_truth, or the only one", key="field").strip()
    return f"{PREFIX}{name}" if name else "", field or "none"


def _start_import(project: Project, source: str, labels: str, split: str) -> None:
    if source.startswith(PREFIX):
        commands.start_import(project, Path(source), labels=labels, split=split)
        return
    images = Path(source).expanduser().absolute()
    commands.start_import(project, images, labels=_resolve_labels(labels, images), split=split)


def _resolve_labels(labels: str, images: Path) -> str:
    """Returns the source of the labels; the path of a CSV file may be relative to the images' folder or its parent."""
    if labels in LABELS:
        return labels
    candidates = [folder / Path(labels).expanduser() for folder in (images, images.parent)]
    default = labels if images.suffix.lower() == ".zip" else str(candidates[-1])
    return next((str(path) for path in candidates if path.is_file()), default)


def _draw_embeddings(context: PageContext, busy: bool) -> None:
    """Draws how many images have embeddings, and the button that computes the others."""
    store = context.store
    total = len(read_samples(store))
    with st.container(border=True, key="embed-box"):
        st.subheader("Embeddings")
        if not total:
            st.caption("Import images first. Quick training and nearest neighbours need embeddings.")
            return
        spaces = store.vectors.spaces()
        space = spaces[-1] if spaces else None  # the newest, as everywhere
        missing = total if space is None else _count_missing(store, space, total, busy)
        done = f"{total - missing:,} of {count(total, 'image')} {'has' if total == 1 else 'have'} embeddings."
        st.markdown(done if missing else f"All {count(total, 'image')} have embeddings.")
        st.caption(
            "A frozen network embeds each image once. Training then takes seconds, and similar images can be found."
        )
        button: Literal["primary", "secondary"] = "secondary" if busy else "primary"
        if missing and st.button(
            "Compute embeddings", key="embed", type=button, icon=":material/visibility:", disabled=busy
        ):
            commands.start_embed(store.project, space)
            st.rerun()
        job = commands.newest(store.project, "embed")
        if job is not None and (missing or busy):
            after_stop = "The embeddings computed so far are saved. Press Compute embeddings to continue."
            follow(job, first_task="Starting", after_stop=after_stop)
            _draw_unreadable(commands.result(job))
        elif not missing:
            next_steps.links(context, [("review", "Label some images"), ("train", "Train")])


def _draw_unreadable(result: dict[str, Any] | None) -> None:
    """Draws the files that could not be embedded."""
    if result is not None and result["broken_files"]:
        text = f"{count(result['broken'], 'file')} can no longer be read."
        st.warning(text, icon=":material/broken_image:")
        import_results.draw_table(result["broken_files"], ("file", "reason"), key="unread")


def _count_missing(store: Store, space: Space, samples: int, busy: bool) -> int:
    """Returns the number of samples without embeddings; counts again after a job has ended or samples were added."""
    job = commands.newest(store.project, "embed")
    job_path = str(job.path) if job else ""
    return _cached_count(str(store.project.root), samples, job_path, busy, space.backbone, store)


@st.cache_data(max_entries=8, ttl=PENDING_TTL_S, show_spinner=False)
def _cached_count(root: str, samples: int, job: str, busy: bool, backbone: str, _store: Store) -> int:
    return len(_store.vectors.missing(backbone, list(read_samples(_store))))
