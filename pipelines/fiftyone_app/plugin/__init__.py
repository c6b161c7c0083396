"""The buttons of FiftyOne's App for a project: what they do is in `gradebook.pipelines.fiftyone_app.actions`.

`gradebook fiftyone` makes FiftyOne find this folder (`gradebook.pipelines.fiftyone_app.launch`). Every operator acts on
the selected samples, else on the one that is open.
"""

from collections.abc import Callable, Sequence
from typing import Any

import fiftyone.operators as foo
from fiftyone.operators import types

from gradebook.pipelines.fiftyone_app import actions, links, plots
from gradebook.storage.fiftyone_samples import open_parameters
from gradebook.storage.project import ProjectError

GRID = types.Places.SAMPLES_GRID_ACTIONS
PICTURES = 4  # images that a dialog shows
NAMES = 8  # files that it names


class Accept(foo.Operator):  # type: ignore[misc]
    """Accepts what the queue proposes."""

    @property
    def config(self) -> Any:
        """Its name and looks."""
        return foo.OperatorConfig(name="accept", label="Gradebook: accept prediction")

    def resolve_placement(self, ctx: Any) -> Any:
        """A button above the grid."""
        return _button(ctx, "Accept prediction", "check")

    def execute(self, ctx: Any) -> dict[str, Any]:
        """Writes the verdicts."""
        return _answer(ctx, lambda: actions.accept(ctx.dataset, _ids(ctx)))


class Assign(foo.Operator):  # type: ignore[misc]
    """Gives a label that a person chooses."""

    @property
    def config(self) -> Any:
        """Its name and looks."""
        return foo.OperatorConfig(name="assign", label="Gradebook: assign a label")

    def resolve_placement(self, ctx: Any) -> Any:
        """A button above the grid."""
        return _button(ctx, "Assign a label", "label", prompt=True)

    def resolve_input(self, ctx: Any) -> Any:
        """Shows the images and asks for their class; anything else that is sent is refused by `execute`."""
        inputs = types.Object()
        try:
            images = actions.pictures(ctx.dataset, _ids(ctx), PICTURES)
        except ProjectError as error:
            inputs.view("none", types.Notice(label=_sentence(error)))
            return types.Property(inputs, view=types.View(label="Assign a label"))
        row = inputs.h_stack("images", gap=1, align_x="left")
        for n, (name, picture) in enumerate(images):
            if picture is not None:
                row.str(f"image_{n}", default=picture, view=types.ImageView(height="96px", alt=name))
        inputs.view("names", types.Notice(label=_some([name for name, _ in images])))
        choices = types.DropdownView(label="Label")
        for name in _classes(ctx):
            choices.add_choice(name, label=name)
        inputs.str("label", required=True, label="Label", view=choices)
        title = f"Label {len(images)} image{'' if len(images) == 1 else 's'}"
        return types.Property(inputs, view=types.PromptView(label=title, submit_button_label=title))

    def execute(self, ctx: Any) -> dict[str, Any]:
        """Writes the verdicts."""
        return _answer(ctx, lambda: actions.assign(ctx.dataset, _ids(ctx), str(ctx.params.get("label"))))


class Undo(foo.Operator):  # type: ignore[misc]
    """Takes verdicts back."""

    @property
    def config(self) -> Any:
        """Its name and looks."""
        return foo.OperatorConfig(name="undo", label="Gradebook: undo my verdict")

    def resolve_placement(self, ctx: Any) -> Any:
        """A button above the grid."""
        return _button(ctx, "Undo my verdict", "undo")

    def execute(self, ctx: Any) -> dict[str, Any]:
        """Writes the retractions."""
        return _answer(ctx, lambda: actions.take_back(ctx.dataset, _ids(ctx)))


