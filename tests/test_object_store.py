"""A project whose tables are on an object store does what any other does."""

import pytest

from gradebook.storage.events import Kind, event, replay
from gradebook.storage.project import SETTINGS, ProjectError, create_project, read_project
from gradebook.storage.samples import Split
from gradebook.storage.store import open_store, tables_of
from tests.object_store import a_bucket, a_server  # noqa: F401
from tests.pipelines import projects
from tests.pipelines.projects import BACKBONE, CLASSES, TEST, TRAIN, make_project
from tests.storage.segments import row, write

pytestmark = pytest.mark.slow


@pytest.fixture
def away(tmp_path, bucket, monkeypatch):
    """A project with pictures, labels and vectors whose tables are in a bucket."""
    monkeypatch.setattr(
        projects, "create_project", lambda root, names: create_project(root, names, store=f"{bucket}/p")
    )
    return make_project(tmp_path)


def test_a_whole_store_can_be_in_a_bucket(away, tmp_path):
    assert not list((away.project.root / "lance").glob("*.lance")), "nothing of it is here"
    assert read_project(away.project.root).store.endswith("/p")
    one = away.catalog.ids()[0]
    away.log.append([event(Kind.RELABELLED, one, CLASSES[2], actor="ada")])
    write(tmp_path / "record", "rank0-000001", [row(step, one, teacher_label=1) for step in (1, 2)])
    assert [away.record.fold("r", tmp_path / "record") for _ in range(2)] == [2, 0]
    other = open_store(away.project.root)
    assert replay(other.log.read())[one] == CLASSES[2]
    assert len(other.catalog.samples(Split.TRAIN)) == TRAIN
    assert len(other.vectors.nearest(BACKBONE, one, 5)) == 5
    assert [entry["step"] for entry in other.record.history(one)] == [1, 2]
    assert other.record.dynamics("r")["steps"].to_pylist() == [2]
    assert tables_of(away.project).damaged(whole=True) == {}
    other.record.clear()
    assert (other.record.rows("r"), len(other.catalog.ids())) == (0, TRAIN + TEST)


def test_an_unreachable_store_is_a_one_line_error(away, monkeypatch):
    monkeypatch.setattr(
        "gradebook.storage.lance_tables.CLIENT_OPTIONS", {"client_max_retries": "0", "client_retry_timeout": "1"}
    )
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    store, ours = open_store(away.project.root), event(Kind.REJECTED, "s0", actor="ada")
    for ask in (store.log.read, store.catalog.ids, lambda: store.log.append([ours])):
        with pytest.raises(ProjectError, match=r"the store at s3://.* cannot be reached") as caught:
            ask()
        assert "\n" not in str(caught.value)


def test_a_local_project_does_not_mention_a_store(tmp_path):
    made = create_project(tmp_path / "p", ["a"])
    assert "store" not in (made.root / SETTINGS).read_text() and read_project(made.root).store == ""
