"""A project that somebody else made is data: nothing outside of it is read into an export, written or deleted."""

import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from PIL import Image

from gradebook.pipelines.export.labels import export_labels
from gradebook.pipelines.fiftyone_app.launch import link_plugins
from gradebook.pipelines.importing.import_images import import_images
from gradebook.pipelines.jobs import launcher
from gradebook.pipelines.maintenance.verify import verify
from gradebook.pipelines.training.record_upload import start_upload, truncate_record
from gradebook.pipelines.training.run_setup import saved_config
from gradebook.storage import trust
from gradebook.storage.events import Kind, event
from gradebook.storage.project import ProjectError, create_project, read_project, trust_project
from gradebook.storage.samples import Sample, Split, sample_id
from gradebook.storage.store import Store, memory_store, open_store
from tests.pipelines.cli.cli_runner import done, refused
from tests.polling import until


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project with one labelled image and one file of everything that a project has."""
    Image.new("RGB", (9, 9), "red").save(tmp_path / "red.png")
    root = create_project(tmp_path / "received", ["crow"]).root
    store = open_store(root)
    import_images(store, tmp_path / "red.png")
    store.log.append_now([event(Kind.IMPORTED, store.catalog.ids()[0], "crow", actor="import")])
    for name in ("runs/x/checkpoints/step-000001", "runs/x/record", "jobs/0001", "servers", "squares/64/ab", "mongo"):
        (root / name).mkdir(parents=True)
    (root / "runs/x/config.json").write_text("{}")
    return root


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A directory of the user that has nothing to do with the project."""
    (tmp_path / "outside" / "step-000001").mkdir(parents=True)
    (tmp_path / "outside" / "mine.txt").write_text("mine")
    return tmp_path / "outside"


def contents(directory: Path) -> dict[str, bytes]:
    return {str(p.relative_to(directory)): p.read_bytes() for p in directory.rglob("*") if p.is_file()}


# Links


LINKED = (
    *("gradebook.json", "lance", "lance/events.lance", "lance/.write.lock", "runs", "runs/x", "runs/x/checkpoints"),
    *("runs/x/metrics.jsonl", "runs/x/log.txt", "runs/x/record", "runs/x/checkpoints/step-000001", "jobs", "jobs/0001"),
    *("servers", "servers/plugins", "servers/app.json", "squares", "squares/64", "squares/64/ab", "thumbnails"),
    *("exports", "mongo", "mongo/data", "map.npz", "selections", "unpacked", "unpacked/images", ".gradebook.lock"),
)


@pytest.mark.parametrize("name", LINKED)
def test_a_project_with_a_link_among_its_files_is_not_opened_and_what_it_names_stays(root, outside, name):
    path, before = root / name, contents(outside)
    target = outside / "mine.txt" if path.is_file() or path.suffix else outside
    if path.exists():
        path.rename(root / "moved-away")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target, target_is_directory=target.is_dir())
    with pytest.raises(ProjectError, match=r"is a symbolic link, and a project must not have any"):
        open_store(root)
    with pytest.raises(ProjectError, match=r"is a symbolic link"):
        verify(root, repair=True)
    assert contents(outside) == before


def test_every_file_of_a_project_that_the_documents_name_is_searched_for_links():
    text = (Path(__file__).parents[2] / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = text.partition("A **project** is a directory")[2].partition("None of them may be a symbolic link")[0]
    names = [name.rstrip("/").partition("/")[0] for line in table.splitlines() for name in first_names(line)]
    assert len(names) > 15 and set(names) <= set(trust.DEPTHS)


def first_names(row: str) -> list[str]:
    return re.findall(r"`([^`]+)`", row.split("|")[1]) if row.startswith("| `") else []


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="a system without named pipes")
@pytest.mark.parametrize("name", ["gradebook.json", "overview.json", "runs/r/config.json", "audits/a.json"])
def test_a_named_pipe_that_would_never_be_read_is_refused(root, name):
    (root / name).unlink(missing_ok=True)
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(root / name)
    with pytest.raises(ProjectError, match="is a named pipe or a device"):
        read_project(root)


def test_a_dangling_link_and_one_within_the_project_are_links_too(root):
    (root / "runs" / "y").symlink_to(root / "nowhere")
    with pytest.raises(ProjectError, match="runs/y is a symbolic link"):
        read_project(root)
    (root / "runs" / "y").unlink()
    (root / "runs" / "y").symlink_to("x")
    with pytest.raises(ProjectError, match="runs/y is a symbolic link"):
        read_project(root)


