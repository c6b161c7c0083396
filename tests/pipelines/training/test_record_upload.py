"""The record at an object store: uploaded whole, retried later, and cut back by a resumed run."""

import json
import os
import shutil
import signal
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from gradebook.pipelines.process import store_claim
from gradebook.pipelines.process.owner import OWNER
from gradebook.pipelines.process.pids import ProcessId, this_process
from gradebook.pipelines.process.store_claim import owned_at
from gradebook.pipelines.runs import Run
from gradebook.pipelines.training import record_upload
from gradebook.pipelines.training.record_upload import (
    RecordUploader,
    check_target,
    download,
    download_records,
    owned_addresses,
    run_address,
    start_upload,
    truncate_record,
)
from gradebook.pipelines.training.recorder import Recorder
from gradebook.storage import object_store
from gradebook.storage.install_advice import install_command
from gradebook.storage.project import ProjectError, create_project
from gradebook.storage.record import MemoryRecord
from gradebook.storage.segments import delete_segments_after
from tests.object_store import a_bucket, a_server  # noqa: F401
from tests.pipelines.projects import make_project, rows, trained
from tests.pipelines.training.test_recorder import CLASSES, IDS, predictions_for
from tests.polling import until

pytestmark = pytest.mark.slow


def recorded(directory: Path, address: str, steps: range, every: int = 1) -> None:
    recorder = Recorder(directory, CLASSES, IDS, upload=RecordUploader(directory, address))
    for step in steps:
        recorder.put(step, torch.tensor([0, 1]), predictions_for(2))
        if step % every == 0:
            recorder.flush()
    recorder.close()


def history(directory: Path) -> list:
    record = MemoryRecord()
    record.fold("r", directory)
    return record.history("s0")


def test_closed_segments_are_uploaded_whole(tmp_path, bucket):
    address = f"{bucket}/records/r"
    recorder = Recorder(tmp_path / "r", CLASSES, IDS, upload=RecordUploader(tmp_path / "r", address))
    recorder.put(1, torch.tensor([0, 1]), predictions_for(2))
    recorder.flush()
    until(lambda: object_store.list_files(address))
    assert list(object_store.list_files(address)) == ["rank0-000001.parquet"], "while the run continues"
    recorder.put(2, torch.tensor([0]), predictions_for(1))
    recorder.close()
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "r").glob("*.parquet")}
    assert {name: size for name, (size, _) in object_store.list_files(address).items()} == sizes and len(sizes) == 2
    assert not list((tmp_path / "r").glob(".unsent*"))
    assert download(tmp_path / "elsewhere", address) == 2
    assert history(tmp_path / "elsewhere") == history(tmp_path / "r") != []
    assert download(tmp_path / "elsewhere", address) == 0


def test_a_resumed_run_removes_uploaded_segments_after_its_checkpoint(tmp_path, bucket):
    address = f"{bucket}/r"
    recorded(tmp_path / "here", address, range(1, 5), every=2)
    truncate_record(tmp_path / "there", address, 2)
    assert list(object_store.list_files(address)) == ["rank0-000001.parquet"]
    recorded(tmp_path / "there", address, range(3, 5), every=2)
    assert download(tmp_path / "third", address) == 2
    assert [row["step"] for row in history(tmp_path / "third")] == [1, 2, 3, 4]


def test_a_segment_rewritten_under_its_name_is_uploaded_again(tmp_path, bucket):
    recorded(tmp_path, f"{bucket}/r", range(1, 3))
    delete_segments_after(tmp_path, 1)
    recorder = Recorder(tmp_path, CLASSES, IDS, upload=RecordUploader(tmp_path, f"{bucket}/r"))
    recorder.put(9, torch.tensor([0, 1, 2]), predictions_for(3))
    recorder.close()
    download(tmp_path / "copy", f"{bucket}/r")
    assert [row["step"] for row in history(tmp_path / "copy")] == [1, 9]


@pytest.mark.parametrize("fault", ["endpoint", "bucket"])
def test_an_unreachable_store_is_a_one_line_warning_and_stops_nothing(tmp_path, bucket, monkeypatch, capsys, fault):
    monkeypatch.setattr(record_upload, "CLOSE_TIMEOUT_S", 20.0)
    address = f"{bucket}/r" if fault == "endpoint" else "s3://nowhere/r"
    if fault == "endpoint":
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        import s3fs

        s3fs.S3FileSystem.clear_instance_cache()
    began = time.monotonic()
    recorder = Recorder(tmp_path, CLASSES, IDS, upload=RecordUploader(tmp_path, address))
    for step in (1, 2):
        recorder.put(step, torch.tensor([0]), predictions_for(1))
        recorder.flush()
    assert time.monotonic() - began < 5, "nobody waits for the network"
    recorder.close()
    printed = capsys.readouterr()
    lines = [line for line in (printed.out + printed.err).splitlines() if line]
    assert len(lines) == 2 and f"{address} cannot be reached (" in lines[0], lines
    assert "is uploaded when the next training of the project starts" in lines[1]
    assert [row["step"] for row in history(tmp_path)] == [1, 2]
    with pytest.raises(ProjectError, match="cannot be reached"):
        truncate_record(tmp_path, address, 1)
    assert [row["step"] for row in history(tmp_path)] == [1, 2], "nothing is taken back here alone"


def test_a_denied_key_and_a_missing_package_are_one_line_errors():
    for error, sentence in (
        (PermissionError("Access Denied"), "denies access"),
        (ImportError("s3fs"), install_command("s3")),
    ):
        with pytest.raises(ProjectError, match=sentence), object_store.readable_errors("s3://b/r"):
            raise error


