"""Breaks the methods on purpose, one line at a time, in a copy; each break must fail a test.

    python tests/mutations.py            all of them, about 5 minutes on one core
    python tests/mutations.py mixmatch   those whose file or name has this in it

Prints which test caught which mutation; the exit status is 1 if one survived. A mutation is a text of the source that
stands there exactly once, and what replaces it, so a mutation that no longer fits the source is reported too.
"""

import os
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TESTS = ("answer", "feedback", "methods", "objectives", "memories", "thresholds", "averages", "mixmatch", "vat")
TESTS = (*TESTS, "reduced_mpl", "every_method", "forward_mode")


@dataclass(frozen=True, slots=True)
class Mutation:
    """One way to be wrong."""

    name: str
    file: str  # below mpl/
    old: str
    new: str


M = Mutation
MUTATIONS = [
    # the feedback
    M("sign of F", "feedback.py", "return -rate * slope, forward_ad", "return rate * slope, forward_ad"),
    M("sign of F by differences", "feedback.py", "return -rate * slope, (ahead", "return rate * slope, (ahead"),
    M("sign of the feedback loss", "feedback.py", "return -(teacher_logits.softmax", "return (teacher_logits.softmax"),
    M("sign of h", "feedback.py", "return (before - after).detach()", "return (after - before).detach()"),
    M(
        "soft labels in REINFORCE",
        "feedback.py",
        "h.detach() * nnf.cross_entropy(teacher_logits, labels)",
        "h.detach() * nnf.cross_entropy(teacher_logits, teacher_logits.softmax(-1).detach())",
    ),
    M("labels not drawn", "feedback.py", "torch.multinomial(", "(lambda q, n, generator: q.argmax(-1, True))("),
    M(
        "scale of one process",
        "feedback.py",
        'runtime.reduce(feedback.square().mean(), "mean")',
        "feedback.square().mean()",
    ),
    M("g of one process", "feedback.py", "average_over_processes([loss.view(1), *gradient], runtime)", "pass"),
    M(
        "dropout in the labelled gradient",
        "feedback.py",
        "torch.enable_grad(), without_noise(net)",
        "torch.enable_grad()",
    ),
    M("statistics moved", "feedback.py", "{name: buffer.clone() for", "{name: buffer for"),
    M("two sides, two masks", "feedback.py", "with same_noise(x_u, noise):", "if True:"),
    M("F at the weights after", "answer.py", "{name: weight.clone() for", "{name: weight for"),
    M("F under another mask", "answer.py", ", fb.same_noise(batch.x_us, noise):", ":"),
    M("student's view", "answer.py", "full(student.net(batch.x_us))", "full(student.net(batch.x_uw))"),
    M(
        "student sees labels",
        "answer.py",
        "    student.descend(loss, runtime)",
        "    loss = loss + _labelled_loss_with_graph(student, batch)\n    student.descend(loss, runtime)",
    ),
    M("sign of the baseline", "answer.py", "h - mean if baseline", "h + mean if baseline"),
    M("baseline of the step itself", "answer.py", "h - mean if baseline", 'h - memory["baseline"] if baseline'),
    M(
        "h of one process",
        "answer.py",
        'runtime.reduce(objectives.supervised(logits, batch.y_l), "mean")',
        "objectives.supervised(logits, batch.y_l)",
    ),
    # MPL, UDA, Pseudo Labels
    M(
        "teacher labels the strong view",
        "methods/mpl.py",
        "full(teacher.net(batch.x_uw))",
        "full(teacher.net(batch.x_us))",
    ),
    M(
        "feedback weight ignored",
        "methods/mpl.py",
        "gather(settings.feedback_weight * feedback_loss",
        "gather(feedback_loss",
    ),
    M("a part of the loss lost", "step.py", "runtime.backward(part)", "pass"),
    M("BatchNorm's slope left out", "forward_mode.py", "(x, slope).add_(offset)", "(x, 0 * slope).add_(offset)"),
    M("BatchNorm's offset left out", "forward_mode.py", ".add_(offset)", ""),
    M(
        "UDA taught by the strong view",
        "methods/uda.py",
        "weak = full(net(batch.x_uw))",
        "weak = full(net(batch.x_us))",
    ),
    M(
        "pseudo-labels of the strong view",
        "methods/pseudo_label.py",
        "full(fixed(batch.x_uw))",
        "full(fixed(batch.x_us))",
    ),
    M("teacher trained for ever", "methods/pseudo_label.py", "settings.teacher_share * clock.steps", "clock.steps"),
    # what they share
    M(
        "gradients of one process",
        "step.py",
        "    average_over_processes(gradients, runtime)\n        if self.clip",
        "    if self.clip",
    ),
    M("wrong gradient of a mean", "step.py", "(tensor - tensor.detach())\n", "2 * (tensor - tensor.detach())\n"),
    M("mode not put back", "step.py", "module.training = mode", "pass"),
    M("threshold missed by equals", "objectives.py", "likeliest >= threshold", "likeliest > threshold"),
    M("soft target with a gradient", "objectives.py", "-(target.detach() * nnf", "-(target * nnf"),
    M("square's target with a gradient", "objectives.py", "softmax(-1) - target.detach()", "softmax(-1) - target"),
    M(
        "divergence the other way",
        "objectives.py",
        "log_target.exp() * (log_target - nnf.log_softmax(logits, -1))",
        "nnf.softmax(logits, -1) * (nnf.log_softmax(logits, -1) - log_target)",
    ),
    M("weights ignored", "objectives.py", 'reduction="none") * weight.detach()', 'reduction="none")'),
    M("temperature upside down", "objectives.py", "q.detach().pow(1 / temperature)", "q.detach().pow(temperature)"),
    M("ramp not squared", "schedules.py", "ramp(clock, share)) ** 2", "ramp(clock, share))"),
    M(
        "running mean the other way",
        "memories.py",
        "decay * kept + (1 - decay) * value",
        "decay * value + (1 - decay) * kept",
    ),
    M("shares of one process", "memories.py", 'runtime.reduce(rows.detach().mean(0), "mean")', "rows.detach().mean(0)"),
    M("rows of one process", "memories.py", 'total = runtime.reduce(total, "sum")', "pass"),
    M("labels of one process", "memories.py", 'runtime.reduce(sums, "sum").unbind()', "sums.unbind()"),
    M("contradictions averaged", "memories.py", "(n > 0) & (n * second == first.square())", "n > 0"),
    # one method each
    M("FixMatch's view", "methods/fixmatch.py", "weak = full(net(batch.x_uw))", "weak = full(net(batch.x_us))"),
    M(
        "FixMatch's labels",
        "methods/fixmatch.py",
        "taught(strong, weak.argmax(-1), mask)",
        "taught(strong, strong.argmax(-1), mask)",
    ),
    M("FlexMatch's mapping", "methods/flexmatch.py", "threshold * share / (2 - share)", "threshold * share"),
    M("FlexMatch's warm-up", "methods/flexmatch.py", "torch.maximum(learned.max(), unused)", "learned.max()"),
    M(
        "FlexMatch counts labelled samples",
        "methods/flexmatch.py",
        "unlabelled - learned.sum()",
        "len(last) - learned.sum()",
    ),
    M(
        "FlexMatch's memory of the unsure",
        "methods/flexmatch.py",
        "confident = probability >= settings.threshold",
        "confident = probability >= 0",
    ),
    M(
        "FlexMatch knows the step before it",
        "methods/flexmatch.py",
        "class_thresholds(last, ",
        "class_thresholds("
        "memories.agreed_by_sample(label, probability > settings.threshold, batch.id_u, learners.samples, runtime), ",
    ),
    M("FreeMatch's class scale", "methods/freematch.py", "confidence * p / p.max()", "confidence * p / p.sum()"),
    M(
        "FreeMatch's confidence of one process",
        "methods/freematch.py",
        'runtime.reduce(probability.mean(), "mean")',
        "probability.mean()",
    ),
    M(
        "FreeMatch's sign of fairness",
        "methods/freematch.py",
        "settings.fairness_weight * fair",
        "-settings.fairness_weight * fair",
    ),
    M(
        "FreeMatch's fairness of one process",
        "methods/freematch.py",
        "mean_over_processes((q * mask[:, None]).mean(0), runtime)",
        "(q * mask[:, None]).mean(0)",
    ),
    M("FreeMatch's fairness of everybody", "methods/freematch.py", "(q * mask[:, None]).mean(0)", "q.mean(0)"),
    M("SoftMatch's upper half", "methods/softmatch.py", "(sure - mean).clamp_max(0)", "(sure - mean)"),
    M("SoftMatch's variance", "methods/softmatch.py", "variance * count / (count - 1).clamp_min(1)", "variance"),
    M(
        "SoftMatch's variance of one process",
        "methods/softmatch.py",
        'runtime.reduce((sure - mean).square().mean(), "mean")',
        "(sure - mean).square().mean()",
    ),
    M("SoftMatch's alignment", "methods/softmatch.py", "rescaled(q / p.", "rescaled(q * p."),
    M("FlexMatch's view", "methods/flexmatch.py", "weak = full(net(batch.x_uw))", "weak = full(net(batch.x_us))"),
    M("FreeMatch's view", "methods/freematch.py", "weak = full(net(batch.x_uw))", "weak = full(net(batch.x_us))"),
    M("SoftMatch's view", "methods/softmatch.py", "weak = full(net(batch.x_uw))", "weak = full(net(batch.x_us))"),
    M(
        "Mean Teacher without a mean",
        "methods/mean_teacher.py",
        "evaluating(averaged(student))",
        "evaluating(student.net)",
    ),
    M("Mean Teacher's views", "methods/mean_teacher.py", "full(teacher(batch.x_uw))", "full(teacher(batch.x_us))"),
    M(
        "Temporal Ensembling's bias",
        "methods/temporal_ensembling.py",
        "(1 - decay ** times.to(z.dtype))",
        "(1 - 0 * times.to(z.dtype))",
    ),
    M(
        "Temporal Ensembling pulls to zero at first",
        "methods/temporal_ensembling.py",
        "torch.where(known, ensemble, z), known[:, 0]",
        "ensemble, torch.ones_like(known[:, 0])",
    ),
    M("Temporal Ensembling's other rows", "methods/temporal_ensembling.py", "times + seen", "times + 1"),
    M("ICT's target unmixed", "methods/ict.py", "mixing.mixed(q, q[order], share)", "q"),
    M("ICT's order of parts", "methods/ict.py", "mixing.mixed(q, q[order], share)", "mixing.mixed(q[order], q, share)"),
    M("MixMatch's nearer part", "methods/mixmatch.py", "torch.maximum(share, 1 - share)", "share"),
    M("MixMatch's one view", "methods/mixmatch.py", "(weak.softmax(-1) + strong.softmax(-1)) / 2", "weak.softmax(-1)"),
    M(
        "ReMixMatch's ratio",
        "methods/remixmatch.py",
        "p * (labels + 1e-6) / (guesses + 1e-6)",
        "p * (guesses + 1e-6) / (labels + 1e-6)",
    ),
    M(
        "ReMixMatch's anchor",
        "methods/remixmatch.py",
        "weak = full(student.net(x_uw))",
        "weak = full(student.net(x_us))",
    ),
    M("ReMixMatch's head climbs", "methods/remixmatch.py", "part.detach() - rate * g", "part.detach() + rate * g"),
    M(
        "ReMixMatch's turns unlike their names",
        "methods/remixmatch.py",
        "turned(x_us, quarters)",
        "turned(x_us, 3 - quarters)",
    ),
    M("VAT's length", "methods/vat.py", "settings.radius * length * r", "settings.radius * r"),
    M(
        "VAT's length of one process",
        "methods/vat.py",
        'runtime.reduce(x.flatten(1).square().sum(-1).mean(), "mean")',
        "x.flatten(1).square().sum(-1).mean()",
    ),
    M("VAT's random direction", "methods/vat.py", "d = _unit(gradient)", "_unit(gradient)"),
    M(
        "VAT's sign of entropy",
        "methods/vat.py",
        "+ settings.entropy_weight * entropy",
        "- settings.entropy_weight * entropy",
    ),
    M("Noisy Student goes on", "methods/noisy_student.py", "    _start_afresh(learners.student, memory)\n", ""),
    M("Noisy Student's momentum", "methods/noisy_student.py", "    student.optimizer.state.clear()\n", ""),
    M(
        "Noisy Student's noisy teacher",
        "methods/noisy_student.py",
        "with evaluating(learners.student.net) as net:\n            return",
        "with torch.no_grad():\n            net = learners.student.net\n            return",
    ),
    M("Noisy Student keeps its small teacher", "methods/noisy_student.py", "if number == 1 else None", ""),
    M(
        "Noisy Student forgets its small teacher",
        "methods/noisy_student.py",
        "small = learners.teacher if number == 1 else None",
        "small = None",
    ),
    M(
        "Noisy Student's surest are its least sure",
        "methods/noisy_student.py",
        "argsort(descending=True",
        "argsort(descending=False",
    ),
    M(
        "Noisy Student's list outlives its round",
        "methods/noisy_student.py",
        "        memory.pop(name, None)\n",
        "        pass\n",
    ),
    M("Noisy Student counts the unsure", "methods/noisy_student.py", " & (confidence >= threshold)", ""),
    M(
        "Noisy Student repeats no image",
        "methods/noisy_student.py",
        "torch.where(counts, asked / (",
        "torch.where(counts, 1 + 0 * asked / (",
    ),
    M(
        "Noisy Student's list of the last view",
        "methods/noisy_student.py",
        "    new = kept < 0\n",
        "    new = now >= 0\n",
    ),
    M("Noisy Student's list stops early", "methods/noisy_student.py", "< 2 * learners.unlabelled:", "< 1:"),
    M(
        "Noisy Student's teacher unaveraged",
        "methods/noisy_student.py",
        "learners.student.best_net()",
        "learners.student.net",
    ),
    M(
        "Reduced MPL climbs",
        "methods/reduced_mpl.py",
        "weight.detach() - rate * gradient",
        "weight.detach() + rate * gradient",
    ),
    M("Reduced MPL asks again", "methods/reduced_mpl.py", "seen & (kept.sum(-1) == 0)", "seen"),
    M(
        "Reduced MPL's noisy teacher",
        "methods/reduced_mpl.py",
        "torch.no_grad(), evaluating(teacher.best_net()) as fixed:",
        "torch.no_grad():\n        fixed = teacher.best_net()",
    ),
    M(
        "Reduced MPL's teacher never rests",
        "methods/reduced_mpl.py",
        "* len(batch.id_u) < 2 * learners.unlabelled",
        "> -1",
    ),
    M("Reduced MPL forgets the identity", "methods/reduced_mpl.py", "return z + hidden", "return hidden"),
    M(
        "Reduced MPL's gradient of one process",
        "methods/reduced_mpl.py",
        "    average_over_processes(gradients, runtime)\n",
        "",
    ),
]


