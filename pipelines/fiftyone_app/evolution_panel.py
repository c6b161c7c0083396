"""The panel of FiftyOne's App that shows the record of a sample."""

from typing import Any

import fiftyone.operators as foo
from fiftyone.operators import types

from gradebook.pipelines.fiftyone_app import actions, plots
from gradebook.pipelines.fiftyone_app.operator_support import add_link_to_app, respond, selected_ids, sentence
from gradebook.storage.project import ProjectError


class Evolution(foo.Panel):  # type: ignore[misc]
    """Predictions of teacher and student for the selected sample, step by step, and the feedback."""

    @property
    def config(self) -> Any:
        """The panel's name and label."""
        return foo.PanelConfig(name="evolution", label="Evolution", icon="timeline", surfaces="grid modal")

    def on_change_selected(self, ctx: Any) -> None:
        """Does nothing: FiftyOne redraws the panel after each event."""

    def on_change_current_sample(self, ctx: Any) -> None:
        """Does nothing: FiftyOne redraws the panel after each event."""

    def accept(self, ctx: Any) -> None:
        """Writes the verdicts."""
        respond(ctx, lambda: actions.accept(ctx.dataset, selected_ids(ctx)))

    def undo(self, ctx: Any) -> None:
        """Writes the retractions."""
        respond(ctx, lambda: actions.take_back(ctx.dataset, selected_ids(ctx)))

    def render(self, ctx: Any) -> Any:
        """Draws the panel."""
        panel = types.Object()
        try:
            seen, rows = actions.evolution(ctx.dataset, selected_ids(ctx))
        except ProjectError as error:
            panel.view("none", types.Notice(label=sentence(error)))
            return types.Property(panel)
        buttons = panel.h_stack("buttons", gap=2, align_x="left")
        buttons.btn("accept", label=f"Accept {seen.prediction}", disabled=seen.prediction is None, on_click=self.accept)
        buttons.btn("undo", label="Undo my verdict", on_click=self.undo)
        add_link_to_app(buttons, ctx)
        if rows:
            data, layout = plots.evolution(rows)
            panel.plot(
                "evolution", data=data, layout=layout, config={"displayModeBar": False}, height="460px", width="100%"
            )
        else:
            panel.view("none", types.Notice(label="No run has a record of it."))
        return types.Property(panel)
