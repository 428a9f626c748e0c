"""The marks of all figures: seeds, means with their intervals, curves, and labels at their ends."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.transforms import ScaledTranslation

from bnstudy.books.language import tell
from bnstudy.judgement import stats
from bnstudy.plots import style
from bnstudy.plots.drawing import Curve, Series, bounded
from bnstudy.plots.style import Look

End = tuple[str, float, float, Look]
"""A label, the place of a line's end, and the look of the line."""

LEADER = {"arrowstyle": "-", "lw": 0.7, "shrinkA": 0, "shrinkB": 0, "relpos": (0, 0.5)}
SEED = 0.055  # inches of a seed's marker


def seeds(axes: Axes, x: Sequence[float], y: Sequence[float], look: Look, diverged: Sequence[bool]) -> None:
    """Draw each seed hollow, and a cross over those that diverged."""
    axes.plot(x, y, look.marker, ms=3.8, mfc="none", mec=look.color, mew=0.85, alpha=0.7)
    crossed = [(a, b) for a, b, end in zip(x, y, diverged, strict=True) if end]
    if crossed:
        axes.plot(*zip(*crossed, strict=True), "x", ms=5, color=look.color, mew=1)


def swarm(values: Sequence[float], gap: float, step: float, most: float) -> list[float]:
    """Return how far each value is moved aside so that values closer than `gap` do not hide each other: by
    steps to either side in turn, at most `most`; in the order given."""
    order = sorted(range(len(values)), key=lambda i: values[i])
    moved, lanes = [0.0] * len(values), dict[int, float]()
    count = 1 + 2 * int(most / step)
    for place in order:
        free = [lane for lane in range(count) if values[place] - lanes.get(lane, -math.inf) >= gap]
        lane = free[0] if free else min(range(count), key=lambda each: lanes[each])
        lanes[lane] = values[place]
        moved[place] = step * ((lane + 1) // 2) * (1 if lane % 2 else -1)
    return moved


def mean_bar(axes: Axes, y: float, values: Sequence[float], look: Look, outcome: str) -> None:
    """Draw the mean of values along x and its 95% interval; none where all are equal."""
    if not len(values):
        return
    axes.plot([np.mean(values)], [y], "|", ms=11, color=look.color, mew=2)
    if len(set(values)) > 1:
        found = stats.mean(list(values))
        bar(axes, y, bounded(outcome, found.low, found.high), look.color)


def upright(axes: Axes, x: float, values: Sequence[float], color: str, outcome: str) -> None:
    """Draw the 95% interval of a mean along y; none where all values are equal."""
    if len(set(values)) > 1:
        found = stats.mean(list(values))
        ends = bounded(outcome, found.low, found.high)
        axes.plot([x, x], ends, color=color, lw=3.5, alpha=0.38, solid_capstyle="butt")


def bar(axes: Axes, y: float, ends: tuple[float, float], color: str) -> None:
    """Draw an interval along x."""
    axes.plot(ends, [y, y], color=color, lw=3.5, alpha=0.38, solid_capstyle="butt")


def response(axes: Axes, series: Series, x: "pd.Series[float]", y: "pd.Series[float]", outcome: str) -> None:
    """Draw every seed of a series at its x, and the means joined, with a band of their 95% intervals."""
    seeds(axes, list(x), list(y), series.look, list(series.diverged))
    known = y.notna()
    groups = {float(str(at)): list(each) for at, each in y[known].groupby(x[known])}
    means = {at: float(np.mean(each)) for at, each in groups.items()}
    axes.plot(list(means), list(means.values()), color=series.look.color, ls=series.look.dash)
    found = {at: stats.mean(each) for at, each in groups.items() if len(each) > 1}
    ends = [bounded(outcome, each.low, each.high) for each in found.values()]
    axes.fill_between(list(found), *_sides(ends), color=series.look.color, alpha=0.13, lw=0)


def dodged(
    axes: Axes, series: Series, x: "pd.Series[float]", y: "pd.Series[float]", outcome: str, *, inches: float
) -> None:
    """Draw every seed of a series, the means joined and their 95% intervals as bars, all moved aside by so
    many inches, so that series at the same x do not hide each other."""
    figure = axes.get_figure()
    assert figure is not None
    aside = axes.transData + ScaledTranslation(inches, 0, figure.dpi_scale_trans)
    before = len(axes.lines)
    known = y.notna()
    seeds(axes, list(x[known]), list(y[known]), series.look, list(series.diverged[known]))
    groups = {float(str(at)): list(each) for at, each in y[known].groupby(x[known])}
    color, marker, dash = series.look
    for at, each in groups.items():
        upright(axes, at, each, color, outcome)
    means = [float(np.mean(each)) for each in groups.values()]
    axes.plot(list(groups), means, color=color, ls=dash, lw=1.3, marker=marker, ms=4.5, mec="white", mew=0.6)
    for line in axes.lines[before:]:
        line.set_transform(aside)


def _sides(ends: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [low for low, _ in ends], [high for _, high in ends]


def curves(
    axes: Axes,
    each: Sequence[Curve],
    look: Look,
    outcome: str,
    *,
    thin: bool = True,
    band: bool = True,
) -> tuple[int, float]:
    """Draw the curves of seeds over epochs, a cross at the ends of those that diverged, their mean and the
    95% interval of that; return its end."""
    table = [list(values) for values in zip(*(curve for curve, _ in each), strict=False)]
    epochs = range(1, len(table) + 1)
    if thin:
        axes.plot(epochs, table, color=look.color, lw=0.6, alpha=0.45)
    if band and len(each) > 1:
        found = [stats.mean(values) for values in table]
        ends = [bounded(outcome, e.low, e.high) for e in found]
        axes.fill_between(epochs, *_sides(ends), color=look.color, alpha=0.16, lw=0)
    crossed = [(len(curve), curve[-1]) for curve, diverged in each if diverged]
    if crossed:
        axes.plot(*zip(*crossed, strict=True), "x", ms=5, color=look.color, mew=1)
    means = [float(np.mean(values)) for values in table]
    every = math.ceil(len(means) / 8)
    axes.plot(
        epochs, means, color=look.color, ls=look.dash, marker=look.marker, ms=4, markevery=(-1 % every, every)
    )
    return len(means), means[-1]


def epoch_axis(axes: Axes, last: int) -> None:
    """Make x count epochs, from 1 to the last, at no more than six ticks."""
    step = next(s for p in range(9) for s in (10**p, 2 * 10**p, 5 * 10**p) if last / s <= 6)
    axes.set(xlabel=tell("epoch"), xlim=(1 - 0.02 * last, last * 1.02))
    axes.set_xticks([1, *range(step if step > 1 else 2, last + 1, step)] if last > 1 else [1])


def level_axis(axes: Axes, levels: Mapping[float, str], kind: str, inches: float, room: float = 0.15) -> None:
    """Make x an axis of ascending levels, written as they are declared where there is space for them, with so
    many inches of room at its ends; `inches` is how long it is."""
    numbers = list(levels)
    if kind == "symlog":
        axes.set_xscale("symlog", linthresh=next(n for n in numbers if n > 0))
    else:
        axes.set_xscale(kind)
    transform = axes.xaxis.get_transform()
    places = transform.transform(np.array(numbers, dtype=float))
    scale = (places[-1] - places[0]) / max(inches - 2 * room, inches / 2)
    ends = np.array([places[0] - scale * room, places[-1] + scale * room])
    axes.set_xlim(*transform.inverted().transform(ends))
    axes.set_xticks(numbers, _kept(levels, kind, list((places - places[0]) / scale)))
    axes.set_xticks([], minor=True)


def closest(levels: Sequence[float], kind: str, inches: float) -> float:
    """Return how many inches the nearest two levels are apart, where all of them take so many."""
    places = np.array(levels, dtype=float)
    if kind != "linear":
        positive = places[places > 0]
        places = np.array([*positive[:1] / 10 * (places.min() <= 0), *positive])
        places = np.log(places[places > 0])
    return float(np.diff(places).min() / (places[-1] - places[0])) * inches


def _kept(levels: Mapping[float, str], kind: str, places: Sequence[float]) -> list[str]:
    """Return the labels of levels: all, or on a log axis the decades alone, thinned where they touch."""
    labels = list(levels.values())
    decades = [label if n > 0 and math.log10(n).is_integer() else "" for n, label in levels.items()]
    if "" in style.thinned(labels, places) and kind != "linear" and sum(map(bool, decades)) > 1:
        labels = decades
    return style.thinned(labels, places)


def label_ends(axes: Axes, ends: Sequence[End], inches: float) -> None:
    """Write each curve's label right of the axes, level with its end or as near as the
    others leave room; `inches` is how high the axes are."""
    low, high = axes.get_ylim()
    right = axes.get_xlim()[1]
    lines = max(text.count("\n") + 1 for text, *_ in ends) if ends else 1
    gap = (lines + 0.1) * style.TYPE * style.LINE * (high - low) / inches
    for (text, x, y, look), place in zip(ends, style.apart([end[2] for end in ends], gap), strict=True):
        axes.annotate(
            f" {text}",
            (x, y),
            (right, place),
            va="center",
            color=look.color,
            annotation_clip=False,
            arrowprops={**LEADER, "ls": look.dash, "color": look.color},
        )
