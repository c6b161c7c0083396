"""What the commands print for people: short tables and sentences from the same values that --json gives."""

from collections.abc import Mapping, Sequence
from typing import Any

from gradebook.pipelines.curation.queue_items import Row, sentence_of

SHOWN = 10  # rows of a list before "and N more"


def queue_table(rows: Sequence[Row], run: str | None) -> str:
    """Returns the queue: guess, probability, the two strongest reasons in words, and the file."""
    if not rows:
        return "The queue is empty: every training image has a label."
    if run is None and not any(row.label for row in rows):
        return "\n".join(
            ["No run has finished, so nothing is guessed yet. Label these first:", *(row.filepath for row in rows)]
        )
    lines = [f"Look at these first, says {run}:" if run else "Look at these first:"]
    for row in rows:
        strongest = sorted(row.reasons.items(), key=lambda item: -item[1])[:2]
        why = "; ".join(sentence_of(name) for name, score in strongest if score >= 0.3)
        guess = "no guess" if row.label is None else row.label
        sure = "" if row.probability is None else f" {row.probability:.0%}"
        given = "" if row.given is None else f", labelled {row.given}"
        lines.append(f"  {guess}{sure}{given}  {row.filepath}  ({why or 'nothing odd'})  {row.sample_id}")
    return "\n".join(lines)


def record_table(rows: Sequence[dict[str, Any]]) -> str:
    """Returns a sample's history, a line a step."""
    if not rows:
        return "No run has recorded this image yet."
    lines = [f"{'run':<16} {'step':>6}  {'teacher':<20} {'student':<20} {'feedback':>10}  best label"]
    for row in rows:
        teacher, student = _said(row, "teacher"), _said(row, "student")
        feedback = "" if row["feedback"] is None else f"{row['feedback']:+.2e}"
        best = row["best_label"] or ""
        lines.append(f"{row['run']:<16} {row['step']:>6}  {teacher:<20} {student:<20} {feedback:>10}  {best}")
    return "\n".join(lines)


def status_table(numbers: dict[str, Any]) -> str:
    """Returns a project's numbers."""
    lines = [
        f"{numbers['project']}: {numbers['samples']} images: {numbers['labeled']} labelled, "
        f"{numbers['unlabeled']} unlabelled, {numbers['test']} for testing",
        "labels: " + (", ".join(f"{name} {n}" for name, n in numbers["labels_per_class"].items()) or "no class yet"),
        "cached views of: " + (", ".join(numbers["embedded"]) or "nothing yet"),
    ]
    lines += [
        f"run {run['name']}: {run['state']} at step {run['step']} of {run['steps']}"
        + (f" ({run['message']})" if run["message"] else "")
        for run in numbers["runs"]
    ]
    lines += agreement_lines(numbers["agreement"])
    return "\n".join(lines)


def agreement_lines(agreement: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Returns how often reviewers agreed with the guesses that they were shown: all, then for each reason."""
    if not agreement["all"]["answered"]:
        return []
    return ["guesses that reviewers agreed with, by reason why they were shown:"] + [
        f"  {name}: {row['agreed']} of {row['answered']} ({row['rate']:.0%})" for name, row in agreement.items()
    ]


def evaluation_table(result: dict[str, Any]) -> str:
    """Returns accuracy, calibration and, class by class, how many were found."""
    lines = [
        f"{result['run']} on {result['n']} images of the {result['on']}: accuracy {result['accuracy']:.1%}, "
        f"expected calibration error {result['ece']:.3f}"
    ]
    for name, row, counts in zip(result["classes"], result["per_class"].values(), result["confusion"], strict=True):
        if row["n"]:
            wrong = {result["classes"][k]: n for k, n in enumerate(counts) if n and result["classes"][k] != name}
            taken = ", ".join(f"{other} {n}" for other, n in sorted(wrong.items(), key=lambda item: -item[1])[:3])
            lines.append(f"  {name}: {row['accuracy']:.0%} of {row['n']}" + (f" (taken for {taken})" if taken else ""))
        else:
            lines.append(f"  {name}: no image")
    return "\n".join(lines)


def import_words(report: dict[str, Any]) -> str:
    """Returns what an import found, with the files that a person should know of."""
    lines = [
        f"{report['imported']} images imported, {report['already_known']} known already, "
        f"{report['labelled']} labels; the project has the classes {', '.join(report['classes']) or '(none yet)'}"
    ]
    lists = (
        ("duplicate_files", "same bytes as another file", " = "),
        ("near_duplicate_pairs", "look almost the same as another image", " ~ "),
        ("leak_files", "in the other split already, where they stay", ": "),
        ("broken_files", "cannot be used and were left out", ": "),
        ("label_problem_places", "labels could not be used", ": "),
    )
    for key, what, between in lists:
        lines += _some(f"{len(report[key])} {what}:", [between.join(pair) for pair in report[key]])
    conflicts = [", ".join(f"{file} says {name}" for file, name in one) for one in report["conflict_files"]]
    lines += _some(f"{len(conflicts)} images have files with different labels, so they get none:", conflicts)
    return "\n".join(lines)


def embed_words(report: dict[str, Any]) -> str:
    """Returns what an embedding did."""
    lines = [
        f"{report['embedded']} images embedded at {report['size']} px in {report['seconds']} s, "
        f"{report['already_there']} were so already; {report['weights']}"
    ]
    broken = [": ".join(pair) for pair in report["broken_files"]]
    lines += _some(f"{len(broken)} files cannot be read any more and have no vectors:", broken)
    return "\n".join(lines)


def map_words(report: dict[str, Any]) -> str:
    """Returns what the map was made of."""
    made = "it was so already" if report["already_there"] else f"made in {report['seconds']} s"
    return f"{report['points']} images are on the map, by their vectors of {report['backbone']}; {made}"


def pool_words(report: dict[str, Any]) -> str:
    """Returns what a pool was made of, and which classes have too few images."""
    lines = [
        f"{report['kept']} of {report['files']} images are in {report['out']}; {report['broken']} files cannot be "
        f"used, {report['same_as_test']} are test images and {report['like_test']} look almost like one, "
        f"{report['below_threshold']} are below the threshold; {report['images_per_second']:.0f} images a second"
    ]
    if report["broken_list"]:
        lines.append(f"the files that cannot be used are named in {report['broken_list']}")
    few = [f"{name} {report['kept_per_class'][name]}" for name in report["too_few"]]
    lines += _some(f"{len(few)} classes have fewer images than were asked for:", few)
    return "\n".join(lines)


def _some(title: str, entries: Sequence[str]) -> list[str]:
    if not entries:
        return []
    more = [f"  and {len(entries) - SHOWN} more (see --json)"] if len(entries) > SHOWN else []
    return [title, *(f"  {entry}" for entry in entries[:SHOWN]), *more]


def _said(row: dict[str, Any], who: str) -> str:
    label, probability = row[f"{who}_label"], row[f"{who}_probability"]
    return "" if label is None else f"{label} {probability:.0%}"
