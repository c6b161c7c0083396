"""Mutations of the feedback and of what all methods share."""

from tests.mutations.mutation import Mutation

M = Mutation

FEEDBACK = [
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
    # batches in parts
    M("order of the parts", "accumulation.py", "logits[torch.cat(places).argsort()]", "logits"),
    M("order of the parts backwards", "accumulation.py", "torch.cat(places).argsort()", "torch.cat(places)"),
]
