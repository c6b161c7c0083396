"""Simulates a reviewer who labels while a live session trains.

The reviewer answers one image after the other, as on the page Review: the next `PREFETCHED` images stay, and the order
behind them follows each snapshot. Between two answers the session trains as many steps as after a new label. Whenever
the reviewer has given a batch of labels, the newest snapshot is measured on the test images, and so is a run that is
trained from scratch on the same labels. Test images are never used to choose.
"""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from gradebook.pipelines.process.progress import say
from gradebook.pipelines.runs import Run
from gradebook.pipelines.studies import active_learning
from gradebook.pipelines.studies.active_learning import REVIEWER, Curves, Round, Simulation, SimulationData
from gradebook.pipelines.training.config import ConfigError

if TYPE_CHECKING:
    from gradebook.pipelines.session.session_run import SessionRun
    from gradebook.storage.store import Store

LIVE, SCRATCH = "live", "live, trained from scratch"  # names of the curves
PREFETCHED = 8  # images that the reviewer's browser holds


def simulate_live(simulation: Simulation) -> Curves:
    """Returns the two curves for all seeds. Results that are saved already are not computed again.

    Raises:
        ConfigError: the simulation begins without labels.
    """
    if not simulation.start:
        raise ConfigError("a live session begins with labels of two classes: give --start of at least 1 with --live")
    data, curves = active_learning.prepare_data(simulation), Curves()
    for seed in simulation.seeds:
        for name, rounds in _curves(simulation, data, seed).items():
            curves.setdefault(name, {})[seed] = rounds
    return curves


def _curves(simulation: Simulation, data: SimulationData, seed: int) -> dict[str, list[Round]]:
    """Returns the curves of the session's snapshots and of runs trained from scratch on the same labels.

    A simulation that is interrupted starts again, because a session's state is not saved.
    """
    root = simulation.results / f"seed-{seed}" / "live"
    paths = {name: root.parent / f"{name.replace(', ', '-').replace(' ', '-')}.json" for name in (LIVE, SCRATCH)}
    saved = {name: active_learning.read_rounds(path) for name, path in paths.items()}
    if all(len(rounds) > simulation.rounds for rounds in saved.values()):
        return {name: rounds[: simulation.rounds + 1] for name, rounds in saved.items()}
    shutil.rmtree(root, ignore_errors=True)
    curves = _simulate(simulation, data, root, seed)
    for name, path in paths.items():
        active_learning.write_rounds(path, curves[name])
    return curves


def _simulate(simulation: Simulation, data: SimulationData, root: Path, seed: int) -> dict[str, list[Round]]:
    from gradebook.pipelines.session import session_run as runs_of_session
    from gradebook.pipelines.session.log_reader import LogReader

    store = active_learning.labelled_store(data, root, [active_learning.first_labels(simulation, data, seed)])
    config = replace(runs_of_session.new_config(store, simulation.method, seed), live=True)
    reader = LogReader(store)
    reader.read()
    session = runs_of_session.begin(store, config, reader)
    curves: dict[str, list[Round]] = {LIVE: [], SCRATCH: []}
    held: list[str] = []
    try:
        _train_until_settled(session)
        while True:
            measured = _measure(simulation, store, session, seed)
            for name, round_ in measured.items():
                curves[name].append(round_)
            if len(curves[LIVE]) > simulation.rounds:
                return curves
            for _ in range(simulation.batch):
                held = _next_images(store, session, held)
                _answer(data, store, session, held.pop(0))
    finally:
        session.state.recorder.close()
        shutil.rmtree(session.state.path, ignore_errors=True)


def _train_until_settled(session: "SessionRun") -> None:
    from gradebook.pipelines.session import trainer

    while True:
        trainer.train_burst(session)
        if trainer.publish(session):
            return


def _next_images(store: "Store", session: "SessionRun", held: list[str]) -> list[str]:
    """Returns the images that the browser holds, filled up by the newest snapshot."""
    from gradebook.pipelines.curation.review_queue import rank

    rows = rank(store, Run(session.state.path), limit=2 * PREFETCHED, spread=True)
    return [*held, *(row.sample_id for row in rows if row.sample_id not in held)][:PREFETCHED]


def _answer(data: SimulationData, store: "Store", session: "SessionRun", sample_id: str) -> None:
    """Gives the true label of an image, and lets the session publish a snapshot that includes it."""
    from gradebook.pipelines.curation.labelling import label_samples
    from gradebook.pipelines.session import session_run as runs_of_session
    from gradebook.pipelines.session import trainer

    label_samples(store, {sample_id: data.truth[sample_id]}, who=REVIEWER)
    runs_of_session.take_labels(session, at_once=True)
    trainer.train_burst(session)
    trainer.publish(session)


def _measure(simulation: Simulation, store: "Store", session: "SessionRun", seed: int) -> dict[str, Round]:
    """Returns the accuracy of the newest snapshot, and of a run trained from scratch, on the test images."""
    labels = session.publisher.newest.labels
    scratch = active_learning.trained(simulation, store, seed)
    rounds = {
        LIVE: Round(labels=labels, accuracy=active_learning.accuracy_of(store, Run(session.state.path))),
        SCRATCH: Round(labels=labels, accuracy=active_learning.accuracy_of(store, scratch)),
    }
    shutil.rmtree(scratch.path, ignore_errors=True)
    say(f"seed {seed}, {labels} labels: " + ", ".join(f"{n} {r.accuracy:.1%}" for n, r in rounds.items()))
    return rounds
