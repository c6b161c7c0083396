"""Simulates active learning: a scripted reviewer labels what each strategy chooses, round after round.

A round trains, measures accuracy on the test images (reported, never used to choose), lets the strategy choose, and
adds the true labels as a person's verdicts. All strategies have the same training and, for a seed, the same first
labels. Each round is saved below `work` when it is done, so an interrupted simulation continues.
"""

import json
import shutil
from dataclasses import asdict, dataclass, field, replace
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gradebook.pipelines.process.progress import say
from gradebook.pipelines.process.run_status import State
from gradebook.pipelines.runs import Run
from gradebook.pipelines.studies.query_strategies import RoundState, Strategy, find_strategy
from gradebook.pipelines.training.config import ConfigError
from gradebook.storage.events import replay
from gradebook.storage.files import write_json
from gradebook.storage.log import MemoryLog
from gradebook.storage.record import MemoryRecord
from gradebook.storage.samples import Split
from gradebook.storage.store import Store, memory_store

REVIEWER = "simulated"  # the actor of its verdicts
STRATEGIES = ("random", "entropy", "margin", "k_centre", "badge", "skactiveml:TypiClust", "ours")


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulation:
    """Options of a simulation."""

    train: Path  # images to label, in a folder for each class
    test: Path  # test images, in a folder for each class
    work: Path  # directory for the project and the results
    strategies: tuple[str, ...] = STRATEGIES
    start: int = 2  # random first labels of each class; with 0 the strategies choose these too
    batch: int = 20  # labels per round
    rounds: int = 5  # rounds of labelling; there is one more training
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    method: str = "mpl"
    steps: int = 0  # of each training; 0 for the preset's
    take: int = 0  # random training images (seed 0); 0 for all
    take_test: int = 0  # random test images (seed 0); 0 for all

    def __post_init__(self) -> None:
        for name, minimum in (("start", 0), ("batch", 1), ("rounds", 1), ("steps", 0), ("take", 0), ("take_test", 0)):
            if getattr(self, name) < minimum:
                raise ConfigError(f"{name}={getattr(self, name)} must be at least {minimum}")
        if not self.seeds or not self.strategies:
            raise ConfigError("give at least one seed and one strategy")

    @property
    def results(self) -> Path:
        """The directory of results with these settings. Other rounds, seeds and strategies add to it."""
        return self.work / f"{self.method}-{self.steps or 'all'}-start-{self.start}-batch-{self.batch}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One training, and the samples that the strategy chose after it. The fields are the format on disk."""

    labels: int  # so far, including the first ones
    accuracy: float | None  # on the test images; None before the first label
    picked: tuple[str, ...] = ()  # ids of the samples that the strategy chose next


Curves = dict[str, dict[int, list[Round]]]  # strategy -> seed -> its rounds


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationData:
    """The images of a simulation, with embeddings in memory, so that they are read once for all trainings."""

    store: Store
    truth: dict[str, str]  # training sample -> class name
    features: NDArray[np.float32]  # (N, D) plain views, in order of `truth`
    row: dict[str, int] = field(repr=False)  # sample -> row of `features`

    def plain(self, ids: list[str]) -> NDArray[np.float32]:
        """Returns the features (n, D) of these samples."""
        return self.features[[self.row[i] for i in ids]]


def simulate(simulation: Simulation) -> Curves:
    """Returns the curves of all strategies and seeds. Rounds that are saved already are not trained again.

    Raises:
        ConfigError: there is no such strategy or method, or its library is not installed.
    """
    strategies = {name: find_strategy(name) for name in simulation.strategies}
    data = prepare_data(simulation)
    curves: Curves = {name: {} for name in simulation.strategies}
    for seed in simulation.seeds:
        for name, strategy in strategies.items():
            curves[name][seed] = _curve(simulation, data, name, strategy, seed)
    return curves


def prepare_data(simulation: Simulation) -> SimulationData:
    """Returns the images, after importing and embedding them below `work` if needed."""
    from gradebook.pipelines.studies.method_comparison import Report, prepare_project

    images = Report(
        train=simulation.train,
        test=simulation.test,
        work=simulation.work,
        take=simulation.take,
        take_test=simulation.take_test,
    )
    on_disk = prepare_project(images)
    return load_data(on_disk, {s.sample_id: Path(s.filepath).parent.name for s in on_disk.catalog.samples(Split.TRAIN)})


def load_data(on_disk: Store, truth: dict[str, str]) -> SimulationData:
    """Returns a project's images and embeddings in memory, without the labels of its training samples.

    Args:
        on_disk: a project with embeddings of one backbone, and labels for its test samples.
        truth: the class name of every training sample.
    """
    (space,) = on_disk.vectors.spaces()
    samples = on_disk.catalog.samples()
    ids = [s.sample_id for s in samples]
    views = on_disk.vectors.read(space.backbone, ids)
    store = memory_store(on_disk.project)
    store.catalog.add(samples, [])
    store.vectors.create(space)
    store.vectors.add(space.backbone, ids, views)
    store.log.append([e for e in on_disk.log.read() if e.sample_id not in truth])
    where = {i: k for k, i in enumerate(ids)}
    rows = [where[i] for i in truth]
    features = np.ascontiguousarray(views[rows, 0], np.float32)
    return SimulationData(store=store, truth=truth, features=features, row={i: k for k, i in enumerate(truth)})


