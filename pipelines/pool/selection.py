"""A pool for semi-supervised training: the surest images of each class, out of a folder of any size.

A model that was trained on the labels scores every image, and the N that it is surest of are kept of each class, as in
Meta Pseudo Labels on ImageNet with a large unlabelled pool (Pham et al., 2021, section 3.3) and Noisy Student (Xie et
al., 2020, section 3.1). Images of the test set are left out, by their bytes and where they look almost the same.

Nothing is copied, moved or changed: what comes out is a table of paths.
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
    broken_file,
    cut_list,
    digest_with,
    list_broken,
    load,
    progress_file,
    save,
    write,
)
from gradebook.pipelines.pool.file_stream import Found, Read, batches, read_ahead, reader, walk
from gradebook.pipelines.pool.holdout_overlap import LeftOut, Overlap
from gradebook.pipelines.pool.top_k import Kept, Surest
from gradebook.pipelines.process.partition import WHOLE, Part, of_part
from gradebook.pipelines.process.progress import say
from gradebook.storage.project import ProjectError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BATCH = 64  # files at a time
EVERY = 30.0  # seconds between two saves: what a kill loses at most
SHARE = 20  # and at least so many times what a save takes


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolReport:
    """What `gradebook pool` answers. Each file counts once among scored, broken, same_as_test and like_test."""

    out: str
    files: int  # image files
    scored: int
    broken: int  # files that cannot be used
    same_as_test: int  # left out: the bytes of a test image
    like_test: int  # left out: near-duplicates of a test image
    below_threshold: int  # of those scored
    kept: int
    kept_per_class: dict[str, int]
    too_few: tuple[str, ...]  # classes with fewer images than were asked for
    broken_list: str | None  # the file that names those that cannot be used
    resumed_at: int  # files that an earlier call had done
    seconds: float  # of this call
    images_per_second: float  # of this call

    def as_json(self) -> dict[str, Any]:
        """Returns it as plain data."""
        return asdict(self)


def pool(
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
    every: float = EVERY,
) -> PoolReport:
    """Writes a table of the surest images of each class, the surest first, or goes on with it after a kill.

    Args:
        classifier: directory of an exported classifier, or of a project.
        folder: searched through for image files.
        out: the table, .csv or .parquet; it must not exist.
        per_class: N, images to keep of each class at most.
        threshold: probability from which an image may be kept.
        without: test sets to leave out: folders of images, or projects, of which the test split counts.
        run: the run whose student scores, where `classifier` is a project; without one, the newest that finished.
        part: which part of the folder's files to look at: see `gradebook.pipelines.process.partition`.
        show: called now and then with the files done.
        every: seconds between two saves of the progress.

    Raises:
        ProjectError: something that is needed is not there, or `out` is; the sentence says what to do.
    """
    began = time.perf_counter()
    out, folder = out.expanduser().absolute(), folder.expanduser().absolute()
    _check(folder, out, per_class=per_class, threshold=threshold)
    left_out = LeftOut(without)
    scorer, which = open_scorer(classifier.expanduser(), run)
    settings = {
        "folder": str(folder),
        "classifier": which,
        "per class": per_class,
        "threshold": threshold,
        "test set": left_out.digest(),
        "part": list(part),
    }
    done, files = _resumed(load(out, settings), folder, part, out)
    cut_list(done, out)
    resumed_at, surest = done.files, Surest(scorer.classes, per_class)
    for image in done.kept:
        surest.add(image)
    read = reader(scorer.size, left_out.overlap)
    saved, cost = time.perf_counter(), 0.0
    for found, images in read_ahead(batches(files, BATCH), read, os.cpu_count() or 1):
        _take(images, scorer, surest, done, out)
        done.files += len(found)
        done.digest = digest_with(done.digest, (one.filepath for one in found))
        show(done.files)
        if time.perf_counter() - saved >= max(every, SHARE * cost):
            saved = time.perf_counter()
            save(done, surest, out)
            cost = time.perf_counter() - saved
    return _finished(done, surest, out, resumed_at, time.perf_counter() - began)


def _check(folder: Path, out: Path, *, per_class: int, threshold: float) -> None:
    if per_class < 1 or not 0 <= threshold <= 1:
        raise ProjectError(f"--per-class {per_class} must be above 0, and --threshold {threshold} from 0 to 1")
    if out.suffix not in (".csv", ".parquet"):
        raise ProjectError(f"{out.name} must end in .csv or .parquet: that is how the table is written")
    if out.exists():
        raise ProjectError(f"there is a file {out} already: give the table another name")
    if not out.parent.is_dir():
        raise ProjectError(f"there is no directory {out.parent} for the table: make it first")
    if not folder.is_dir():
        raise ProjectError(f"there is no folder {folder}: give one that has images in it, at any depth")


def _resumed(done: Progress, folder: Path, part: Part, out: Path) -> tuple[Progress, Iterator[Found]]:
    """Returns the progress and the files that are left; both from the beginning if the folder is not what it was."""
    files = of_part(walk(str(folder)), part)
    passed = (one.filepath for one in islice(files, done.files))
    if digest_with("", passed) == done.digest:
        return done, files
    say(f"{folder} has changed since {progress_file(out).name} was saved, so every image is scored again")
    return Progress(settings=done.settings), of_part(walk(str(folder)), part)


def _take(images: Sequence[Read], scorer: Scorer, surest: Surest, done: Progress, out: Path) -> None:
    """Scores a batch and keeps what is sure enough."""
    broken = [(image.filepath, image.broken) for image in images if image.broken]
    list_broken(done, broken, out)
    done.broken += len(broken)
    done.same += sum(image.overlap is Overlap.SAME for image in images)
    done.alike += sum(image.overlap is Overlap.ALIKE for image in images)
    usable = [(image, image.pixels) for image in images if image.pixels is not None]
    done.scored += len(usable)
    threshold = float(done.settings["threshold"])
    for (image, _), row in zip(usable, _scores(scorer, [pixels for _, pixels in usable]), strict=True):
        best = int(row.argmax())
        probability = float(row[best])
        if probability < threshold:
            done.unsure += 1
            continue
        name = scorer.classes[best]
        surest.add(Kept(filepath=image.filepath, sample_id=image.sample_id, label=name, probability=probability))


def _scores(scorer: Scorer, pixels: "list[NDArray[np.uint8]]") -> "NDArray[np.float32]":
    import numpy as np

    return scorer.probabilities(np.stack(pixels)) if pixels else np.empty((0, len(scorer.classes)), np.float32)


def _finished(done: Progress, surest: Surest, out: Path, resumed_at: int, seconds: float) -> PoolReport:
    """Writes the table, takes the progress away, and tells how it went."""
    if done.files == 0:
        raise ProjectError(
            f"there are no images in {done.settings['folder']}: files count as images by how their names end"
        )
    write(surest, out)
    progress_file(out).unlink(missing_ok=True)
    counts = surest.counts()
    return PoolReport(
        out=str(out),
        files=done.files,
        scored=done.scored,
        broken=done.broken,
        same_as_test=done.same,
        like_test=done.alike,
        below_threshold=done.unsure,
        kept=sum(counts.values()),
        kept_per_class=counts,
        too_few=tuple(name for name, number in counts.items() if number < done.settings["per class"]),
        broken_list=str(broken_file(out)) if done.broken else None,
        resumed_at=resumed_at,
        seconds=round(seconds, 1),
        images_per_second=round((done.files - resumed_at) / max(seconds, 1e-9), 1),
    )
