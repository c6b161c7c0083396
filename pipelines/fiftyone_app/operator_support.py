"""Shared by the operators and the panel of the plugin: the samples to act on, the response to a call, buttons.

`ctx` is FiftyOne's `ExecutionContext`.
"""

from collections.abc import Callable, Sequence
from typing import Any

from fiftyone.operators import types

from gradebook.pipelines.fiftyone_app import actions, links
from gradebook.storage.project import ProjectError

MAX_NAMES = 8  # files that a dialog names


def selected_ids(ctx: Any) -> list[str]:
    """Returns the ids of the samples to act on: the open one, or else the selected ones."""
    return [ctx.current_sample] if ctx.current_sample else list(ctx.selected)


def respond(ctx: Any, action: Callable[[], str]) -> dict[str, Any]:
    """Calls an action, shows its message, reloads the changed samples and clears the selection.

    A verdict can take samples out of the view. If they stayed selected, the next verdict would apply to them too.
    """
    answer = attempt(lambda: {"said": action()})
    ctx.ops.notify(answer.get("said") or answer["refused"], variant="success" if "said" in answer else "error")
    if "said" in answer:
        ctx.ops.clear_selected_samples()
        ctx.ops.reload_dataset()
    return answer


def attempt(action: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Returns the result of an action, or its error under the key `refused`."""
    try:
        return action()
    except ProjectError as error:
        return {"refused": sentence(error)}


def sentence(error: ProjectError) -> str:
    """Returns the message of an error with a capital letter."""
    message = str(error)
    return f"{message[:1].upper()}{message[1:]}"


def shortened(names: Sequence[str]) -> str:
    """Returns the first names, and how many there are besides."""
    more = len(names) - MAX_NAMES
    return ", ".join(names[:MAX_NAMES]) + (f" and {more} more" if more > 0 else "")


def add_link_to_app(inputs: Any, ctx: Any) -> None:
    """Adds a button that opens the sample in Gradebook's app, or the reason why there is none."""
    try:
        address = links.evolution_page(ctx.dataset, selected_ids(ctx))
    except ProjectError as error:
        inputs.view("app", types.Notice(label=sentence(error)))
    else:
        inputs.btn("app", label="Open in the app", icon="open_in_new", href=address)


def classes_of(ctx: Any) -> tuple[str, ...]:
    """Returns the classes of the project that the dataset shows; none if it cannot be opened."""
    try:
        return actions.open_project(ctx.dataset).project.classes
    except ProjectError:
        return ()


def grid_button(ctx: Any, label: str, icon: str, *, prompt: bool = False) -> Any:
    """Returns a button above the grid of a project's dataset, none above others."""
    if ctx.dataset is None or "gradebook" not in (ctx.dataset.info or {}):
        return None
    return types.Placement(types.Places.SAMPLES_GRID_ACTIONS, types.Button(label=label, icon=icon, prompt=prompt))