def _curve(simulation: Simulation, data: SimulationData, name: str, strategy: Strategy, seed: int) -> list[Round]:
    """Returns the rounds of one strategy and seed."""
    path = simulation.results / f"seed-{seed}" / f"{name.replace(':', '-')}.json"
    rounds = read_rounds(path)
    while len(rounds) <= simulation.rounds:
        verdicts = [first_labels(simulation, data, seed), *(round_.picked for round_ in rounds)]
        store = labelled_store(data, path.parent, verdicts)
        run = trained(simulation, store, seed) if any(verdicts) else None
        accuracy = None if run is None else accuracy_of(store, run)
        state = _state(data, store, run, np.random.default_rng([seed, len(rounds)]))
        batch = simulation.batch if len(rounds) < simulation.rounds else 0
        picked = tuple(strategy(state, batch)) if batch else ()
        rounds.append(Round(labels=len(state.labelled), accuracy=accuracy, picked=picked))
        write_rounds(path, rounds)
        _clean_up(run, keep=len(verdicts) <= 2)
        if accuracy is not None:
            say(f"seed {seed}, {name}: {100 * accuracy:.1f} % with {len(state.labelled)} labels")
    return rounds[: simulation.rounds + 1]


def first_labels(simulation: Simulation, data: SimulationData, seed: int) -> tuple[str, ...]:
    """Returns the first samples to label: `start` random ones of each class."""
    random = np.random.default_rng([seed, simulation.start])
    of_class = {name: [i for i, label in data.truth.items() if label == name] for name in data.store.project.classes}
    return tuple(ids[k] for ids in of_class.values() for k in random.permutation(len(ids))[: simulation.start])


def labelled_store(data: SimulationData, root: Path, given: list[tuple[str, ...]]) -> Store:
    """Returns a project with the same images, where the reviewer has given the true labels of these rounds."""
    from gradebook.pipelines.curation.labelling import label_samples

    project = replace(data.store.project, root=root.absolute())
    store = replace(data.store, project=project, log=MemoryLog(), record=MemoryRecord())
    store.log.append(data.store.log.read())
    for picked in given:
        label_samples(store, {i: data.truth[i] for i in picked}, who=REVIEWER)
    return store


def trained(simulation: Simulation, store: Store, seed: int) -> Run:
    """Returns the finished run on the current labels. Its name is their hash, so the same labels are trained once."""
    from gradebook.pipelines.training.config import TrainCommand
    from gradebook.pipelines.training.presets import preset_of
    from gradebook.pipelines.training.trainer import train

    name = blake2b("\n".join(sorted(replay(store.log.read()))).encode(), digest_size=8).hexdigest()
    run = Run(store.project.runs / name)
    if run.status().state is State.FINISHED:
        return run
    shutil.rmtree(run.path, ignore_errors=True)
    config = preset_of("quick", simulation.method)
    steps = simulation.steps or config.steps
    config = replace(config, run=name, seed=seed, steps=steps, validation_share=0.0, checkpoint_every=steps, live=False)
    config = replace(config, backbone=store.vectors.spaces()[0].backbone)
    train(TrainCommand(project=store.project.root, config=config), store)
    if run.status().state is not State.FINISHED:  # the training was stopped
        raise KeyboardInterrupt
    return run


def accuracy_of(store: Store, run: Run) -> float:
    """Returns the accuracy of a run on the test images."""
    from gradebook.pipelines.inference.evaluate import evaluate

    return evaluate(store, run).accuracy


def _state(data: SimulationData, store: Store, run: Run | None, random: np.random.Generator) -> RoundState:
    labels = replay(store.log.read())
    classes = store.project.classes
    return RoundState(
        store=store,
        run=run,
        candidates=[i for i in data.truth if i not in labels],
        labelled={i: classes.index(labels[i]) for i in data.truth if i in labels},
        classes=len(classes),
        features=data.plain,
        random=random,
    )


def _clean_up(run: Run | None, *, keep: bool) -> None:
    """Removes a run's files; of the first run, which the strategies share, only the checkpoints."""
    if run is not None:
        shutil.rmtree(run.path / "checkpoints" if keep else run.path, ignore_errors=True)


def read_rounds(path: Path) -> list[Round]:
    """Returns the rounds that are saved in a file, none if there is no file."""
    if not path.exists():
        return []
    rows = json.loads(path.read_text(encoding="utf-8"))
    return [Round(labels=row["labels"], accuracy=row["accuracy"], picked=tuple(row["picked"])) for row in rows]


def write_rounds(path: Path, rounds: list[Round]) -> None:
    """Saves rounds in a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, [asdict(round_) for round_ in rounds], indent=1)
