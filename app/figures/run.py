"""The figures of a run and of a selection: sums of `gradebook.pipelines.reporting.training_dynamics` in, a Plotly
figure out.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradebook.app.figures.common import GREY, PALETTE, STUDENT, TEACHER, calm, colours, escaped, short
from gradebook.pipelines.reporting.training_dynamics import Course, Table
from gradebook.storage.label_snapshots import LabelSnapshots

SHOWN = 9  # classes of a flow or a course at most; the others are drawn as one
CELLS = 24  # classes of a confusion matrix at most
FEW = 10  # up to so many classes the two figures of a run have room beside each other
SHORT = 4  # characters of a name that a flow has room for at every moment
OTHERS = "other classes"


def flow(said: LabelSnapshots, labels: Any, classes: Sequence[str], *, dark: bool = False) -> Any:
    """Returns how the (G, M) labels of a run's samples flow from one moment to the next; colour is the class left.

    Of many classes only those drawn by themselves have colours; long names stand at the first and last moment alone.
    """
    import plotly.graph_objects as go

    order = _most_moved(labels, len(said.classes))
    place = np.full(len(said.classes) + 1, len(order), np.int64)
    place[order] = np.arange(len(order))
    place[-1] = -1  # nothing was said
    drawn = [said.classes[k] for k in order]
    colour = _painted(drawn, said.classes, classes, dark)
    names = [*(said.classes[k] for k in order), *([OTHERS] if len(order) < len(said.classes) else [])]
    paint = [colour.get(name, GREY) for name in names]
    links: dict[str, list[Any]] = {"source": [], "target": [], "value": [], "color": [], "label": []}
    for m in range(len(said.steps) - 1):
        before, after = place[labels[:, m]], place[labels[:, m + 1]]
        both = (before >= 0) & (after >= 0)
        pairs, counts = np.unique(np.stack([before[both], after[both]], 1), axis=0, return_counts=True)
        for (a, b), n in zip(pairs.tolist(), counts.tolist(), strict=True):
            links["source"].append(m * len(names) + a)
            links["target"].append((m + 1) * len(names) + b)
            links["value"].append(n)
            links["color"].append(_faint(paint[a], 0.28 if a == b else 0.62))
            links["label"].append(f"{escaped(names[a])} → {escaped(names[b])}")
    moments = range(len(said.steps))
    ends = {0, len(said.steps) - 1} if max(map(len, names), default=0) > SHORT else set(moments)
    node = {
        "label": [short(name) if m in ends else "" for m in moments for name in names],
        "customdata": [escaped(name) for _ in moments for name in names],
        "color": paint * len(said.steps),
        "x": [_between(m, len(said.steps)) for m in moments for _ in names],
        "y": [y for m in moments for y in _heights(np.bincount(place[labels[:, m]] + 1, minlength=len(names) + 1)[1:])],
        "pad": 10,
        "thickness": 14,
        "line": {"width": 0},
        "hovertemplate": "%{customdata}: %{value:,}<extra></extra>",
    }
    links["hovertemplate"] = "%{label}: %{value:,}<extra></extra>"  # type: ignore[assignment]
    ink = {"color": "#F2F0EA" if dark else "#22272B"}  # on coloured bands: the usual grey was hard to read
    figure = go.Figure(go.Sankey(node=node, link=links, arrangement="snap", valueformat=",", textfont=ink))
    for m, step in enumerate(said.steps):
        figure.add_annotation(
            x=m / max(len(said.steps) - 1, 1),
            y=1.06,
            text=f"step {step:,}",
            showarrow=False,
            xref="paper",
            yref="paper",
        )
    return calm(figure, height=max(300, 44 * len(names)), margin={"l": 24, "r": 24, "t": 34, "b": 12})


def confusion(table: Table, rows: str, columns: str, chosen: tuple[int, int] | None, ink: str) -> Any:
    """Returns counts of who said what against whom; each cell is a point that can be pressed, its data (row, column).

    Args:
        table: what each says of the samples.
        rows: who stands at the left, as a title.
        columns: who stands below.
        chosen: the cell to frame.
        ink: the colour of the numbers.
    """
    import plotly.graph_objects as go

    counts = table.counts()
    off = counts.sum(0) + counts.sum(1)
    order = sorted(np.argsort(-off, kind="stable")[:CELLS].tolist())
    names = [short(table.classes[k], 24 if len(order) <= FEW else 16) for k in order]
    part = counts[np.ix_(order, order)]
    cells = [(r, c) for r in range(len(order)) for c in range(len(order)) if part[r, c]]
    figure = go.Figure()
    for agree, paint in ((True, "#8C8C8C"), (False, "#D55E00")):
        here = np.where((np.eye(len(order), dtype=bool) == agree) & (part > 0), part, np.nan)
        figure.add_trace(_shades(here, paint))
    figure.add_trace(
        go.Scatter(
            x=[c for _, c in cells],
            y=[r for r, _ in cells],
            mode="markers+text",
            text=[f"{part[r, c]:,}" for r, c in cells],
            textfont={"size": 12, "color": ink},
            customdata=[[order[r], order[c]] for r, c in cells],
            marker={"symbol": "square", "size": 24, "opacity": 0},
            selected={"marker": {"opacity": 0}, "textfont": {"color": ink}},
            unselected={"marker": {"opacity": 0}, "textfont": {"color": ink}},
            hoverinfo="text",
            hovertext=[f"{escaped(rows)} {names[r]}, {escaped(columns)} {names[c]}: {part[r, c]:,}" for r, c in cells],
        )
    )
    for r, c in cells:
        if (order[r], order[c]) == chosen:
            line = {"color": TEACHER, "width": 3}
            figure.add_shape(type="rect", x0=c - 0.48, x1=c + 0.48, y0=r - 0.48, y1=r + 0.48, line=line)
    ticks = {"tickmode": "array", "tickvals": list(range(len(order))), "ticktext": names, "zeroline": False}
    figure.update_xaxes(**ticks, title_text=columns, range=[-0.6, len(order) - 0.4], showgrid=False)
    figure.update_yaxes(**ticks, title_text=rows, range=[len(order) - 0.4, -0.6], showgrid=False)
    figure.update_layout(clickmode="event+select", dragmode=False, showlegend=False)
    side = 42 * len(order) + 90 if len(order) <= FEW else 26 * len(order) + 190
    return calm(figure, height=max(260, side), margin={"l": 4, "r": 12, "t": 8, "b": 4})


def course(found: Course, classes: Sequence[str], *, dark: bool = False) -> Any:
    """Returns how a selection went: quartiles of both probabilities, flips and agreement, and what the teacher said."""
    from plotly.subplots import make_subplots

    figure = make_subplots(
        rows=3,
        cols=1,
        shared_xaxes=True,
        vertical_spacing=0.1,
        row_heights=[0.4, 0.27, 0.33],
        subplot_titles=(
            "How surely: median, and the middle half",
            "Shares: flips of the teacher, agreement of both",
            "What the teacher said",
        ),
    )
    _add_band(figure, found, "teacher", found.teacher, TEACHER, "solid")
    _add_band(figure, found, "student", found.student, STUDENT, "dot")
    _add_shares(figure, found)
    _add_composition(figure, found, classes, dark)
    for row in (1, 2, 3):
        figure.update_yaxes(range=[0, 1.02], tickformat=".0%", nticks=4, row=row, col=1)
    figure.update_xaxes(title_text="step", row=3, col=1)
    figure.update_annotations(x=0, xanchor="left", font_size=13)
    figure.update_layout(legend={"orientation": "h", "y": -0.13, "x": 0, "traceorder": "normal"})
    return calm(figure, height=600, margin={"l": 4, "r": 28, "t": 24, "b": 4})


def _add_band(figure: Any, found: Course, who: str, quartiles: Any, paint: str, dash: str) -> None:
    import plotly.graph_objects as go

    there = ~np.isnan(quartiles).any(1)
    steps, (low, middle, high) = found.steps[there], quartiles[there].T
    for y, fill, width, name in ((low, None, 0, ""), (high, "tonexty", 0, ""), (middle, None, 2.2, who)):
        figure.add_trace(
            go.Scatter(
                x=steps,
                y=y,
                mode="lines",
                fill=fill,
                fillcolor=_faint(paint, 0.18),
                line={"color": paint, "width": width, "dash": dash},
                name=name,
                showlegend=bool(name),
                hoverinfo=None if name else "skip",
                hovertemplate=f"step %{{x:.0f}}: {who}, median %{{y:.0%}}<extra></extra>" if name else None,
            ),
            row=1,
            col=1,
        )


def _add_shares(figure: Any, found: Course) -> None:
    import plotly.graph_objects as go

    for name, y, paint, dash in (
        ("flips", found.flips, "#D55E00", "solid"),
        ("agreement", found.agreement, "#0072B2", "dash"),
    ):
        figure.add_trace(
            go.Scatter(
                x=found.steps,
                y=y,
                mode="lines",
                name=name,
                line={"color": paint, "width": 2, "dash": dash},
                hovertemplate=f"step %{{x:.0f}}: {name} %{{y:.0%}}<extra></extra>",
            ),
            row=2,
            col=1,
        )


def _add_composition(figure: Any, found: Course, classes: Sequence[str], dark: bool) -> None:
    """Adds the classes that the teacher named most, each a band, and of many classes the others as one."""
    import plotly.graph_objects as go

    known = [name for name in dict.fromkeys([*classes, *found.shares]) if name in found.shares]
    most = sorted(known, key=lambda name: -float(np.nansum(found.shares[name])))
    others = set(most[SHOWN:]) if len(known) > SHOWN + 1 else set()
    drawn = [name for name in known if name not in others]
    paint = _painted(drawn, known, classes, dark)
    bands = {name: np.nan_to_num(found.shares[name]) for name in drawn}
    if others:
        bands[OTHERS] = np.sum([np.nan_to_num(found.shares[name]) for name in known if name in others], axis=0)
    for name, band in bands.items():
        figure.add_trace(
            go.Scatter(
                x=found.steps,
                y=band,
                mode="lines",
                stackgroup="said",
                name=short(name),
                line={"width": 0.5, "color": paint.get(name, GREY)},
                fillcolor=_faint(paint.get(name, GREY), 0.75),
                hovertemplate=f"step %{{x:.0f}}: {escaped(name)} %{{y:.0%}}<extra></extra>",
            ),
            row=3,
            col=1,
        )


def _painted(drawn: Sequence[str], every: Sequence[str], classes: Sequence[str], dark: bool) -> dict[str, str]:
    """Returns the colours of the project's classes where every one has a place, else of those drawn alone."""
    return _apart(list(dict.fromkeys([*classes, *every])) if len(drawn) == len(every) else drawn, dark)


