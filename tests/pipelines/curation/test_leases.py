from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from gradebook.pipelines.curation.leases import FILE, LEASE_S, held_by_others, hold
from gradebook.storage.project import Project, create_project, read_project


@pytest.fixture
def project(tmp_path) -> Project:
    return create_project(tmp_path / "birds", ["crow"])


IDS = [f"s{n}" for n in range(20)]


def test_two_reviewers_of_one_queue_lease_different_samples(project):
    assert hold(project, "ada", IDS, 8) == IDS[:8]
    assert hold(project, "bob", IDS, 8) == IDS[8:16]
    assert hold(project, "eve", IDS, 8) == IDS[16:]
    assert held_by_others(project, "ada") == set(IDS[8:])


def test_a_reviewer_who_moves_on_releases_earlier_leases(project):
    hold(project, "ada", IDS, 8)
    assert hold(project, "ada", IDS[3:], 8) == IDS[3:11]
    assert hold(project, "bob", IDS, 4) == [*IDS[:3], IDS[11]]


def test_a_lease_expires_unless_it_is_renewed(project):
    hold(project, "ada", IDS, 2, now=lambda: 0.0)
    hold(project, "bob", IDS, 2, now=lambda: LEASE_S - 1)
    assert hold(project, "eve", IDS, 4, now=lambda: LEASE_S) == ["s0", "s1", "s4", "s5"]


def test_a_lease_from_the_future_is_ignored(project):
    """A clock was put back since."""
    hold(project, "ada", IDS, 2, now=lambda: 10 * LEASE_S)
    assert hold(project, "bob", IDS, 2, now=lambda: 0.0) == IDS[:2]


@pytest.mark.parametrize("content", ["", "[]", "{", '{"s0": 1}', '{"s0": {"holder": "ada", "until": "x"}}'])
def test_an_unreadable_file_of_leases_is_ignored(project, content):
    (project.root / FILE).write_text(content)
    assert hold(project, "bob", IDS, 2) == IDS[:2]


def test_concurrent_processes_never_lease_the_same_sample(project):
    with ProcessPoolExecutor(4) as pool:
        taken = list(pool.map(_take, [(str(project.root), f"p{n}") for n in range(8)]))
    assert sorted(i for some in taken for i in some) == sorted(f"t{n}" for n in range(24))


def _take(asked: tuple[str, str]) -> list[str]:
    root, holder = asked
    return hold(read_project(Path(root)), holder, [f"t{n}" for n in range(100)], 3)
