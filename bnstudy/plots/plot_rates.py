"""The figure of learning rates: where arms train, how far the rate can rise, and curves at the best."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bnstudy.books.language import tell
from bnstudy.claims import largest_workable
from bnstudy.errors import BnstudyError
from bnstudy.factors import Factor
from bnstudy.judgement import parties, stats
from bnstudy.judgement.workable import THRESHOLDS, workable_location
from bnstudy.plots import drawing as arms
from bnstudy.plots import marks, style
from bnstudy.plots.drawing import Drawing, Series
from bnstudy.plots.style import Look
from bnstudy.recipe import level_name

QUARTERS = (0, 0.25, 0.5, 0.75, 1)
SCORE = "precise_train_accuracy"
PANEL = 2.75  # inches of a panel's x axis


def learning_rates(drawing: Drawing) -> Figure:
    """Draw accuracy against learning rate, the share of seeds that train, the largest workable rate of each
    arm, and the validation accuracy over epochs at its best rate."""
    rate = _rate(drawing)
    series = drawing.series([f for f in drawing.varied if f.name != rate.name])
    figure = Figure(figsize=(style.WIDTH, 6.1 + 0.35 * max(0, len(series) - 4)))
    (accuracy, share), (largest, epochs) = figure.subplots(2, 2)
    _accuracy_by_rate(drawing, rate, series, accuracy)
    _share_that_trains(rate, series, share)
    _largest_workable(drawing, rate, series, largest)
    _validation_over_epochs(rate, series, epochs)
    style.headline(figure, drawing.question, drawing.key(series))
    return figure


def _rate(drawing: Drawing) -> Factor:
    """Return the factor of learning rates, or raise for an ablation without one."""
    rate = next((f for f in drawing.ablation.factors if f.name == "lr"), None)
    if rate is None or any(not _is_rate(level.name) for level in rate.levels):
        raise BnstudyError(
            f"The figure 'learning rates' of {drawing.ablation.name} needs a factor named 'lr' with levels "
            'above 0; declare across("lr", ...) or choose another figure, such as "dose".'
        )
    return rate


def _is_rate(name: str) -> bool:
    try:
        return float(name) > 0
    except ValueError:
        return False


def _accuracy_by_rate(drawing: Drawing, rate: Factor, series: Sequence[Series], axes: Axes) -> None:
    for each in series:
        marks.response(axes, each, arms.position(each.rows, rate), each.rows[SCORE].astype(float), SCORE)
    axes.axhline(0.5, color=style.MUTED, lw=0.8, ls=(0, (4, 3)))
    axes.set(ylim=(-0.02, 1.02), ylabel=tell("training accuracy"), yticks=QUARTERS)
    style.percent(axes.yaxis)
    reading = arms.together(tell("hollow: seeds; band: 95% interval"), arms.crosses(drawing.frame))
    style.title(axes, tell("Accuracy at the end"), reading)
    _rate_axis(axes, rate)


def _rate_axis(axes: Axes, rate: Factor, *, grid: Literal["x", "y"] = "y") -> None:
    """Make x a log axis of the rates, written as they are declared."""
    levels = {number: level_name(number) for number in parties.rates(rate)}
    marks.level_axis(axes, levels, "log", PANEL)
    axes.set_xlim(min(levels) / 1.8, max(levels) * 1.8)  # room for arrows
    axes.set_xlabel(tell("learning rate"))
    style.tidy(axes, grid=grid)


def _share_that_trains(rate: Factor, series: Sequence[Series], axes: Axes) -> None:
    for place, each in enumerate(series):
        easy, shares, hard = (
            (each.rows[SCORE] >= threshold).groupby(arms.position(each.rows, rate)).mean()
            for threshold in THRESHOLDS
        )
        color, marker, dash = each.look
        axes.fill_between(shares.index, hard, easy, color=color, alpha=0.13, lw=0)
        # Arms that agree would hide each other: each is drawn thinner than the one below it.
        under = 3 * (len(series) - 1 - place) / max(3, len(series))
        axes.plot(
            shares.index, shares, marker=marker, ls=dash, ms=4 + 1.3 * under, lw=1.4 + under, color=color
        )
    axes.set(ylim=(-0.05, 1.05), ylabel=tell("share of seeds"), yticks=QUARTERS)
    style.percent(axes.yaxis)
    style.title(axes, tell("Seeds that train"), tell("reach 50% training accuracy; band: 80% to 20%"))
    _rate_axis(axes, rate)


def _largest_workable(drawing: Drawing, rate: Factor, series: Sequence[Series], axes: Axes) -> None:
    for place, each in enumerate(series):
        grid = parties.rates_of(drawing.ablation, rate, each.levels)
        axes.text(grid[0] / 1.6, place - 0.33, each.label, color=each.look.color, va="center")
        for step, threshold in enumerate(THRESHOLDS):
            measure = largest_workable("lr", threshold=threshold)
            cells = parties.workable(rate, each.rows, measure, grid)
            y, main = place + (step - 1) * 0.16, threshold == 0.5
            if len(cells) > 1:
                estimate = workable_location(list(cells.values()), grid)
                _open_interval(axes, y, estimate, grid, each.look if main else each.look._replace(marker=""))
            elif main:
                axes.text(grid[0] / 1.6, y, tell("needs all rates of two seeds"), va="center", **style.SMALL)
    axes.set_yticks([])
    axes.set_ylim(len(series) - 0.6, -0.6)
    reading = tell("95% interval (thin: for 20%, 80%); arrow: open")
    style.title(axes, tell("Largest workable rate"), reading)
    _rate_axis(axes, rate, grid="x")


def _open_interval(axes: Axes, y: float, estimate: stats.Estimate, grid: Sequence[float], look: Look) -> None:
    """Draw an interval on a log axis, thick and with its estimate where there is a marker; an end beyond
    the grid is an arrow."""
    color, marker, _ = look
    low, high = max(estimate.low, grid[0] / 1.5), min(estimate.high, grid[-1] * 1.5)
    width, alpha = (3.0, 1.0) if marker else (1.0, 0.7)
    axes.plot([low, high], [y, y], color=color, lw=width, alpha=alpha, solid_capstyle="butt")
    for end, beyond, arrow in ((low, estimate.low < grid[0], "<"), (high, estimate.high > grid[-1], ">")):
        if beyond:
            axes.plot([end], [y], arrow, ms=3 + width, color=color, alpha=alpha)
    if marker and grid[0] < estimate.value < grid[-1]:  # at an end it is where the grid stops
        axes.plot([estimate.value], [y], marker, ms=6, mfc="white", mec=color, mew=1.4)


def _validation_over_epochs(rate: Factor, series: Sequence[Series], axes: Axes) -> None:
    ends = []
    for each in series:
        best = parties.best_level(each.rows, rate.name)
        held = replace(each, rows=each.rows[each.rows[rate.name] == best]).curves("validation_accuracy")
        last, value = marks.curves(axes, held, each.look, "validation_accuracy", band=False)
        ends.append((tell("rate {rate}", rate=best), last, value, each.look))
    marks.epoch_axis(axes, max(last for _, last, _, _ in ends))
    axes.set_ylabel(tell("validation accuracy"))
    marks.label_ends(axes, ends, 2.3)
    style.percent(axes.yaxis)
    style.title(axes, tell("Each at its best rate"), tell("best by this accuracy; line: mean; thin: seeds"))
    style.tidy(axes)
