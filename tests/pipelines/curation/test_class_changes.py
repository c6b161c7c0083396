"""Classes are added, renamed, merged, split, removed and ordered; each change can be undone."""

import json
import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from gradebook.pipelines.curation import class_changes, review_queue, selection_queue
from gradebook.pipelines.curation.class_changes import (
    add,
    change_classes,
    merge,
    order,
    remove,
    rename,
    split,
    undo_change,
)
from gradebook.pipelines.curation.labelling import Choice, decide, label_samples
from gradebook.pipelines.curation.selections import read_selection
from gradebook.pipelines.curation.verdicts import Shown
from gradebook.pipelines.maintenance.verify import verify
from gradebook.pipelines.process.run_status import State, status_now, write_status
from gradebook.storage.class_changes import PALETTE
from gradebook.storage.events import replay
from gradebook.storage.project import ProjectError, create_project, read_project
from gradebook.storage.store import open_store
from tests.class_changes import change, reopened
from tests.pipelines.projects import CLASSES, LABELLED, make_project


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    return make_project(tmp_path_factory.mktemp("classes"), train=24)


def labels(store) -> dict[str, str]:
    return replay(store.log.read())


def named(store, name: str) -> set[str]:
    return {i for i, label in labels(store).items() if label == name}


def findings(root) -> list[str]:
    return [f.check for f in verify(root).findings if f.check != "samples_have_files"]  # the projects here list none


def test_each_change_is_undone_exactly(store):
    before, classes = labels(store), read_project(store.project.root).styled_classes
    plans = [
        add(["wren"]),
        rename("crow", "raven"),
        merge(["raven", "owl"], "owl"),
        split("heron", ["grey heron", "night heron"]),
        remove("owl"),
        order(["night heron", "wren", "grey heron"]),
    ]
    states = [before]
    for plan in plans:
        store, _ = change(store, plan)
        states.append(labels(store))
    assert states[1] == before and set(states[3].values()) == {"owl", "heron"} and states[5] == {}
    for state in reversed(states[:-1]):
        undo_change(store, actor="ada")
        assert labels(store) == state
    assert read_project(store.project.root).styled_classes == classes
    with pytest.raises(ProjectError, match="no change to undo"):
        undo_change(store, actor="ada")


def test_an_undo_can_be_undone_but_nothing_below_a_later_change(store):
    store, first = change(store, rename("crow", "raven"))
    undone = undo_change(store, actor="ada")
    assert named(store, "crow")
    undo_change(store, actor="ada", event_id=undone.event_id)
    assert named(store, "raven")
    store, _ = change(store, add(["wren"]))
    with pytest.raises(ProjectError, match=r"not the newest change.*--undo"):
        undo_change(store, actor="ada", event_id=first.event_id)


def test_a_class_keeps_its_color_and_key_for_life_and_no_two_are_alike(store):
    crow = store.project.styled_classes[0]
    store, _ = change(store, rename("crow", "raven"))
    store, _ = change(store, order(["owl", "raven", "heron"]))
    raven = store.project.styled_classes[1]
    assert (raven.name, raven.color, raven.key) == ("raven", crow.color, crow.key)
    store, _ = change(store, remove("owl"))
    store, _ = change(store, add(["wren"]))
    assert store.project.styled_classes[-1].color == 3, "a color that a removed class had is given last"
    store, _ = change(store, add([f"bird {n}" for n in range(12)]))
    colors = [c.color for c in store.project.styled_classes]
    assert len(colors) == 15 and colors.count(None) == 15 - len(PALETTE)
    assert len({c for c in colors if c is not None}) == len(PALETTE)
    assert len({c.key for c in store.project.styled_classes}) == 15


def test_a_split_leaves_a_selection_of_the_images_to_label_again(store):
    crows = named(store, "crow")
    store, report = change(store, split("crow", ["crow", "raven"]))
    assert report.undecided == len(crows) == LABELLED // 3 + 4
    selection = read_selection(store.project, report.selection)
    assert set(selection.sample_ids) == crows
    assert selection.why == "to tell crow and raven apart; they were labelled crow"
    assert not named(store, "crow")
    row, *_ = review_queue.rank(store, None)
    assert row.sample_id in crows and list(row.reasons) == ["class_changed"]
    first, *_ = selection_queue.rank(store, None, selection=selection)
    assert list(first.reasons) == ["class_changed"]
    decide(store, [Choice(shown=Shown(sample_id=row.sample_id), label="raven", expected=None)], actor="ada")
    assert len(selection_queue.rank(store, None, selection=selection)) == len(crows) - 1


