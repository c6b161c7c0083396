"""Selects a pool of unlabelled images from a folder of any size: the N most probable images of each class.

A trained classifier scores every image, as in Meta Pseudo Labels on ImageNet with a large unlabelled pool (Pham et al.,
2021, section 3.3) and Noisy Student (Xie et al., 2020, section 3.1). Images of the test set are left out, by their
bytes and as near-duplicates.

The result is a table of paths. Images are not copied, moved or changed.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradebook.pipelines.inference.scorer import Scorer, open_scorer
from gradebook.pipelines.pool.checkpoint import (
    Progress,
    append_broken,
    broken_file,
    extend_digest,
    load,
    progress_file,
    save,
    truncate_broken_list,
    write_table,
)
from gradebook.pipelines.pool.file_stream import ImageFile, LoadedImage, batched, image_reader, read_ahead, walk
from gradebook.pipelines.pool.holdout_overlap import HoldoutIndex, Overlap
from gradebook.pipelines.pool.top_k import ScoredImage, TopK
from gradebook.pipelines.process.partition import WHOLE, Part, of_part
from gradebook.pipelines.process.progress import say
from gradebook.storage.project import SETTINGS, ProjectError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BATCH = 64  # files
SAVE_INTERVAL_S = 30.0  # a kill loses at most this much work
MIN_WORK_PER_SAVE = 20  # minimum ratio of work to saving, so that saving takes at most a twentieth of the time


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolReport:
    """The result of `gradebook pool`. Each file counts once among scored, broken, same_as_test and like_test."""

    out: str
    files: int  # image files
    scored: int
    broken: int  # files that cannot be read
    same_as_test: int  # left out: the same bytes as a test image
    like_test: int  # left out: near-duplicates of a test image
    below_threshold: int  # scored images below the threshold
    kept: int  # selected images
    kept_per_class: dict[str, int]
    too_few: tuple[str, ...]  # classes with fewer than N images
    broken_list: str | None  # the list of files that cannot be read
    resumed_at: int  # files that an earlier call had done
    seconds: float  # of this call
    images_per_second: float  # of this call

    def as_json(self) -> dict[str, Any]:
        """Returns the report as plain data."""
        return asdict(self)


def select_pool(  # noqa: PLR0913  # most have a default
    classifier: Path,
    folder: Path,
    out: Path,
    *,
    per_class: int,
    threshold: float = 0.0,
    without: Sequence[Path] = (),
    run: str | None = None,
    part: Part = WHOLE,
    show: Callable[[int], None] = lambda done: None,
    save_interval_s: float = SAVE_INTERVAL_S,
) -> PoolReport:
    """Writes a table of the most probable images of each class, or resumes after a kill.

    Args:
        classifier: directory of an exported classifier, or of a project.
        folder: searched for image files, at any depth.
        out: the table, .csv or .parquet; it must not exist.
        per_class: N, maximum number of images of each class.
        threshold: minimum probability of an image.
        without: test sets to leave out: folders of images, or projects, for their test split. If `classifier` is a
            project, its test split is left out in any case.
        run: the run whose student scores, if `classifier` is a project; by default the newest finished one.
        part: which part of the folder's files to score: see `gradebook.pipelines.process.partition`.
        show: called with the number of files done.
        save_interval_s: seconds between two saves of the progress.

    Raises:
        ProjectError: an input is missing, or `out` exists.
    """
    began = time.perf_counter()
    out, folder = out.expanduser().absolute(), folder.expanduser().absolute()
    _check(folder, out, per_class=per_class, threshold=threshold)
    classifier = classifier.expanduser()
    holdout = _test_images(classifier, without)
    scorer, classifier_digest = open_scorer(classifier, run)
    settings = {
        "folder": str(folder),
        "classifier": classifier_digest,
        "per class": per_class,
        "threshold": threshold,
        "test set": holdout.digest(),
        "part": list(part),
    }
    progress, files = _resume(load(out, settings), folder, part, out)
    truncate_broken_list(progress, out)
    resumed_at, selection = progress.files, _Selection(scorer, TopK(scorer.classes, per_class), progress, out)
    for image in progress.kept:
        selection.top_k.add(image)
    batches = read_ahead(
        batched(files, BATCH), image_reader(scorer.size, holdout.overlap, scorer.ranges), os.cpu_count() or 1
    )
    _score_files(selection, batches, show, save_interval_s)
    return _finish(selection, resumed_at, time.perf_counter() - began)


def _test_images(classifier: Path, without: Sequence[Path]) -> HoldoutIndex:
    """Returns the test images to leave out; prints a message if there are none."""
    own = classifier if (classifier / SETTINGS).exists() else None
    if own is None and not without:
        say("no test images are excluded: name them, or the project, with --without")
    return HoldoutIndex(without, own=own)


def _check(folder: Path, out: Path, *, per_class: int, threshold: float) -> None:
    if per_class < 1 or not 0 <= threshold <= 1:
        raise ProjectError(f"--per-class {per_class} must be above 0, and --threshold {threshold} from 0 to 1")
    if out.suffix not in (".csv", ".parquet"):
        raise ProjectError(f"{out.name} must end in .csv or .parquet, the two formats of the table")
    if out.exists():
        raise ProjectError(f"the file {out} already exists: give the table another name")
    if not out.parent.is_dir():
        raise ProjectError(f"there is no directory {out.parent} for the table: create it first")
    if not folder.is_dir():
        raise ProjectError(f"there is no folder {folder}: give one with images in it, at any depth")


def _resume(progress: Progress, folder: Path, part: Part, out: Path) -> tuple[Progress, Iterator[ImageFile]]:
    """Returns the progress and the files that are left. Both start over if the folder has changed."""
    files = of_part(walk(str(folder)), part)
    done = (file.filepath for file in islice(files, progress.files))
    if extend_digest("", done) == progress.digest:
        return progress, files
    say(f"{folder} has changed since {progress_file(out).name} was saved, so every image is scored again")
    return Progress(settings=progress.settings), of_part(walk(str(folder)), part)


@dataclass(frozen=True, slots=True)
class _Selection:
    """The state of a selection in progress."""

    scorer: Scorer
    top_k: TopK
    progress: Progress
    out: Path  # the table


def _score_files(
    selection: _Selection,
    batches: Iterator[tuple[list[ImageFile], list[LoadedImage]]],
    show: Callable[[int], None],
    save_interval_s: float,
) -> None:
    """Scores batches of files, and saves the progress periodically."""
    progress = selection.progress
    saved_at, save_seconds = time.perf_counter(), 0.0
    for batch, images in batches:
        _score_batch(selection, images)
        progress.files += len(batch)
        progress.digest = extend_digest(progress.digest, (file.filepath for file in batch))
        show(progress.files)
        if time.perf_counter() - saved_at >= max(save_interval_s, MIN_WORK_PER_SAVE * save_seconds):
            saved_at = time.perf_counter()
            save(progress, selection.top_k, selection.out)
            save_seconds = time.perf_counter() - saved_at


def _score_batch(selection: _Selection, images: Sequence[LoadedImage]) -> None:
    """Scores a batch, selects from it and counts it."""
    progress, scorer = selection.progress, selection.scorer
    broken = [(image.filepath, image.error) for image in images if image.error]
    append_broken(progress, broken, selection.out)
    progress.broken += len(broken)
    progress.same += sum(image.overlap is Overlap.SAME for image in images)
    progress.alike += sum(image.overlap is Overlap.ALIKE for image in images)
    usable = [(image, image.pixels) for image in images if image.pixels is not None]
    progress.scored += len(usable)
    threshold = float(progress.settings["threshold"])
    for (image, _), row in zip(usable, _scores(scorer, [pixels for _, pixels in usable]), strict=True):
        best = int(row.argmax())
        probability = float(row[best])
        if probability < threshold:
            progress.unsure += 1
            continue
        label = scorer.classes[best]
        scored = ScoredImage(filepath=image.filepath, sample_id=image.sample_id, label=label, probability=probability)
        selection.top_k.add(scored)


def _scores(scorer: Scorer, pixels: "list[NDArray[np.uint8]]") -> "NDArray[np.float32]":
    import numpy as np

    return scorer.probabilities(np.stack(pixels)) if pixels else np.empty((0, len(scorer.classes)), np.float32)


def _finish(selection: _Selection, resumed_at: int, seconds: float) -> PoolReport:
    """Writes the table, deletes the progress, and returns the report."""
    progress, out = selection.progress, selection.out
    if progress.files == 0:
        raise ProjectError(
            f"there are no images in {progress.settings['folder']}: files are recognised as images by their suffix"
        )
    write_table(selection.top_k, out)
    progress_file(out).unlink(missing_ok=True)
    counts = selection.top_k.counts()
    return PoolReport(
        out=str(out),
        files=progress.files,
        scored=progress.scored,
        broken=progress.broken,
        same_as_test=progress.same,
        like_test=progress.alike,
        below_threshold=progress.unsure,
        kept=sum(counts.values()),
        kept_per_class=counts,
        too_few=tuple(name for name, number in counts.items() if number < progress.settings["per class"]),
        broken_list=str(broken_file(out)) if progress.broken else None,
        resumed_at=resumed_at,
        seconds=round(seconds, 1),
        images_per_second=round((progress.files - resumed_at) / max(seconds, 1e-9), 1),
    )
