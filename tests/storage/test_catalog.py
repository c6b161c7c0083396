"""One contract for every catalogue."""

from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gradebook.storage.catalog import GONE, Catalog, LanceCatalog, MemoryCatalog
from gradebook.storage.project import ProjectError
from gradebook.storage.samples import File, Sample, Split
from gradebook.storage.splits import SplitChange
from tests.forkserver import forked
from tests.polling import until


@pytest.fixture(params=["memory", "lance"])
def catalog(request, tmp_path) -> Catalog:
    return {"memory": MemoryCatalog, "lance": lambda: LanceCatalog(tmp_path)}[request.param]()


def sample(name: str, split: Split = Split.TRAIN, filepath: str | None = None) -> Sample:
    path = filepath or f"/images/{name}.png"
    return Sample(sample_id=name, filepath=path, split=split, width=3, height=4, fingerprint=bytes(range(200)))


def file(name: str, sample_id: str, mtime_ns: int = 1_700_000_000_123_456_789) -> File:
    return File(filepath=f"/images/{name}.png", sample_id=sample_id, size=5, mtime_ns=mtime_ns)


def test_an_empty_catalogue_is_empty(catalog):
    assert catalog.samples() == catalog.files() == catalog.get([]) == []
    with pytest.raises(ProjectError, match="s0 is not in the catalogue"):
        catalog.get(["s0"])


def test_added_samples_are_read_in_order_of_import(catalog):
    names = [f"s{n}" for n in (5, 3, 9, 1)]
    catalog.add([sample(name) for name in names[:2]], [])
    catalog.add([sample(name, Split.TEST) for name in names[2:]], [file("b", "s3"), file("a", "s5")])
    assert [s.sample_id for s in catalog.samples()] == names
    assert [s.sample_id for s in catalog.samples(Split.TRAIN)] == names[:2]
    assert [s.sample_id for s in catalog.samples(Split.TEST)] == names[2:]
    assert catalog.samples()[0] == sample("s5")
    assert catalog.files() == [file("a", "s5"), file("b", "s3")]


def test_ids_are_of_all_samples_those_without_a_file_too(catalog):
    assert catalog.ids() == []
    catalog.add([sample("s5"), sample("s3")], [])
    catalog.add([sample("s4")], [File(filepath="/images/s5.png", sample_id=GONE, size=0, mtime_ns=0)])
    assert [s.sample_id for s in catalog.samples()] == ["s3", "s4"]
    assert catalog.ids() == ["s5", "s3", "s4"]


def test_get_returns_the_order_asked_with_repeats(catalog):
    catalog.add([sample(f"s{n}") for n in range(5)], [])
    assert [s.sample_id for s in catalog.get(["s3", "s0", "s3"])] == ["s3", "s0", "s3"]
    with pytest.raises(ProjectError, match="nope"):
        catalog.get(["s1", "nope"])


def test_a_known_sample_stays_and_a_known_file_is_replaced(catalog):
    catalog.add([sample("s0")], [file("a", "s0")])
    catalog.add([sample("s0", Split.TEST), sample("s1")], [file("a", "s1", mtime_ns=7), file("b", "s1")])
    assert catalog.samples() == [sample("s0"), sample("s1")]
    assert catalog.files() == [file("a", "s1", mtime_ns=7), file("b", "s1")]


def test_a_sample_whose_file_got_other_content_is_found_at_its_other_file_or_left_out(catalog):
    catalog.add([sample("s0"), sample("s1")], [file("s0", "s0"), file("s1", "s1"), file("z", "s0"), file("y", "s0")])
    catalog.add([sample("s2", filepath="/images/s0.png")], [file("s0", "s2"), file("s1", GONE)])
    assert [(s.sample_id, s.filepath) for s in catalog.samples()] == [("s0", "/images/y.png"), ("s2", "/images/s0.png")]
    assert [s.filepath for s in catalog.get(["s1", "s0"])] == ["/images/s1.png", "/images/y.png"]
    assert [f.filepath for f in catalog.files()] == ["/images/s0.png", "/images/y.png", "/images/z.png"]
    catalog.add([], [file("s1", "s1")])
    assert [s.sample_id for s in catalog.samples(Split.TRAIN)] == ["s0", "s1", "s2"]