class Ask(foo.Operator):  # type: ignore[misc]
    """Sends samples to the queue."""

    @property
    def config(self) -> Any:
        """Its name and looks."""
        return foo.OperatorConfig(name="ask", label="Gradebook: send to the queue")

    def resolve_placement(self, ctx: Any) -> Any:
        """A button above the grid."""
        return _button(ctx, "Send to the queue", "playlist_add")

    def execute(self, ctx: Any) -> dict[str, Any]:
        """Writes the proposals."""
        return _answer(ctx, lambda: actions.ask(ctx.dataset, _ids(ctx)))


class ShowAlike(foo.Operator):  # type: ignore[misc]
    """Shows what is most like a sample, by the project's own vectors."""

    @property
    def config(self) -> Any:
        """Its name and looks."""
        return foo.OperatorConfig(name="show_alike", label="Gradebook: show what is like it")

    def resolve_placement(self, ctx: Any) -> Any:
        """A button above the grid."""
        return _button(ctx, "Show what is like it", "image_search")

    def execute(self, ctx: Any) -> dict[str, Any]:
        """Sets the view."""
        found = _try(lambda: {"ids": actions.alike(ctx.dataset, _ids(ctx))})
        if "ids" in found:
            ctx.ops.set_view(ctx.dataset.select(found["ids"], ordered=True))
        else:
            ctx.ops.notify(found["refused"], variant="error")
        return found


class ShowEvolution(foo.Operator):  # type: ignore[misc]
    """Opens the panel."""

    @property
    def config(self) -> Any:
        """Its name and looks."""
        return foo.OperatorConfig(name="show_evolution", label="Gradebook: show evolution")

    def resolve_placement(self, ctx: Any) -> Any:
        """A button above the grid."""
        return _button(ctx, "Show evolution", "timeline")

    def execute(self, ctx: Any) -> None:
        """Opens the panel beside the grid."""
        ctx.ops.open_panel("evolution", is_active=True, layout="horizontal")


class OpenInApp(foo.Operator):  # type: ignore[misc]
    """Leads to the app's page Evolution of a sample."""

    @property
    def config(self) -> Any:
        """Its name and looks."""
        return foo.OperatorConfig(name="open_in_app", label="Gradebook: open in the app")

    def resolve_placement(self, ctx: Any) -> Any:
        """A button above the grid."""
        return _button(ctx, "Open in the app", "open_in_new", prompt=True)

    def resolve_input(self, ctx: Any) -> Any:
        """Shows the link."""
        inputs = types.Object()
        _link_to_app(inputs, ctx)
        return types.Property(inputs, view=types.View(label="Open in the app"))

    def execute(self, ctx: Any) -> dict[str, Any]:
        """Returns the address."""
        return _try(lambda: {"address": links.evolution_page(ctx.dataset, _ids(ctx))})


class Place(foo.Operator):  # type: ignore[misc]
    """Answers the app, which asks where its samples are shown here."""

    @property
    def config(self) -> Any:
        """Its name; it is not shown."""
        return foo.OperatorConfig(name="place", label="Gradebook: find samples", unlisted=True)

    def execute(self, ctx: Any) -> dict[str, Any]:
        """Returns what the address must ask for, and saves the view if one is needed."""
        ids = [str(sample_id) for sample_id in ctx.params["sample_ids"]]
        return _try(lambda: open_parameters(ctx.dataset, ids) | {"run": (ctx.dataset.info or {}).get("run") or ""})


class Refresh(foo.Operator):  # type: ignore[misc]
    """Makes all open pages of the App load the dataset again, after another process has changed it."""

    @property
    def config(self) -> Any:
        """Its name; it is not shown."""
        return foo.OperatorConfig(name="refresh", label="Gradebook: refresh", unlisted=True)

    async def execute(self, ctx: Any) -> dict[str, Any]:
        """Sends the event by which FiftyOne's own sessions refresh their pages."""
        from fiftyone.core.session.events import Refresh as RefreshEvent
        from fiftyone.server.events import dispatch_event
        from fiftyone.server.events.state import get_state

        await dispatch_event(None, RefreshEvent(state=get_state()))
        return {}


