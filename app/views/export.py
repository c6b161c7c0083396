"""The page Export: a run's classifier, a try of it on one image, and the labels."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import streamlit as st

from gradebook.app.context import PageContext
from gradebook.app.data_access import read_events
from gradebook.app.figures import common
from gradebook.app.job_progress import follow
from gradebook.app.text import as_sentence, count, percent, plain
from gradebook.app.views import export_downloads, next_steps
from gradebook.pipelines.export.label_rows import labelled_rows
from gradebook.pipelines.export.labels import FILES
from gradebook.pipelines.inference.classifier import MODEL, Classifier, predict_content
from gradebook.pipelines.jobs import commands
from gradebook.pipelines.jobs.launcher import Job, JobState
from gradebook.pipelines.process.run_status import State
from gradebook.pipelines.runs import Run, list_runs
from gradebook.storage.images import BrokenImage, decode
from gradebook.storage.project import Project, ProjectError
from gradebook.storage.store import Store

MODEL_CARD = "README.md"
EXPORTS = "exports"  # the project's folder for exports, unless another one is typed
FORMATS = {  # of `gradebook.pipelines.export.labels` -> name, description
    "csv": (
        "CSV table",
        "Columns for file, label, split, and who labelled it and when. Gradebook can import it again.",
    ),
    "parquet": ("Parquet table", "The same table, for large projects and data frames."),
    "coco": ("COCO classification", "A COCO JSON file with one annotation per image, whose box is the whole image."),
    "label-studio": ("Label Studio", "Tasks with annotations, for images that Label Studio reads from its own disk."),
    "cvat": ("CVAT", "An XML file of the kind CVAT for images 1.1, with the label of each image as a tag."),
    "folder": ("Image folder", "Copies of the labelled images as SPLIT/CLASS/FILE. Your own files stay unchanged."),
    "fiftyone": ("FiftyOne", "A FiftyOneImageClassificationDataset that refers to the images where they are."),
    "huggingface": ("Hugging Face", "Parquet files with copies of the images inside, for datasets.load_dataset."),
}
DOWNLOADS: dict[str, tuple[str, str]] = {  # format -> name and media type of the downloaded file
    "csv": ("labels.csv", "text/csv"),
    "parquet": ("labels.parquet", "application/vnd.apache.parquet"),
    "coco": ("labels.json", "application/json"),
    "label-studio": ("label-studio.json", "application/json"),
    "cvat": ("labels.xml", "application/xml"),
}
CONTENTS = """An export is a folder that does not need the project:

- **model.onnx**: takes images, returns a probability for each class; runs without torch
- **model.safetensors** and **config.json**: the weights, for timm to load and fine-tune
- **classes.json**: the classes, in order
- **README.md**: a model card: training data, accuracy, and how to use it
"""
PREVIEW_PX = 640


def render(context: PageContext) -> None:
    """Draws the page."""
    st.title("Export")
    project = context.store.project
    finished = [run for run in reversed(list_runs(project)) if run.status().state is State.FINISHED]
    left, right = st.columns([4, 6], gap="large")
    with left:
        run = _draw_classifier(project, finished, context.run.name if context.run else None)
        _draw_labels(context.store)
        if run is not None:
            export_downloads.draw_predictions(context.store, run)
    with right:
        if run is None:
            st.info("No run has finished yet, so there is no classifier to export.", icon=":material/model_training:")
            next_steps.links(context, [("train", "Train")])
            return
        folder = commands.exported_to(project, run.name)
        if folder is None:
            st.caption(f"{plain(run.name)} has not been exported yet. After that, you can try it here on an image.")
            st.markdown(CONTENTS)
            return
        export_downloads.draw_classifier(folder)
        _draw_trial(folder, common.class_colors(project.styled_classes))
        _draw_model_card(folder)


def _draw_classifier(project: Project, finished: Sequence[Run], shown: str | None) -> Run | None:
    """Draws the form that exports a run's student, and returns the chosen run."""
    with st.container(border=True, key="classifier"):
        st.subheader("Classifier")
        if not finished:
            st.caption("Weights for timm, an ONNX model, the classes and a model card of a finished run.")
            return None
        run = _choose_run(finished, shown)
        job = commands.newest(project, "export")
        default = project.root / EXPORTS / run.name
        typed = st.text_input("Folder", value=str(default), key=f"into-{run.name}").strip()
        disabled = _is_running(job) or not typed
        if st.button("Export", key="export", type="primary", icon=":material/output:", disabled=disabled):
            commands.start_export(project, run.name, _path(typed))
            st.rerun()
        st.caption("Weights for timm, an ONNX model, the classes and a model card.")
        if job is not None:
            _draw_job(job, "Nothing was written. Press Export to start again.")
        return run


def _choose_run(finished: Sequence[Run], shown: str | None) -> Run:
    """Returns the run to export: the one in the address, or else the one that the pages show."""
    names = [run.name for run in finished]
    requested = st.query_params.get("export") or shown
    index = names.index(requested) if requested in names else 0
    name = st.selectbox("Run", names, index=index, key="export-run")
    if name != requested:
        st.query_params["export"] = name
    run = finished[names.index(name)]
    accuracies = [row["validation_accuracy"] for row in run.metrics() if row.get("validation_accuracy") is not None]
    accuracy = f", validation accuracy {percent(accuracies[-1])}" if accuracies else ""
    st.caption(f"Trained on {count(len(run.labels()), 'label')}{accuracy}.")
    return run


