"""Simulated rounds on vectors around a centre for each class, and what is made of them."""

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from gradebook.pipelines.studies import active_learning, label_savings, query_strategies
from gradebook.pipelines.studies.active_learning import REVIEWER, Simulation, SimulationData, load_data
from gradebook.pipelines.studies.label_savings import Curve, reach, saving
from gradebook.pipelines.studies.live_simulation import LIVE, SCRATCH, simulate_live
from gradebook.pipelines.training.config import ConfigError
from gradebook.storage.catalog import MemoryCatalog
from gradebook.storage.samples import Split
from tests.pipelines.cli.cli_runner import gradebook
from tests.pipelines.cli.finished_round import picture
from tests.pipelines.projects import TEST, class_of, make_project

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> SimulationData:
    store = make_project(tmp_path_factory.mktemp("world"), labelled=0)
    catalog, random = MemoryCatalog(), np.random.default_rng(0)
    samples = [replace(s, fingerprint=random.bytes(200)) for s in store.catalog.samples()]  # no two look alike
    catalog.add(samples, [])
    truth = {s.sample_id: class_of(s) for s in samples if s.split is Split.TRAIN}
    return load_data(replace(store, catalog=catalog), truth)


@pytest.fixture
def simulation(data, tmp_path, monkeypatch) -> Simulation:
    monkeypatch.setattr(active_learning, "prepare_data", lambda simulation: data)
    return Simulation(
        train=tmp_path,
        test=tmp_path,
        work=tmp_path / "work",
        strategies=("random", "ours"),
        start=1,
        batch=4,
        rounds=2,
        seeds=(0, 1),
        steps=3,
    )


def trainings(monkeypatch) -> list[str]:
    """Returns a list that grows by a name with each training."""
    from gradebook.pipelines.training import trainer as module

    names: list[str] = []
    real = module.train
    monkeypatch.setattr(module, "train", lambda call, store: names.append(call.config.run) or real(call, store))
    return names


def test_a_live_session_is_compared_with_training_from_scratch(simulation, data, monkeypatch):
    for name in ("session_run", "trainer"):
        monkeypatch.setattr(f"gradebook.pipelines.session.{name}.BURST_STEPS", 5)
    monkeypatch.setattr("gradebook.pipelines.session.trainer.MAX_STEPS", 5)
    live = replace(simulation, seeds=(0,))
    curves = simulate_live(live)
    for name in (LIVE, SCRATCH):
        rounds = curves[name][0]
        assert [r.labels for r in rounds] == [3, 7, 11]
        assert all(0 <= r.accuracy <= 1 for r in rounds)
    names = trainings(monkeypatch)
    assert simulate_live(live) == curves and names == [], "results are saved"
    assert not list((simulation.results / "seed-0" / "live").glob("runs/*"))


def test_a_live_session_needs_first_labels(simulation):
    with pytest.raises(ConfigError, match="--start"):
        simulate_live(replace(simulation, start=0))


def test_rounds_add_labels_and_never_ask_twice(simulation, data):
    curves = active_learning.simulate(simulation)
    assert set(curves) == {"random", "ours"}
    for seeds in curves.values():
        for rounds in seeds.values():
            assert [round_.labels for round_ in rounds] == [3, 7, 11]
            picked = [i for round_ in rounds for i in round_.picked]
            assert len(picked) == len(set(picked)) == 8 and set(picked) <= data.truth.keys()
            assert rounds[-1].picked == ()
            assert all(0 <= round_.accuracy <= 1 and (round_.accuracy * TEST).is_integer() for round_ in rounds)
    first, second = curves["random"][0], curves["random"][1]
    assert first[0].picked != second[0].picked, "a seed draws its own labels"


def test_strategies_share_the_first_labels_and_their_training(simulation, monkeypatch):
    names = trainings(monkeypatch)
    curves = active_learning.simulate(simulation)
    assert len(names) == len(set(names)) == 2 * (1 + 2 * 2)  # seeds * (shared + strategies * rounds)
    for seed in simulation.seeds:
        assert curves["random"][seed][0].accuracy == curves["ours"][seed][0].accuracy
        assert curves["random"][seed][0].picked != curves["ours"][seed][0].picked


def test_an_interrupted_simulation_continues_to_the_same_end(simulation, monkeypatch, tmp_path):
    whole = active_learning.simulate(simulation)
    names = trainings(monkeypatch)
    assert active_learning.simulate(simulation) == whole and names == []
    again = replace(simulation, work=tmp_path / "again")
    active_learning.simulate(replace(again, rounds=1))
    names.clear()
    path = again.results / "seed-0" / "ours.json"
    rows = json.loads(path.read_text())
    path.write_text(json.dumps(rows[:1]))  # the last round's training was killed
    assert len(active_learning.simulate(again)["ours"][0]) == 3
    assert active_learning.simulate(again)["ours"][0] == whole["ours"][0]