def test_a_training_uploads_its_record_and_the_next_one_the_rest(tmp_path, bucket, monkeypatch):
    """The state after a kill: segments here, nothing uploaded, and the marker of that."""
    store = make_project(tmp_path)
    trained(store, "--record", f"{bucket}/all", run="one")
    path = store.project.runs / "one"
    names = {p.name for p in (path / "record").glob("*.parquet")}
    assert set(object_store.list_files(f"{bucket}/all/one")) == names and names
    object_store.delete(f"{bucket}/all/one", names)
    (path / "record" / ".unsent-0").touch()
    start_upload("", store.project.runs / "two", 0)
    until(lambda: not (path / "record" / ".unsent-0").exists())
    assert set(object_store.list_files(f"{bucket}/all/one")) == names
    before = rows(store, "one")
    shutil.rmtree(path / "record")
    assert download_records(store, "one", progress=lambda done, total: None) == {"one": len(names)}
    assert rows(store, "one") == before
    assert store.record.rows("one") == len(before)
    trained(store, run="plain", steps=1)
    with pytest.raises(ProjectError, match="trained without --record"):
        download_records(store, "plain", progress=lambda done, total: None)
    assert Run(path).config()["record"] == f"{bucket}/all"


ELSEWHERE = ProcessId(host="another", boot="b", pid=7, started=1.0)


@pytest.mark.parametrize("kind", ["bucket", "directory"])
def test_one_run_at_a_time_writes_to_an_address(tmp_path, bucket, kind):
    project = create_project(tmp_path / "project", ["a"])
    record = f"{bucket}/records" if kind == "bucket" else str(tmp_path / "records")
    address = run_address(record, "r")
    with owned_addresses(project, record, "r", [this_process()]):
        with (
            pytest.raises(ProjectError, match=r"records/r belongs to process \d+ on .*, which is running"),
            owned_addresses(project, record, "r", [ELSEWHERE]),
        ):
            pass
        with owned_addresses(project, record, "another", [this_process()]):
            check_target(address)
    assert object_store.read(address, OWNER) is None
    with (
        owned_addresses(project, record, "r", [ELSEWHERE]),
        pytest.raises(ProjectError, match=r"if it has ended, .*, or delete .*records/r/owner\.json"),
        owned_addresses(project, record, "r", [this_process()]),
    ):
        pass


def test_the_claim_of_a_dead_process_of_this_machine_is_taken_over(tmp_path, bucket):
    dead = replace(this_process(), started=1.0)
    content = json.dumps({"processes": [asdict(dead)]}).encode()
    assert object_store.create_exclusive(f"{bucket}/r", OWNER, content)
    assert not object_store.create_exclusive(f"{bucket}/r", OWNER, b"another")
    with owned_addresses(create_project(tmp_path / "project", ["a"]), bucket, "r", [this_process()]):
        assert object_store.read(f"{bucket}/r", OWNER) != content


@pytest.mark.parametrize("kind", ["bucket", "directory"])
def test_a_claim_without_a_sign_of_life_is_taken_over(tmp_path, bucket, kind, monkeypatch, capsys):
    address = f"{bucket}/r" if kind == "bucket" else str(tmp_path / "r")
    with owned_at(address, [ELSEWHERE]):
        with (
            pytest.raises(ProjectError, match=r"last active 0 minutes ago: .* inactive for 30 minutes"),
            owned_at(address, [this_process()]),
        ):
            pass
        monkeypatch.setattr(store_claim, "EXPIRY_S", -900.0)
        with owned_at(address, [this_process()]):
            assert b'"another"' not in object_store.read(address, OWNER)
    assert "was not active for" in capsys.readouterr().err


def test_an_owner_renews_its_claim_and_stops_once_another_has_it(tmp_path, bucket, monkeypatch, capsys):
    signals = []
    monkeypatch.setattr(store_claim, "RENEWAL_INTERVAL_S", 0.01)
    monkeypatch.setattr(store_claim.os, "kill", lambda pid, number: signals.append((pid, number)))
    monkeypatch.setattr(store_claim.object_store, "rewrite", lambda *claim: signals.append("renewed"))
    with owned_at(f"{bucket}/r", [this_process()]):
        until(lambda: signals.count("renewed") > 1)
        object_store.upload(a_file(tmp_path / OWNER, "another's"), f"{bucket}/r")
        until(lambda: signals[-1] != "renewed")
    assert signals[-1] == (os.getpid(), signal.SIGTERM)
    assert object_store.read(f"{bucket}/r", OWNER) == b"another's", "what is another's stays"
    assert "so this one stops" in capsys.readouterr().err


def a_file(path: Path, content: str) -> Path:
    path.write_text(content)
    return path


def test_a_training_is_refused_at_an_address_where_another_writes(tmp_path, bucket):
    store = make_project(tmp_path)
    content = json.dumps({"processes": [asdict(ELSEWHERE)]}).encode()
    assert object_store.create_exclusive(f"{bucket}/r", OWNER, content)
    with pytest.raises(ProjectError, match="belongs to process 7 on another"):
        trained(store, "--record", bucket, run="r")
    assert not (store.project.runs / "r").exists()
    object_store.delete(f"{bucket}/r", [OWNER])
    trained(store, "--record", bucket, run="r")
    assert object_store.list_files(f"{bucket}/r") and object_store.read(f"{bucket}/r", OWNER) is None
