"""From nothing to labels: make a project, fill it, embed it, label some of it."""

import json as jsonlib
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from gradebook.pipelines.cli.options import Json, Project, answer, app
from gradebook.pipelines.process.progress import progress, say, stage


@app.command
def init(
    project: Project,
    *,
    classes: Annotated[str, arg(help="the classes' names, as a,b,c")] = "",
    store: Annotated[str, arg(help="where the tables are instead, such as s3://bucket/prefix")] = "",
) -> None:
    """Make a project directory. Classes can be added later, or come with an import."""
    from gradebook.storage.object_store import list_files
    from gradebook.storage.project import create_project

    if store:
        list_files(store)
    names = [name for name in classes.split(",") if name.strip() or classes.strip(",")]
    made = create_project(project, names, store=store)
    print(f"made {made.root} with {len(made.classes)} classes; next: gradebook import {project} IMAGES")


@app.command
def classes(
    project: Project, *, add: Annotated[str, arg(help="names to add at the end, as a,b,c")] = "", json: Json = False
) -> None:
    """List a project's classes, or add some."""
    from gradebook.storage.project import add_classes, read_project

    opened = read_project(project)
    opened = add_classes(opened, add.split(",")) if add else opened
    print(jsonlib.dumps(list(opened.classes)) if json else "\n".join(opened.classes))


@app.command(name="import")
def import_(
    project: Project,
    images: Annotated[
        Positional[Path],
        arg(
            metavar="IMAGES",
            help="a folder, a zip, one image, a table of filepath, FiftyOne's labels.json in a folder, or "
            "fiftyone:NAME for a dataset that FiftyOne keeps",
        ),
    ],
    *,
    labels: Annotated[
        str,
        arg(
            help="none, folders (the folder's name is the label), a CSV of filepath,label, or a field of fiftyone:NAME"
        ),
    ] = "none",
    split: Annotated[Literal["train", "test"], arg(help="test images are never trained on")] = "train",
    json: Json = False,
) -> None:
    """Take images into the catalogue, where they are: nothing is copied, moved or changed. Again means: what is new."""
    from gradebook.pipelines.cli.formatting import import_words
    from gradebook.pipelines.importing.import_images import import_images
    from gradebook.pipelines.importing.sources import opened_source
    from gradebook.storage.samples import Split
    from gradebook.storage.store import open_store

    stage("Opening the project")
    with progress("import") as show:
        store = open_store(project)
        source, labels = opened_source(store.project.root, images, labels, partial(show, what="unpack"))
        report = import_images(store, source, labels=labels, split=Split(split), progress=partial(show, what="import"))
    found = report.as_json()
    answer(found, json, lambda: import_words(found))


@app.command
def embed(
    project: Project,
    *,
    backbone: Annotated[str, arg(help="timm's name of the frozen network")] = "tf_efficientnet_lite0",
    views: Annotated[int, arg(help="cached views an image: 2 weak, the others strong")] = 5,
    size: Annotated[int | None, arg(help="pixels a side; without it 64 for small images, else 224")] = None,
    weights: Annotated[Literal["pretrained", "random"], arg(help="random only to try things out")] = "pretrained",
    part: Annotated[str, arg(help="K/N: only every N-th image from the K-th on, one process a part")] = "1/1",
    json: Json = False,
) -> None:
    """Run a frozen backbone over every image and keep its vectors, for training and for finding neighbours."""
    from gradebook.pipelines.cli.formatting import embed_words
    from gradebook.pipelines.embedding.embed import embed as run_embed
    from gradebook.pipelines.process.partition import parse_part
    from gradebook.storage.store import open_store

    which = parse_part(part)
    stage("Opening the project")
    with progress("embed") as show:
        report = run_embed(
            open_store(project), backbone=backbone, views=views, size=size, weights=weights, part=which, progress=show
        )
    answer(report.as_json(), json, lambda: embed_words(report.as_json()))


@app.command
def label(
    project: Project,
    file: Annotated[Positional[Path | None], arg(metavar="FILE.csv", help="columns filepath,label")] = None,
    *,
    sample: Annotated[str | None, arg(help="a sample's id, instead of a file")] = None,
    label: Annotated[str | None, arg(help="its label")] = None,
    json: Json = False,
) -> None:
    """Give labels, from a CSV file or to one sample. Each is a verdict in the log, with your name."""
    from gradebook.pipelines.curation.labelling import label_file, label_sample
    from gradebook.storage.project import ProjectError
    from gradebook.storage.store import open_store

    store = open_store(project)
    if file is not None and sample is None and label is None:
        report = label_file(store, file)
    elif file is None and sample is not None and label is not None:
        report = label_sample(store, sample, label)
    else:
        raise ProjectError(
            f"give a file, or a sample and its label: gradebook label {project} --sample ID --label NAME"
        )
    for place, why in report.problems:
        say(f"{place}: {why}")
    answer(report.as_json(), json, lambda: f"{report.labelled} labels given, {report.unchanged} were so already")
