"""Reads image classes from CVAT's XML ("CVAT for images 1.1"): the tags of each image."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.etree import ElementTree

from gradebook.pipelines.importing.source_tables import SourceRow, locate
from gradebook.storage.project import ProjectError

SUFFIX = ".xml"
DECLARATIONS = (b"<!DOCTYPE", b"<!ENTITY")  # could make a small file expand to a large one; CVAT writes none


def read_rows(source: Path, folders: Sequence[Path]) -> Iterator[SourceRow]:
    """Yields the images of an XML file with their tags; an image without a tag has no label.

    Args:
        source: the file.
        folders: where the images may be.

    Raises:
        ProjectError: it is not an XML file of CVAT.
    """
    content = source.read_bytes()
    if any(mark in content for mark in DECLARATIONS):
        raise ProjectError(f"{source} declares a document type, which CVAT's files do not: export it again")
    try:
        root = ElementTree.fromstring(content)
    except ElementTree.ParseError as error:
        raise ProjectError(f"{source} is not an XML file that can be read ({error}): export it again") from error
    if root.tag != "annotations":
        raise ProjectError(f"{source} is not a file of CVAT: export the task as CVAT for images 1.1")
    by = root.findtext("./meta/task/assignee/username") or root.findtext("./meta/job/assignee/username") or ""
    for image in root.iter("image"):
        filepath = locate([image.get("name", "")], folders)
        tags = [tag.get("label", "") for tag in image.iter("tag")]
        for label in tags or [""]:
            yield SourceRow(filepath, label, image.get("subset", ""), by if label else "")
