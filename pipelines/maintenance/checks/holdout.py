"""Drawn test images are samples of the catalogue that no run has learned from, and deletions of runs are complete."""

from collections.abc import Iterator

from gradebook.pipelines.maintenance.checks.finding import Finding, Subject, uses_project_data
from gradebook.storage.project import ProjectError
from gradebook.storage.splits import drawn_for_testing


def drawn_images(subject: Subject) -> Iterator[Finding]:
    """Every drawn test image is in the catalogue, and no run was trained with its label."""
    drawn = drawn_for_testing(subject.store.catalog.split_changes())
    if unknown := drawn - subject.known_ids:
        yield Finding(
            problem=f"{len(unknown)} images that were drawn for testing are not in the catalogue",
            where=tuple(sorted(unknown)),
            advice="import them again: an id is a hash of the image's content, so they are test images again",
        )
    for run in filter(uses_project_data, subject.runs):
        try:
            learned = sorted(drawn & run.labels().keys())
        except ProjectError:
            continue  # `beginnings` reports it
        if learned:
            yield Finding(
                problem=f"{run.name} was trained with the labels of {len(learned)} images that test others now",
                where=tuple(learned),
                advice="nothing is wrong with the project: gradebook evaluate leaves them out for this run",
            )


def deletions_are_complete(subject: Subject) -> Iterator[Finding]:
    """No deletion of a run was interrupted."""
    project = subject.store.project
    for path in sorted(project.runs.glob(".*.deleted")):
        name = path.name.removeprefix(".").removesuffix(".deleted")
        yield Finding(
            problem=f"the deletion of {name} was interrupted",
            where=(str(path),),
            advice=f"complete it: gradebook delete-run {project.root} {name} --yes",
        )