def _draw_job(job: Job, after_stop: str) -> None:
    """Draws an export's progress, or its result."""
    ending = follow(job, first_task="Starting", after_stop=after_stop)
    if ending is not JobState.DONE or (result := commands.result(job)) is None:
        return
    st.success(plain(_describe_result(result)), icon=":material/check_circle:")
    if result.get("missing_files"):
        with st.expander(f"{count(result['missing'], 'file')} left out"):
            st.dataframe([{"file": file, "reason": why} for file, why in result["missing_files"]], hide_index=True)


def _describe_result(result: dict[str, Any]) -> str:
    before = ", in place of an earlier export" if result.get("replaced") else ""
    if "labels" in result:
        return f"{count(result['labels'], 'label')} exported to {result['out']}{before}."
    checked = ""
    if result["checked"]:
        difference = f"by at most {result['largest_difference']:.4f}"
        checked = f" On {count(result['checked'], 'image')} its probabilities differ from the run's {difference}."
    return f"{result['run']} exported to {result['dir']}{before}.{checked}"


def _draw_labels(store: Store) -> None:
    labels = len(read_events(store).labels)
    with st.container(border=True, key="labels"):
        st.subheader("Labels")
        if not labels:
            st.caption("There are no labels yet. Label some images on Review, or import images with labels.")
            return
        names, first = list(FORMATS), _first_format(store.project)
        form = st.selectbox(
            "Format", names, index=names.index(first), format_func=lambda name: FORMATS[name][0], key="form"
        )
        st.caption(FORMATS[form][1])
        if form in DOWNLOADS:
            name, media_type = DOWNLOADS[form]
            content = _file(str(store.project.root), store.log.version(), form, store)
            text, icon = f"Download {count(labels, 'label')}", ":material/download:"
            st.download_button(text, content, name, media_type, key="download", icon=icon, on_click="ignore")
        else:
            _draw_writing(store.project, form, labels)


def _first_format(project: Project) -> str:
    """Returns the format to show first: that of an export that is running or incomplete."""
    job = commands.newest(project, "export-labels")
    incomplete = job is not None and commands.job_state(job) is not JobState.DONE
    return commands.command_of(job)[-1] if job is not None and incomplete else next(iter(FORMATS))


def _draw_writing(project: Project, form: str, labels: int) -> None:
    """Draws the form that writes the labels into a folder."""
    job = commands.newest(project, "export-labels")
    default = project.root / EXPORTS / f"labels-{form}"
    typed = st.text_input("New folder", value=str(default), key=f"labels-into-{form}").strip()
    text = f"Copy {count(labels, 'image')}" if form == "folder" else f"Write {count(labels, 'label')}"
    disabled = _is_running(job) or not typed
    if st.button(text, key="write-labels", icon=":material/folder_copy:", disabled=disabled):
        commands.start_export_labels(project, _path(typed), form)
        st.rerun()
    if job is not None:
        _draw_job(job, "Nothing was written. Press the button to start again.")


@st.cache_data(max_entries=6, ttl=60, show_spinner="Collecting the labels")
def _file(root: str, version: int, form: str, _store: Store) -> bytes:
    return FILES[form](labelled_rows(_store))


def _draw_trial(folder: Path, colors: Mapping[str, str]) -> None:
    """Draws a field to drop an image on, and what the exported classifier predicts for it."""
    st.subheader("Try it")
    file = st.file_uploader("Drop an image here. It stays on this machine.", type="image", key="tried")
    if file is None:
        return
    try:
        image, _ = decode(file.getvalue(), PREVIEW_PX)
        model_time = (folder / MODEL).stat().st_mtime_ns
        probabilities = predict_content(_classifier(str(folder), model_time), file.getvalue())
    except (BrokenImage, ProjectError) as error:
        st.warning(plain(as_sentence(str(error))), icon=":material/broken_image:")
        return
    image.thumbnail((PREVIEW_PX, PREVIEW_PX))
    left, right = st.columns([2, 3], gap="medium", vertical_alignment="center")
    left.image(image, width="stretch", alt=file.name)
    best = max(probabilities, key=probabilities.__getitem__)
    right.markdown(f"**{plain(best)}** {percent(probabilities[best])}")
    figure = common.class_probabilities(probabilities, colors)
    right.plotly_chart(figure, key="probabilities", config={"displayModeBar": False})


@st.cache_resource(max_entries=4, show_spinner="Loading the classifier")
def _classifier(folder: str, model_time: int) -> Classifier:
    return Classifier(Path(folder))


def _draw_model_card(folder: Path) -> None:
    """Draws the model card, with its headings below the page's. The card already escapes names from users."""
    try:
        card = (folder / MODEL_CARD).read_text(encoding="utf-8")
    except FileNotFoundError:
        return
    st.subheader("Model card")
    lines = [f"##{line}" if line.startswith("#") else line for line in card.splitlines()]
    with st.container(border=True, key="card"):
        st.markdown("\n".join(lines))


def _is_running(job: Job | None) -> bool:
    return job is not None and commands.job_state(job) is JobState.RUNNING


def _path(typed: str) -> Path:
    return Path(typed).expanduser().absolute()