def main() -> int:
    """Tries each mutation; returns the exit status."""
    import pytest  # noqa: F401  loaded once: every mutation runs in a fork
    import timm.utils.model_ema  # noqa: F401
    import torch

    torch.set_num_threads(1)
    asked = sys.argv[1] if len(sys.argv) > 1 else ""
    chosen = [m for m in MUTATIONS if asked in f"{m.file} {m.name}"]
    survivors = 0
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory)
        for name in ("mpl", "tests"):
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        (copy / "pyproject.toml").write_text("[tool.pytest.ini_options]\nmarkers = ['slow', 'browser']\n")
        failed = _first_failure(copy)
        if failed:
            print(f"without any mutation {failed} fails: mend that first")
            return 1
        for mutation in chosen:
            began = time.perf_counter()
            verdict = _tried(mutation, copy)
            survivors += not verdict.startswith("caught")
            print(f"{mutation.file:31} {mutation.name:42} {verdict} ({time.perf_counter() - began:.0f} s)", flush=True)
    print(f"{len(chosen) - survivors} of {len(chosen)} mutations were caught")
    return 1 if survivors else 0


def _tried(mutation: Mutation, copy: Path) -> str:
    path = copy / "mpl" / mutation.file
    source = path.read_text(encoding="utf-8")
    if source.count(mutation.old) != 1:
        return f"DOES NOT FIT: its text stands {source.count(mutation.old)} times in the source"
    path.write_text(source.replace(mutation.old, mutation.new), encoding="utf-8")
    try:
        failed = _first_failure(copy)
    finally:
        path.write_text(source, encoding="utf-8")
    return f"caught by {failed}" if failed else "SURVIVED"


def _first_failure(copy: Path) -> str:
    """Returns the first test that fails in the copy, "" if none does; runs in a fork, so that imports are fresh."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        with os.fdopen(writer, "w") as out:
            out.write(_run(copy))
            out.flush()
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        failed = answer.read()
    os.waitpid(child, 0)
    return failed


def _run(copy: Path) -> str:
    import pytest

    os.chdir(copy)
    sys.path.insert(0, str(copy))
    sys.dont_write_bytecode = True
    failed: list[str] = []

    class Listener:
        def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
            if report.failed:
                failed.append(report.nodeid.removeprefix("tests/mpl/"))

        def pytest_collectreport(self, report: pytest.CollectReport) -> None:
            if report.failed:
                failed.append(f"{report.nodeid} (cannot be collected)")

    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    files = [f"tests/mpl/test_{name}.py" for name in TESTS]
    pytest.main(["-x", "-q", "-p", "no:cacheprovider", "-p", "no:warnings", *files], plugins=[Listener()])
    import mpl

    assert mpl.__file__ is not None and Path(mpl.__file__).is_relative_to(copy), "the copy was not what was tested"
    return failed[0] if failed else ""


if __name__ == "__main__":
    sys.exit(main())
