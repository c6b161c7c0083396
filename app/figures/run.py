"""The figures of a run: the flow of labels between steps, and the confusion matrix of two sources of labels."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gradebook.app.figures.common import (
    FONT_PX,
    OTHERS,
    TEACHER,
    escape_html,
    short_label,
    with_alpha,
    with_layout,
    with_swatch,
)
from gradebook.pipelines.reporting.training_dynamics import CrossTable
from gradebook.storage.class_changes import OTHER
from gradebook.storage.label_snapshots import LabelSnapshots

MAX_MATRIX_CLASSES = 24
MAX_COLUMN_CLASSES = 10  # up to so many classes, both figures of a run fit next to each other
MIN_NODE_SHARE = 0.03  # of the images, from which on a node has its name beside it
MAX_NODE_CHARS = 4  # of names that a flow shows at every step, not only at the first and the last
OFF_DIAGONAL, ON_DIAGONAL = "#D55E00", "#8C8C8C"


def label_flow(snapshots: LabelSnapshots, labels: Any, colors: Mapping[str, str], *, dark: bool = False) -> Any:
    """Returns a Sankey diagram of a run's labels; a band has the colour of the class that its images left.

    Args:
        snapshots: the labels of G samples at M steps.
        labels: (G, M) `snapshots.teacher` or `snapshots.student`.
        colors: of the project's classes, `class_colors`; classes without one are drawn as one.
        dark: whether the page has the dark theme.
    """
    import plotly.graph_objects as go

    order = np.array([k for k, name in enumerate(snapshots.classes) if name in colors], np.int64)
    drawn = [snapshots.classes[k] for k in order]
    names = [*drawn, *([OTHERS] if len(drawn) < len(snapshots.classes) else [])]
    row = np.full(len(snapshots.classes) + 1, len(order), np.int64)  # class -> node; the last entry serves label -1
    row[order] = np.arange(len(order))
    row[-1] = -1
    rows = row[labels]
    node_colors = [colors.get(name, OTHER) for name in names]
    text = {
        "color": "#F2F0EA" if dark else "#22272B",
        "size": FONT_PX,
    }
    node, link = _nodes(rows, names, node_colors), _links(rows, names, node_colors)
    figure = go.Figure(go.Sankey(node=node, link=link, arrangement="snap", valueformat=",", textfont=text))
    for m, step in enumerate(snapshots.steps):
        x = m / max(len(snapshots.steps) - 1, 1)
        place = {"x": x, "y": 1, "yanchor": "bottom", "yshift": 8, "xref": "paper", "yref": "paper"}
        figure.add_annotation(text=f"step {step:,}", showarrow=False, font_size=12, **place)
    return with_layout(figure, height=max(300, 44 * len(names)), margin={"l": 24, "r": 24, "t": 38, "b": 12})


def confusion_matrix(  # a table, and how it is drawn
    table: CrossTable,
    rows: str,
    columns: str,
    selected: tuple[int, int] | None,
    ink: str,
    colors: Mapping[str, str],
) -> Any:
    """Returns a confusion matrix of two sources of labels; each cell is a clickable point with the data (row, column).

    Args:
        table: the labels of both sources.
        rows: the name of the source on the left.
        columns: the name of the source below.
        selected: the cell to frame.
        ink: the colour of the numbers.
        colors: of the project's classes, `class_colors`.
    """
    import plotly.graph_objects as go

    counts = table.counts()
    order = sorted(np.argsort(-(counts.sum(0) + counts.sum(1)), kind="stable")[:MAX_MATRIX_CLASSES].tolist())
    shown = counts[np.ix_(order, order)]
    cells = [(r, c) for r in range(len(order)) for c in range(len(order)) if shown[r, c]]
    names = [short_label(table.classes[k], 24 if len(order) <= MAX_COLUMN_CLASSES else 16) for k in order]
    figure = go.Figure()
    for diagonal, color in ((True, ON_DIAGONAL), (False, OFF_DIAGONAL)):
        part = np.where((np.eye(len(order), dtype=bool) == diagonal) & (shown > 0), shown, np.nan)
        figure.add_trace(_heatmap(part, color))
    hover = [f"{escape_html(rows)} {names[r]}, {escape_html(columns)} {names[c]}: {shown[r, c]:,}" for r, c in cells]
    figure.add_trace(_cell_numbers(cells, shown, order, hover, ink))
    for r, c in cells:
        if (order[r], order[c]) == selected:
            line = {"color": TEACHER, "width": 3}
            figure.add_shape(type="rect", x0=c - 0.48, x1=c + 0.48, y0=r - 0.48, y1=r + 0.48, line=line)
    texts = [with_swatch(name, colors.get(table.classes[k], OTHER)) for k, name in zip(order, names, strict=True)]
    ticks = {"tickmode": "array", "tickvals": list(range(len(order))), "ticktext": texts, "zeroline": False}
    figure.update_xaxes(**ticks, title_text=columns, range=[-0.6, len(order) - 0.4], showgrid=False)
    figure.update_yaxes(**ticks, title_text=rows, range=[len(order) - 0.4, -0.6], showgrid=False)
    figure.update_layout(clickmode="event+select", dragmode=False, showlegend=False)
    side = 42 * len(order) + 90 if len(order) <= MAX_COLUMN_CLASSES else 26 * len(order) + 190
    return with_layout(figure, height=max(260, side), margin={"l": 4, "r": 12, "t": 8, "b": 4})


def _links(rows: Any, names: Sequence[str], colors: Sequence[str]) -> dict[str, Any]:
    """Returns the bands: samples with a label at both ends, counted; a band that stays in its class is pale."""
    links: dict[str, list[Any]] = {"source": [], "target": [], "value": [], "color": [], "label": []}
    for m in range(rows.shape[1] - 1):
        before, after = rows[:, m], rows[:, m + 1]
        known = (before >= 0) & (after >= 0)
        pairs, counts = np.unique(np.stack([before[known], after[known]], 1), axis=0, return_counts=True)
        for (a, b), n in zip(pairs.tolist(), counts.tolist(), strict=True):
            links["source"].append(m * len(names) + a)
            links["target"].append((m + 1) * len(names) + b)
            links["value"].append(n)
            links["color"].append(with_alpha(colors[a], 0.28 if a == b else 0.62))
            links["label"].append(f"{escape_html(names[a])} → {escape_html(names[b])}")
    return {**links, "hovertemplate": "%{label}: %{value:,}<extra></extra>"}


def _nodes(rows: Any, names: Sequence[str], colors: Sequence[str]) -> dict[str, Any]:
    """Returns a node for each class at each step.

    Long names stand at the first and the last step only, and none beside a thin node, where it would cover others.
    """
    steps = range(rows.shape[1])
    named = {0, len(steps) - 1} if max(map(len, names), default=0) > MAX_NODE_CHARS else set(steps)
    counts = [np.bincount(rows[:, m] + 1, minlength=len(names) + 1)[1:] for m in steps]
    labelled = {(m, k) for m in named for k, n in enumerate(counts[m]) if n >= MIN_NODE_SHARE * max(len(rows), 1)}
    return {
        "label": [short_label(name) if (m, k) in labelled else "" for m in steps for k, name in enumerate(names)],
        "customdata": [escape_html(name) for _ in steps for name in names],
        "color": [*colors] * len(steps),
        "x": [_spread(m, len(steps)) for m in steps for _ in names],
        "y": [y for m in steps for y in _node_centers(counts[m])],
        "pad": 10,
        "thickness": 14,
        "line": {"width": 0},
        "hovertemplate": "%{customdata}: %{value:,}<extra></extra>",
    }


def _cell_numbers(cells: Sequence[tuple[int, int]], counts: Any, order: Sequence[int], hover: Any, ink: str) -> Any:
    """Returns the numbers of the cells as points, invisible but clickable."""
    import plotly.graph_objects as go

    return go.Scatter(
        x=[c for _, c in cells],
        y=[r for r, _ in cells],
        mode="markers+text",
        text=[f"{counts[r, c]:,}" for r, c in cells],
        textfont={"size": 12, "color": ink},
        customdata=[[order[r], order[c]] for r, c in cells],
        marker={"symbol": "square", "size": 24, "opacity": 0},
        selected={"marker": {"opacity": 0}, "textfont": {"color": ink}},
        unselected={"marker": {"opacity": 0}, "textfont": {"color": ink}},
        hoverinfo="text",
        hovertext=hover,
    )


def _heatmap(counts: Any, color: str) -> Any:
    """Returns cells that are darker for higher counts; NaN leaves a cell out."""
    import plotly.graph_objects as go

    finite = counts[~np.isnan(counts)]
    return go.Heatmap(
        z=counts**0.7,  # keeps small counts apart from none
        zmin=0,
        zmax=float(finite.max(initial=1)) ** 0.7,
        colorscale=[[0, with_alpha(color, 0.1)], [1, with_alpha(color, 0.75)]],
        showscale=False,
        xgap=3,
        ygap=3,
        hoverinfo="skip",
    )


def _node_centers(counts: Any) -> list[float]:
    """Returns the y of each node's centre, in [0, 1] from the top. Nodes are as high as their counts, with gaps."""
    gap = 0.02
    heights = (1 - gap * (len(counts) - 1)) * counts / max(int(counts.sum()), 1)
    centers = np.cumsum(heights) - heights / 2 + gap * np.arange(len(counts))
    return [float(min(max(y, 0.001), 0.999)) for y in centers]


def _spread(k: int, n: int) -> float:
    """Returns the x of the k-th of n columns, inside (0, 1): Plotly takes 0 and 1 for unset."""
    return 0.001 + 0.998 * (k / (n - 1) if n > 1 else 0.5)
