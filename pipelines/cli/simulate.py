"""What the tool is worth: rounds with a scripted reviewer."""

import json as jsonlib
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from gradebook.pipelines.cli.options import Json, app


@app.command
def simulate(
    train: Annotated[Positional[Path], arg(metavar="TRAIN", help="images to label, a folder a class")],
    test: Annotated[Positional[Path], arg(metavar="TEST", help="images to measure on, a folder a class")],
    *,
    work: Annotated[Path, arg(help="directory for the project and the results; again with it means: go on")],
    strategies: Annotated[
        tuple[str, ...],
        arg(help="random, entropy, margin, k_centre, badge, herding, skactiveml:NAME, ours, or ours:REASON"),
    ] = ("random", "entropy", "margin", "k_centre", "badge", "skactiveml:TypiClust", "ours"),
    start: Annotated[int, arg(help="labels a class to start with, drawn; 0: strategies pick from the first on")] = 2,
    batch: Annotated[int, arg(help="labels a round")] = 20,
    rounds: Annotated[int, arg(help="rounds of labelling")] = 5,
    seeds: Annotated[tuple[int, ...], arg(help="each draws its own start, and everything else random")] = (
        0,
        1,
        2,
        3,
        4,
    ),
    method: Annotated[str, arg(help="how all of them train, with the preset quick")] = "mpl",
    steps: Annotated[int, arg(help="of each training; 0 for the preset's")] = 0,
    take: Annotated[int, arg(help="training images to draw (seed 0); 0 takes all")] = 0,
    take_test: Annotated[int, arg(help="test images to draw (seed 0); 0 takes all")] = 0,
    plot: Annotated[Path | None, arg(help="a PNG file to draw the curves into")] = None,
    json: Json = False,
) -> None:
    """Let a scripted reviewer answer the queue, and compare strategies by the labels that they save."""
    from gradebook.pipelines.studies import label_savings
    from gradebook.pipelines.studies.active_learning import Simulation
    from gradebook.pipelines.studies.active_learning import simulate as run

    asked = Simulation(
        train=train,
        test=test,
        work=work,
        strategies=strategies,
        start=start,
        batch=batch,
        rounds=rounds,
        seeds=seeds,
        method=method,
        steps=steps,
        take=take,
        take_test=take_test,
    )
    curves = label_savings.curves_of(run(asked))
    if plot is not None:
        label_savings.plot(curves, plot, f"mean of {len(seeds)} seeds, all trained by {method}; bands: 95 % interval")
    print(jsonlib.dumps(label_savings.as_json(curves)) if json else label_savings.as_markdown(curves))
