"""Links between the app and FiftyOne's App, each to exactly the samples that are on the screen."""

import json
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from gradebook.pipelines.process import servers
from gradebook.storage.fiftyone_dataset import dataset_name
from gradebook.storage.fiftyone_samples import read_samples
from gradebook.storage.project import Project, ProjectError

TIMEOUT_S = 20.0  # of a request to FiftyOne, whose first answer takes some seconds


def in_fiftyone(project: Project, sample_ids: Sequence[str]) -> str:
    """Returns the address at which FiftyOne's App shows exactly these samples.

    Several become a saved view of their own, "from gradebook" and a few digits; the newest dozen is kept.

    Raises:
        ProjectError: the project has no FiftyOne running, or it lacks the samples.
    """
    address = servers.find(project.root, servers.FIFTYONE)
    if address is None:
        raise ProjectError(f"FiftyOne does not run for this project: gradebook fiftyone {project.root}")
    query = _place(address, project, sample_ids)
    return f"{address}/datasets/{quote(dataset_name(project))}?{urlencode(query)}"


def renew(project: Project) -> None:
    """Makes the project's FiftyOne, where it runs, load the dataset again, which another process has changed."""
    if (address := servers.find(project.root, servers.FIFTYONE)) is not None:
        _place(address, project, [])


def evolution_page(dataset: Any, ids: Sequence[str]) -> str:
    """Returns the address of the app's page Evolution of the first of these samples, given by their ids in FiftyOne.

    Raises:
        ProjectError: no sample is selected, or the app does not run for this project.
    """
    root = Path((dataset.info or {}).get("gradebook", "PROJECT"))
    address = servers.find(root, servers.APP)
    if address is None:
        raise ProjectError(f"the app does not run for this project: gradebook app {root}")
    seen = read_samples(dataset, ids[:1])
    if not seen:
        raise ProjectError("select one sample of the project in the grid, or open it")
    return f"{address}/evolution?{urlencode({'sample': seen[0].sample_id})}"


def _place(address: str, project: Project, sample_ids: Sequence[str]) -> dict[str, str]:
    query = _ask(address, project, {"sample_ids": list(sample_ids)})
    if problem := query.get("refused"):
        raise ProjectError(str(problem))
    return query


def _ask(address: str, project: Project, params: dict[str, Any]) -> dict[str, str]:
    body = {"operator_uri": "@gradebook/verdicts/place", "dataset_name": dataset_name(project), "params": params}
    request = urllib.request.Request(
        f"{address}/operators/execute", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
            message = json.load(response)
    except (OSError, ValueError) as error:
        why = f"FiftyOne at {address} does not answer ({error}), perhaps for want of its MongoDB"
        raise ProjectError(f"{why}: gradebook fiftyone {project.root}") from error
    if not isinstance(message.get("result"), dict):
        raise ProjectError(f"FiftyOne at {address} cannot show the samples ({message.get('error_message')})")
    return {str(key): str(value) for key, value in message["result"].items()}
