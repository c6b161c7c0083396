"""Downloads on the page Export: the exported classifier as a zip file, and the run's predictions as a table."""

import io
import zipfile
from pathlib import Path

import streamlit as st

from gradebook.app.text import plain
from gradebook.pipelines.export.label_files import as_csv
from gradebook.pipelines.export.label_rows import predicted_rows
from gradebook.pipelines.runs import Run
from gradebook.storage.store import Store


def draw_predictions(store: Store, run: Run) -> None:
    """Draws the button that downloads a run's predictions. The table is made when it is pressed."""
    with st.container(border=True, key="predictions"):
        st.subheader("Predictions")
        st.caption(plain(f"What {run.name} predicts for the images without a label, with all probabilities."))
        st.download_button(
            "Download predictions",
            lambda: as_csv(predicted_rows(store, run)),
            f"predictions-{run.name}.csv",
            "text/csv",
            key="download-predictions",
            icon=":material/download:",
            on_click="ignore",
        )


def draw_classifier(folder: Path) -> None:
    """Draws the button that downloads an exported classifier."""
    st.download_button(
        "Download the classifier",
        lambda: zipped(folder),
        f"{folder.name}.zip",
        "application/zip",
        key="download-classifier",
        icon=":material/download:",
        on_click="ignore",
    )


def zipped(folder: Path) -> bytes:
    """Returns the files of a folder as a zip file, below the folder's name."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not path.is_symlink():
                archive.write(path, f"{folder.name}/{path.relative_to(folder)}")
    return content.getvalue()
