"""The figure of effects: each treatment's paired difference from its control, with what claims say of it."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bnstudy.books.language import tell
from bnstudy.judgement import stats
from bnstudy.judgement.phrases import is_share, spoken
from bnstudy.plots import marks, style
from bnstudy.plots.contrasts import AVERAGED, Contrast, contrasts
from bnstudy.plots.drawing import Drawing
from bnstudy.plots.label_table import LabelTable
from bnstudy.plots.plot_strips import EDGES, ROOM, arms_figure, beside

MOST_LINES = 30  # more would not fit a page: circumstances become ticks on the line of their average
RIGHT = 1.2  # inches of the numbers at the end of each line


def effects(drawing: Drawing) -> Figure:
    """Draw each treatment minus its control, paired by seed, averaged and in every circumstance: seeds, means
    and 95% intervals, and where each claim would hold. Without a pair there are the arms alone."""
    every = contrasts(drawing)
    if not every:
        return arms_figure(drawing)
    lines = every if len(every) <= MOST_LINES else [c for c in every if not c.single or c.claims]
    table = LabelTable(_cells(lines))
    figure = Figure(figsize=(style.WIDTH, EDGES + table.height))
    axes = figure.subplots()
    places = table.draw(axes)
    unit = 100.0 if is_share(drawing.outcome) else 1.0
    axes.set_xlim(*_limits(every, unit))
    for line, place in zip(lines, places, strict=True):
        _regions(axes, line, place, unit)
        _ticks(axes, line, place, unit, [c for c in every if c not in lines and c.what == line.what])
        _line(axes, line, place, unit, style.WIDTH - sum(table.widths) - RIGHT)
    axes.axvline(0, color=style.INK, lw=0.8, zorder=1)
    axes.set_xlabel(_named(drawing.outcome))
    style.tidy(axes, grid="x")
    style.headline(figure, drawing.question, reading=drawing.noted(*_notes(drawing, every, lines)))
    return figure


def _cells(lines: Sequence[Contrast]) -> list[tuple[str, ...]]:
    """Return the labels of lines; where all are averages, without saying so in each."""
    if all(line.where in ("", tell(AVERAGED)) for line in lines):
        return [(line.what,) for line in lines]
    return [(line.what, line.where) for line in lines]


def _limits(lines: Sequence[Contrast], unit: float) -> tuple[float, float]:
    """Return what x has to show: all seeds, intervals and margins, and 0."""
    held = [0.0, *(value for line in lines for value in line.differences)]
    held += [end for line in lines if _interval(line) for end in _interval(line) or ()]
    margins = [(claim.effect.rule, claim.effect.margin) for line in lines for claim in line.claims]
    held += [margin for _, margin in margins] + [-m for rule, m in margins if rule == "equal within"]
    room = 0.04 * (max(held) - min(held)) or 0.01
    return unit * (min(held) - room), unit * (max(held) + room)


def _interval(line: Contrast) -> tuple[float, float] | None:
    """Return the 95% interval of a line's mean; none of one seed, or where all seeds agree."""
    if len(line.differences) < 2 or math.isclose(*_ends(line.differences), abs_tol=1e-12):
        return None
    found = stats.paired_mean(list(line.differences))
    return found.low, found.high


def _ends(values: Sequence[float]) -> tuple[float, float]:
    return min(values), max(values)


def _regions(axes: Axes, line: Contrast, place: float, unit: float) -> None:
    """Shade where each claim on a line would hold, up to its margin."""
    left, right = axes.get_xlim()
    for claim in line.claims:
        margin = unit * claim.effect.margin
        sided = {"at least": (margin, right), "at most": (left, margin)}
        ends = sided.get(claim.effect.rule, (-margin, margin))
        y = [place - 0.46, place + 0.46]
        axes.fill_betweenx(y, *ends, color=style.GRID, lw=0, zorder=0)
        for end in (-margin, margin) if claim.effect.rule == "equal within" else (margin,):
            axes.plot([end, end], y, color=style.MUTED, lw=1, ls=(0, (2, 1.5)), zorder=1)


def _ticks(axes: Axes, line: Contrast, place: float, unit: float, others: Sequence[Contrast]) -> None:
    """Mark the mean of every circumstance that has no line of its own, on that of their average."""
    if line.single or not others:
        return
    means = [unit * float(np.mean(other.differences)) for other in others]
    axes.plot(means, [place + 0.3] * len(means), "|", ms=5, color=style.MUTED, mew=0.9)


def _line(axes: Axes, line: Contrast, place: float, unit: float, inches: float) -> None:
    """Draw the seeds of a line, its mean and interval, and write both at its end."""
    values = [unit * value for value in line.differences]
    left, right = axes.get_xlim()
    aside = marks.swarm(values, marks.SEED * 1.1 * (right - left) / inches, 0.12, ROOM)
    y = [place + step for step in aside]
    marks.seeds(axes, values, y, line.look, [False] * len(values))
    mean, interval = float(np.mean(values)), _interval(line)
    axes.plot([mean], [place], "|", ms=9 if line.single else 12, color=line.look.color, mew=2)
    told = _number(mean, unit)
    if interval:
        ends = unit * interval[0], unit * interval[1]
        marks.bar(axes, place, ends, line.look.color)
        low, high = (_number(end, unit) for end in ends)
        told = tell("{value} ({low} to {high})", value=told, low=low, high=high)
    beside(axes, place, told)


def _number(value: float, unit: float) -> str:
    text = f"{value + 0.0:+.2f}" if unit == 100 else f"{value + 0.0:+.3g}"
    return text.replace("-", "\N{MINUS SIGN}")


def _named(outcome: str) -> str:
    if is_share(outcome):
        return tell("difference in points of {outcome}", outcome=spoken(outcome))
    return tell("difference in {outcome}", outcome=spoken(outcome))


def _notes(drawing: Drawing, every: Sequence[Contrast], lines: Sequence[Contrast]) -> Iterator[str]:
    yield tell("Hollow: seeds, paired; bar: mean and its 95% interval")
    if any(line.claims for line in lines):
        yield tell("shaded up to a dashed margin: where the claim holds")
    if len(lines) < len(every):
        yield tell("averaged over the other factors, whose combinations are the small ticks")
    if (drawing.frame.status == "diverged").any():
        yield tell("diverged trials count as they score")
