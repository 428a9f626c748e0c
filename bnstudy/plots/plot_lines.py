"""Figures of lines: accuracy over epochs, and an outcome against a factor of numbers."""

import math
from collections.abc import Sequence
from dataclasses import replace

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bnstudy.books.language import tell
from bnstudy.factors import Factor
from bnstudy.judgement.phrases import is_share, spoken
from bnstudy.plots import drawing as arms
from bnstudy.plots import fonts, marks, style
from bnstudy.plots.drawing import Drawing, Series
from bnstudy.plots.marks import End

MOST_LINES = 6  # in one panel: of more, seeds are not drawn, of twice as many, nested factors get panels
CURVE = "validation_accuracy"
DODGE = 0.07  # inches between lines at the same level
LABELS = 1.8  # inches of the labels at the ends of lines
MOST_LABELS = 9  # beside the ends of lines, of two lines of type each
MOST_SEEDS = 12  # whose curves are drawn each


def curves(drawing: Drawing) -> Figure:
    """Draw validation accuracy over epochs: a line for each level of the question's factor, a panel for each
    combination of the others."""
    shown, parted = _split(drawing, drawing.varied)
    panels = list(arms.facets(drawing, parted))
    series = drawing.series(shown)
    figure, every, size = _grid(len(panels))
    thin = drawing.frame.seed.nunique() <= MOST_SEEDS and len(series) <= MOST_LINES
    for axes, (title, rows) in zip(every, panels, strict=True):
        ends = [
            (each.label, *marks.curves(axes, each.curves(CURVE), each.look, CURVE, thin=thin), each.look)
            for each in drawing.series(shown, rows)
            if each.curves(CURVE)
        ]
        marks.epoch_axis(axes, int(max((last for _, last, _, _ in ends), default=1)))
        _dress(axes, title, CURVE, size[0])
        if _labelled(panels, ends):
            marks.label_ends(axes, _wrapped(ends), size[1] - 0.5)
    _match(every, CURVE)
    seeds = tell("thin: seeds") if thin else ""
    notes = (tell("Line: mean"), seeds, tell("band: 95% interval of the mean"), arms.crosses(drawing.frame))
    key = {} if _labelled(panels, series) else drawing.key(series)
    style.headline(figure, drawing.question, key, drawing.noted(*notes))
    return figure


def dose(drawing: Drawing) -> Figure:
    """Draw the outcome against the factor whose levels are numbers: every seed, means and 95% intervals; a
    line for each level of another factor, a panel for each combination of the rest."""
    factor = drawing.numeric("dose")
    attached = replace(drawing, frame=_attached(drawing, factor))
    shown, parted = _split(attached, [f for f in drawing.varied if f != factor])
    panels = list(arms.facets(attached, parted))
    series = attached.series(shown)
    figure, every, size = _grid(len(panels))
    for axes, (title, rows) in zip(every, panels, strict=True):
        ends = _lines(attached, factor, attached.series(shown, rows), axes, size[0])
        _dress(axes, title, drawing.outcome, size[0])
        if _labelled(panels, ends):
            marks.label_ends(axes, _wrapped(ends), size[1] - 0.5)
    _match(every, drawing.outcome)
    notes = (tell("Hollow: seeds; filled: means; bars: their 95% intervals"), arms.crosses(drawing.frame))
    key = {} if _labelled(panels, series) else drawing.key(series)
    style.headline(figure, drawing.question, key, drawing.noted(*notes))
    return figure


def _labelled(panels: Sequence[object], lines: Sequence[object]) -> bool:
    """Return whether the lines of a figure have labels at their ends; else there is a key."""
    return len(panels) == 1 and len(lines) <= MOST_LABELS


def _lines(
    drawing: Drawing, factor: Factor, series: Sequence[Series], axes: Axes, inches: float
) -> list[End]:
    """Draw the series of a panel beside each other; return the end of each."""
    levels = dict(sorted((float(level.name), level.name) for level in factor.levels))
    kind = arms.scale(list(levels))
    step = min(DODGE, 0.6 * marks.closest(list(levels), kind, inches - 0.5) / max(1, len(series)))
    marks.level_axis(axes, levels, kind, inches, 0.12 + step * len(series) / 2)
    axes.set_xlabel(arms.called(factor))
    ends = []
    for place, each in enumerate(series):
        x, y = arms.position(each.rows, factor), drawing.values(each.rows)
        aside = step * (place - (len(series) - 1) / 2)
        marks.dodged(axes, each, x, y, drawing.outcome, inches=aside)
        if y.notna().any():
            last = x[y.notna()].max()
            ends.append((each.label, float(last), float(y[x == last].mean()), each.look))
    return ends


def _attached(drawing: Drawing, dose: Factor) -> pd.DataFrame:
    """Return the frame in which arms without a factor that is nested in the dose (dropout 0 has no site) are
    on the line of that factor's control."""
    frame = drawing.frame.copy()
    for factor in drawing.varied:
        if dose.name in dict(factor.where):
            frame[factor.name] = frame[factor.name].fillna(factor.control.name)
    return frame


def _split(drawing: Drawing, factors: Sequence[Factor]) -> tuple[list[Factor], list[Factor]]:
    """Return the factors whose levels are lines of one panel and those that part the panels: the lines are
    the question's factor and what is nested, the first of all colored."""
    first = [f for f in factors if f.role == "scientific" and not f.where] or list(factors)
    nested = [f for f in factors if f.where and f not in first[:1]]
    shown = first[:1] + nested
    if len(drawing.series(shown)) > 2 * MOST_LINES:
        shown = first[:1]
    return shown, [f for f in factors if f not in shown]


def _columns(panels: int) -> int:
    return panels if panels < 3 else 2 if panels == 4 else 3 if panels <= 9 else 4


def _grid(panels: int) -> tuple[Figure, list[Axes], tuple[float, float]]:
    """Return a figure with so many panels, and about how wide and high one is, in inches."""
    columns = _columns(panels)
    rows = math.ceil(panels / columns)
    height = {1: 3.4, 2: 2.8, 3: 2.4, 4: 2.1}[columns]
    figure = Figure(figsize=(style.WIDTH, 0.1 + height * rows))
    every = figure.subplots(rows, columns, sharey=True, squeeze=False).flatten()
    for axes in every[panels:]:
        axes.remove()
    wide = style.WIDTH - (0.8 if panels > 1 else 0.8 + LABELS)
    return figure, list(every[:panels]), (wide / columns - 0.15, height)


def _dress(axes: Axes, title: str, outcome: str, inches: float) -> None:
    if title:
        axes.set_title(
            "\n".join(style.wrapped(title, inches, fontsize=9, fontweight=fonts.heavy())), fontsize=9
        )
    if is_share(outcome):
        style.percent(axes.yaxis)
    style.tidy(axes)


def _match(every: Sequence[Axes], outcome: str) -> None:
    """Name the shared y axis at the first panel of each line of panels; shares end where shares do."""
    low, high = every[0].get_ylim()
    if is_share(outcome):
        every[0].set_ylim(max(low, -0.02), min(high, 1.02))
    for axes in every:
        spec = axes.get_subplotspec()
        if spec is not None and spec.is_first_col():
            axes.set_ylabel(spoken(outcome))


def _wrapped(ends: Sequence[End]) -> list[End]:
    """Return ends of lines whose labels take at most a quarter of the page."""
    return [("\n ".join(style.wrapped(text, LABELS)), *rest) for text, *rest in ends]  # type: ignore[misc]