def test_links_beside_the_projects_own_files_and_to_the_project_are_fine(root, outside, tmp_path):
    (root / "notes").symlink_to(outside)
    (tmp_path / "shortcut").symlink_to(root)
    assert read_project(tmp_path / "shortcut").root == root


def test_a_plugin_that_came_with_a_project_is_not_run(root, tmp_path):
    """FiftyOne looks for plugins in a directory outside the project."""
    evil, folder = root / "servers/plugins/evil", tmp_path / "plugins"
    for directory in (evil, folder):
        directory.mkdir(parents=True)
    (evil / "__init__.py").write_text("raise SystemExit('run')")
    link_plugins(folder)
    assert "gradebook-verdicts" in [link.name for link in folder.iterdir()]
    assert [link for link in folder.iterdir() if link.resolve().is_relative_to(root.resolve())] == []
    assert (evil / "__init__.py").exists()


# Paths


@pytest.mark.parametrize(
    "store", ["/abs", "..", "file:///abs", "../x", "~/x", "C:\\x", "db://x", "http://x/y", "s3:///x"]
)
def test_a_store_outside_of_the_project_is_refused(root, store):
    settings = json.loads((root / "gradebook.json").read_text())
    (root / "gradebook.json").write_text(json.dumps(settings | {"store": store}))
    with pytest.raises(ProjectError, match=r"the store .* is not the address of an object store"):
        read_project(root)
    with pytest.raises(ProjectError, match=r"is not the address of an object store"):
        create_project(root.parent / "new", ["a"], store=store)


@pytest.mark.parametrize("shape", [[], 3, "x", {"classes": 3}, {"version": 1}, {"version": 1, "classes": [1]}, None])
def test_settings_of_another_shape_are_a_sentence(root, shape):
    (root / "gradebook.json").write_text(json.dumps(shape))
    with pytest.raises(ProjectError, match=r"gradebook\.json cannot be read|has version None"):
        read_project(root)


def test_a_runs_settings_cannot_name_another_directory(root):
    (root / "runs/x/config.json").write_text(json.dumps({"run": "../../outside", "classes": ["crow"]}))
    assert saved_config(root, "x")["run"] == "x"


def test_a_runs_record_is_not_sent_to_a_directory_with_other_files(root, outside):
    """The next training of the project sends what was not sent, and a resumed one deletes what it writes again."""
    (outside / "x").mkdir()
    (outside / "x" / "mine.parquet").write_text("mine")
    (root / "runs/x/config.json").write_text(json.dumps({"run": "x", "classes": ["crow"], "record": str(outside)}))
    (root / "runs/x/record/rank0-000001.parquet").write_text("theirs")
    (root / "runs/x/record/.unsent-0").touch()
    before = contents(outside)
    start_upload("", root / "runs/y", 0)
    until(lambda: not [thread for thread in threading.enumerate() if thread.name == "record-upload"])
    assert contents(outside) == before
    with pytest.raises(ProjectError, match=r"holds other files \(mine\.parquet\), so no record is written there"):
        truncate_record(root / "runs/x/record", str(outside / "x"), 0)
    assert contents(outside) == before


def test_a_job_from_elsewhere_is_restarted_only_if_it_is_one_that_the_app_starts(root):
    from gradebook.pipelines.jobs import commands

    row = {"command": ["python", "-m", commands.CLI, "forget", "P", "/"], "pid": 1, "began": "2026-01-01T00:00:00"}
    (root / "jobs/0001/job.json").write_text(json.dumps(row))
    project = read_project(root)
    (job,) = launcher.list_jobs(project)
    with pytest.raises(ProjectError, match="forget is not a command that can be started again"):
        commands.restart(project, job)


# Images


def with_row(store: Store, path: Path, sample: str) -> Store:
    """A store whose catalogue says that a file has the image of a sample."""
    store.catalog.add(
        [Sample(sample_id=sample, filepath=str(path), split=Split.TRAIN, width=9, height=9, fingerprint=bytes(200))], []
    )
    store.log.append_now([event(Kind.IMPORTED, sample, "crow", actor="import")])
    return store


