"""Two processes that share the networks' weights out train the same student as two that do not, and resume."""

from dataclasses import replace

import pyarrow.parquet as pq
import pytest
import torch

from gradebook.pipelines import train as module
from gradebook.pipelines.process.run_status import State
from gradebook.pipelines.runs import Run
from gradebook.pipelines.training import fsdp, loop
from gradebook.pipelines.training.config import ConfigError
from gradebook.pipelines.training.paper_presets import large_l2
from gradebook.pipelines.training.presets import preset_of
from gradebook.pipelines.training.student import load_run_student
from gradebook.storage.store import Store
from tests.forkserver import together
from tests.pipelines.projects import flags, make_project, rows, timeless, weights

pytestmark = pytest.mark.slow

PIXELS = ("--preset", "finetune", "--feedback", "difference", "--student.clip", "1.0")
SHARED = (*PIXELS, "--sharding", "hybrid", "--recompute")


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    """A project with a run of two processes that keep all weights, one of two that share, and one that was resumed."""
    root = tmp_path_factory.mktemp("sharded")
    made = make_project(root)
    lines = [
        ["go", *flags(made, *PIXELS, run="plain")],
        ["go", *flags(made, *SHARED, run="shared")],
        ["stop", *flags(made, *SHARED, run="stopped")],
        ["go", str(made.project.root), "--resume", "--run", "stopped"],
    ]
    assert together(2, go_through, lines) == [0, 0]
    return made


def go_through(lines: list[list[str]]) -> None:
    """Trains once for each line; one that begins with "stop" is stopped after three steps."""
    requests = loop._requests
    for how, *words in lines:
        loop._requests = (lambda state: (state.step == 3, False)) if how == "stop" else requests
        assert module.main(words) == 0


def test_the_student_is_the_same(store):
    """BatchNorm normalises with each process's own images in both."""
    plain, shared = weights(store, "plain"), weights(store, "shared")
    assert plain.keys() == shared.keys()
    for name in plain:
        torch.testing.assert_close(shared[name], plain[name], rtol=1e-4, atol=1e-4)
    assert Run(store.project.runs / "shared").status().state is State.FINISHED


def test_the_records_and_metrics_are_the_same(store):
    for one, two in zip(rows(store, "plain"), rows(store, "shared"), strict=True):
        assert one["sample_id"] == two["sample_id"]
        assert two["student_probability"] == pytest.approx(one["student_probability"], abs=1e-3)
    for one, two in zip(timeless(store, "plain"), timeless(store, "shared"), strict=True):
        assert one.keys() == two.keys()
        assert two.get("student_loss") == pytest.approx(one.get("student_loss"), abs=1e-3)


def test_the_predictions_are_the_same(store):
    """They come from gathered networks, with the buffers that no state holds."""
    columns = []
    for run in ("plain", "shared"):
        table = pq.read_table(store.project.runs / run / "predictions.parquet").to_pydict()
        columns.append(torch.tensor([table["student"], table["teacher"]]))
    torch.testing.assert_close(columns[0], columns[1], rtol=0, atol=1e-4)
    assert columns[0].std() > 1e-3


def test_a_resumed_run_is_the_same_bit_for_bit(store):
    shared, stopped = weights(store, "shared"), weights(store, "stopped")
    assert all(torch.equal(shared[name], stopped[name]) for name in shared)
    assert [row for row in timeless(store, "shared") if row["step"] == 6] == [
        row for row in timeless(store, "stopped") if row["step"] == 6
    ]


def test_each_process_checkpoints_its_own_shards(store):
    def elements(run: str, file: str) -> int:
        path = store.project.runs / run / "checkpoints" / "step-000006" / file
        state = torch.load(path, weights_only=True)["student"]["optimizer"]["state"]
        return sum(kept["momentum_buffer"].numel() for kept in state.values())

    whole = elements("plain", "state.pt")
    parts = [elements("shared", f"state-{rank}.pt") for rank in range(2)]
    assert sum(parts) == whole and max(parts) < 0.7 * whole


def test_the_finished_student_is_a_plain_network(store):
    net = load_run_student(Run(store.project.runs / "shared"))
    with torch.inference_mode():
        logits = net(torch.zeros(2, 3, 32, 32, dtype=torch.uint8))
    assert logits.shape == (2, 3) and logits.isfinite().all()


@pytest.mark.parametrize(
    ("config", "processes", "says"),
    [
        ({"inputs": "views"}, 2, "heads on cached views are too small"),
        ({"method": "vat"}, 2, "vat cannot be trained with --sharding hybrid: choose mpl or supervised"),
        ({}, 2, "exact feedback needs whole weights: with --sharding hybrid give --feedback difference"),
        ({"method": "supervised"}, 1, "one process cannot shard weights"),
    ],
)
def test_what_cannot_be_sharded_is_a_one_line_error(config, processes, says):
    given = preset_of("finetune", config.get("method", "mpl"))
    with pytest.raises(ConfigError, match=says):
        fsdp.check(replace(given, sharding="hybrid", **config), processes)
    fsdp.check(given, 1)
    fsdp.check(large_l2("mpl"), 8)


def test_gathered_networks_equal_the_originals():
    net = torch.nn.Linear(2, 2)
    assert fsdp.gathered(net, "none", 2) is net
