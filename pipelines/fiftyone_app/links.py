"""Links from Gradebook's app to FiftyOne's App and back, each to the samples that are on the screen, with the token."""

import json
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from gradebook.pipelines.process import servers
from gradebook.pipelines.process.servers import Server
from gradebook.storage.fiftyone_dataset import dataset_name
from gradebook.storage.fiftyone_samples import read_samples
from gradebook.storage.project import Project, ProjectError

TIMEOUT_S = 20.0  # of a request to FiftyOne, whose first response takes some seconds


class OutdatedFiftyOne(ProjectError):  # noqa: N818
    """FiftyOne is not running for the project, shows another run, or does not have the samples."""


def in_fiftyone(project: Project, sample_ids: Sequence[str], run: str | None = None) -> str:
    """Returns the link with which FiftyOne's App shows exactly these samples.

    Several samples become a saved view, named "from gradebook" and a few digits. The newest twelve views are kept.

    Args:
        project: the project.
        sample_ids: the samples.
        run: that FiftyOne must show; None for any.

    Raises:
        OutdatedFiftyOne: FiftyOne is not running for the project, shows another run, or does not have the samples.
        ProjectError: it does not answer.
    """
    server = servers.find(project.root, servers.FIFTYONE)
    if server is None:
        raise OutdatedFiftyOne(f"FiftyOne is not running for this project: gradebook fiftyone {project.root}")
    query = _query(server, project, sample_ids)
    shown = query.pop("run", "")
    if run is not None and shown != run:
        raise OutdatedFiftyOne(
            f"FiftyOne shows {shown or 'no run'}, not {run}: gradebook fiftyone {project.root} --run {run}"
        )
    return server.link(f"/datasets/{quote(dataset_name(project))}", **query)


def reload(project: Project) -> None:
    """Makes the project's FiftyOne, if it is running, load the dataset again after another process has changed it."""
    if (server := servers.find(project.root, servers.FIFTYONE)) is not None:
        _query(server, project, [])


def refresh_pages(project: Project) -> None:
    """Makes all open pages of the project's FiftyOne, if it is running, show the dataset as it is now.

    Raises:
        ProjectError: FiftyOne does not answer.
    """
    if (server := servers.find(project.root, servers.FIFTYONE)) is not None:
        _execute(server, project, "refresh", {})


def evolution_page(dataset: Any, ids: Sequence[str]) -> str:
    """Returns the link to the page Evolution of the first of these samples, which are ids in FiftyOne.

    Raises:
        ProjectError: no sample of the project is selected, or the app is not running for the project.
    """
    root = Path((dataset.info or {}).get("gradebook", "PROJECT"))
    server = servers.find(root, servers.APP)
    if server is None:
        raise ProjectError(f"the app is not running for this project: gradebook app {root}")
    selected = read_samples(dataset, ids[:1])
    if not selected:
        raise ProjectError("select one sample of the project in the grid, or open it")
    return server.link("/evolution", sample=selected[0].sample_id)


def _query(server: Server, project: Project, sample_ids: Sequence[str]) -> dict[str, str]:
    """Returns the query of the address that shows these samples."""
    query = _execute(server, project, "place", {"sample_ids": list(sample_ids)})
    if problem := query.get("refused"):
        raise OutdatedFiftyOne(str(problem))
    return query


def _execute(server: Server, project: Project, operator: str, params: dict[str, Any]) -> dict[str, str]:
    """Executes an operator of the plugin; returns its result."""
    body = {"operator_uri": f"@gradebook/verdicts/{operator}", "dataset_name": dataset_name(project), "params": params}
    headers = {"Content-Type": "application/json"} | server.headers
    request = urllib.request.Request(f"{server.address}/operators/execute", json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
            message = json.load(response)
    except (OSError, ValueError) as error:
        why = f"FiftyOne at {server.address} does not answer ({error}); its MongoDB may have stopped"
        raise ProjectError(f"{why}: gradebook fiftyone {project.root}") from error
    if not isinstance(message.get("result"), dict):
        raise ProjectError(f"FiftyOne at {server.address} cannot show the samples ({message.get('error_message')})")
    return {str(key): str(value) for key, value in message["result"].items()}
