"""The operators, executed as FiftyOne's server does, on a real MongoDB: one process and one server for all of them."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from gradebook.pipelines.curation.queue_items import sentence_of
from gradebook.pipelines.curation.review_queue import rank
from gradebook.pipelines.fiftyone_app import actions, links
from gradebook.pipelines.fiftyone_app.launch import link_plugins
from gradebook.pipelines.process import servers
from gradebook.storage.events import Kind, decisions, event, replay
from gradebook.storage.fiftyone_reasons import Reasons
from gradebook.storage.fiftyone_samples import open_parameters
from gradebook.storage.project import ProjectError, create_project
from gradebook.storage.samples import Split
from gradebook.storage.store import open_store
from gradebook.storage.vectors import Space
from tests.app.conftest import CLASSES, HOSTILE, TRAIN, a_run, fill

pytestmark = pytest.mark.slow

URI = "@gradebook/verdicts/"


@pytest.fixture(scope="module")
def server(mongodb, tmp_path_factory):
    """FiftyOne as `gradebook fiftyone` sets it up."""
    import fiftyone as fo

    folder = tmp_path_factory.mktemp("server")
    link_plugins(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fo.config, "plugins_dir", str(folder))
        yield


@pytest.fixture
def store(tmp_path, server, monkeypatch):
    monkeypatch.setattr(actions, "actor", lambda: "ada")
    store = open_store(create_project(tmp_path / "birds", CLASSES).root)
    fill(store, tmp_path / "pictures")
    run = a_run(store)
    store.record.fold(run.name, run.path / "record")
    from gradebook.storage.fiftyone_dataset import refresh

    refresh(store, run.name, Reasons(proposed=dict.fromkeys(read_ids(store), ("heron", 0.75))))
    return store


def read_ids(store):
    return [sample.sample_id for sample in store.catalog.samples(Split.TRAIN)]


@pytest.fixture
def dataset(store):
    import fiftyone as fo

    from gradebook.storage.fiftyone_dataset import dataset_name

    return fo.load_dataset(dataset_name(store.project))


def press(name, dataset, selected=(), **params):
    """Runs an operator; returns its result and the messages shown to the user."""
    import fiftyone.operators as foo

    done = foo.execute_operator(URI + name, ctx={"dataset": dataset, "selected": list(selected), "params": params})
    return done.result, [request["message"] for request in triggered(done, "notify")]


def triggered(done, name):
    """Returns the parameters of the App's own operators of that name that an execution asks for."""
    return [r["params"] for r in done.executor.to_json()["requests"] if r["operator_uri"].endswith(name)]


def fields(dataset, ids, path="label.label"):
    dataset.reload()
    return dataset.select(list(ids), ordered=True).values(path)


def logged(store):
    return [(e.kind, e.label, e.actor) for e in store.log.read() if e.kind is not Kind.IMPORTED]


def test_every_operator_is_found(server):
    import fiftyone.operators as foo

    found = {operator.uri for operator in foo.list_operators(builtin=False)}
    names = ("accept", "assign", "undo", "ask", "show_alike", "show_evolution", "open_in_app", "place", "refresh")
    names = (*names, "evolution")
    assert {URI + name for name in names} <= found


def test_accepting_writes_the_proposal_and_the_verdict_and_updates_the_field(store, dataset):
    ids = dataset.values("id")[:2]
    answer, messages = press("accept", dataset, ids)
    assert messages == [answer["said"]] == ["2 samples accepted."]
    assert logged(store) == [(Kind.PROPOSED, "heron", "run:mpl-001"), (Kind.ACCEPTED, "heron", "ada")] * 2
    _, proposal, verdict, *_ = store.log.read()
    assert (proposal.confidence, verdict.ref) == (0.75, proposal.event_id)
    assert fields(dataset, dataset.values("id")) == ["heron", "heron", None, None, None, "crow"]
    assert press("accept", dataset, ids)[1] == [
        "0 samples accepted. 2 left as before: a person gave this label already."
    ]
    assert len(logged(store)) == 4


