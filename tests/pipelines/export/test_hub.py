"""An upload to the Hugging Face hub (a stand-in on this machine): asked for, private, and the export's files alone."""

import io

import pytest

from gradebook.pipelines.export.directory import written_directory
from tests.hub_stand_in import TOKEN, running_hub
from tests.pipelines.cli.cli_runner import done, gradebook, refused

FILES = {
    "README.md": b"---\nlicense: mit\n---\n# Classifier\n",
    "classes.json": b'{"classes": ["cat", "dog"], "size": 32}\n',
    "model.safetensors": bytes(range(256)) * 8,
}


@pytest.fixture
def hub(monkeypatch):
    from huggingface_hub import constants

    with running_hub() as running:
        monkeypatch.setattr(constants, "ENDPOINT", running.address)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield running


@pytest.fixture
def classifier(tmp_path):
    """A directory like an export's."""
    directory = tmp_path / "classifier"
    with written_directory(directory, "classifier") as draft:
        for name, content in FILES.items():
            (draft / name).write_bytes(content)
    return directory


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_the_files_of_an_export_arrive_in_a_private_repository(hub, classifier):
    (classifier / "notes.txt").write_text("mine")
    (classifier / "README.md").write_bytes(FILES["README.md"] + b"Edited.\n")
    result = done("push", classifier, "ann/pets", "--yes", "--json")
    assert hub.files == {"ann/pets": FILES | {"README.md": FILES["README.md"] + b"Edited.\n"}}
    assert hub.private == {"ann/pets": True}
    assert len(hub.large) == 1, "the weights go the way of large files"
    report = result.json
    assert (report["private"], report["exists"], report["commit"]) == (True, False, "c0ffee")
    assert (list(report["files"]), report["left_out"]) == (list(FILES), ["notes.txt"])
    assert "only its owner can read" in result.err and "who gave the labels" in result.err


@pytest.mark.parametrize(("answer", "sent"), [("y\n", True), ("n\n", False), ("", False)])
def test_it_lists_what_it_would_upload_and_asks(hub, classifier, monkeypatch, answer, sent):
    monkeypatch.setattr("sys.stdin", Terminal(answer))
    result = gradebook("push", classifier, "ann/pets")
    assert f"to {hub.address}/ann/pets, a new repository" in result.err
    assert all(f"{name}  {len(content):,} bytes" in result.err for name, content in FILES.items())
    assert "Upload 3 files? [y/N]" in result.err
    assert (result.status, bool(hub.written)) == ((0, True) if sent else (2, False))


def test_without_a_terminal_it_uploads_only_if_it_is_told_to(hub, classifier):
    assert "give --yes" in refused("push", classifier, "ann/pets")
    assert hub.written == []


def test_a_public_repository_is_written_to_only_if_that_is_asked_for(hub, classifier):
    hub.private |= {"ann/open": False, "ann/closed": True}
    assert "everybody can read" in refused("push", classifier, "ann/open", "--yes")
    assert "is private: leave --public out" in refused("push", classifier, "ann/closed", "--yes", "--public")
    assert hub.written == []
    assert "EVERYBODY CAN READ" in done("push", classifier, "ann/open", "--yes", "--public").err
    assert "EVERYBODY CAN READ" in done("push", classifier, "ann/new", "--yes", "--public").err
    assert hub.private["ann/new"] is False


def test_what_the_hub_refuses_is_one_sentence(hub, classifier, monkeypatch, tmp_path):
    assert "give owner/name" in refused("push", classifier, "pets", "--yes")
    assert "is no exported classifier" in refused("push", tmp_path, "ann/pets", "--yes")
    assert "has no write access there" in gradebook("push", classifier, "bob/pets", "--yes").err
    monkeypatch.setenv("HF_TOKEN", "wrong")
    assert "log in with: hf auth login" in refused("push", classifier, "ann/pets", "--yes")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    assert "does not answer" in refused("push", classifier, "ann/pets", "--yes")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE is set" in refused("push", classifier, "ann/pets", "--yes")