@pytest.mark.parametrize(
    ("plan", "sentence"),
    [
        (add(["crow"]), "already: nothing to add"),
        (add([" "]), "is empty"),
        (rename("crow", "owl"), "owl is a class already: to join the two, merge crow and owl"),
        (rename("ostrich", "emu"), "'ostrich' is not a class"),
        (rename("crow", "a\nb"), "cannot be shown"),
        (merge(["crow"], "bird"), "two classes or more"),
        (merge(["crow", "heron"], "owl"), "owl is another class: merge it too"),
        (split("crow", ["raven"]), "two classes or more"),
        (split("crow", ["raven", "raven"]), "given twice"),
        (remove("ostrich"), "'ostrich' is not a class"),
        (order(["crow", "owl"]), "give each class once"),
    ],
)
def test_what_cannot_be_done_is_refused_and_changes_nothing(store, plan, sentence):
    before = store.log.version()
    with pytest.raises(ProjectError, match=sentence):
        change_classes(store, plan, actor="ada")
    assert (store.log.version(), read_project(store.project.root).classes) == (before, CLASSES)


def test_an_old_name_is_refused_with_what_became_of_it(store):
    sample = store.catalog.ids()[20]
    store, _ = change(store, rename("crow", "raven"))
    store, _ = change(store, remove("owl"))
    with pytest.raises(ProjectError, match=r"crow \(it is raven now\).*present classes \(raven, heron\)"):
        label_samples(store, {sample: "crow"}, who="ada")
    with pytest.raises(ProjectError, match=r"owl \(its class owl was removed\)"):
        label_samples(store, {sample: "owl"}, who="ada")


def test_a_verdict_of_a_window_that_was_opened_before_a_change_is_refused(store):
    choice = Choice(shown=Shown(sample_id=store.catalog.ids()[20]), label="crow", expected=None)
    change_classes(open_store(store.project.root), rename("crow", "raven"), actor="bob")
    with pytest.raises(ProjectError, match="it is raven now"):
        decide(store, [choice], actor="ada")
    new = Choice(shown=choice.shown, label="raven", expected=None)
    assert decide(store, [new], actor="ada").taken, "the new name counts, though this store was opened before"


def test_a_change_that_was_cut_short_is_finished_by_the_next_verdict_or_by_verify(store, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(class_changes, "write_classes", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        change_classes(store, rename("crow", "raven"), actor="ada")
    assert read_project(store.project.root).classes == CLASSES
    store = reopened(store)
    assert findings(store.project.root) == ["classes_are_those_of_the_log"]
    choice = Choice(shown=Shown(sample_id=store.catalog.ids()[20]), label="raven", expected=None)
    decide(store, [choice], actor="ada")
    assert read_project(store.project.root).classes == ("raven", "heron", "owl")
    assert not findings(store.project.root)


def test_verify_writes_the_classes_of_the_log(store):
    store, _ = change(store, rename("crow", "raven"))
    path = store.project.root / "gradebook.json"
    path.write_text(json.dumps({"version": 1, "classes": ["x", "y"], "levels": {}}))
    assert findings(store.project.root)
    verify(store.project.root, repair=True)
    assert read_project(store.project.root) == store.project
    assert not findings(store.project.root)


def test_a_run_in_progress_is_not_pulled_from_under(store):
    path = store.project.runs / "mpl-001"
    path.mkdir(parents=True)
    (path / "config.json").write_text("{}")
    write_status(path, status_now(State.RUNNING, pid=os.getpid(), step=1, steps=9))
    for plan in [
        rename("crow", "raven"),
        merge(["crow", "owl"], "owl"),
        remove("crow"),
        order(["owl", "heron", "crow"]),
    ]:
        with pytest.raises(ProjectError, match="mpl-001 is training on the present classes: stop it, or wait"):
            change_classes(store, plan, actor="ada")
    change_classes(store, add(["wren"]), actor="ada")
    with pytest.raises(ProjectError, match="mpl-001 is training"):
        undo_change(store, actor="ada")


def test_several_writers_lose_nothing(tmp_path):
    root = create_project(tmp_path / "p", ["a"]).root
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda n: change_classes(open_store(root), add([f"b{n}"]), actor="ada"), range(12)))
    project = read_project(root)
    assert sorted(project.classes) == sorted(["a", *(f"b{n}" for n in range(12))])
    assert len({c.key for c in project.styled_classes}) == 13
    assert not findings(root)
