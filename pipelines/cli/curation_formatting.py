"""What the commands on classes, test images and audits print without `--json`."""

from collections.abc import Mapping
from typing import Any

from gradebook.pipelines.cli.formatting import listed
from gradebook.storage.characters import escaped


def classes_table(rows: list[dict[str, Any]]) -> str:
    """Returns the classes with their keys and labels, one a line."""
    if not rows:
        return "no class yet: add some with --add a,b,c"
    width = max(len(escaped(row["name"])) for row in rows)
    return "\n".join(
        f"{row['key'] or '-':>2}  {escaped(row['name']):<{width}}  {row['labels']:>7} labels  {row['color']}"
        for row in rows
    )


def class_report(result: dict[str, Any]) -> str:
    """Returns what a change of classes did, and what there is to label again."""
    lines = [f"done: {escaped(result['change'])}"]
    if result["undecided"]:
        lines.append(f"{result['undecided']} images have no label now; gradebook undo brings the labels back")
    if result["selection"]:
        lines.append(f"they are a selection of their own on the page Review: /review?selection={result['selection']}")
    return "\n".join(lines)


def holdout_summary(result: Mapping[str, Any], project: Any) -> str:
    """Returns what a draw of test images did, and which are still to be labelled."""
    lines = []
    if result["drawn"]:
        lines.append(f"{result['drawn']} images were drawn for testing, from {result['clusters']} clusters")
    if result["near_copies"]:
        lines.append(f"{result['near_copies']} images were left out, because they are near-copies of a labelled one")
    if result["returned"]:
        lines.append(f"{result['returned']} images are training images again")
    title = (
        f"{result['test']} test images were drawn, {result['unlabelled']} of them without a label: label them on the "
        f"page Review of gradebook app {project}, or with gradebook label"
    )
    return "\n".join([*lines, *listed(title if result["unlabelled"] else title.partition(":")[0], result["files"])])


def audit_summary(result: dict[str, Any], project: Any) -> str:
    """Returns the state of an audit: what to answer, or what was accepted and why."""
    again = f"gradebook accept-rest {project} --error {result['error']:g} --confidence {result['confidence']:g}"
    if result["state"] == "open" and result["files"]:
        title = (
            f"{result['answered']} of {result['drawn']} drawn images have an answer. Label the others on the page "
            f"Review of gradebook app {project}, or with gradebook label; then call {again} again:"
        )
        return "\n".join(listed(title, result["files"]))
    wrong = f"{result['wrong']} of {result['answered']} answers differ from the predictions of {result['run']}"
    lines = [wrong, *(_audit_line(part) for part in result["parts"])]
    if result["state"] == "cancelled":
        return "the audit was given up; its answers remain labels"
    if result["accepted"]:
        lines.append(
            f"{result['accepted']} labels accepted: with {result['confidence']:.0%} confidence at most "
            f"{result['error']:.1%} of them are wrong. To take them back: "
            f"gradebook undo {project} audit:{result['audit']}"
        )
    elif result["state"] == "refused":
        lines.append(f"nothing was accepted: the answers do not show an error below {result['error']:.1%}")
    return "\n".join(lines)


def _audit_line(part: Mapping[str, Any]) -> str:
    name = escaped(part["label"] or part["group"])
    return (
        f"  {name}, {part['band']}: {part['images']} images, {part['wrong']} of {part['audited']} answers differ, "
        f"at most {part['upper']:.1%} of the rest{', accepted' if part['accepted'] else ''}"
    )
