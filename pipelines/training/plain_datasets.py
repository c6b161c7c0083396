"""Plain data sets: an image folder or a torchvision data set, for training without a catalogue.

An image folder is laid out as torchvision's: DIR/train/CLASS/IMAGE and DIR/test/CLASS/IMAGE (or DIR/val). All labels
are known, and a run uses those that its settings allow. Needs neither LanceDB nor FiftyOne.

Shape legend    N images
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradebook.pipelines.importing.file_discovery import printable, walk
from gradebook.pipelines.importing.file_names import DiskNames
from gradebook.pipelines.importing.tables import read_table
from gradebook.pipelines.training.config import ConfigError, DataConfig
from gradebook.pipelines.training.image_loader import ImageArray, ImageFiles, Images
from gradebook.storage.project import ProjectError
from gradebook.storage.samples import Split

MAX_BYTES_IN_MEMORY = 2**29  # of decoded images; larger data sets are decoded from their files each time


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainDataset:
    """One split of a data set."""

    classes: tuple[str, ...]
    names: Sequence[str]  # sample id of each image: its path below the folder, or its number in the data set
    truth: NDArray[np.int64]  # (N,) class of each; -1 in a pool, where it is unknown
    images: Images


def open_dataset(config: DataConfig, root: Path, split: Split, *, size: int) -> PlainDataset:
    """Opens one split; the training split ends with the images of the pool, if there is one.

    Args:
        config: which data set.
        root: its directory, unless `config.images` names another.
        split: training or test images.
        size: side of the images, pixels.

    Raises:
        ConfigError: it is missing, or laid out in another way; the message says what to do.
    """
    directory = Path(config.images).expanduser() if config.images else root
    if config.kind == "folder":
        return _folder(directory, split, size, pool=config.pool if split is Split.TRAIN else "")
    return _torchvision(config.kind, directory, split, size)


def choose_labelled(config: DataConfig, data: PlainDataset, seed: int) -> NDArray[np.int64]:
    """Returns the positions of the labelled images: those of a list, or drawn evenly over the classes.

    Raises:
        ConfigError: the list names images that do not exist, or a class has too few.
    """
    labelled = np.flatnonzero(data.truth >= 0)
    if config.label_list:
        return _listed(Path(config.label_list).expanduser(), data, labelled)
    if config.labels == 0:
        return labelled
    random, chosen = np.random.default_rng([seed, config.labels]), []
    counts = np.full(len(data.classes), config.labels // len(data.classes))
    counts[random.permutation(len(counts))[: config.labels % len(counts)]] += 1
    for label, count in enumerate(counts):
        of_class = np.flatnonzero(data.truth == label)
        if len(of_class) < count:
            raise ConfigError(
                f"class {data.classes[label]} has {len(of_class)} training images, but {count} labels are requested: "
                "give a smaller --data.labels"
            )
        chosen.append(random.choice(of_class, count, replace=False))
    return np.sort(np.concatenate(chosen))


def choose_validation(
    config: DataConfig, data: PlainDataset, labelled: NDArray[np.int64], seed: int
) -> NDArray[np.int64]:
    """Returns the positions of the training images that are held out for `validation_accuracy`.

    Raises:
        ConfigError: too few are left.
    """
    others = np.setdiff1d(np.flatnonzero(data.truth >= 0), labelled)
    if config.validation > len(others):
        raise ConfigError(f"{len(others)} training images are left for validation: give a smaller --data.validation")
    return np.sort(np.random.default_rng([seed, 1]).choice(others, config.validation, replace=False))


def _folder(directory: Path, split: Split, size: int, *, pool: str) -> PlainDataset:
    names = ("train",) if split is Split.TRAIN else ("test", "val")
    root = next((directory / name for name in names if (directory / name).is_dir()), None)
    if root is None:
        raise ConfigError(
            f"{directory} has no folder {' or '.join(names)} with a folder of each class: see --data.images"
        )
    classes = sorted(path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not classes:
        raise ConfigError(f"{root} has no folder of any class: put each image into the folder of its class")
    of_classes = [_image_files(root / name) for name in classes]
    paths = [path for files in of_classes for path in files]
    truth = [label for label, files in enumerate(of_classes) for _ in files]
    if not paths:
        raise ConfigError(f"the class folders of {root} hold no images: correct --data.images")
    more = _pool(Path(pool).expanduser()) if pool else []
    return PlainDataset(
        classes=tuple(classes),
        names=[str(Path(p).relative_to(directory)) for p in paths] + more,
        truth=np.array(truth + [-1] * len(more), np.int64),
        images=_in_memory(ImageFiles(paths + more, size)),
    )


def _in_memory(files: ImageFiles) -> Images:
    """Decodes images that fit into memory; others stay files, decoded each time they are drawn."""
    from multiprocessing.pool import ThreadPool

    from gradebook.storage.images import BrokenImage

    shape = (len(files.filepaths), files.size, files.size, 3)
    if np.prod(shape) > MAX_BYTES_IN_MEMORY:
        return files
    pixels = np.empty(shape, np.uint8)
    try:
        with ThreadPool() as pool:
            for position, image in enumerate(pool.imap(files.read, range(len(pixels)), chunksize=256)):
                pixels[position] = image
    except BrokenImage as error:
        raise ConfigError(f"{error}; put the file back, or take it out of the folder") from error
    return ImageArray(pixels, files.size)


def _pool(path: Path) -> list[str]:
    """Returns the images of a folder, or of a table with a column of paths, such as `gradebook pool` writes."""
    if path.is_dir():
        return sorted(_image_files(path.absolute()))
    names, table = DiskNames(), path.absolute()
    try:
        return [names.find(row.filepath, table.parent) for row in read_table(table, labels=False) if row.filepath]
    except (OSError, ProjectError) as error:
        raise ConfigError(f"{path} is no folder and no table with a column filepath ({error})") from error


def _image_files(folder: Path) -> list[str]:
    """Returns the image files of a folder, at any depth, in torchvision's order.

    Raises:
        ConfigError: one of them cannot be used.
    """
    files = []
    for path, why in walk(str(folder), is_sorted=True):
        if why:
            raise ConfigError(f"{printable(path)}: {why}; or take it out of {folder}")
        files.append(path)
    return sorted(files, key=os.path.split)


def _torchvision(kind: str, directory: Path, split: Split, size: int) -> PlainDataset:
    """Opens CIFAR-10 or SVHN, which torchvision downloads if necessary."""
    from torchvision import datasets

    training = split is Split.TRAIN
    try:
        if kind == "cifar10":
            data: Any = datasets.CIFAR10(str(directory), train=training, download=True)
            pixels, truth, classes = data.data, data.targets, tuple(data.classes)
        else:
            data = datasets.SVHN(str(directory), split="train" if training else "test", download=True)
            pixels, truth, classes = data.data.transpose(0, 2, 3, 1), data.labels, tuple("0123456789")
    except (OSError, RuntimeError) as error:
        raise ConfigError(
            f"{kind} is not in {directory} and cannot be downloaded ({error}): put torchvision's files there, "
            "or use a folder of images with --data.kind folder --data.images DIR"
        ) from error
    names = [f"{kind}/{split}/{number:05d}" for number in range(len(pixels))]
    return PlainDataset(
        classes=classes,
        names=names,
        truth=np.asarray(truth, np.int64),
        images=ImageArray(np.ascontiguousarray(pixels), size),
    )


def _listed(path: Path, data: PlainDataset, known: NDArray[np.int64]) -> NDArray[np.int64]:
    """Returns the positions of the images that a file lists, one per line, by path or by file name."""
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except OSError as error:
        raise ConfigError(
            f"the list of labels {path} cannot be read ({error.strerror}): correct --data.label-list"
        ) from error
    position = {Path(data.names[p]).name: int(p) for p in known} | {data.names[p]: int(p) for p in known}
    missing = [line for line in lines if line not in position]
    if missing:
        raise ConfigError(
            f"{path} names {len(missing)} images that do not exist, such as {missing[0]}: "
            "correct the list or --data.images"
        )
    return np.unique([position[line] for line in lines])
