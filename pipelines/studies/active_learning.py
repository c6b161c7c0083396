"""A scripted reviewer labels what each strategy picks, round after round: what does a label that a person types buy?

One round trains, looks at the test images (reported, never used to choose), lets the strategy pick, and gives the
true labels in the way a person's verdicts are given. All strategies have the same training and, a seed, the same
start. Every round is kept below `work` when it is done, so an interrupted simulation goes on.
"""

import json
import shutil
from dataclasses import asdict, dataclass, field, replace
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gradebook.pipelines.process.progress import say
from gradebook.pipelines.runs import Run, State
from gradebook.pipelines.studies.query_strategies import Picker, Scene, picker
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
    """What to simulate, and on what."""

    train: Path  # images to label, a folder a class
    test: Path  # images to measure on, a folder a class
    work: Path  # directory for the project and the results
    strategies: tuple[str, ...] = STRATEGIES
    start: int = 2  # labels a class to start with, drawn; 0 lets the strategies pick from the first label on
    batch: int = 20  # labels a round
    rounds: int = 5  # of labelling; there is one training more
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    method: str = "mpl"
    steps: int = 0  # of each training; 0 for the preset's
    take: int = 0  # training images to draw (seed 0); 0 takes all
    take_test: int = 0

    def __post_init__(self) -> None:
        for name, least in (("start", 0), ("batch", 1), ("rounds", 1), ("steps", 0), ("take", 0), ("take_test", 0)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name}={getattr(self, name)} must be at least {least}")
        if not self.seeds or not self.strategies:
            raise ConfigError("give at least one seed and one strategy")

    @property
    def kept(self) -> Path:
        """Where results of these settings lie; other rounds, seeds and strategies add to them."""
        return self.work / f"{self.method}-{self.steps or 'all'}-start-{self.start}-batch-{self.batch}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One training of a simulation."""

    labels: int  # typed so far, those of the start included
    accuracy: float | None  # on the test images; None where nothing was labelled yet, so nothing trained
    picked: tuple[str, ...] = ()  # sample ids that the strategy asked for next; none where nobody asked


Curves = dict[str, dict[int, list[Look]]]  # strategy -> seed -> its trainings


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """The images of a simulation, in memory: vectors are read once for all trainings."""

    store: Store
    truth: dict[str, str]  # training sample -> class name
    features: NDArray[np.float32]  # (N, D) plain views, in order of `truth`
    place: dict[str, int] = field(repr=False)  # sample -> row of `features`

    def plain(self, ids: list[str]) -> NDArray[np.float32]:
        """Returns the features (n, D) of these samples."""
        return self.features[[self.place[i] for i in ids]]


def simulate(asked: Simulation) -> Curves:
    """Returns the curves of all strategies and seeds, from what is kept and by training what is missing.

    Raises:
        ConfigError: there is no such strategy or method, or its library is not installed.
    """
    pickers = {name: picker(name) for name in asked.strategies}
    world = opened(asked)
    curves: Curves = {name: {} for name in asked.strategies}
    for seed in asked.seeds:
        for name, who in pickers.items():
            curves[name][seed] = _curve(asked, world, name, who, seed)
    return curves


def opened(asked: Simulation) -> World:
    """Returns the images, imported and embedded below `work` unless they are already."""
    from gradebook.pipelines.studies.method_comparison import Report, prepared

    images = Report(train=asked.train, test=asked.test, work=asked.work, take=asked.take, take_test=asked.take_test)
    on_disk = prepared(images)
    return world_of(on_disk, {s.sample_id: Path(s.filepath).parent.name for s in on_disk.catalog.samples(Split.TRAIN)})