def test_paths_are_those_of_the_samples_however_often_they_are_asked_for_and_what_came_since(catalog):
    def paths(*names: str, split: Split | None = None) -> dict[str, str]:
        found = [catalog.paths(names, split) for _ in range(3)]
        assert found[0] == found[1] == found[2] == {s.sample_id: s.filepath for s in catalog.samples(split, names)}
        return found[0]

    assert paths("s0") == {}
    catalog.add([sample("s0"), sample("s1"), sample("t", Split.TEST)], [file(n, n) for n in ("s0", "s1", "t")])
    assert paths("t", "s1", "nobody") == {"t": "/images/t.png", "s1": "/images/s1.png"}
    assert paths("t", "s1", split=Split.TRAIN) == {"s1": "/images/s1.png"}
    catalog.add([sample("s2", filepath="/images/s0.png")], [file("s0", "s2"), file("z", "s0"), file("y", "s0")])
    assert paths("s0", "s2") == {"s0": "/images/y.png", "s2": "/images/s0.png"}
    catalog.add([], [file("s1", GONE)])
    assert paths("s0", "s1") == {"s0": "/images/y.png"} and paths() == {}


def test_of_repeats_in_one_call_the_first_sample_and_the_last_file_count(catalog):
    catalog.add([sample("s0"), sample("s1"), sample("s0", Split.TEST)], [file("a", "s0"), file("a", "s1")])
    assert catalog.samples() == [sample("s0"), sample("s1")]
    assert catalog.files() == [file("a", "s1")]


def test_looking_up_many_ids_is_the_same_as_looking_up_few(catalog):
    catalog.add([sample(f"s{n}") for n in range(2500)], [])
    names = [f"s{n}" for n in reversed(range(2400))]
    assert [s.sample_id for s in catalog.get(names)] == names


@pytest.mark.parametrize("path", ["/it's.png", '/say "hi".png', "/two\nlines.png", "/ünïcode 图.png", "/%2F; DROP.png"])
def test_any_file_name_is_stored_and_read_back(catalog, path):
    odd = sample("it's", filepath=path)
    named = File(filepath=path, sample_id="it's", size=1, mtime_ns=2)
    catalog.add([odd], [named])
    catalog.add([odd], [named])
    assert catalog.get(["it's"]) == catalog.samples() == [odd]
    assert catalog.files() == [named]


adds = st.lists(
    st.tuples(st.sampled_from(["s0", "s1", "s2"]), st.sampled_from(["a", "b", "c", "d"]), st.sampled_from(Split)),
    max_size=4,
)


@pytest.mark.slow
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(calls=st.lists(adds, min_size=1, max_size=5))
def test_both_catalogues_agree_however_files_are_added_and_changed(tmp_path_factory, calls):
    memory, lance = MemoryCatalog(), LanceCatalog(tmp_path_factory.mktemp("catalogue"))
    for rows in calls:
        for catalog in (memory, lance):
            catalog.add(
                [sample(name, split, filepath=f"/images/{path}.png") for name, path, split in rows],
                [file(path, name) for name, path, _ in rows],
            )
    assert memory.samples() == lance.samples()
    assert memory.samples(Split.TEST) == lance.samples(Split.TEST)
    assert memory.files() == lance.files()
    for _ in range(2):
        assert lance.paths(["s0", "s1", "s2"]) == {s.sample_id: s.filepath for s in memory.samples()}
    known = [s.sample_id for s in memory.samples()]
    assert memory.get(known) == lance.get(known) == memory.samples()
    holders = {(f.sample_id, f.filepath) for f in memory.files()}
    assert all((s.sample_id, s.filepath) in holders for s in memory.samples()), "a sample is where its content is"


