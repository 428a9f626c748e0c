"""The figure of subsets: what parts do together, where each is a factor that is off or on."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bnstudy.books.language import tell
from bnstudy.errors import BnstudyError
from bnstudy.factors import Factor
from bnstudy.judgement.phrases import entitled, is_share, spoken
from bnstudy.plots import drawing as arms
from bnstudy.plots import marks, style
from bnstudy.plots.drawing import Drawing, Series

LINE = 0.24  # inches of a part's line of dots
ASIDE = 0.13  # of the distance between two subsets, by which arms at one subset stand apart


def subsets(drawing: Drawing) -> Figure:
    """Draw the outcome of every subset of the parts that are on, smallest subsets first: all seeds, the mean
    and its 95% interval, in a color for each combination of the other factors; below, which parts are on."""
    parts = [f for f in drawing.varied if len(f.levels) == 2 and f.role == "scientific" and not f.where]
    if not parts:
        raise BnstudyError(
            f"The figure 'subsets' of {drawing.ablation.name} needs a scientific factor of two levels, off "
            'and on, and there is none; choose another in the file, such as figure="arms".'
        )
    every = drawing.series([f for f in drawing.varied if f not in parts])
    columns = sorted(drawing.series(parts), key=lambda each: _size(each, parts))
    figure = Figure(figsize=(style.WIDTH, 3.4 + LINE * len(parts)))
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(2.6, LINE * len(parts)))
    for place, series in enumerate(every):
        _outcomes(drawing, parts, columns, series, above, ASIDE * (2 * place - len(every) + 1))
    above.set_ylabel(spoken(drawing.outcome))
    if is_share(drawing.outcome):
        style.percent(above.yaxis)
    style.tidy(above)
    above.tick_params(bottom=False, labelbottom=False)
    _dots(parts, columns, below)
    for axes in (above, below):
        for place in range(1, len(columns)):
            if _size(columns[place], parts) != _size(columns[place - 1], parts):
                axes.axvline(place - 0.5, color=style.GRID, lw=0.8)
    reading = tell("Hollow: seeds; bar: mean and its 95% interval; below, filled: on")
    notes = drawing.noted(reading, arms.crosses(drawing.frame))
    style.headline(figure, drawing.question, drawing.key(every), notes)
    return figure


def _size(series: Series, parts: Sequence[Factor]) -> int:
    """Return how many parts are on."""
    return sum(series.levels[part.name] != part.control.name for part in parts)


def _outcomes(
    drawing: Drawing,
    parts: Sequence[Factor],
    columns: Sequence[Series],
    series: Series,
    axes: Axes,
    aside: float,
) -> None:
    color = series.look.color
    for place, column in enumerate(columns):
        rows = arms.having(series.rows, parts, column.levels)
        values = drawing.values(rows).dropna()
        if values.empty:
            continue
        x = place + aside
        marks.seeds(
            axes, [x] * len(values), list(values), series.look, list(rows.status[values.index] == "diverged")
        )
        axes.plot([x], [float(np.mean(values))], "_", ms=9, color=color, mew=2)
        marks.upright(axes, x, list(values), color, drawing.outcome)


def _dots(parts: Sequence[Factor], columns: Sequence[Series], axes: Axes) -> None:
    for line, part in enumerate(parts):
        on = [column.levels[part.name] != part.control.name for column in columns]
        for filled, face in ((True, style.INK), (False, "none")):
            places = [place for place, is_on in enumerate(on) if is_on == filled]
            axes.plot(places, [line] * len(places), "o", ms=5.5, mfc=face, mec=style.MUTED, mew=0.8)
    axes.set_yticks(range(len(parts)), [entitled(part) for part in parts])
    axes.set(ylim=(len(parts) - 0.5, -0.5), xlim=(-0.6, len(columns) - 0.4), xticks=[])
    axes.tick_params(left=False)
    for side in axes.spines.values():
        side.set_visible(False)
