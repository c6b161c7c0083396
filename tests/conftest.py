import atexit
import os
import tempfile
from functools import cache
from pathlib import Path

import pytest

os.environ["GRADEBOOK_LEARN"] = "off"  # no label in a test of the app starts a live session by accident
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as `pipelines` does, before any test loads torch
os.environ["XDG_CONFIG_HOME"] = tempfile.mkdtemp(prefix="gradebook-config-")  # not the user's list of recent projects


@pytest.fixture(scope="module")
def mongodb():
    """A MongoDB for FiftyOne, the same one for all tests of a process: FiftyOne connects once."""
    from gradebook.storage import mongodb as database

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(database.URI, "")
        patch.setenv(database.URI, _mongodb())
        yield


@pytest.fixture(scope="session")
def xla_device():
    """XLA's device, its processor where there is no other; see docs/scale.md."""
    torch_xla = pytest.importorskip("torch_xla", reason="XLA is checked where torch_xla is installed")
    import torch

    os.environ.setdefault("PJRT_DEVICE", "CPU")
    device = torch_xla.device()
    torch.ones(1, device=device).sum().item()  # autograd must know of XLA before its first backward pass
    return device


@cache
def _mongodb() -> str:
    """Starts it; it must outlive FiftyOne, whose exit hook waits 30 s for it, and so is stopped after that hook."""
    from gradebook.storage import mongodb as database

    root = Path(tempfile.mkdtemp(prefix="gradebook-test-"))
    try:
        uri = database.find_or_start(root)
    except database.NoDatabase as error:
        pytest.skip(str(error))
    atexit.register(database.stop, root)
    os.environ[database.URI] = uri
    database.use_project_database(root)
    return uri
