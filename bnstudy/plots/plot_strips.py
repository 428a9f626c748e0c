"""Figures of strips, a line of seeds each: every arm, and ways to predict with the same weights."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from bnstudy.books.language import tell
from bnstudy.factors import Factor
from bnstudy.judgement.phrases import entitled, is_share, spoken
from bnstudy.plots import drawing as arms
from bnstudy.plots import fonts, marks, style
from bnstudy.plots.drawing import Drawing
from bnstudy.plots.label_table import GAP, LabelTable
from bnstudy.plots.style import Look

EDGES = (
    0.8  # inches above and below the lines of a figure: notes, axis and its name; 0.62 leave one line none
)
RIGHT = 0.5  # inches of a number at the end of each line
ROOM = 0.36  # of a line's height, for seeds on either side of it


@dataclass(frozen=True)
class Strip:
    """One line: what it is called, by column, the value of each seed, and how it looks."""

    cells: Sequence[str]
    values: "pd.Series[float]"
    diverged: "pd.Series[bool]"
    look: Look

    @property
    def known(self) -> list[float]:
        """The values that there are."""
        return list(self.values.dropna())


def arms_figure(drawing: Drawing) -> Figure:
    """Draw the outcome of every arm: all seeds, and the mean with its 95% interval."""
    factors = drawing.varied or list(drawing.ablation.factors)
    strips = [
        Strip(_cells(each, factors), drawing.values(each.rows), each.diverged, each.look)
        for each in drawing.series(factors)
    ]
    table = LabelTable([strip.cells for strip in strips], list(map(entitled, factors)))
    figure = Figure(figsize=(style.WIDTH, EDGES + table.height))
    axes = figure.subplots()
    places = table.draw(axes)
    draw_seeds(axes, strips, places, style.WIDTH - sum(table.widths) - RIGHT)
    for strip, place in zip(strips, places, strict=True):
        marks.mean_bar(axes, place, strip.known, strip.look, drawing.outcome)
        if strip.known:
            beside(axes, place, _number(float(np.mean(strip.known)), drawing.outcome))
    name_axis(axes, drawing.outcome)
    reading = tell("Hollow: seeds; bar: mean and its 95% interval; number: mean")
    style.headline(figure, drawing.question, reading=drawing.noted(reading, arms.crosses(drawing.frame)))
    return figure


def _cells(series: arms.Series, factors: Sequence[Factor]) -> tuple[str, ...]:
    held = [f.level(series.levels[f.name]).label if f.name in series.levels else "-" for f in factors]
    return tuple(map(tell, held))


def _number(value: float, outcome: str) -> str:
    return f"{100 * value:.2f}%" if is_share(outcome) else f"{value:.4g}"


def draw_seeds(axes: Axes, strips: Sequence[Strip], places: Sequence[float], inches: float) -> None:
    """Draw every seed of strips, aside where they would hide each other; `inches` is how long the axis is."""
    every = [value for strip in strips for value in strip.known]
    span = (max(every) - min(every)) if every else 1.0
    for strip, place in zip(strips, places, strict=True):
        known = strip.values.notna()
        values = list(strip.values[known])
        aside = marks.swarm(values, marks.SEED * 1.1 * span / inches, 0.12, ROOM)
        y = [place + step for step in aside]
        marks.seeds(axes, values, y, strip.look, list(strip.diverged[known]))


def beside(axes: Axes, place: float, text: str) -> None:
    """Write a number right of a line."""
    axes.annotate(
        text,
        (1, place),
        (6, 0),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        va="center",
        **style.SMALL,
    )


def name_axis(axes: Axes, outcome: str) -> None:
    """Name x after the outcome."""
    axes.set_xlabel(spoken(outcome))
    if is_share(outcome):
        style.percent(axes.xaxis)
    style.tidy(axes, grid="x")


WAYS = {
    "test_accuracy": "running averages",
    "precise_test_accuracy": "recomputed after training",
    "batch_test_accuracy": "each batch's own",
}
"""What the same weights are predicted with, by outcome."""


def statistics(drawing: Drawing) -> Figure:
    """Draw the test accuracy of the same trials by running, recomputed and batch statistics, and by the
    averages that were tracked: every seed and the standard deviation; a panel for each arm."""
    panels = list(arms.facets(drawing, drawing.varied))
    ways = _ways(drawing)
    columns = min(len(panels), 3)
    table = LabelTable([(label,) for label in ways.values()], most=2.0)
    rows = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(style.WIDTH, EDGES + (table.height + 0.8) * rows - 0.5))
    every = figure.subplots(rows, columns, squeeze=False).flatten()
    inches = (style.WIDTH - sum(table.widths) - GAP) / columns - RIGHT - 0.2
    for place, (axes, (title, held)) in enumerate(zip(every, panels, strict=False)):
        strips = _by_way(drawing, ways, held)
        _panel(axes, table, strips, labelled=place % columns == 0, inches=inches)
        axes.set_title(
            "\n".join(style.wrapped(title, inches + RIGHT, fontsize=9.5, fontweight=fonts.heavy()))
        )
    for axes in every[len(panels) :]:
        axes.remove()
    _same_scale(list(every[: len(panels)]))
    reading = tell(
        "The same trained networks in each line. Hollow: seeds; tick: mean; bar and number: standard "
        "deviation, in points"
    )
    more = len(ways) > len(WAYS)
    tracked = tell("weight: of the new batch in averages kept side by side") if more else ""
    notes = (reading, tracked, arms.crosses(drawing.frame))
    style.headline(figure, drawing.question, reading=drawing.noted(*notes))
    return figure


def _ways(drawing: Drawing) -> dict[str, str]:
    """Return the outcomes to compare and their labels: the three kinds of statistics, and each tracked
    average that was recorded."""
    names: dict[str, None] = {}
    for held in drawing.frame.tracked_test_accuracy:
        names |= dict.fromkeys(held or {})
    tracked = {f"tracked_test_accuracy.{name}": _tracked(name) for name in names}
    return {way: tell(label) for way, label in WAYS.items()} | tracked


def _tracked(name: str) -> str:
    return tell("averages, weight {weight}", weight=name) if name[0].isdigit() else tell(name)


def _by_way(drawing: Drawing, ways: dict[str, str], rows: pd.DataFrame) -> list[Strip]:
    diverged = rows.status == "diverged"
    looks = [style.look(place)._replace(marker="o") for place in (*range(len(WAYS)), *([7] * len(ways)))]
    return [
        Strip((label,), drawing.values(rows, way), diverged, look)
        for (way, label), look in zip(ways.items(), looks, strict=False)
    ]


def _panel(axes: Axes, table: LabelTable, strips: Sequence[Strip], *, labelled: bool, inches: float) -> None:
    places = table.draw(axes, written=labelled)
    draw_seeds(axes, strips, places, inches)
    for strip, place in zip(strips, places, strict=True):
        if not strip.known:
            beside(axes, place, "-")
            continue
        mean, color = float(np.mean(strip.known)), strip.look.color
        axes.plot([mean], [place], "|", ms=11, color=color, mew=2)
        if len(strip.known) > 1:
            spread = float(np.std(strip.known, ddof=1))
            marks.bar(axes, place, (mean - spread, mean + spread), color)
            beside(axes, place, f"{100 * spread:.2f}")
    name_axis(axes, "test_accuracy")
    axes.set_xlabel(tell("test accuracy"))
    axes.xaxis.set_major_locator(MaxNLocator(3, steps=[1, 2, 5, 10]))


def _same_scale(every: Sequence[Axes]) -> None:
    """Give all panels the same units an inch, each around its own middle, so that spreads compare."""
    ends = [axes.get_xlim() for axes in every]
    half = max(high - low for low, high in ends) / 2
    for axes, (low, high) in zip(every, ends, strict=True):
        axes.set_xlim((low + high) / 2 - half, (low + high) / 2 + half)
