"""A training that cannot start or continue ends with a one-line error."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from gradebook.mpl.methods import METHODS
from gradebook.pipelines import train as module
from gradebook.pipelines.process.run_status import State
from gradebook.pipelines.runs import Run
from gradebook.pipelines.training.config import ConfigError
from tests.pipelines.projects import flags, make_project, trained
from tests.pipelines.training.resuming import PIXELS, resume


@pytest.mark.filterwarnings("ignore:invalid value")
def test_a_loss_that_is_not_a_number_is_a_one_line_error(store, capsys):
    step = METHODS["mpl"].step

    def diverging(learners, batch, runtime, settings, index):
        report = step(learners, batch, runtime, settings, index)
        if index.step == 4:
            with torch.no_grad():
                learners.student.net.classifier.weight.mul_(float("nan"))
        return report

    with pytest.MonkeyPatch.context() as patch:
        broken = type(METHODS["mpl"])(settings=METHODS["mpl"].settings, step=diverging, teacher=True)
        patch.setitem(METHODS, "mpl", broken)
        with pytest.raises(SystemExit) as end:
            module.main(flags(store, "--checkpoint-every", "1", "--log-every", "100", steps=10))
    assert end.value.code == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert message.startswith(
        "gradebook: a weight of the student is not a number any more at step 5: lower the learning"
    )
    run = Run(store.project.runs / "r")
    assert (run.status().state, run.status().step) == (State.FAILED, 4)
    assert run.status().message in message
    assert resume(store).state is State.FINISHED, "the checkpoint before it is good"


def test_too_high_a_learning_rate_is_a_one_line_error(store, capsys):
    with pytest.raises(SystemExit) as end:
        module.main(flags(store, "--teacher.lr", "1e30", "--student.lr", "1e30", steps=60))
    assert end.value.code == 2
    assert "not a number any more" in capsys.readouterr().err.splitlines()[-1]
    assert Run(store.project.runs / "r").status().state is State.FAILED


def test_a_full_disk_is_a_one_line_error_and_the_run_resumes(store, capsys):
    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pq, "write_table", full)
        with pytest.raises(SystemExit) as end:
            module.main(flags(store))
    assert end.value.code == 2
    assert "the record cannot be written" in capsys.readouterr().err
    assert Run(store.project.runs / "r").status().state is State.FAILED
    assert resume(store).state is State.FINISHED


@pytest.mark.parametrize("workers", ["0", "1"])
def test_a_missing_image_is_a_one_line_error(tmp_path, workers):
    store = make_project(tmp_path)
    Path(store.catalog.samples()[3].filepath).unlink()
    with pytest.raises(ConfigError, match=r"003\.png cannot be read.*put the file back"):
        trained(store, *PIXELS, "--workers", workers)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("--steps", "0"), "steps=0 must be above 0"),
        (("--preset", "slow"), "there is no preset 'slow': choose one of quick, finetune"),
        (("--method", "magic"), "there is no method 'magic': choose one of"),
        (("--backbone", "resnet10t"), "no cached views of resnet10t in this project: run: gradebook embed"),
        ((*PIXELS, "--backbone", "resnet10"), r"timm has no model resnet10: do you mean resnet10t"),
        ((*PIXELS, "--backbone", "xcit_nano_12_p16_224"), "only takes images of 224 px: give --size 224"),
        (("--method", "mean_teacher", "--average", "0"), "--average"),
        (("--average", "1"), "average=1.0"),
        (("--accumulate", "2"), "cached views need no chunks"),
        (("--checkpoints", "0"), "checkpoints=0 must be above 0"),
        (("--run", "a/b"), "cannot name a directory"),
    ],
)
def test_impossible_settings_are_a_one_line_error(store, capsys, more, says):
    with pytest.raises(SystemExit) as end:
        module.main([*flags(store), *more])
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert says in error
    assert "Traceback" not in error


def test_too_few_labels_are_a_one_line_error(tmp_path):
    store = make_project(tmp_path, labelled=1)
    with pytest.raises(ConfigError, match="fewer than two classes have a label: label at least one image of each"):
        trained(store)
    assert not list(store.project.runs.glob("*")), "nothing was begun"
