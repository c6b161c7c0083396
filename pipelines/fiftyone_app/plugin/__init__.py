"""The buttons of FiftyOne's App for a project. Their actions are in `gradebook.pipelines.fiftyone_app.actions`.

`gradebook fiftyone` makes FiftyOne find this folder (`gradebook.pipelines.fiftyone_app.launch`). An operator acts on
the open sample, or else on the selected ones.
"""

from typing import Any

import fiftyone.operators as foo
from fiftyone.operators import types

from gradebook.pipelines.fiftyone_app import actions, links
from gradebook.pipelines.fiftyone_app.evolution_panel import Evolution
from gradebook.pipelines.fiftyone_app.operator_support import (
    add_link_to_app,
    attempt,
    classes_of,
    grid_button,
    respond,
    selected_ids,
    sentence,
    shortened,
)
from gradebook.storage.fiftyone_samples import open_parameters
from gradebook.storage.project import ProjectError

PICTURES = 4  # images that a dialog shows


class Accept(foo.Operator):  # type: ignore[misc]
    """Accepts what the queue proposes."""

    @property
    def config(self) -> Any:
        """The operator's name and label."""
        return foo.OperatorConfig(name="accept", label="Gradebook: accept prediction")

    def resolve_placement(self, ctx: Any) -> Any:
        """Returns the button above the grid."""
        return grid_button(ctx, "Accept prediction", "check")

    def execute(self, ctx: Any) -> dict[str, Any]:
        """Writes the verdicts."""
        return respond(ctx, lambda: actions.accept(ctx.dataset, selected_ids(ctx)))


class Assign(foo.Operator):  # type: ignore[misc]
    """Gives the samples a label that the user chooses."""

    @property
    def config(self) -> Any:
        """The operator's name and label."""
        return foo.OperatorConfig(name="assign", label="Gradebook: assign a label")

    def resolve_placement(self, ctx: Any) -> Any:
        """Returns the button above the grid."""
        return grid_button(ctx, "Assign a label", "label", prompt=True)

    def resolve_input(self, ctx: Any) -> Any:
        """Shows the images and asks for their class; `execute` refuses any other label."""
        inputs = types.Object()
        try:
            images = actions.pictures(ctx.dataset, selected_ids(ctx), PICTURES)
        except ProjectError as error:
            inputs.view("none", types.Notice(label=sentence(error)))
            return types.Property(inputs, view=types.View(label="Assign a label"))
        row = inputs.h_stack("images", gap=1, align_x="left")
        for n, (name, picture) in enumerate(images):
            if picture is not None:
                row.str(f"image_{n}", default=picture, view=types.ImageView(height="96px", alt=name))
        inputs.view("names", types.Notice(label=shortened([name for name, _ in images])))
        choices = types.DropdownView(label="Label")
        for name in classes_of(ctx):
            choices.add_choice(name, label=name)
        inputs.str("label", required=True, label="Label", view=choices)
        title = f"Label {len(images)} image{'' if len(images) == 1 else 's'}"
        return types.Property(inputs, view=types.PromptView(label=title, submit_button_label=title))

    def execute(self, ctx: Any) -> dict[str, Any]:
        """Writes the verdicts."""
        return respond(ctx, lambda: actions.assign(ctx.dataset, selected_ids(ctx), str(ctx.params.get("label"))))


class Undo(foo.Operator):  # type: ignore[misc]
    """Undoes the user's verdicts."""

    @property
    def config(self) -> Any:
        """The operator's name and label."""
        return foo.OperatorConfig(name="undo", label="Gradebook: undo my verdict")

    def resolve_placement(self, ctx: Any) -> Any:
        """Returns the button above the grid."""
        return grid_button(ctx, "Undo my verdict", "undo")

    def execute(self, ctx: Any) -> dict[str, Any]:
        """Writes the retractions."""
        return respond(ctx, lambda: actions.take_back(ctx.dataset, selected_ids(ctx)))


class Ask(foo.Operator):  # type: ignore[misc]
    """Puts samples at the front of the review queue."""

    @property
    def config(self) -> Any:
        """The operator's name and label."""
        return foo.OperatorConfig(name="ask", label="Gradebook: send to the queue")

    def resolve_placement(self, ctx: Any) -> Any:
        """Returns the button above the grid."""
        return grid_button(ctx, "Send to the queue", "playlist_add")

    def execute(self, ctx: Any) -> dict[str, Any]:
        """Writes the proposals."""
        return respond(ctx, lambda: actions.ask(ctx.dataset, selected_ids(ctx)))


