"""The command that measures what the queue is worth, with a scripted reviewer."""

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from gradebook.pipelines.cli.options import Flag, Json, app, print_rows


@app.command
def simulate(
    train: Annotated[Positional[Path], arg(metavar="TRAIN", help="images to label, in a folder for each class")],
    test: Annotated[Positional[Path], arg(metavar="TEST", help="images to measure on, in a folder for each class")],
    *,
    work: Annotated[Path, arg(help="directory for the project and the results; an existing one is continued")],
    strategies: Annotated[
        tuple[str, ...],
        arg(help="random, entropy, margin, k_centre, badge, herding, skactiveml:NAME, ours, or ours:REASON"),
    ] = ("random", "entropy", "margin", "k_centre", "badge", "skactiveml:TypiClust", "ours"),
    start: Annotated[
        int, arg(help="random labels per class at the start; with 0, each strategy chooses its first labels too")
    ] = 2,
    batch: Annotated[int, arg(help="labels a round")] = 20,
    rounds: Annotated[int, arg(help="rounds of labelling")] = 5,
    seeds: Annotated[tuple[int, ...], arg(help="random seeds, of the first labels and of training")] = (0, 1, 2, 3, 4),
    method: Annotated[str, arg(help="training method, with the preset quick")] = "mpl",
    steps: Annotated[int, arg(help="training steps; 0 for the preset's")] = 0,
    take: Annotated[int, arg(help="number of random training images; 0 for all")] = 0,
    take_test: Annotated[int, arg(help="number of random test images; 0 for all")] = 0,
    live: Annotated[
        Flag, arg(help="also label during a live session, and compare it with training from scratch")
    ] = False,
    plot: Annotated[Path | None, arg(help="PNG file for a plot of the curves")] = None,
    json: Json = False,
) -> None:
    """Compare query strategies by the labels they save.

    A scripted reviewer labels what each strategy chooses, round after round, with the true classes.
    """
    from gradebook.pipelines.studies import label_savings
    from gradebook.pipelines.studies.active_learning import Simulation
    from gradebook.pipelines.studies.active_learning import simulate as run
    from gradebook.pipelines.studies.live_simulation import simulate_live

    simulation = Simulation(
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
    rounds_of = run(simulation) | (simulate_live(simulation) if live else {})
    curves = label_savings.curves_of(rounds_of)
    if plot is not None:
        label_savings.plot(curves, plot, f"mean of {len(seeds)} seeds, all trained by {method}; bands: 95 % interval")
    print_rows(label_savings.as_json(curves), json, lambda: label_savings.as_markdown(curves))
