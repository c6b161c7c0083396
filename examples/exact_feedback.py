"""Exact feedback for any student and teacher: `gradebook.mpl` as a library, in a training loop of your own.

    python examples/exact_feedback.py

The student takes one step on the teacher's soft labels. `exact` then gives F (U, K): how many nats of labelled loss
each label of each unlabelled image has saved. `feedback_loss` teaches the teacher what F says.
"""

import torch
from torch.nn import functional as nnf

from gradebook.mpl.feedback import exact, feedback_loss, labelled_gradient
from gradebook.mpl.step import SingleProcess


def feedback_step(student, teacher, x_l, y_l, x_u, optimizers):
    """Does one step of Meta Pseudo Labels, and returns F (U, K) in nats.

    Args:
        student: any network from images to logits, in training mode.
        teacher: the same; it may be another architecture.
        x_l: (B, ...) labelled images.
        y_l: (B,) their classes.
        x_u: (U, ...) unlabelled images.
        optimizers: of the student (SGD, for whose learning rate F is computed) and of the teacher.
    """
    rate = optimizers[0].param_groups[0]["lr"]
    before = {name: weight.detach().clone() for name, weight in student.named_parameters()}
    teacher_logits = teacher(x_u)
    nnf.cross_entropy(student(x_u), teacher_logits.detach().softmax(-1)).backward()
    optimizers[0].step()
    _, gradient = labelled_gradient(student, x_l, y_l, SingleProcess())
    feedback, _ = exact(student, before, gradient, x_u, rate)
    (nnf.cross_entropy(teacher(x_l), y_l) + feedback_loss(teacher_logits, feedback)).backward()
    optimizers[1].step()
    for optimizer in optimizers:
        optimizer.zero_grad()
    return feedback


def main(steps=200):
    """Trains on two half-moons with three labels each, and returns the student's accuracy on all points."""
    from sklearn.datasets import make_moons

    points, classes = make_moons(200, noise=0.1, random_state=0)
    x, y = torch.tensor(points, dtype=torch.float32), torch.tensor(classes)
    labelled = torch.cat([(y == k).nonzero()[:3, 0] for k in (0, 1)])
    torch.manual_seed(0)
    student, teacher = (
        torch.nn.Sequential(torch.nn.Linear(2, 32), torch.nn.ReLU(), torch.nn.Linear(32, 2)) for _ in range(2)
    )
    optimizers = [torch.optim.SGD(net.parameters(), lr=0.1) for net in (student, teacher)]
    for _ in range(steps):
        feedback = feedback_step(student, teacher, x[labelled], y[labelled], x, optimizers)
    best = feedback.abs().sum(1).argmax()
    print(f"the labels of point {int(best)} mattered most in the last step: {feedback[best].tolist()} nats")
    accuracy = (student(x).argmax(1) == y).float().mean().item()
    print(f"accuracy {accuracy:.1%} with {len(labelled)} labels")
    return accuracy


if __name__ == "__main__":
    main()