class Evolution(foo.Panel):  # type: ignore[misc]
    """What teacher and student predicted for the selected sample, step by step, and the feedback."""

    @property
    def config(self) -> Any:
        """Its name and looks."""
        return foo.PanelConfig(name="evolution", label="Evolution", icon="timeline", surfaces="grid modal")

    def on_change_selected(self, ctx: Any) -> None:
        """Does nothing: FiftyOne redraws the panel after each event."""

    def on_change_current_sample(self, ctx: Any) -> None:
        """Does nothing: FiftyOne redraws the panel after each event."""

    def accept(self, ctx: Any) -> None:
        """Writes the verdicts."""
        _answer(ctx, lambda: actions.accept(ctx.dataset, _ids(ctx)))

    def undo(self, ctx: Any) -> None:
        """Writes the retractions."""
        _answer(ctx, lambda: actions.take_back(ctx.dataset, _ids(ctx)))

    def render(self, ctx: Any) -> Any:
        """Draws it."""
        panel = types.Object()
        try:
            seen, rows = actions.evolution(ctx.dataset, _ids(ctx))
        except ProjectError as error:
            panel.view("none", types.Notice(label=_sentence(error)))
            return types.Property(panel)
        buttons = panel.h_stack("buttons", gap=2, align_x="left")
        buttons.btn("accept", label=f"Accept {seen.prediction}", disabled=seen.prediction is None, on_click=self.accept)
        buttons.btn("undo", label="Undo my verdict", on_click=self.undo)
        _link_to_app(buttons, ctx)
        if rows:
            data, layout = plots.evolution(rows)
            panel.plot(
                "evolution", data=data, layout=layout, config={"displayModeBar": False}, height="460px", width="100%"
            )
        else:
            panel.view("none", types.Notice(label="No run has a record of it."))
        return types.Property(panel)


OPERATORS = (Accept, Assign, Undo, Ask, ShowAlike, ShowEvolution, OpenInApp, Place, Refresh, Evolution)


def register(plugin: Any) -> None:
    """Is called by FiftyOne."""
    for operator in OPERATORS:
        plugin.register(operator)
    actions.warm_up()


def _ids(ctx: Any) -> list[str]:
    """Returns the ids of the samples to act on: the open one, else those selected."""
    return [ctx.current_sample] if ctx.current_sample else list(ctx.selected)


def _answer(ctx: Any, do: Callable[[], str]) -> dict[str, Any]:
    """Calls an action, shows its message, reloads the changed samples and clears the selection.

    A verdict can take samples out of the view. Selected still, they would get the next verdict, too.
    """
    answer = _try(lambda: {"said": do()})
    ctx.ops.notify(answer.get("said") or answer["refused"], variant="success" if "said" in answer else "error")
    if "said" in answer:
        ctx.ops.clear_selected_samples()
        ctx.ops.reload_dataset()
    return answer


def _try(do: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return do()
    except ProjectError as error:
        return {"refused": _sentence(error)}


def _sentence(error: ProjectError) -> str:
    message = str(error)
    return f"{message[:1].upper()}{message[1:]}"


def _some(names: Sequence[str]) -> str:
    more = len(names) - NAMES
    return ", ".join(names[:NAMES]) + (f" and {more} more" if more > 0 else "")


def _link_to_app(inputs: Any, ctx: Any) -> None:
    try:
        address = links.evolution_page(ctx.dataset, _ids(ctx))
    except ProjectError as error:
        inputs.view("app", types.Notice(label=_sentence(error)))
    else:
        inputs.btn("app", label="Open in the app", icon="open_in_new", href=address)


def _classes(ctx: Any) -> tuple[str, ...]:
    try:
        return actions.open_project(ctx.dataset).project.classes
    except ProjectError:
        return ()


def _button(ctx: Any, label: str, icon: str, *, prompt: bool = False) -> Any:
    """Returns a button above the grid of a project's dataset, none above others."""
    if ctx.dataset is None or "gradebook" not in (ctx.dataset.info or {}):
        return None
    return types.Placement(GRID, types.Button(label=label, icon=icon, prompt=prompt))