def _most_moved(labels: Any, classes: int) -> Any:
    """Returns the classes to draw each by itself, in their order: those that most samples come to or leave."""
    if classes <= SHOWN + 1:
        return np.arange(classes)
    before, after = labels[:, :-1].ravel(), labels[:, 1:].ravel()
    changed = (before >= 0) & (after >= 0) & (before != after)
    moved = np.bincount(np.concatenate([before[changed], after[changed]]), minlength=classes)
    return np.sort(np.argsort(-moved, kind="stable")[:SHOWN])


def _heights(counts: Any) -> list[float]:
    """Returns where the middle of each class's node stands, in [0, 1] from above: as high as its count, with gaps."""
    gap = 0.02
    room = (1 - gap * (len(counts) - 1)) * counts / max(int(counts.sum()), 1)
    middles = np.cumsum(room) - room / 2 + gap * np.arange(len(counts))
    return [float(min(max(y, 0.001), 0.999)) for y in middles]


def _shades(counts: Any, paint: str) -> Any:
    """Returns cells that are the darker the higher their count, none where it is NaN."""
    import plotly.graph_objects as go

    known = counts[~np.isnan(counts)]
    return go.Heatmap(
        z=counts**0.7,  # so that small counts can be told from none
        zmin=0,
        zmax=float(known.max(initial=1)) ** 0.7,
        colorscale=[[0, _faint(paint, 0.1)], [1, _faint(paint, 0.75)]],
        showscale=False,
        xgap=3,
        ygap=3,
        hoverinfo="skip",
    )


def _apart(names: Sequence[str], dark: bool) -> dict[str, str]:
    """Returns colours of which those that come again are nearer to the ink, as on the map."""
    once = dict.fromkeys(names[: len(PALETTE)])
    ink = 255 if dark else 0
    return {name: paint if name in once else _mixed(paint, ink) for name, paint in colours(names).items()}


def _mixed(colour: str, ink: int) -> str:
    return "#" + "".join(f"{round((int(colour[k : k + 2], 16) + ink) / 2):02X}" for k in (1, 3, 5))


def _faint(colour: str, alpha: float) -> str:
    r, g, b = (int(colour[k : k + 2], 16) for k in (1, 3, 5))
    return f"rgba({r},{g},{b},{alpha:.2f})"


def _between(k: int, many: int) -> float:
    """Returns where the k-th of many stands, a little inside [0, 1]: Plotly takes 0 and 1 for unset."""
    return 0.001 + 0.998 * (k / (many - 1) if many > 1 else 0.5)
