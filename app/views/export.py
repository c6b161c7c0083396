"""The export page: a run's classifier into a directory of its own, a try of it on one image, and the labels."""

from pathlib import Path
from typing import Any

import streamlit as st

from gradebook.app.context import Desk, read_book
from gradebook.app.figures import common
from gradebook.app.job_progress import follow
from gradebook.app.text import count, percent, plain, sentence
from gradebook.pipelines.export.labels import as_coco, as_csv, as_parquet, labels_of
from gradebook.pipelines.inference.predict import MODEL, Classifier, predict_content
from gradebook.pipelines.jobs import commands
from gradebook.pipelines.jobs.launcher import Job, JobState
from gradebook.pipelines.runs import Run, State, list_runs
from gradebook.storage.images import BrokenImage, decode
from gradebook.storage.project import ProjectError

CARD = "README.md"
IMAGES = "exports"  # the directory of a project that exports go to unless another is named
FORMS = {  # a form of `gradebook.pipelines.export.labels` -> what it is for
    "csv": "A table of file, label, split, and who said so and when. An import reads it again.",
    "parquet": "The same table, for large projects and data frames.",
    "coco": "One JSON file in COCO's form, with an annotation an image whose box is the whole image.",
    "folder": "Copies of the labelled images in a folder a class: SPLIT/CLASS/FILE. The images themselves stay.",
    "fiftyone": "A FiftyOneImageClassificationDataset that names the images where they are.",
}
NAMES = {
    "csv": "CSV table",
    "parquet": "Parquet table",
    "coco": "COCO classification",
    "folder": "Image folder",
    "fiftyone": "FiftyOne",
}
FILES: dict[str, tuple[str, str]] = {  # file name and media type of what the browser downloads
    "csv": ("labels.csv", "text/csv"),
    "parquet": ("labels.parquet", "application/vnd.apache.parquet"),
    "coco": ("labels.json", "application/json"),
}
HOLDS = """An export is a directory that needs nothing of the project:

- **model.onnx**: takes plain images, says a probability for each class; runs without torch
- **model.safetensors** and **config.json**: the weights, for timm to load and to train on
- **classes.json**: the classes, in their order
- **README.md**: a model card: what it learned from, how often it is right, how to use it
"""
PIXELS = 640  # of the tried image, at most


def render(desk: Desk) -> None:
    """Draws the page."""
    st.title("Export")
    finished = [run for run in reversed(list_runs(desk.store.project)) if run.status().state is State.FINISHED]
    left, right = st.columns([4, 6], gap="large")
    with left:
        run = _classifier(desk, finished)
        _labels(desk)
    with right:
        if run is None:
            _nothing(desk)
            return
        directory = commands.exported_to(desk.store.project, run.name)
        if directory is None:
            st.caption(f"{plain(run.name)} has not been exported yet. Once it is, you can try it here on an image.")
            st.markdown(HOLDS)
            return
        _try(directory)
        _card(directory)


def _classifier(desk: Desk, finished: list[Run]) -> Run | None:
    """Draws the form that exports a run's student; returns the run that is chosen."""
    with st.container(border=True, key="classifier"):
        st.subheader("The classifier")
        if not finished:
            st.caption("Weights for timm, ONNX, the classes and a model card, of a run that has finished.")
            return None
        run = _chosen(desk, finished)
        job = commands.newest(desk.store.project, "export")
        going = job is not None and commands.job_state(job) is JobState.RUNNING
        usual = desk.store.project.root / IMAGES / run.name
        typed = st.text_input("Into the directory", value=str(usual), key=f"into-{run.name}").strip()
        if st.button("Export", key="export", type="primary", icon=":material/output:", disabled=going or not typed):
            commands.start_export(desk.store.project, run.name, _path(typed))
            st.rerun()
        st.caption("Weights for timm, ONNX that takes plain images, the classes and a model card.")
        if job is not None:
            _followed(job, doing="Starting", stopped="Nothing was written; press Export to begin again.")
        return run


def _followed(job: Job, *, doing: str, stopped: str) -> None:
    """Draws a job as it is, and what it has made once it is done."""
    if follow(job, doing=doing, stopped=stopped) is not JobState.DONE or (done := commands.result(job)) is None:
        return
    st.success(plain(_made(done)), icon=":material/check_circle:")
    if done.get("missing_files"):
        with st.expander(f"{count(done['missing'], 'file')} left out"):
            st.dataframe([{"file": file, "why": why} for file, why in done["missing_files"]], hide_index=True)


def _made(done: dict[str, Any]) -> str:
    if "labels" in done:
        return f"{count(done['labels'], 'label')} are in {done['out']}."
    checked = ""
    if done["checked"]:
        differs = f"by at most {done['largest_difference']:.4f} in a probability"
        checked = f" On {count(done['checked'], 'image')} it differs from the run's student {differs}."
    return f"{done['run']} is in {done['dir']}.{checked}"