def test_a_label_is_assigned_and_undone(store, dataset):
    first, second, *_, last = dataset.values("id")
    press("assign", dataset, [first, last], label=HOSTILE)
    assert [kind for kind, *_ in logged(store)] == [Kind.PROPOSED, Kind.RELABELLED, Kind.RELABELLED]
    assert fields(dataset, [first, last]) == [HOSTILE, HOSTILE]
    assert fields(dataset, [first, last], "disagreement") == [True, False], "the teacher predicts heron for the first"
    assert press("undo", dataset)[1] == ["1 verdict taken back."]
    assert fields(dataset, [first, last]) == [HOSTILE, "crow"], "the newest; its import stands again"
    assert press("undo", dataset, [second])[0]["refused"].startswith("These samples have no verdict of yours (ada)")
    press("undo", dataset, [first])
    assert fields(dataset, [first]) == [None]
    assert press("undo", dataset)[1] == ["There is no verdict of yours (ada) to take back"]
    assert replay(store.log.read()) == {dataset[last]["gradebook_id"]: "crow"}


def dialog(name, dataset, selected):
    """Returns the title of an operator's dialog, and its fields."""
    from fiftyone.operators.executor import ExecutionContext
    from fiftyone.operators.registry import OperatorRegistry

    ctx = ExecutionContext({"dataset_name": dataset.name, "selected": list(selected), "params": {}})
    asked = OperatorRegistry().get_operator(URI + name).resolve_input(ctx).to_json()
    return asked["view"]["label"], asked["type"]["properties"]


def test_a_label_is_given_to_the_images_that_the_dialog_shows(store, dataset):
    ids, paths = dataset.values("id"), dataset.values("filepath")
    title, shown = dialog("assign", dataset, ids[2:3])
    assert title == "Label 1 image"
    assert shown["names"]["view"]["label"] == Path(paths[2]).name
    (picture,) = shown["images"]["type"]["properties"].values()
    assert picture["default"].startswith("data:image/jpeg;base64,")
    title, shown = dialog("assign", dataset, ids)
    assert title == f"Label {len(ids)} images"
    assert all(Path(path).name in shown["names"]["view"]["label"] for path in paths)
    title, shown = dialog("assign", dataset, [])
    assert "Select samples" in shown["none"]["view"]["label"] and "label" not in shown


@pytest.mark.parametrize("name", ["accept", "assign", "undo", "ask"])
def test_a_verdict_clears_the_selection(store, dataset, name):
    import fiftyone.operators as foo

    ids = dataset.values("id")[:2]
    if name == "undo":
        press("accept", dataset, ids)
    params = {"label": "crow"} if name == "assign" else {}
    done = foo.execute_operator(URI + name, ctx={"dataset": dataset, "selected": ids, "params": params})
    assert len(triggered(done, "clear_selected_samples")) == 1
    refused = foo.execute_operator(URI + name, ctx={"dataset": dataset, "selected": [], "params": {"label": "dodo"}})
    if name != "undo":
        assert triggered(refused, "clear_selected_samples") == [], "what was refused can be pressed again"


def test_a_verdict_with_the_same_label_that_was_not_shown_is_a_conflict(store, dataset):
    """The label on the screen came from an import; meanwhile a person has given the same one."""
    last = dataset.values("id")[-1]
    store.log.append([event(Kind.ACCEPTED, dataset[last]["gradebook_id"], "crow", actor="bob")])
    assert press("assign", dataset, [last], label="heron")[1] == [
        "0 samples labelled heron. 1 decided by somebody meanwhile: look again."
    ]
    assert press("assign", dataset, [last], label="heron")[1] == ["1 sample labelled heron."], "now it is shown"


def test_an_undo_of_what_was_decided_elsewhere_since_is_a_conflict(store, dataset):
    first = dataset.values("id")[0]
    store.log.append([event(Kind.REJECTED, dataset[first]["gradebook_id"], actor="ada")])
    assert press("undo", dataset, [first])[1] == ["0 verdicts taken back. 1 decided by somebody meanwhile: look again."]
    assert press("undo", dataset, [first])[1] == ["1 verdict taken back."]


