"""Checks before a project is opened, because a project that was received from others may be hostile.

A project's own files are where they seem to be, without symbolic links, and are files: reading a named pipe would wait
for ever. It belongs to the user who opens it, or the
user has marked its owner as trusted, as with git's `safe.directory`.
"""

import json
import os
import shlex
import stat
from collections.abc import Iterator
from pathlib import Path

from gradebook.storage.characters import escaped
from gradebook.storage.files import write_json

ANY_DEPTH = 1_000
# What a project's directory may hold, and how many levels of directories below it are searched for links. Files of a
# cache are written under another name and then renamed, so a link in their place is replaced.
DEPTHS = {
    "gradebook.json": 0,
    "deleted_runs.json": 0,
    "audits": 1,
    "leases.json": 0,
    "near_leaks.json": 0,
    "forecast.json": 0,
    "map.npz": 0,
    "overview.json": 0,
    "lance": ANY_DEPTH,
    "runs": ANY_DEPTH,
    "jobs": ANY_DEPTH,
    "mongo": ANY_DEPTH,
    "selections": ANY_DEPTH,
    "session": 1,
    "servers": 1,  # earlier releases put links to FiftyOne's plugins into servers/plugins
    "exports": 1,
    "unpacked": 1,
    "squares": 2,
    "thumbnails": 1,
}
TRUSTED = "trusted.json"


def find_problem(root: Path) -> str | None:
    """Returns why a project must not be opened, as a sentence that says what to do; None if it may be."""
    return _owner_problem(root) or _link_problem(root)


def trust(root: Path) -> None:
    """Lets this user open a project of another user from now on."""
    path = _trusted_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, sorted({*_trusted(), str(root)}), indent=2)


def _owner_problem(root: Path) -> str | None:
    if not hasattr(os, "geteuid"):
        return None
    owner = root.stat().st_uid
    if owner in _own_ids() or str(root) in _trusted():
        return None
    return (
        f"{root} belongs to another user ({_user_name(owner)}): if you trust what that user puts there: "
        f"{shlex.join(['gradebook', 'trust', str(root)])}"
    )


def _own_ids() -> set[int]:
    """Returns the ids of this user: also the one who became root by sudo."""
    own = {os.geteuid()}
    sudo = os.environ.get("SUDO_UID", "")
    return own | {int(sudo)} if own == {0} and sudo.isdecimal() else own


def _user_name(number: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user id {number}"


def _trusted_file() -> Path:
    home = os.environ.get("XDG_CONFIG_HOME")
    return (Path(home) if home else Path.home() / ".config") / "gradebook" / TRUSTED


def _trusted() -> list[str]:
    """Returns the projects of others that this user trusts; none where the file cannot be read."""
    try:
        return [str(path) for path in json.loads(_trusted_file().read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError, RuntimeError):  # RuntimeError: this user has no home
        return []


def _link_problem(root: Path) -> str | None:
    for path in _special_files(root):
        if not path.is_symlink():
            return f"{escaped(str(path))} is a named pipe or a device, and a project must not have any: delete it"
        return (
            f"{escaped(str(path))} is a symbolic link, and a project must not have any, because what it names would be "
            "changed: put the files themselves there"
        )
    return None


def _special_files(root: Path) -> Iterator[Path]:
    """Yields the symbolic links, named pipes and devices among the project's own files."""
    with os.scandir(root) as entries:
        for entry in entries:
            depth = DEPTHS.get(entry.name, 0 if entry.name.startswith(".") else None)
            if depth is None:  # not ours
                continue
            if _is_special(entry):
                yield Path(entry.path)
            elif depth and entry.is_dir(follow_symlinks=False):
                yield from _special_files_below(entry.path, depth)


def _special_files_below(directory: str, depth: int) -> Iterator[Path]:
    """Yields those in a directory and `depth - 1` levels of directories below it."""
    try:
        with os.scandir(directory) as found:
            entries = list(found)
    except OSError:  # another process has just removed it, or nobody can list it
        return
    for entry in entries:
        if _is_special(entry):
            yield Path(entry.path)
        elif depth > 1 and entry.is_dir(follow_symlinks=False):
            yield from _special_files_below(entry.path, depth - 1)


def _is_special(entry: "os.DirEntry[str]") -> bool:
    if entry.is_symlink():
        return True
    if entry.is_file(follow_symlinks=False) or entry.is_dir(follow_symlinks=False):
        return False
    try:
        mode = entry.stat(follow_symlinks=False).st_mode
    except OSError:  # removed meanwhile
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode) or stat.S_ISBLK(mode)  # MongoDB has sockets