def _chosen(desk: Desk, finished: list[Run]) -> Run:
    """Returns the run to export, which the address keeps; at first the one that the pages show."""
    names = [run.name for run in finished]
    asked = st.query_params.get("export") or (desk.run.name if desk.run else None)
    name = st.selectbox("Run to export", names, index=names.index(asked) if asked in names else 0, key="export-run")
    if name != asked:
        st.query_params["export"] = name
    run = finished[names.index(name)]
    accuracies = [row["validation_accuracy"] for row in run.metrics() if row.get("validation_accuracy") is not None]
    known = f", {percent(accuracies[-1])} of the validation images right" if accuracies else ""
    st.caption(f"It learned from {count(len(run.labels()), 'label')}{known}.")
    return run


def _labels(desk: Desk) -> None:
    number = len(read_book(desk.store).labels)
    with st.container(border=True, key="labels"):
        st.subheader("The labels")
        if not number:
            st.caption("There are no labels yet. Label some images on Review, or import images with labels.")
            return
        form = st.selectbox(
            "Form", list(FORMS), index=list(FORMS).index(_first_form(desk)), format_func=NAMES.__getitem__, key="form"
        )
        st.caption(FORMS[form])
        if form in FILES:
            name, kind = FILES[form]
            content = _file(desk.root, desk.store.log.version(), form, desk)
            text = f"Download {count(number, 'label')}"
            st.download_button(text, content, name, kind, key="download", icon=":material/download:", on_click="ignore")
            return
        _write(desk, form, number)


def _first_form(desk: Desk) -> str:
    """Returns the form that a page begins with: of what is being written, or was not written to its end."""
    job = commands.newest(desk.store.project, "export-labels")
    unfinished = job is not None and commands.job_state(job) is not JobState.DONE
    return commands.command_of(job)[-1] if job is not None and unfinished else next(iter(FORMS))


def _write(desk: Desk, form: str, number: int) -> None:
    job = commands.newest(desk.store.project, "export-labels")
    going = job is not None and commands.job_state(job) is JobState.RUNNING
    usual = desk.store.project.root / IMAGES / f"labels-{form}"
    typed = st.text_input("Into a new directory", value=str(usual), key=f"labels-into-{form}").strip()
    text = f"Copy {count(number, 'image')}" if form == "folder" else f"Write {count(number, 'label')}"
    if st.button(text, key="write-labels", icon=":material/folder_copy:", disabled=going or not typed):
        commands.start_export_labels(desk.store.project, _path(typed), form)
        st.rerun()
    if job is not None:
        _followed(job, doing="Starting", stopped="Nothing was written; press the button to begin again.")


@st.cache_data(max_entries=6, ttl=60, show_spinner="Gathering the labels")
def _file(root: str, version: int, form: str, _desk: Desk) -> bytes:
    labels = labels_of(_desk.store)
    if form == "coco":
        return as_coco(labels, _desk.store.project.classes)
    return as_csv(labels) if form == "csv" else as_parquet(labels)


def _nothing(desk: Desk) -> None:
    st.info("No run has finished yet, so there is no classifier to export.", icon=":material/model_training:")
    if "train" in desk.pages:
        st.page_link(desk.pages["train"], label="Train one →", query_params=dict(desk.query))


def _try(directory: Path) -> None:
    """Draws a place to drop an image on, and what the exported classifier says of it."""
    st.subheader("Try it")
    file = st.file_uploader("Drop an image here. It stays on this machine.", type="image", key="tried")
    if file is None:
        return
    try:
        image, _ = decode(file.getvalue(), PIXELS)
        said = predict_content(_opened(str(directory), (directory / MODEL).stat().st_mtime_ns), file.getvalue())
    except (BrokenImage, ProjectError) as error:
        st.warning(plain(sentence(str(error))), icon=":material/broken_image:")
        return
    image.thumbnail((PIXELS, PIXELS))
    picture, bars = st.columns([2, 3], gap="medium", vertical_alignment="center")
    picture.image(image, width="stretch", alt=file.name)
    best = max(said, key=said.__getitem__)
    bars.markdown(f"**{plain(best)}** {percent(said[best])}")
    bars.plotly_chart(common.guesses(said), key="guesses", config={"displayModeBar": False})


@st.cache_resource(max_entries=4, show_spinner="Opening the classifier")
def _opened(directory: str, changed: int) -> Classifier:
    return Classifier(Path(directory))


def _card(directory: Path) -> None:
    """Draws the model card, its headings below ours; names of other people are escaped in it."""
    try:
        card = (directory / CARD).read_text(encoding="utf-8")
    except FileNotFoundError:
        return
    st.subheader("Model card")
    lines = [f"##{line}" if line.startswith("#") else line for line in card.splitlines()]
    with st.container(border=True, key="card"):
        st.markdown("\n".join(lines))


def _path(typed: str) -> Path:
    return Path(typed).expanduser().absolute()
