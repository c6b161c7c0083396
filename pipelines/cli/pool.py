"""A pool of images without labels, chosen by a classifier out of any number."""

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from gradebook.pipelines.cli.options import Json, RunName, answer, app
from gradebook.pipelines.process.progress import progress


@app.command
def pool(
    classifier: Annotated[Positional[Path], arg(metavar="CLASSIFIER", help="an exported classifier, or a project")],
    folder: Annotated[Positional[Path], arg(metavar="FOLDER", help="images at any depth; millions will do")],
    out: Annotated[Positional[Path], arg(metavar="OUT", help="the table, .csv or .parquet")],
    *,
    per_class: Annotated[int, arg(help="images to keep of each class at most")],
    threshold: Annotated[float, arg(help="probability from which an image may be kept")] = 0.0,
    without: Annotated[
        tuple[Path, ...], arg(help="test images to leave out: folders, or projects with a test split")
    ] = (),
    run: RunName = None,
    part: Annotated[str, arg(help="K/N: only every N-th file from the K-th on, one process a part")] = "1/1",
    json: Json = False,
) -> None:
    """Let a classifier choose the images of a large folder that it is surest of, for import. Again means: go on."""
    from gradebook.pipelines.cli.formatting import pool_words
    from gradebook.pipelines.pool.selection import pool as choose
    from gradebook.pipelines.process.partition import parse_part

    which = parse_part(part)
    with progress("pool") as show:
        report = choose(
            classifier,
            folder,
            out,
            per_class=per_class,
            threshold=threshold,
            without=without,
            run=run,
            part=which,
            show=show,
        )
    answer(report.as_json(), json, lambda: pool_words(report.as_json()))


@app.command
def pool_join(
    out: Annotated[Positional[Path], arg(metavar="OUT", help="the table, .csv or .parquet")],
    tables: Annotated[Positional[tuple[Path, ...]], arg(metavar="TABLE", help="what the parts of a pool have written")],
    *,
    per_class: Annotated[int, arg(help="images to keep of each class at most: as many as each part kept")],
    json: Json = False,
) -> None:
    """Put the tables of a pool's parts together: the surest images of each class of all of them."""
    from gradebook.pipelines.pool.merge import join

    kept = join(tables, out, per_class=per_class)
    found = {"out": str(out), "kept": sum(kept.values()), "kept_per_class": kept}
    answer(found, json, lambda: f"{found['kept']} images of {len(kept)} classes are in {out}")
