"""Uploads an exported classifier to the Hugging Face hub, as a model repository, by huggingface_hub."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradebook.pipelines.export.directory import exported_files
from gradebook.pipelines.process.errors import quote
from gradebook.storage.characters import escaped
from gradebook.storage.project import ProjectError

if TYPE_CHECKING:
    from huggingface_hub import HfApi

KIND = "classifier"
LOG_IN = "log in with: hf auth login"
ADVICE = {  # by the status of a refusal
    401: f"your token is not valid: {LOG_IN}",
    403: "your token has no write access there: create one that has, or choose your own name as owner",
}
CLIENTS = ("httpx", "httpx2", "requests")  # packages by which versions of huggingface_hub send requests


@dataclass(frozen=True, slots=True, kw_only=True)
class Push:
    """A planned or finished upload."""

    repository: str  # owner/name
    address: str
    private: bool  # whether only its owner can read it
    exists: bool  # whether there was such a repository before
    files: dict[str, int]  # name -> bytes
    left_out: list[str]  # files of the directory that the export did not write
    commit: str = ""  # of the upload, empty before it

    def as_json(self) -> dict[str, Any]:
        """Returns it as plain data."""
        return asdict(self)

    def describe(self) -> str:
        """Returns what is uploaded, and who will be able to read it."""
        readers = "only its owner can read" if self.private else "EVERYBODY CAN READ"
        state = "the repository" if self.exists else "a new repository"
        lines = [f"to {self.address}, {state} that {readers}:"]
        lines += [f"  {name}  {size:,} bytes" for name, size in self.files.items()]
        if self.left_out:
            lines.append(f"not uploaded, because the export did not write it: {escaped(', '.join(self.left_out))}")
        lines.append(
            "README.md names the project, its classes, its settings and who gave the labels; no image is sent."
        )
        return "\n".join(lines)


def plan(directory: Path, repository: str, *, public: bool) -> Push:
    """Returns what an upload would do; uploads nothing.

    Args:
        directory: of an exported classifier.
        repository: owner/name on the hub.
        public: whether everybody may read it.

    Raises:
        ProjectError: the directory holds no exported classifier, the name is invalid, there is no token, the hub
            does not answer, or an existing repository has other readers than requested.
    """
    if re.fullmatch(r"[\w.-]+/[\w.-]+", repository, re.ASCII) is None:
        raise ProjectError(f"{repository!r} is no repository of the hub: give owner/name")
    files, others = exported_files(directory, KIND)
    with _hub() as api:
        from huggingface_hub.errors import RepositoryNotFoundError

        api.whoami()  # without a token, a private repository looks as if it were not there
        try:
            exists, private = True, bool(api.repo_info(repository).private)
        except RepositoryNotFoundError:
            exists, private = False, not public
        address = f"{api.endpoint}/{repository}"
    if exists and not private and not public:
        raise ProjectError(f"everybody can read {address}: to upload there, give --public, or choose another name")
    if exists and private and public:
        raise ProjectError(f"{address} is private: leave --public out, and make it public on its page on the hub")
    sizes = {name: (directory / name).stat().st_size for name in files}
    return Push(repository=repository, address=address, private=private, exists=exists, files=sizes, left_out=others)


def upload(directory: Path, planned: Push) -> Push:
    """Uploads what `plan` returned, in one commit, and returns it with the commit.

    Raises:
        ProjectError: the hub refuses it, or does not answer.
    """
    from dataclasses import replace

    from gradebook import __version__

    with _hub() as api:
        if not planned.exists:
            api.create_repo(planned.repository, private=planned.private)
        done = api.upload_folder(
            repo_id=planned.repository,
            folder_path=directory,
            allow_patterns=list(planned.files),
            commit_message=f"Classifier exported by Gradebook {__version__}",
        )
    return replace(planned, commit=str(done.oid))


@contextmanager
def _hub() -> "Iterator[HfApi]":
    """Provides the hub's client, and turns its errors into sentences."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError, OfflineModeIsEnabled
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()
    api = HfApi()
    try:
        yield api
    except OfflineModeIsEnabled as error:
        raise ProjectError("HF_HUB_OFFLINE is set, so nothing can be uploaded: unset it") from error
    except LocalTokenNotFoundError as error:
        raise ProjectError(f"there is no token of the Hugging Face hub on this machine: {LOG_IN}") from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        raise ProjectError(f"{api.endpoint} refuses it ({status}): {ADVICE.get(status) or quote(error)}") from error
    except Exception as error:
        if not isinstance(error, OSError) and type(error).__module__.partition(".")[0] not in CLIENTS:
            raise
        raise ProjectError(f"{api.endpoint} does not answer ({quote(error)}): try again") from error
