"""What holds for each method: it repeats, resumes, is the same on two processes, and takes images and features."""

from dataclasses import fields, replace

import pytest
import torch

from gradebook.mpl import mixup
from gradebook.mpl.methods import METHODS
from gradebook.mpl.step import Batch, Learners, SingleProcess, StepIndex
from tests.mpl.toy_problems import Pair, flat, half, image_problem, noisy_net, norm_net, plain_net, problem

DRAWS = {"mixmatch", "remixmatch", "ict", "vat"}  # take random numbers, which no two processes share
NO_RECORD = {"supervised"}
VARIANTS = [(name, {}) for name in METHODS] + [
    *((name, {"feedback": feedback}) for name in ("mpl", "reduced_mpl") for feedback in ("difference", "none")),
    ("mpl", {"view": "strong"}),
    ("noisy_student", {"balance": 0.0}),
]
LOW = {"fixmatch": 0.42, "flexmatch": 0.42, "uda": 0.42, "pseudo_label": 0.42}  # thresholds that some images pass
HARD = [(name, {"feedback": "reinforce"}) for name in ("mpl", "reduced_mpl")]


def problems():
    return {
        "features": problem(plain_net, labelled=6),
        "batchnorm": problem(norm_net, labelled=6),
        "dropout": problem(noisy_net, labelled=6),
        "images": image_problem(labelled=6),
    }


def steps(learners, batch, name, settings, *, first=0, last=10, of=10, runtime=None):
    method = METHODS[name]
    reports = []
    for at in range(first, last):
        report = method.step(
            learners, batch, runtime or SingleProcess(), method.settings(**settings), StepIndex(at, of)
        )
        reports.append(report)
    return reports


def state(learners):
    nets = [flat(learners.student.net), flat(learners.student.average.module)]
    if learners.teacher is not None:
        nets.append(flat(learners.teacher.net))
    return {**{str(k): v for k, v in enumerate(nets)}, **learners.memory}


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


@pytest.mark.parametrize(("name", "settings"), VARIANTS + HARD)
@pytest.mark.parametrize("kind", ["features", "dropout", "images"])
def test_ten_steps_repeat_bit_for_bit_and_move(name, settings, kind):
    p = problems()[kind]
    found = []
    for _ in range(2):
        torch.manual_seed(1)
        learners = p.learners(momentum=0.9)
        steps(learners, p.batch, name, settings)
        found.append(state(learners))
    assert_same(*found)
    assert not torch.equal(found[0]["0"], flat(p.student))
    assert all(torch.isfinite(value).all() for value in found[0].values())


@pytest.mark.parametrize(("name", "settings"), VARIANTS + HARD)
def test_five_steps_and_five_after_a_resume_are_ten(name, settings):
    """Networks, optimisers, the average, `memory` and the generator's state, as in a checkpoint, are all there is."""
    p = problems()["dropout"]
    torch.manual_seed(1)
    whole = p.learners(momentum=0.9)
    steps(whole, p.batch, name, settings)

    torch.manual_seed(1)
    begun = p.learners(momentum=0.9)
    steps(begun, p.batch, name, settings, last=5)
    noise = torch.get_rng_state()
    resumed = p.learners(momentum=0.9)
    for one, other in ((begun.student, resumed.student), (begun.teacher, resumed.teacher)):
        other.net.load_state_dict(one.net.state_dict())
        other.optimizer.load_state_dict(one.optimizer.state_dict())
    resumed.student.average.module.load_state_dict(begun.student.average.module.state_dict())
    resumed.memory = {key: value.clone() for key, value in begun.memory.items()}
    torch.set_rng_state(noise)
    steps(resumed, p.batch, name, settings, first=5)
    assert_same(state(whole), state(resumed))


@pytest.mark.parametrize(("name", "settings"), [v for v in VARIANTS if v[0] not in DRAWS])
def test_two_processes_with_half_a_batch_each_are_one_with_all_of_it(name, settings):
    """No BatchNorm, which normalises within a process, and no random numbers (float64, 1e-10)."""
    settings = settings | ({"threshold": LOW[name]} if name in LOW else {})
    p = problems()["features"]
    torch.manual_seed(1)
    alone = p.learners()
    steps(alone, p.batch, name, settings)

    pair, two = Pair(), [p.learners() for _ in range(2)]
    torch.manual_seed(1)

    def work(rank):
        steps(two[rank], half(p.batch, rank), name, settings, runtime=pair)

    pair.run(work)
    for key, value in state(alone).items():
        torch.testing.assert_close(state(two[0])[key], value, rtol=0, atol=1e-10, msg=lambda m, key=key: f"{key}: {m}")
    assert_same(state(two[0]), state(two[1]))


@pytest.mark.parametrize(("name", "settings"), [v for v in VARIANTS + HARD if v[0] not in NO_RECORD])
def test_the_predictions_of_both_networks_are_recorded(name, settings):
    p = problems()["features"]
    learners = p.learners()
    torch.manual_seed(1)
    predictions = steps(learners, p.batch, name, settings)[-1].predictions
    for column in ("teacher_label", "teacher_probability", "runner_up", "student_label", "student_probability"):
        assert getattr(predictions, column).shape == p.batch.id_u.shape, column
        assert not getattr(predictions, column).requires_grad
    assert (predictions.teacher_label != predictions.runner_up).all()
    assert ((predictions.teacher_probability > 0) & (predictions.teacher_probability <= 1)).all()


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if not method.teacher])
def test_methods_of_one_network_need_no_teacher(name):
    p = problem()
    made = p.learners()
    alone = Learners(student=made.student, samples=made.samples, unlabelled=made.unlabelled)
    steps(alone, p.batch, name, {})


@pytest.mark.parametrize("name", ["mean_teacher", "ict"])
def test_methods_that_need_an_average_say_so(name):
    p = problem()
    learners = p.learners()
    learners.student.average = None
    with pytest.raises(ValueError, match="--average"):
        steps(learners, p.batch, name, {})


@pytest.mark.parametrize("name", list(METHODS))
def test_a_batch_may_hold_a_sample_twice(name):
    p = problem(labelled=6)
    batch = replace(p.batch, id_u=p.batch.id_u.clone().fill_(int(p.batch.id_u[0])))
    torch.manual_seed(1)
    learners = p.learners()
    steps(learners, batch, name, {})
    assert all(torch.isfinite(value).all() for value in state(learners).values())


@pytest.mark.parametrize("name", list(METHODS))
def test_a_step_never_synchronises_with_the_device(name, monkeypatch):
    """Tensors without values: what asks for one (.item(), an if on a tensor, a shape that hangs on values) raises."""
    monkeypatch.setattr(mixup, "shares", lambda n, alpha, x: torch.rand(n, device=x.device))  # Beta has no meta kernel
    p = image_problem(labelled=6)
    batch = Batch(**{f.name: getattr(p.batch, f.name).to("meta") for f in fields(p.batch)})
    learners = p.learners()
    for net in (learners.student.net, learners.student.average.module, learners.teacher.net):
        net.to("meta")
    steps(learners, batch, name, {"feedback": "difference"} if "mpl" in name else {})
