"""What the commands print as text: short tables and sentences, from the same values that --json prints."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gradebook.pipelines.curation.label_propagation import ALIKE
from gradebook.pipelines.curation.queue_items import Row, Source, answers_text, reason_text
from gradebook.pipelines.importing.image_quality import EXTRA
from gradebook.storage.characters import escaped
from gradebook.storage.install_advice import install_command

if TYPE_CHECKING:
    from gradebook.pipelines.curation.label_propagation import Neighbour

MAX_LISTED = 10  # entries of a list before "and N more"
MIN_REASON_SCORE = 0.3  # weaker reasons are not named


def queue_table(
    rows: Sequence[Row], run: str | None, changed: Collection[str] = (), *, reason: str | None = None
) -> str:
    """Returns the queue: predicted label, probability, file, and the two strongest reasons.

    Args:
        rows: of the queue.
        run: that predicted.
        changed: ids of the samples whose file has changed since it was imported.
        reason: by which the queue is ordered, if one was chosen.
    """
    if not rows and reason is not None:
        return f"The queue is empty: no image without a decision has the reason {reason}."
    if not rows:
        return "The queue is empty: every training image has a label."
    if run is None and not any(row.label or row.reasons for row in rows):
        files = [escaped(row.filepath) + _changed_note(row, changed) for row in rows]
        return "\n".join(["No run has finished, so there are no predictions yet. Label these first:", *files])
    title = f"Review these first, by {run}:" if run else "Review these first:"
    return "\n".join([title, *(_queue_line(row) + _changed_note(row, changed) for row in rows)])


def _changed_note(row: Row, changed: Collection[str]) -> str:
    return "  THE FILE HAS CHANGED: import it again" if row.sample_id in changed else ""


def _queue_line(row: Row) -> str:
    strongest = sorted(row.reasons.items(), key=lambda item: -item[1])[:2]
    reasons = "; ".join(reason_text(row, name) for name, score in strongest if score >= MIN_REASON_SCORE)
    reasons += f": {answers_text(row.answers)}" if row.answers else ""
    label = "no prediction" if row.label is None else escaped(row.label)
    label += " (as similar images)" if row.source is Source.NEIGHBOURS else ""
    probability = "" if row.probability is None else f" {row.probability:.0%}"
    given = "" if row.given is None else f", labelled {row.given}"
    filepath = escaped(row.filepath)
    return f"  {label}{probability}{given}  {filepath}  ({reasons or 'nothing unusual'})  {row.sample_id}"


def neighbours_table(rows: Sequence["Neighbour"]) -> str:
    """Returns the images similar to a labelled one: proposed label, cosine similarity, file and id."""
    return "\n".join(f"{row.label}?  {row.similarity:.3f}  {escaped(row.filepath)}  {row.sample_id}" for row in rows)


def record_table(rows: Sequence[dict[str, Any]]) -> str:
    """Returns the record of a sample, one line a step."""
    if not rows:
        return "No run has recorded this image yet."
    lines = [f"{'run':<16} {'step':>6}  {'teacher':<20} {'student':<20} {'feedback':>10}  best label"]
    for row in rows:
        teacher, student = _prediction(row, "teacher"), _prediction(row, "student")
        feedback = "" if row["feedback"] is None else f"{row['feedback']:+.2e}"
        best = row["best_label"] or ""
        lines.append(f"{row['run']:<16} {row['step']:>6}  {teacher:<20} {student:<20} {feedback:>10}  {best}")
    return "\n".join(lines)


def _prediction(row: dict[str, Any], network: str) -> str:
    label, probability = row[f"{network}_label"], row[f"{network}_probability"]
    return "" if label is None else f"{label} {probability:.0%}"


def status_table(numbers: dict[str, Any]) -> str:
    """Returns a project's numbers."""
    labels = [f"{_name(name)} {n}" for name, n in numbers["labels_per_class"].items()]
    lines = [
        f"{numbers['project']}: {numbers['samples']} images: {numbers['labeled']} labelled, "
        f"{numbers['unlabeled']} unlabelled{_rejected(numbers['rejected'])}, {numbers['test']} for testing",
        "labels: " + (", ".join(labels) or "no class yet"),
        "cached views: " + (", ".join(numbers["embedded"]) or "none yet"),
    ]
    verify = f"gradebook verify {numbers['project']} lists them"
    if numbers["lost_events"]:
        lost, command = numbers["lost_events"], f"gradebook verify {numbers['project']}"
        lines.append(f"{lost} events of the log are missing, and labels with them: {command} says what can be done")
    if numbers["changed"]:
        lines.append(f"{numbers['changed']} files have changed since they were imported and are not used: {verify}")
    if numbers["near_leaks"]:
        lines.append(f"{numbers['near_leaks']} images look almost the same as one of the other split: {verify}")
    if numbers["drawn"]["test"]:
        test, left = numbers["drawn"]["test"], numbers["drawn"]["unlabelled"]
        lines.append(f"{test} of the test images were drawn, {left} of these have no label yet")
    lines += [
        f"run {run['name']}: {run['state']} at step {run['step']} of {run['steps']}"
        + (f" ({run['message']})" if run["message"] else "")
        for run in numbers["runs"]
    ]
    lines += [numbers["session"]["line"]] if numbers["session"] else []
    lines += agreement_lines(numbers["agreement"])
    return "\n".join(lines)


