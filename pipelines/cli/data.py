"""Commands that make a project and fill it: classes, images, embeddings, labels."""

import shlex
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from gradebook.pipelines.cli.options import Flag, Json, Project, app, print_result, print_rows, status_of
from gradebook.pipelines.process.progress import progress, say, stage

ImageColumn = Annotated[
    str | None, arg(metavar="NAME", help="the column of image files in a table; by default one with a common name")
]
LabelColumn = Annotated[
    str | None, arg(metavar="NAME", help="the column of labels in a table; by default one with a common name")
]


@app.command
def init(
    project: Project,
    *,
    classes: Annotated[str, arg(help='class names, as a,b,c; one with a comma as "a,b"')] = "",
    store: Annotated[str, arg(help="keep the tables on an object store, such as s3://bucket/prefix")] = "",
) -> None:
    """Create a project directory.

    You can also add classes later, or import them with the images.
    """
    from gradebook.storage.object_store import list_files
    from gradebook.storage.project import create_project, split_names

    if store:
        list_files(store)
    names = split_names(classes) if classes.strip(",") else []
    created = create_project(project, names, store=store)
    command = shlex.join(["gradebook", "import", str(project)])
    print(f"created {created.root} with {len(created.classes)} classes; next: {command} IMAGES")


@app.command
def trust(project: Project) -> None:
    """Open a project that belongs to another user of this machine.

    Trust a project only if you trust its owner, because opening it reads files that the owner wrote.
    """
    from gradebook.storage.project import trust_project

    print(f"{trust_project(project).root} can be opened from now on")


@app.command
def classes(
    project: Project,
    *,
    add: Annotated[str, arg(help='class names to add at the end, as a,b,c; one with a comma as "a,b"')] = "",
    rename: Annotated[str, arg(help="give a class another name, as old=new")] = "",
    merge: Annotated[str, arg(help="merge classes into one, as a,b=c")] = "",
    split: Annotated[str, arg(help="split a class, as a=b,c; its images need new labels")] = "",
    remove: Annotated[str, arg(help="remove a class; its images become undecided")] = "",
    order: Annotated[str, arg(help="list the classes in this order, as a,b,c")] = "",
    undo: Annotated[Flag, arg(help="undo the newest change of classes")] = False,
    details: Annotated[Flag, arg(help="with --json: the labels, key and color of each class as well")] = False,
    json: Json = False,
) -> None:
    """List a project's classes, or change them.

    Every change is an event in the log. Labels follow a rename or a merge. A removal or a split leaves images
    undecided; --undo restores their labels. A class keeps its color and its key.
    """
    from gradebook.pipelines.cli.curation_formatting import class_report, classes_table
    from gradebook.pipelines.curation import class_changes
    from gradebook.pipelines.curation.labelling import actor
    from gradebook.pipelines.reporting.project_stats import list_classes
    from gradebook.storage.project import ProjectError
    from gradebook.storage.store import open_store

    options = {"add": add, "rename": rename, "merge": merge, "split": split, "remove": remove, "order": order}
    given = {name: value for name, value in options.items() if value}
    if len(given) + undo > 1:
        raise ProjectError("change one thing at a time: give one of --add, --rename, --merge, --split, ... at once")
    store = open_store(project)
    if not given and not undo:
        rows = list_classes(store)
        print_rows(rows if details else [row["name"] for row in rows], json, lambda: classes_table(rows))
        return
    if undo:
        report = class_changes.undo_change(store, actor=actor())
    else:
        report = class_changes.change_classes(store, class_changes.parse(*next(iter(given.items()))), actor=actor())
    rows = list_classes(open_store(project))
    result = {**report.as_json(), "classes": rows}
    names = [row["name"] for row in rows]  # what --add has always printed
    print_rows(names if add and not details else result, json, lambda: f"{class_report(result)}\n{classes_table(rows)}")