class ShowAlike(foo.Operator):  # type: ignore[misc]
    """Shows the samples most similar to one, by the project's embeddings."""

    @property
    def config(self) -> Any:
        """The operator's name and label."""
        return foo.OperatorConfig(name="show_alike", label="Gradebook: show similar images")

    def resolve_placement(self, ctx: Any) -> Any:
        """Returns the button above the grid."""
        return grid_button(ctx, "Show similar images", "image_search")

    def execute(self, ctx: Any) -> dict[str, Any]:
        """Sets the view."""
        result = attempt(lambda: {"ids": actions.alike(ctx.dataset, selected_ids(ctx))})
        if "ids" in result:
            ctx.ops.set_view(ctx.dataset.select(result["ids"], ordered=True))
        else:
            ctx.ops.notify(result["refused"], variant="error")
        return result


class ShowEvolution(foo.Operator):  # type: ignore[misc]
    """Opens the panel Evolution."""

    @property
    def config(self) -> Any:
        """The operator's name and label."""
        return foo.OperatorConfig(name="show_evolution", label="Gradebook: show evolution")

    def resolve_placement(self, ctx: Any) -> Any:
        """Returns the button above the grid."""
        return grid_button(ctx, "Show evolution", "timeline")

    def execute(self, ctx: Any) -> None:
        """Opens the panel beside the grid."""
        ctx.ops.open_panel("evolution", is_active=True, layout="horizontal")


class OpenInApp(foo.Operator):  # type: ignore[misc]
    """Links to the page Evolution of a sample in Gradebook's app."""

    @property
    def config(self) -> Any:
        """The operator's name and label."""
        return foo.OperatorConfig(name="open_in_app", label="Gradebook: open in the app")

    def resolve_placement(self, ctx: Any) -> Any:
        """Returns the button above the grid."""
        return grid_button(ctx, "Open in the app", "open_in_new", prompt=True)

    def resolve_input(self, ctx: Any) -> Any:
        """Shows the link."""
        inputs = types.Object()
        add_link_to_app(inputs, ctx)
        return types.Property(inputs, view=types.View(label="Open in the app"))

    def execute(self, ctx: Any) -> dict[str, Any]:
        """Returns the address."""
        return attempt(lambda: {"address": links.evolution_page(ctx.dataset, selected_ids(ctx))})


class Place(foo.Operator):  # type: ignore[misc]
    """Tells the app at which address FiftyOne shows its samples."""

    @property
    def config(self) -> Any:
        """The operator's name. It has no button."""
        return foo.OperatorConfig(name="place", label="Gradebook: find samples", unlisted=True)

    def execute(self, ctx: Any) -> dict[str, Any]:
        """Returns the parameters of the address, and saves a view if one is needed."""
        ids = [str(sample_id) for sample_id in ctx.params["sample_ids"]]
        return attempt(lambda: open_parameters(ctx.dataset, ids) | {"run": (ctx.dataset.info or {}).get("run") or ""})


class Refresh(foo.Operator):  # type: ignore[misc]
    """Makes all open pages of the App load the dataset again, after another process has changed it."""

    @property
    def config(self) -> Any:
        """The operator's name. It has no button."""
        return foo.OperatorConfig(name="refresh", label="Gradebook: refresh", unlisted=True)

    async def execute(self, ctx: Any) -> dict[str, Any]:
        """Sends the event by which FiftyOne's own sessions refresh their pages."""
        from fiftyone.core.session.events import Refresh as RefreshEvent
        from fiftyone.server.events import dispatch_event
        from fiftyone.server.events.state import get_state

        await dispatch_event(None, RefreshEvent(state=get_state()))
        return {}


OPERATORS = (Accept, Assign, Undo, Ask, ShowAlike, ShowEvolution, OpenInApp, Place, Refresh, Evolution)


def register(plugin: Any) -> None:
    """Registers the operators. FiftyOne calls this."""
    for operator in OPERATORS:
        plugin.register(operator)
    actions.warm_up()
