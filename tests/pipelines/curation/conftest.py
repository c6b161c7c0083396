"""A project whose images two runs have an opinion of."""

import pytest

from gradebook.storage.store import Store
from tests.pipelines.projects import make_project, trained


@pytest.fixture(scope="session")
def template(tmp_path_factory) -> Store:
    """Run r has a teacher; the newer run, alone, has none."""
    store = make_project(tmp_path_factory.mktemp("curation"))
    trained(store, "--unlabelled", "24")
    trained(store, "--method", "supervised", run="alone")
    return store