@app.command(name="import")
def import_(
    project: Project,
    images: Annotated[
        Positional[Path],
        arg(
            metavar="IMAGES",
            help="a folder, a zip file, one image, a table (.csv, .parquet, .jsonl) with a column of paths, a file of "
            "COCO, Label Studio or CVAT, a data set of Hugging Face, a folder with FiftyOne's labels.json, or "
            "fiftyone:NAME for a dataset in FiftyOne's database",
        ),
    ],
    *,
    labels: Annotated[
        str,
        arg(
            help="none, folders (a folder's name is the label of its images), a CSV or Parquet file with columns "
            "filepath,label, a COCO JSON file, or a field of fiftyone:NAME"
        ),
    ] = "none",
    image_column: ImageColumn = None,
    label_column: LabelColumn = None,
    split: Annotated[
        Literal["train", "test"],
        arg(
            help="split of the images, unless folders named train, test ... or a column split give it; test images are "
            "never trained on"
        ),
    ] = "train",
    embed: Annotated[Flag, arg(help="then compute embeddings in the background; the app shows the progress")] = False,
    json: Json = False,
) -> int:
    """Import images, which stay where they are.

    Nothing is copied, moved or changed. Run it again to import new images.
    """
    from gradebook.pipelines.cli.formatting import import_summary
    from gradebook.pipelines.importing.import_images import import_images
    from gradebook.pipelines.importing.sources import opened_source
    from gradebook.pipelines.importing.tables import ColumnNames, unread_labels
    from gradebook.storage.samples import Split
    from gradebook.storage.store import open_store

    columns = ColumnNames(image_column, label_column)
    stage("Opening the project")
    with progress("import") as show:
        store = open_store(project)
        source, labels = opened_source(store.project.root, images, labels, partial(show, what="unpack"))
        report = import_images(
            store,
            source,
            labels=labels,
            split=Split(split),
            columns=columns,
            progress=partial(show, what="import"),
        )
    result = report.as_json()
    print_result(result, json, lambda: import_summary(result))
    if labels == "none" and (column := unread_labels(source, columns)):
        say(f"the labels in the column {column} of {source} were not read: to read them, add --labels {source}")
    count = report.imported + report.already_known + report.duplicates + report.moved
    if embed and count:
        from gradebook.pipelines.jobs.commands import start_embed

        spaces = store.vectors.spaces()
        job = start_embed(store.project, spaces[-1] if spaces else None)
        say(f"embeddings are computed in the background: the app shows the progress, and {job.log} the output")
    return status_of(count > 0, "no image was imported")


@app.command
def embed(
    project: Project,
    *,
    backbone: Annotated[
        str, arg(help="timm model, local-dir:DIR for one that timm saved, or auto: the best that is affordable here")
    ] = "tf_efficientnet_lite0",
    views: Annotated[
        int | None,
        arg(
            metavar="N",
            help="cached views per image, including the plain one; by default 5, or fewer if there are many images",
        ),
    ] = None,
    size: Annotated[
        int | None, arg(metavar="PX", help="pixels per side; by default the size that the backbone was trained at")
    ] = None,
    weights: Annotated[
        str | None, arg(metavar="FILE", help="pretrained (the default), a file of weights, or random (only for trials)")
    ] = None,
    part: Annotated[str, arg(help="K/N: embed only every N-th image, from the K-th on; one process for each")] = "1/1",
    json: Json = False,
) -> int:
    """Compute embeddings of all images with a frozen backbone.

    Training on cached views and the search for neighbours use them. Run it again to embed new images.
    """
    from gradebook.pipelines.cli.formatting import embed_summary
    from gradebook.pipelines.embedding.embed import embed as run_embed
    from gradebook.pipelines.process.partition import WHOLE, parse_part
    from gradebook.storage.store import open_store

    partition = parse_part(part)
    stage("Opening the project")
    with progress("embed") as show:
        store = open_store(project)
        report = run_embed(
            store, backbone=backbone, views=views, size=size, weights=weights, part=partition, progress=show
        )
    result = report.as_json()
    print_result(result, json, lambda: embed_summary(result))
    count = report.embedded + report.already_there
    return status_of(count > 0 or partition != WHOLE, "no image has an embedding: none of the files can be read")


@app.command
def label(
    project: Project,
    file: Annotated[
        Positional[Path | None], arg(metavar="[FILE.csv]", help="a table with columns filepath,label")
    ] = None,
    *,
    sample: Annotated[str | None, arg(metavar="ID", help="the id of one sample, instead of a file")] = None,
    label: Annotated[str | None, arg(metavar="NAME", help="the label of that sample")] = None,
    image_column: ImageColumn = None,
    label_column: LabelColumn = None,
    independent: Annotated[
        Flag, arg(help="you have not seen the answers of others, which yours then neither replace nor settle")
    ] = False,
    json: Json = False,
) -> int:
    """Label images, from a CSV file or one at a time.

    Each label is a verdict in the log, with your name.
    """
    from gradebook.pipelines.curation.label_table import label_file
    from gradebook.pipelines.curation.labelling import label_sample
    from gradebook.pipelines.importing.tables import ColumnNames
    from gradebook.storage.project import ProjectError
    from gradebook.storage.store import open_store

    store = open_store(project)
    if file is not None and sample is None and label is None:
        columns = ColumnNames(image_column, label_column)
        report = label_file(store, file, columns, independent=independent)
    elif file is None and sample is not None and label is not None:
        report = label_sample(store, sample, label, independent=independent)
    else:
        raise ProjectError(
            f"give a file, or a sample and its label: gradebook label {project} --sample ID --label NAME"
        )
    for subject, problem in report.problems:
        say(f"{subject}: {problem}")
    print_result(report.as_json(), json, lambda: f"{report.labelled} labels given, {report.unchanged} unchanged")
    return status_of(report.labelled + report.unchanged > 0, "no image was labelled")