def _rejected(count: int) -> str:
    return f" ({count} of them rejected)" if count else ""


def session_summary(result: dict[str, Any]) -> str:
    """Returns how a session ended."""
    if not result["run"]:
        return "the session ended before two classes had labels, and so left no run"
    accuracy, labels = result["validation_accuracy"], result["labels"]
    measured = "" if accuracy is None else f", cross-validated accuracy {accuracy:.1%} on {labels} labels"
    return f"{result['run']} {result['state']} at step {result['steps']}{measured}"


def agreement_lines(agreement: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Returns how often reviewers agreed with the predictions they were shown: overall, and for each reason."""
    shares = {n: f"{r['agreed']} of {r['answered']} ({r['rate']:.0%})" for n, r in agreement.items() if r["answered"]}
    similar = shares.pop(ALIKE[0], None)
    lines = ["predictions that reviewers agreed with, by reason:"] if shares else []
    lines += [f"  {name}: {share}" for name, share in shares.items()]
    return lines + ([f"labels of similar images that reviewers agreed with: {similar}"] if similar else [])


def evaluation_table(result: dict[str, Any]) -> str:
    """Returns the scores and the baseline's, then for each class its accuracy and most frequent confusions."""
    lines = [f"{result['run']} on {result['n']} images of the {result['on']}: {_scores_line(result)}"]
    if result["baseline"] is not None:
        lines.append(f"logistic regression on the same vectors and labels: {_scores_line(result['baseline'])}")
    for name, row, counts in zip(result["classes"], result["per_class"].values(), result["confusion"], strict=True):
        lines.append(_class_line(name, row, dict(zip(result["classes"], counts, strict=True))))
    lines += [
        f"  {name}: 0% of {n} (the run does not know this class)" for name, n in result["unknown_classes"].items()
    ]
    if result["changed_classes"]:
        lines.append(f"the classes have changed since this run: {escaped(result['changed_classes'])}")
    return "\n".join(lines)


def _scores_line(scores: Mapping[str, Any]) -> str:
    low, high = scores["accuracy_interval"]
    balanced_low, balanced_high = scores["balanced_accuracy_interval"]
    return (
        f"accuracy {scores['accuracy']:.1%} (95% interval {low:.1%} to {high:.1%}), balanced accuracy "
        f"{scores['balanced_accuracy']:.1%} ({balanced_low:.1%} to {balanced_high:.1%}), "
        f"expected calibration error {scores['ece']:.3f}"
    )


def _class_line(name: str, row: Mapping[str, Any], counts: Mapping[str, int]) -> str:
    if not row["n"]:
        return f"  {escaped(name)}: no image"
    wrong = sorted(((n, other) for other, n in counts.items() if n and other != name), key=lambda item: -item[0])
    confusions = ", ".join(f"{escaped(other)} {n}" for n, other in wrong[:3])
    return f"  {escaped(name)}: {row['accuracy']:.0%} of {row['n']}" + (
        f" (predicted as {confusions})" if confusions else ""
    )


def import_summary(report: dict[str, Any]) -> str:
    """Returns the counts of an import, and the files that need attention."""
    test = f" ({report['test_images']} of them test images)" if report["test_images"] else ""
    classes = ", ".join(_name(name) for name in report["classes"])
    lines = [
        f"{report['imported']} images imported{test}, "
        f"{report['already_known']} already in the project, "
        f"{report['labelled']} labels; the project has the classes {classes or '(none yet)'}"
    ]
    lists = (
        ("duplicate_files", "have the same bytes as another file", " = "),
        ("near_duplicate_pairs", "look almost the same as another image", " ~ "),
        ("leak_files", "are already in the other split, where they stay", ": "),
        ("near_leak_pairs", "look almost the same as an image of the other split, so test accuracy is too high", " ~ "),
        ("converted_files", "have more than 8 bits; these levels became black and white", ": "),
        ("stack_files", "hold several pictures, of which one is taken", ": "),
        ("broken_files", "cannot be read and were skipped", ": "),
        ("label_problem_places", "labels could not be used", ": "),
    )
    for key, title, between in lists:
        lines += listed(f"{len(report[key])} {title}:", [between.join(pair) for pair in report[key]])
    ranges = Counter(levels for _, levels in report["converted_files"])
    if len(ranges) > 1 and not report["level_ranges"]:
        common = ", ".join(f"{levels} ({number})" for levels, number in ranges.most_common(3))
        lines.append(
            f"these were scaled by {len(ranges)} different ranges of levels, so a dark image may look as bright as a "
            f"bright one: {common}; declare the range in the files if they should be scaled alike (docs/commands.md)"
        )
    changed, uniform = report["changed_files"], report["uniform_files"]
    lines += listed(f"{len(changed)} files have changed; their new content is a new image, without the label:", changed)
    lines += listed(f"{len(uniform)} images are almost uniform, so hardly anything can be seen on them:", uniform)
    quality = [": ".join(pair) for pair in report["quality_files"]]
    lines += listed(f"{len(quality)} images have quality problems; gradebook queue --reason NAME lists them:", quality)
    if not report["quality_measured"]:
        lines.append(f"image quality was not measured: {install_command(EXTRA)}")
    conflicts = [", ".join(f"{file} says {name}" for file, name in files) for files in report["conflict_files"]]
    lines += listed(f"{len(conflicts)} images have files with different labels, so they get none:", conflicts)
    return "\n".join(lines)


def embed_summary(report: dict[str, Any]) -> str:
    """Returns the counts of an embedding."""
    lines = [
        f"{report['embedded']} images embedded at {report['size']} px in {report['seconds']} s, "
        f"{report['already_there']} already embedded; {report['weights']}"
    ]
    if report["size"] < report["native_size"]:
        lines.append(
            f"{report['backbone']} was made for images of {report['native_size']} px, at which it is more accurate; a "
            f"project keeps the size of its first embedding, so make a new one to change it"
        )
    broken = [": ".join(pair) for pair in report["broken_files"]]
    lines += listed(f"{len(broken)} files can no longer be read and have no embedding:", broken)
    return "\n".join(lines)


def map_summary(report: dict[str, Any]) -> str:
    """Returns the size of the map and its backbone."""
    state = "already up to date" if report["already_there"] else f"computed in {report['seconds']} s"
    return f"{report['points']} images are on the map, by their embeddings of {report['backbone']}; {state}"


def pool_summary(report: dict[str, Any]) -> str:
    """Returns the counts of a pool, and the classes with too few images."""
    lines = [
        f"{report['kept']} of {report['files']} images are in {report['out']}; {report['broken']} files cannot be "
        f"read, {report['same_as_test']} are test images and {report['like_test']} look almost like one, "
        f"{report['below_threshold']} are below the threshold; {report['images_per_second']:.0f} images a second"
    ]
    if report["broken_list"]:
        lines.append(f"the files that cannot be read are listed in {report['broken_list']}")
    too_few = [f"{name} {report['kept_per_class'][name]}" for name in report["too_few"]]
    lines += listed(f"{len(too_few)} classes have fewer images than --per-class:", too_few)
    return "\n".join(lines)


def _name(name: str) -> str:
    """Returns a class name as it stands in a list: in quotes if it has a comma."""
    return f'"{escaped(name)}"' if "," in name else escaped(name)


def listed(title: str, entries: Sequence[str]) -> list[str]:
    """Returns a title and the first entries below it, one a line; nothing without entries."""
    if not entries:
        return []
    more = [f"  and {len(entries) - MAX_LISTED} more (see --json)"] if len(entries) > MAX_LISTED else []
    return [title, *(f"  {escaped(entry)}" for entry in entries[:MAX_LISTED]), *more]
