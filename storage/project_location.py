"""Whether the directory of a new project is among images, so that an import of these would find the project's files."""

from pathlib import Path

MIN_IMAGES = 3  # of a folder of images around a new project; one or two may lie anywhere


def images_around(root: Path) -> Path | None:
    """Returns the directory of images that a new project at `root` would be among, None if there is none."""
    below = [path for path in _visible(root) if path.is_dir() and any(_images(path))]
    if any(_images(root)) or len(below) > 1:
        return root
    around = [path for path in _visible(root.parent) if path.is_file()]
    images = len(_images(root.parent))
    is_among = root.parent != Path.home() and images >= MIN_IMAGES and images > len(around) / 2
    return root.parent if is_among else None


def _images(directory: Path) -> list[Path]:
    from gradebook.storage.images import is_image

    return [path for path in _visible(directory) if is_image(path) and path.is_file()]


def _visible(directory: Path) -> list[Path]:
    """Returns what is in a directory, without hidden files; nothing where there is none, or it cannot be read."""
    try:
        return [path for path in directory.iterdir() if not path.name.startswith(".")]
    except OSError:
        return []
