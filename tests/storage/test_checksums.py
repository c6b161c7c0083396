"""Checksums find what changed in a file after it was written, and nothing else."""

import shutil
import subprocess

import pytest

from gradebook.storage import checksums
from gradebook.storage.files import atomic_path


def write(path, content: bytes) -> None:
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
        checksums.append(path, temporary)


@pytest.fixture
def directory(tmp_path):
    for name in ("a.bin", "b with spaces.bin"):
        write(tmp_path / name, name.encode() * 1000)
    (tmp_path / "unlisted").write_bytes(b"anything")
    return tmp_path


def test_unchanged_files_match_their_checksums(directory):
    assert checksums.corrupt_files(directory) == []


def test_any_flipped_bit_is_found(directory):
    path = directory / "b with spaces.bin"
    whole = path.read_bytes()
    for position in (0, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        assert checksums.corrupt_files(directory) == [path]
    path.write_bytes(whole)
    assert checksums.corrupt_files(directory) == []


def test_a_file_that_was_written_again_or_deleted_is_not_corrupt(directory):
    write(directory / "a.bin", b"the second content")
    (directory / "b with spaces.bin").unlink()
    assert checksums.corrupt_files(directory) == []


def test_a_kill_before_or_after_the_checksum_leaves_nothing_to_find(directory):
    with pytest.raises(KeyboardInterrupt), atomic_path(directory / "a.bin") as temporary:
        temporary.write_bytes(b"the second content")
        checksums.append(directory / "a.bin", temporary)
        raise KeyboardInterrupt
    assert checksums.corrupt_files(directory) == []


@pytest.mark.parametrize("line", ["0123456789ab", "\xff\n", "  \n", "0123  a.bin\n", f"{'0' * 64}  ../unlisted\n"])
def test_invalid_lines_of_checksums_are_ignored(directory, line):
    with (directory / checksums.FILE).open("a", encoding="latin-1") as sums:
        sums.write(line)
    write(directory / "c.bin", b"content")
    assert checksums.corrupt_files(directory) == []
    assert checksums.corrupt_files(directory / "missing") == []


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="needs sha256sum")
def test_sha256sum_reads_the_file_too(directory):
    check = ["sha256sum", "--check", "--quiet", checksums.FILE]
    assert subprocess.run(check, cwd=directory, check=False).returncode == 0
