"""What a model has learned goes over to one with more classes."""

import torch

from gradebook.mpl.networks import LinearHead, MlpHead
from gradebook.mpl.step import Learner, Learners
from gradebook.pipelines.session.carry_over import carry_over

FEATURES = 5


def learner(net):
    return Learner(net=net, optimizer=torch.optim.SGD(net.parameters(), 0.1, momentum=0.9, nesterov=True))


def learners(classes, *, trained):
    torch.manual_seed(classes)
    made = Learners(
        student=learner(LinearHead(FEATURES, classes, 1.0)), teacher=learner(MlpHead(FEATURES, 4, classes, 1.0))
    )
    for one in (made.student, made.teacher) if trained else ():
        one.net(torch.randn(3, FEATURES)).square().sum().backward()
        one.optimizer.step()
    return made


def test_known_classes_have_the_same_logits_and_momentum():
    old, new = learners(3, trained=True), learners(4, trained=False)
    fresh = new.student.net.classifier.weight[3].clone()
    carry_over(old, new)
    x = torch.randn(6, FEATURES)
    for one, other in ((old.student, new.student), (old.teacher, new.teacher)):
        torch.testing.assert_close(other.net(x)[:, :3], one.net(x))
        for before, after in zip(one.net.parameters(), other.net.parameters(), strict=True):
            moved = other.optimizer.state[after]["momentum_buffer"]
            torch.testing.assert_close(moved[: len(before)], one.optimizer.state[before]["momentum_buffer"])
            assert not moved[len(before) :].any()
    torch.testing.assert_close(new.student.net.classifier.weight[3], fresh)


def test_learners_that_never_trained_have_no_momentum_to_carry():
    new = learners(4, trained=False)
    carry_over(learners(3, trained=False), new)
    assert not any(new.student.optimizer.state.values())
