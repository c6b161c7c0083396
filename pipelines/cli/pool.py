"""Commands that choose unlabelled images from a large folder."""

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from gradebook.pipelines.cli.options import Json, RunName, app, print_result, status_of
from gradebook.pipelines.process.progress import progress


@app.command
def pool(
    classifier: Annotated[Positional[Path], arg(metavar="CLASSIFIER", help="an exported classifier, or a project")],
    folder: Annotated[Positional[Path], arg(metavar="FOLDER", help="a folder of images, with any subfolders")],
    out: Annotated[Positional[Path], arg(metavar="OUT", help="the table to write, .csv or .parquet")],
    *,
    per_class: Annotated[int, arg(help="maximum number of images of each class")],
    threshold: Annotated[float, arg(help="minimum probability of an image")] = 0.0,
    without: Annotated[
        tuple[Path, ...],
        arg(help="test images to leave out: folders, or projects with a test split; CLASSIFIER's own always"),
    ] = (),
    run: RunName = None,
    part: Annotated[str, arg(help="K/N: score only every N-th file, from the K-th on; one process for each")] = "1/1",
    json: Json = False,
) -> int:
    """Choose unlabelled images from a folder of any size.

    Writes a table of the most probable images of each class, which gradebook import reads. Run it again to continue
    after a stop.
    """
    from gradebook.pipelines.cli.formatting import pool_summary
    from gradebook.pipelines.pool.selection import select_pool
    from gradebook.pipelines.process.partition import WHOLE, parse_part

    partition = parse_part(part)
    with progress("pool") as show:
        report = select_pool(
            classifier,
            folder,
            out,
            per_class=per_class,
            threshold=threshold,
            without=without,
            run=run,
            part=partition,
            show=show,
        )
    result = report.as_json()
    print_result(result, json, lambda: pool_summary(result))
    return status_of(report.kept > 0 or partition != WHOLE, "no image was chosen")


@app.command
def pool_join(
    out: Annotated[Positional[Path], arg(metavar="OUT", help="the table to write, .csv or .parquet")],
    tables: Annotated[Positional[tuple[Path, ...]], arg(metavar="TABLE", help="the tables of the parts")],
    *,
    per_class: Annotated[int, arg(help="maximum number of images of each class, as for the parts")],
    json: Json = False,
) -> int:
    """Merge the tables that the parts of a pool have written."""
    from gradebook.pipelines.pool.merge import join

    counts = join(tables, out, per_class=per_class)
    result = {"out": str(out), "kept": sum(counts.values()), "kept_per_class": counts}
    print_result(result, json, lambda: f"{result['kept']} images of {len(counts)} classes are in {out}")
    return status_of(bool(counts), "the tables have no images")