def test_a_private_key_that_the_catalogue_names_is_never_copied(tmp_path):
    key = tmp_path / "id_rsa"
    key.write_text("-----BEGIN OPENSSH PRIVATE KEY-----")
    for n, sample in enumerate((sample_id(b"another content"), sample_id(key.read_bytes()))):
        store = with_row(memory_store(create_project(tmp_path / f"project{n}", ["crow"])), key, sample)
        done = export_labels(store, tmp_path / f"out{n}", "folder")
        assert [path for path, _ in done.missing_files] == [str(key)] and done.labels == 0
        assert not [p for p in (tmp_path / f"out{n}").rglob("*") if p.is_file() and b"PRIVATE" in p.read_bytes()]


def test_another_image_and_what_is_no_file_are_not_copied(tmp_path):
    Image.new("RGB", (9, 9), "red").save(tmp_path / "red.png")
    os.mkfifo(tmp_path / "pipe.png")
    store = memory_store(create_project(tmp_path / "project", ["crow"]))
    with_row(store, tmp_path / "red.png", "1" * 32)
    with_row(store, tmp_path / "pipe.png", "2" * 32)
    done = export_labels(store, tmp_path / "out", "folder")
    assert [why for _, why in done.missing_files] == [
        "the file has changed since it was imported: import it again",
        "it is not a file",
    ]


# Other users


@pytest.fixture
def other_user(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("SUDO_UID", raising=False)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 12345)


def test_a_project_of_another_user_is_opened_once_it_is_trusted(root, other_user):
    with pytest.raises(ProjectError, match=rf"{root} belongs to another user \(\w+\): if .*: gradebook trust {root}$"):
        open_store(root)
    assert trust_project(root).root == root
    assert open_store(root).project.classes == ("crow",)
    with pytest.raises(ProjectError, match="belongs to another user"):
        create_project(root.parent / "second", ["a"]) and read_project(root.parent / "second")


def test_trust_is_for_owners_not_for_links(root, other_user, outside):
    (root / "runs" / "y").symlink_to(outside)
    with pytest.raises(ProjectError, match="is a symbolic link"):
        trust_project(root)


def test_who_became_root_by_sudo_opens_the_own_projects(root, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(trust, "_trusted", lambda: [])
    monkeypatch.setenv("SUDO_UID", str(root.stat().st_uid))
    assert read_project(root).root == root


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives a directory away")
def test_the_command_line_says_how_to_trust(root, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("SUDO_UID", raising=False)
    os.chown(root, 12345, 12345)
    assert "belongs to another user (user id 12345): if you trust" in refused("status", root)
    assert done("trust", root).out == f"{root} can be opened from now on\n"
    assert done("status", root).status == 0


# Names in a terminal


@pytest.mark.slow
def test_names_from_elsewhere_move_no_cursor(root, tmp_path):
    settings = json.loads((root / "gradebook.json").read_text())
    names = ["\x1b[2Jcrow", "a\nb", "\u202ewow", "\x9b5mx"]
    (root / "gradebook.json").write_text(json.dumps(settings | {"classes": names}))
    (tmp_path / "images").mkdir()
    Image.new("RGB", (9, 9), "blue").save(tmp_path / "images" / "\x1b[31mred\nnext.png")
    for arguments in (("classes", root), ("classes", root, "--json"), ("import", root, tmp_path / "images")):
        shown = done(*arguments)
        assert not set("\x1b\u202e\x9b") & set(shown.out + shown.err)
    assert json.loads(done("classes", root, "--json").out) == names


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_terminal_that_cannot_show_a_name_shows_its_escape(root, encoding):
    settings = json.loads((root / "gradebook.json").read_text())
    (root / "gradebook.json").write_text(json.dumps(settings | {"classes": ["héron", "\u65e5\u672c", "\udcff"]}))
    environment = os.environ | {"PYTHONIOENCODING": encoding, "LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0"}
    command = [sys.executable, "-m", "gradebook.pipelines.cli.main", "classes", str(root)]
    cwd = Path(__file__).parents[2]
    plain = subprocess.run(command, capture_output=True, env=environment, cwd=cwd)
    assert plain.returncode == 0 and b"Traceback" not in plain.stderr and len(plain.stdout.splitlines()) == 3
    rows = subprocess.run([*command, "--json"], capture_output=True, env=environment, cwd=cwd)
    assert json.loads(rows.stdout.decode(encoding)) == ["héron", "\u65e5\u672c", "\udcff"]
