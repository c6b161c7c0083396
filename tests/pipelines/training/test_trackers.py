import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from gradebook.pipelines.runs import Run
from gradebook.pipelines.training.config import ConfigError
from tests.pipelines.projects import trained


def test_tensorboard_gets_the_values_of_the_metrics(store):
    trained(store, "--trackers", "tensorboard")
    run = Run(store.project.runs / "r")

    board = EventAccumulator(str(run.path / "tensorboard")).Reload()
    logged = {(tag, e.step): e.value for tag in board.Tags()["scalars"] for e in board.Scalars(tag)}
    rows = run.metrics()
    expected = {
        (name, row["step"]): value for row in rows for name, value in row.items() if name not in {"step", "phases"}
    }
    expected |= {(f"phases/{name}", row["step"]): s for row in rows for name, s in row.get("phases", {}).items()}
    assert set(logged) == set(expected) and len(expected) > 20
    assert [logged[k] for k in expected] == pytest.approx(list(expected.values()), rel=1e-5)


def test_without_the_option_no_tracker_is_used(store):
    trained(store, steps=2)
    assert not (store.project.runs / "r" / "tensorboard").exists()


@pytest.mark.parametrize(
    ("names", "says"),
    [
        ("tensorbord", "there is no tracker 'tensorbord': choose from .*tensorboard.*wandb"),
        ("tensorboard,clearml", "the tracker clearml is not installed: install clearml, or leave it out"),
    ],
)
def test_a_missing_tracker_is_a_one_line_error(store, names, says):
    with pytest.raises(ConfigError, match=says):
        trained(store, "--trackers", names, steps=2)