def test_a_stopped_training_ends_the_simulation(simulation, monkeypatch):
    from gradebook.pipelines.training import trainer as module

    monkeypatch.setattr(module, "train", lambda call, store: None)
    with pytest.raises(KeyboardInterrupt):
        active_learning.simulate(simulation)


def test_the_reviewer_gives_true_labels_as_a_person_would(simulation, data, tmp_path):
    picked = tuple(list(data.truth)[5:9])
    store = active_learning.labelled_store(data, tmp_path, [picked])
    events = [e for e in store.log.read() if e.actor == REVIEWER]
    assert {e.sample_id: e.label for e in events} == {i: data.truth[i] for i in picked}
    assert len(store.log.read()) == TEST + 4, "nothing else is known of the images to label"


@pytest.mark.parametrize("strategy", ["random", "herding", "ours"])
def test_without_a_start_the_strategies_choose_the_first_labels_too(simulation, strategy):
    rounds = active_learning.simulate(replace(simulation, strategies=(strategy,), start=0, batch=9, seeds=(0,)))[
        strategy
    ][0]
    assert [(round_.labels, round_.accuracy is None) for round_ in rounds] == [(0, True), (9, False), (18, False)]
    assert label_savings.curves_of({strategy: {0: rounds}})[strategy].labels == [9, 18]


def test_a_reason_orders_our_queue(data, simulation):
    rounds = active_learning.simulate(replace(simulation, strategies=("ours", "ours:flips"), rounds=1, seeds=(0,)))
    assert rounds["ours"][0][0].picked != rounds["ours:flips"][0][0].picked


@pytest.mark.parametrize("name", ["TypiClust", "UncertaintySampling"])  # without a classifier and with one
def test_a_library_chooses_from_the_same_embeddings(simulation, data, name):
    pytest.importorskip("skactiveml")
    strategy = f"skactiveml:{name}"
    rounds = active_learning.simulate(replace(simulation, strategies=(strategy,), seeds=(0,)))
    picked = [i for round_ in rounds[strategy][0] for i in round_.picked]
    assert len(set(picked)) == 8 and set(picked) <= data.truth.keys()


def test_an_impossible_simulation_is_an_error_that_says_what_to_do(simulation, monkeypatch):
    with pytest.raises(ConfigError, match="there is no strategy 'luck': choose from random, entropy"):
        query_strategies.find_strategy("luck")
    with pytest.raises(ConfigError, match=r"there is no reason 'luck': choose one of .*unsure"):
        query_strategies.find_strategy("ours:luck")
    monkeypatch.setitem(__import__("sys").modules, "skactiveml", None)
    with pytest.raises(ConfigError, match="skactiveml:TypiClust needs the package scikit-activeml: install it"):
        query_strategies.find_strategy("skactiveml:TypiClust")
    with pytest.raises(ConfigError, match="batch=0 must be at least 1"):
        replace(simulation, batch=0)
    with pytest.raises(ConfigError, match="give at least one seed"):
        replace(simulation, seeds=())


def test_reach_lies_on_the_line_between_two_trainings():
    labels, accuracy = [20, 40, 80], [0.4, 0.5, 0.6]
    assert reach(labels, accuracy, 0.45) == pytest.approx(30)
    assert reach(labels, accuracy, 0.525) == pytest.approx(50)
    assert reach(labels, accuracy, 0.6) == pytest.approx(80)
    assert reach(labels, accuracy, 0.3) == 20
    assert reach(labels, accuracy, 0.61) == float("inf")
    assert reach(labels, [0.4, 0.6, 0.5], 0.5) == pytest.approx(30), "the first time counts"


def test_a_strategy_twice_as_good_saves_half():
    """Accuracy n / 200 against n / 100: the baseline's end at 80 labels is reached with 40, in every seed."""
    labels = [20, 40, 80]
    slow = Curve(labels=labels, accuracy=[[n / 200 for n in labels]] * 3)
    quick = Curve(labels=labels, accuracy=[[n / 100 for n in labels]] * 3)
    comparison = saving(quick, slow)
    assert (comparison.labels, comparison.share) == (pytest.approx(40), pytest.approx(0.5))
    assert comparison.low == comparison.high == pytest.approx(0.5), "seeds that agree leave no interval"
    assert saving(slow, slow).share == pytest.approx(1)
    never = saving(slow, quick)
    assert never.labels == never.share == never.low == float("inf")