def test_a_label_that_is_no_class_is_refused_in_one_sentence_and_nothing_is_written(store, dataset):
    ids, before = dataset.values("id"), store.log.read()
    hostile = "<img src=x onerror=alert(1)>"
    answer, messages = press("assign", dataset, ids, label=hostile)
    assert messages == [answer["refused"]]
    assert answer["refused"].startswith(f"Label {hostile!r} is not a class of this project")
    assert "Select samples" in press("assign", dataset, [], label="crow")[0]["refused"]
    assert store.log.read() == before
    assert fields(dataset, ids) == [None] * TRAIN + ["crow"]


def test_a_sample_decided_meanwhile_is_shown_and_not_overwritten(store, dataset):
    first, second, *_ = dataset.values("id")
    store.log.append([event(Kind.RELABELLED, dataset[first]["gradebook_id"], "crow", actor="bob")])
    _, messages = press("accept", dataset, [first, second])
    assert messages == ["1 sample accepted. 1 decided by somebody meanwhile: look again."]
    assert fields(dataset, [first, second]) == ["crow", "heron"]
    assert decisions(store.log.read())[dataset[first]["gradebook_id"]].actor == "bob"


def test_samples_sent_to_the_queue_come_first(store, dataset):
    ids = dataset.values("id")
    _, messages = press("ask", dataset, [ids[3], ids[-1]])
    assert messages == ["1 sample sent to the front of the queue. 1 stayed out: decided, or a test image."]
    row, *_ = rank(store, None, limit=1)
    assert (row.sample_id, row.label, row.probability) == (dataset[ids[3]]["gradebook_id"], "heron", 0.75)
    assert [sentence_of(reason) for reason in row.reasons] == ["sent to review by a person"]
    assert "waited there already" in press("ask", dataset, [ids[3]])[1][0]
    assert [kind for kind, *_ in logged(store)] == [Kind.PROPOSED]
    press("accept", dataset, [ids[3]])
    assert rank(store, None, limit=1)[0].sample_id != row.sample_id


def test_similar_samples_are_found_in_the_projects_vectors(store, dataset):
    ids, sample_ids = dataset.values("id"), dataset.values("gradebook_id")
    answer, messages = press("show_alike", dataset, ids[:1])
    assert messages == [answer["refused"]] and "gradebook embed" in messages[0]
    store.vectors.create(Space(backbone="b", weights="none", size=8, dim=2, weak=1, strong=0, seed=0))
    views = np.array([[[1, 0]], [[0, 1]], [[1, 0.1]], [[1, 0.5]]], np.float16)
    store.vectors.add("b", sample_ids[:4], views)
    answer, _ = press("show_alike", dataset, ids[:1])
    assert answer["ids"] == [ids[0], ids[2], ids[3], ids[1]]


def panel_of(dataset, selected, method="on_load"):
    import fiftyone.operators as foo

    params = {"panel_id": "p", "__method__": method}
    ctx = {"dataset": dataset, "selected": selected, "params": params}
    (drawn,) = triggered(foo.execute_operator(URI + "evolution", ctx=ctx), "show_panel_output")
    return drawn["output"]["type"]["properties"]


def test_the_panel_draws_the_record_of_the_selected_sample_and_its_button_accepts(store, dataset):
    ids = dataset.values("id")
    drawn = panel_of(dataset, [ids[1]])
    teacher, student, feedback = drawn["evolution"]["view"]["data"]
    assert (teacher["x"], teacher["y"], teacher["text"]) == ([10, 20], [0.75, 0.75], ["crow", "heron"])
    assert student["text"][0].startswith("&lt;img"), "Plotly would draw the tag"
    assert feedback["x"] and set(feedback["x"]) <= {10, 20}
    assert "Select samples" in panel_of(dataset, [])["none"]["view"]["label"]
    assert "No run has a record" in panel_of(dataset, [ids[-1]])["none"]["view"]["label"]
    panel_of(dataset, [ids[1]], "accept")
    assert fields(dataset, [ids[1]]) == ["heron"]