def world_of(on_disk: Store, truth: dict[str, str]) -> World:
    """Returns a project's images and vectors in memory; its training samples have no label there.

    Args:
        on_disk: a project with vectors of one backbone, and with labels for its test samples.
        truth: every training sample's class name.
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
    return World(store=store, truth=truth, features=features, place={i: k for k, i in enumerate(truth)})


def _curve(asked: Simulation, world: World, strategy: str, who: Picker, seed: int) -> list[Look]:
    """Returns the trainings of one strategy and seed."""
    path = asked.kept / f"seed-{seed}" / f"{strategy.replace(':', '-')}.json"
    looks = _read(path)
    while len(looks) <= asked.rounds:
        given = [_start(asked, world, seed), *(look.picked for look in looks)]
        store = _labelled(world, path.parent, given)
        run = _trained(asked, store, seed) if any(given) else None
        accuracy = None if run is None else _accuracy(store, run)
        scene = _scene(world, store, run, np.random.default_rng([seed, len(looks)]))
        wanted = asked.batch if len(looks) < asked.rounds else 0
        picked = tuple(who(scene, wanted)) if wanted else ()
        looks.append(Look(labels=len(scene.labelled), accuracy=accuracy, picked=picked))
        _write(path, looks)
        _tidy(run, keep=len(given) <= 2)
        if accuracy is not None:
            say(f"seed {seed}, {strategy}: {100 * accuracy:.1f} % with {len(scene.labelled)} labels")
    return looks[: asked.rounds + 1]


def _start(asked: Simulation, world: World, seed: int) -> tuple[str, ...]:
    """Returns the samples that are labelled at the start: `start` a class, drawn with the seed."""
    random = np.random.default_rng([seed, asked.start])
    of_class = {name: [i for i, label in world.truth.items() if label == name] for name in world.store.project.classes}
    return tuple(ids[k] for ids in of_class.values() for k in random.permutation(len(ids))[: asked.start])


def _labelled(world: World, root: Path, given: list[tuple[str, ...]]) -> Store:
    """Returns a project of its own with the same images, where the reviewer has answered these rounds truly."""
    from gradebook.pipelines.curation.labelling import label_samples

    project = replace(world.store.project, root=root.absolute())
    store = replace(world.store, project=project, log=MemoryLog(), record=MemoryRecord())
    store.log.append(world.store.log.read())
    for picked in given:
        label_samples(store, {i: world.truth[i] for i in picked}, who=REVIEWER)
    return store


def _trained(asked: Simulation, store: Store, seed: int) -> Run:
    """Returns the finished run on the labels that there are; its name comes from them, so it is trained once."""
    from gradebook.pipelines.train import train
    from gradebook.pipelines.training.presets import TrainCommand, preset_of

    name = blake2b("\n".join(sorted(replay(store.log.read()))).encode(), digest_size=8).hexdigest()
    run = Run(store.project.runs / name)
    if run.status().state is State.FINISHED:
        return run
    shutil.rmtree(run.path, ignore_errors=True)
    config = preset_of("quick", asked.method)
    steps = asked.steps or config.steps
    config = replace(config, run=name, seed=seed, steps=steps, validation_share=0.0, checkpoint_every=steps, live=False)
    config = replace(config, backbone=store.vectors.spaces()[0].backbone)
    train(TrainCommand(project=store.project.root, config=config), store)
    if run.status().state is not State.FINISHED:  # it was asked to stop, and stops as a training does
        raise KeyboardInterrupt
    return run


def _accuracy(store: Store, run: Run) -> float:
    from gradebook.pipelines.inference.evaluate import evaluate

    return evaluate(store, run).accuracy


def _scene(world: World, store: Store, run: Run | None, random: np.random.Generator) -> Scene:
    given = replay(store.log.read())
    classes = store.project.classes
    return Scene(
        store=store,
        run=run,
        candidates=[i for i in world.truth if i not in given],
        labelled={i: classes.index(given[i]) for i in world.truth if i in given},
        classes=len(classes),
        features=world.plain,
        random=random,
    )


def _tidy(run: Run | None, *, keep: bool) -> None:
    """Removes what a run wrote; of the first one, which strategies share, only what is large."""
    if run is not None:
        shutil.rmtree(run.path / "checkpoints" if keep else run.path, ignore_errors=True)


def _read(path: Path) -> list[Look]:
    if not path.exists():
        return []
    rows = json.loads(path.read_text(encoding="utf-8"))
    return [Look(labels=row["labels"], accuracy=row["accuracy"], picked=tuple(row["picked"])) for row in rows]


def _write(path: Path, looks: list[Look]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, [asdict(look) for look in looks], indent=1)