def test_seeds_that_differ_widen_the_interval():
    labels, slow = [10, 20, 30], Curve(labels=[10, 20, 30], accuracy=[[0.1, 0.2, 0.3]] * 4)
    one = Curve(labels=labels, accuracy=[[0.2, 0.3, 0.4], [0.25, 0.35, 0.4], [0.15, 0.25, 0.4], [0.2, 0.3, 0.4]])
    comparison = saving(one, slow)
    assert comparison.low < comparison.share < comparison.high
    assert comparison.share == pytest.approx(20 / 30)


def test_a_strategy_that_begins_above_needs_at_most_its_first_labels():
    slow = Curve(labels=[10, 20], accuracy=[[0.1, 0.2]] * 2)
    comparison = saving(Curve(labels=[10, 20], accuracy=[[0.3, 0.4]] * 2), slow)
    assert (comparison.labels, comparison.share, comparison.at_most) == (10, 0.5, True)
    assert not saving(slow, slow).at_most


def test_the_tables_say_what_is_needed_and_what_is_not_reached():
    labels = [10, 20, 40]
    curves = {
        "random": Curve(labels=labels, accuracy=[[0.2, 0.3, 0.4], [0.3, 0.4, 0.5]]),
        "worse": Curve(labels=labels, accuracy=[[0.1, 0.2, 0.3], [0.1, 0.2, 0.3]]),
        "better": Curve(labels=labels, accuracy=[[0.4, 0.5, 0.6], [0.4, 0.5, 0.6]]),
    }
    rows = label_savings.as_markdown(curves).splitlines()
    assert rows[0] == "| strategy | 10 labels | 20 labels | 40 labels |"
    assert rows[2] == "| random | 25.0 ± 63.5 | 35.0 ± 63.5 | 45.0 ± 63.5 |"
    assert rows[6] == "| strategy | for random with 20 | for random with 40 |"
    assert rows[8].endswith("| 40: 1.00 (1.00 to 1.00) |")
    assert rows[9].startswith("| worse | not reached")
    assert rows[10].startswith("| better | ≤ 10: 0.50 (0.50 to 0.50) | 15: 0.38 (")
    plain = json.loads(json.dumps(label_savings.as_json(curves)))
    assert plain["worse"]["share"] is None and plain["better"]["share"] == pytest.approx(0.375)


def test_the_plot_names_every_line_without_overlap(tmp_path):
    heights = label_savings._spread_heights({"a": 50.0, "b": 50.1, "c": 40.0, "d": 50.05}, gap=1.0)
    assert sorted(heights, key=lambda name: heights[name]) == ["c", "a", "d", "b"]
    in_order = sorted(heights.values())
    assert min(b - a for a, b in pairwise(in_order)) >= 1.0 - 1e-9
    assert heights["c"] == 40.0 and heights["d"] == pytest.approx(50.05), "who has room stays"
    curves = {name: Curve(labels=[10, 20], accuracy=[[0.1, 0.2], [0.2, 0.3]]) for name in ("random", "ours")}
    label_savings.plot(curves, tmp_path / "plot.png", "title")
    with Image.open(tmp_path / "plot.png") as picture:
        assert picture.width > 800


def test_the_command_draws_the_plot_and_prints_the_table(tmp_path):
    for n in range(28):
        split = "test" if n < 8 else "train"
        picture(tmp_path / split / ("cat", "dog")[n % 2] / f"{n}.png", n, n % 2)
    call = ("simulate", tmp_path / "train", tmp_path / "test", "--work", tmp_path / "work", "--seeds", 0, "--steps", 2)
    call = (*call, "--start", 1, "--batch", 3, "--rounds", 1, "--strategies", "random", "margin")
    result = gradebook(*call, "--plot", tmp_path / "plot.png")
    assert result.status == 0, result.err
    names = ["| strategy", "| ---", "| random", "| margin"]
    assert [row.split(" | ")[0] for row in result.out.splitlines()] == [*names, "", *names]
    assert (tmp_path / "plot.png").exists()
    again = gradebook(*call, "--json")
    assert "trained" not in again.err and again.json["random"]["labels"] == [2, 5]
    assert again.json["random"]["share"] <= 1 and again.json["margin"].keys() == again.json["random"].keys()
    bad = gradebook(*call, "--strategies", "luck")
    assert bad.status == 2 and len(bad.err.splitlines()) == 1 and "there is no strategy 'luck'" in bad.err