@pytest.mark.slow
def test_two_processes_that_import_the_same_images_add_each_once(tmp_path):
    with forked(_import_ten, tmp_path, 5) as other:
        until(lambda: LanceCatalog(tmp_path).samples())
        _import_ten(tmp_path, 5)  # what it finds is known, until it has caught up
        _import_ten(tmp_path, 0)
        other.join()
        assert other.exitcode == 0
    catalog = LanceCatalog(tmp_path)
    assert sorted(s.sample_id for s in catalog.samples()) == sorted(f"s{n}" for n in range(15))
    assert len(catalog.files()) == 15


def _import_ten(directory, first):
    catalog = LanceCatalog(directory)
    for n in range(first, first + 10):
        catalog.add([sample(f"s{n}")], [file(str(n), f"s{n}")])


def test_a_few_samples_of_a_split_are_looked_up_by_id(catalog):
    catalog.add([sample("s5"), sample("s3", Split.TEST), sample("s4"), sample("s1")], [file("s5", "s5")])
    catalog.add([], [File(filepath="/images/s4.png", sample_id=GONE, size=0, mtime_ns=0)])
    asked = ["s1", "s3", "s4", "s5", "it's"]
    assert [s.sample_id for s in catalog.samples(among=asked)] == ["s5", "s3", "s1"], "no file holds s4"
    assert [s.sample_id for s in catalog.samples(Split.TRAIN, asked)] == ["s5", "s1"]
    assert catalog.samples(Split.TRAIN, []) == []


def test_a_file_has_its_sample_until_it_is_deleted(catalog):
    assert catalog.sample_at("/images/a.png") is None
    catalog.add([sample("s0")], [file("a", "s0"), file("it's", "s0")])
    assert [catalog.sample_at(f"/images/{name}.png") for name in ("a", "it's", "b")] == ["s0", "s0", None]
    catalog.add([], [File(filepath="/images/a.png", sample_id=GONE, size=0, mtime_ns=0)])
    assert catalog.sample_at("/images/a.png") is None


def test_a_large_catalogue_gets_indices_and_returns_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr("gradebook.storage.catalog.INDEX_FROM", 3)
    catalog = LanceCatalog(tmp_path)
    for n in range(8):
        catalog.add([sample(f"s{n}")], [file(f"s{n}", f"s{n}")])
    catalog.add([], [file("s7", "s6")])
    for name, columns in (("samples", {"sample_id"}), ("files", {"sample_id", "filepath"})):
        table = catalog._tables.open(name)
        assert table is not None
        assert {index.columns[0] for index in table.list_indices()} == columns
        late = [table.index_stats(index.name).num_unindexed_rows for index in table.list_indices()]
        assert max(late) <= 4, "what came since is taken in"
    assert [s.sample_id for s in catalog.samples(among=["s7", "s6", "s0"])] == ["s0", "s6"]
    assert [catalog.sample_at(f"/images/s{n}.png") for n in (0, 7)] == ["s0", "s6"]


def test_a_sample_is_in_the_split_that_it_was_last_put_into(catalog):
    catalog.add([sample(f"s{n}") for n in range(3)], [])
    catalog.paths(["s1"])  # from here on they come from memory
    for split in (Split.TEST, Split.TRAIN, Split.TEST):
        catalog.change_splits([change("s1", split)])
        assert [s.split for s in catalog.samples()] == [Split.TRAIN, split, Split.TRAIN]
        assert catalog.get(["s1"])[0].split is catalog.samples(among=["s1"])[0].split is split
        assert list(catalog.paths(["s1", "s2"], Split.TRAIN)) == (["s2"] if split is Split.TEST else ["s1", "s2"])
    assert [c.split for c in catalog.split_changes()] == [Split.TEST, Split.TRAIN, Split.TEST]


def change(sample_id: str, split: Split) -> SplitChange:
    return SplitChange(sample_id=sample_id, split=split, draw="d", at=datetime(2026, 1, 2, tzinfo=UTC), actor="ada")