def test_the_app_and_fiftyone_link_to_each_other(store, dataset, monkeypatch):
    ids = dataset.values("id")
    assert "gradebook app" in press("open_in_app", dataset, ids[:1])[0]["refused"]
    monkeypatch.setattr(servers, "find", lambda root, name: servers.Server(f"http://{name}"))
    sample_ids = dataset.values("gradebook_id")
    assert press("open_in_app", dataset, ids[1:])[0] == {"address": f"http://app/evolution?sample={sample_ids[1]}"}
    asked = lambda address, name, operator, params: press(operator, dataset, **params)[0]  # noqa: E731 - the server's answer
    monkeypatch.setattr(links, "_execute", asked)
    start = f"http://fiftyone/datasets/{dataset.name}?"
    assert links.in_fiftyone(store.project, sample_ids[2:3]) == f"{start}id={ids[2]}"
    address, view = links.in_fiftyone(store.project, sample_ids[3:0:-1]).split("view=from-gradebook-")
    assert address == start
    dataset.reload()
    assert dataset.load_saved_view(f"from gradebook {view}").values("gradebook_id") == sample_ids[3:0:-1]
    with pytest.raises(ProjectError, match="lacks 1 of the 2"):
        links.in_fiftyone(store.project, ["nobody", sample_ids[0]])


def test_the_server_is_set_to_the_page_that_opens_and_keeps_a_limited_number_of_views(store, dataset, monkeypatch):
    """Otherwise it shows the earlier page: it looks up saved views among those known when it loaded the dataset."""
    from fiftyone.core.state import StateDescription
    from fiftyone.server.events import state

    from gradebook.storage import fiftyone_samples

    monkeypatch.setattr(fiftyone_samples, "MAX_SAVED_VIEWS", 2)
    sample_ids = dataset.values("gradebook_id")
    monkeypatch.setattr(state, "_state", StateDescription(dataset=dataset, view=dataset.limit(1)))
    for n in (2, 3, 4):
        slug = press("place", dataset, sample_ids=sample_ids[:n])[0]["view"]
        expected = state.get_state().serialize()
        assert (expected["saved_view_slug"], state.get_state().view.values("gradebook_id")) == (slug, sample_ids[:n])
    press("place", dataset, sample_ids=sample_ids[:1])
    assert (state.get_state().view, state.get_state().sample_id) == (None, dataset.first().id)
    dataset.reload()
    assert len([name for name in dataset.list_saved_views() if name.startswith("from gradebook")]) == 2
    other = StateDescription()
    monkeypatch.setattr(state, "_state", other)
    press("place", dataset, sample_ids=sample_ids[:2])
    assert other.view is None, "a page of another dataset is none of ours"


def test_a_dataset_of_another_program_is_unchanged(server):
    import fiftyone as fo

    other = fo.Dataset()
    assert "belongs to no project" in press("accept", other, ["0" * 24])[0]["refused"]
    assert "gradebook app PROJECT" in press("open_in_app", other)[0]["refused"]


def test_the_users_own_plugins_are_linked_beside_ours(server, tmp_path, monkeypatch):
    import fiftyone as fo

    theirs = tmp_path / "theirs"
    (theirs / "org" / "mine").mkdir(parents=True)
    (theirs / "org" / "mine" / "fiftyone.yml").write_text("name: '@org/mine'\n")
    monkeypatch.setattr(fo.config, "plugins_dir", str(theirs))
    folder = tmp_path / "links"
    folder.mkdir()
    link_plugins(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["gradebook-verdicts", "org"]
    assert (folder / "org" / "mine" / "fiftyone.yml").is_file()
    assert [path.name for path in theirs.iterdir()] == ["org"]


def test_pages_opened_at_once_each_show_their_own_samples(store, dataset):
    ids = [sample.sample_id for sample in store.catalog.samples()]
    wanted = [ids[:2], ids[1:4], ids[2:5], ids[:2], ids[:4], ids[3:]]
    with ThreadPoolExecutor(len(wanted)) as pool:
        found = list(pool.map(lambda some: open_parameters(dataset, some)["view"], wanted))
    dataset.reload()
    shown = [dataset.load_saved_view(slug.replace("-", " ")).values("gradebook_id") for slug in found]
    assert shown == wanted
