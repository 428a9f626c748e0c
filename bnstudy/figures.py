"""From frames to figures, each with a sidecar that says what it was drawn from."""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bnstudy import stats, style, verdicts
from bnstudy.claims import largest_workable
from bnstudy.design import Ablation, Factor
from bnstudy.errors import BnstudyError, unknown
from bnstudy.recipe import level_name

SUFFIXES = ("svg", "png")
QUARTERS = (0, 0.25, 0.5, 0.75, 1)


@dataclass(frozen=True)
class Drawing:
    """What a figure is drawn from: the ablation at its profile, and its finished trials."""

    ablation: Ablation
    frame: pd.DataFrame
    preview: str
    """What the figure says of itself when it is not the study of record, or nothing."""

    @property
    def scientific(self) -> Factor:
        """The factor that is the question."""
        return next((f for f in self.ablation.factors if f.role == "scientific"), self.ablation.factors[0])

    def arms(self) -> list[tuple[str, str, pd.DataFrame, str, str]]:
        """Return name, label, rows, color and marker of each level of the scientific factor with trials."""
        colors = style.palette([level.name for level in self.scientific.levels])
        rows = {
            level.name: self.frame[self.frame[self.scientific.name] == level.name]
            for level in self.scientific.levels
        }
        return [
            (level.name, level.label, rows[level.name], *colors[level.name])
            for level in self.scientific.levels
            if len(rows[level.name])
        ]


def draw(drawing: Drawing) -> Figure:
    """Return the ablation's figure; raises `BnstudyError` without finished trials or such a figure."""
    if drawing.frame.empty:
        raise BnstudyError(
            f"{drawing.ablation.name} has no finished trials yet; `bnstudy run {drawing.ablation.name}`."
        )
    if drawing.ablation.figure not in FIGURES:
        raise unknown("figure", drawing.ablation.figure, FIGURES)
    with style.applied():
        figure = FIGURES[drawing.ablation.figure](drawing)
        if drawing.preview:
            style.footnote(figure, drawing.preview)
        return figure


def save(figure: Figure, folder: Path, name: str, sidecar: Mapping[str, Any]) -> list[Path]:
    """Write a figure as SVG and PNG with its sidecar, each by temporary file and rename; return the paths."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for suffix in SUFFIXES:
            metadata = {"Date": None} if suffix == "svg" else {"Software": None}
            with style.applied():
                figure.savefig(folder / f".{name}.tmp", format=suffix, metadata=metadata)
            (folder / f".{name}.tmp").replace(folder / f"{name}.{suffix}")
        (folder / f".{name}.tmp").write_text(json.dumps(sidecar, indent=1) + "\n")
        (folder / f".{name}.tmp").replace(folder / f"{name}.json")
    except OSError as error:
        raise BnstudyError(
            f"Cannot write figures to {folder}: {error.strerror or error}. "
            "Free the disk or mend the permission, then `bnstudy figures`."
        ) from error
    return [folder / f"{name}.{suffix}" for suffix in (*SUFFIXES, "json")]


def _arms(drawing: Drawing) -> Figure:
    """Draw the primary claim's outcome of every arm: all seeds, and the mean with its 95% interval."""
    ablation, frame = drawing.ablation, drawing.frame
    outcome = ablation.claims[0].measure.outcome if ablation.claims else "precise_test_accuracy"
    look = {name: (color, marker) for name, _, _, color, marker in drawing.arms()}
    rows = [(levels, rows) for levels, rows in _rows_by_arm(drawing) if len(rows)]
    figure = Figure(figsize=(style.WIDTH, 1.3 + 0.28 * len(rows)))
    axes = figure.subplots()
    for place, (levels, each) in enumerate(rows):
        color, marker = look[levels[drawing.scientific.name]]
        _draw_arm(axes, place, each, each[outcome].astype(float), color=color, marker=marker)
    labels = [
        ", ".join(verdicts.titled(ablation.factor(f), v) for f, v in levels.items()) for levels, _ in rows
    ]
    axes.set_yticks(range(len(rows)), labels)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlabel(verdicts.spoken(outcome))
    if verdicts.is_share(outcome):
        style.percent(axes.xaxis)
    style.headline(figure, ablation.question)
    style.title(axes, "Every arm", f"hollow: seeds; bar: mean and 95% interval{_crosses(frame)}")
    style.tidy(axes, grid="x")
    return figure


def _rows_by_arm(drawing: Drawing) -> Iterator[tuple[dict[str, str], pd.DataFrame]]:
    """Yield the levels of each arm, in the order of the design, and its rows."""
    for arm in drawing.ablation.arms:
        rows = drawing.frame
        for factor, level in arm.levels:
            rows = rows[rows[factor] == level]
        yield dict(arm.levels), rows


def _draw_arm(
    axes: Axes, place: int, rows: pd.DataFrame, values: "pd.Series[float]", *, color: str, marker: str
) -> None:
    """Draw one line of the figure of arms; an interval of shares ends where shares do."""
    values = values.dropna()
    axes.plot(values, [place] * len(values), marker, ms=4, mfc="none", mec=color, mew=0.9, alpha=0.8)
    _cross_out(axes, values[rows.status == "diverged"], place, color)
    if len(values) > 1:
        mean = stats.mean(list(values))
        low, high = _within_shares(mean) if values.between(0, 1).all() else (mean.low, mean.high)
        axes.plot([low, high], [place, place], color=color, lw=3, alpha=0.4, solid_capstyle="butt")
        axes.plot([mean.value], [place], "|", ms=11, color=color, mew=2)


def _cross_out(axes: Axes, x: "pd.Series[float]", y: Any, color: str) -> None:
    """Mark the trials that diverged."""
    if len(x):
        axes.plot(x, y if isinstance(y, pd.Series) else [y] * len(x), "x", ms=5, color=color, mew=1)


def _crosses(frame: pd.DataFrame) -> str:
    return "; crosses: diverged" if (frame.status == "diverged").any() else ""


def _within_shares(estimate: stats.Estimate) -> tuple[float, float]:
    return max(0.0, estimate.low), min(1.0, estimate.high)


def _learning_rates(drawing: Drawing) -> Figure:
    """Draw accuracy against learning rate, the share of seeds that train, the largest workable rate of each
    arm, and the validation accuracy over epochs at its best rate."""
    figure = Figure(figsize=(style.WIDTH, 6.6 + 0.35 * max(0, len(drawing.arms()) - 4)))
    (accuracy, share), (largest, epochs) = figure.subplots(2, 2)
    _accuracy_by_rate(drawing, accuracy)
    _share_that_trains(drawing, share)
    _largest_workable(drawing, largest)
    _validation_over_epochs(drawing, epochs)
    style.headline(figure, drawing.ablation.question, {a[1]: (a[3], a[4]) for a in drawing.arms()})
    return figure


def _rate(rows: pd.DataFrame) -> "pd.Series[float]":
    return rows.lr.astype(float)


def _accuracy_by_rate(drawing: Drawing, axes: Axes) -> None:
    for _, _, rows, color, marker in drawing.arms():
        scores = rows.precise_train_accuracy
        axes.plot(_rate(rows), scores, marker, ms=3.5, mfc="none", mec=color, mew=0.8, alpha=0.65)
        diverged = rows.status == "diverged"
        _cross_out(axes, _rate(rows)[diverged], scores[diverged], color)
        means = scores.groupby(_rate(rows)).mean()
        axes.plot(means.index, means, color=color)
        intervals = {rate: stats.mean(list(v)) for rate, v in scores.groupby(_rate(rows)) if len(v) > 1}
        ends = [_within_shares(interval) for interval in intervals.values()]
        axes.fill_between(
            list(intervals), [e[0] for e in ends], [e[1] for e in ends], color=color, alpha=0.13, lw=0
        )
    axes.axhline(0.5, color=style.MUTED, lw=0.8, ls=(0, (4, 3)))
    axes.set(ylim=(-0.02, 1.02), ylabel="training accuracy", yticks=QUARTERS)
    style.percent(axes.yaxis)
    reading = f"hollow: seeds; band: 95% interval{_crosses(drawing.frame)}"
    style.title(axes, "Accuracy at the end", reading)
    _learning_rate_axis(axes, drawing)


def _learning_rate_axis(axes: Axes, drawing: Drawing, *, grid: Literal["x", "y"] = "y") -> None:
    """Make x a log axis whose ticks are the powers of ten among the rates, written as they are declared."""
    rates = verdicts.rates(drawing.ablation.factor("lr"))
    axes.set(xscale="log", xlim=(rates[0] / 1.8, rates[-1] * 1.8), xlabel="learning rate")
    decades = [rate for rate in rates if math.log10(rate).is_integer()]
    labelled = decades if len(decades) > 1 else rates
    axes.set_xticks(labelled, [level_name(rate) for rate in labelled])
    axes.set_xticks(rates, minor=True, labels=[""] * len(rates))
    style.tidy(axes, grid=grid)


def _share_that_trains(drawing: Drawing, axes: Axes) -> None:
    arms = drawing.arms()
    for place, (_, _, rows, color, marker) in enumerate(arms):
        easy, shares, hard = (
            (rows.precise_train_accuracy >= threshold).groupby(_rate(rows)).mean()
            for threshold in verdicts.THRESHOLDS
        )
        axes.fill_between(shares.index, hard, easy, color=color, alpha=0.13, lw=0)
        # Arms that agree would hide each other: each is drawn thinner than the one below it.
        under = 3 * (len(arms) - 1 - place) / max(3, len(arms))
        axes.plot(shares.index, shares, marker=marker, ms=4 + 1.3 * under, lw=1.4 + under, color=color)
    axes.set(ylim=(-0.05, 1.05), ylabel="share of seeds", yticks=QUARTERS)
    style.percent(axes.yaxis)
    style.title(axes, "Seeds that train", "reach 50% training accuracy; band: 80% to 20%")
    _learning_rate_axis(axes, drawing)


def _largest_workable(drawing: Drawing, axes: Axes) -> None:
    factor = drawing.ablation.factor("lr")
    grid, arms = verdicts.rates(factor), drawing.arms()
    for place, (_, label, rows, color, marker) in enumerate(arms):
        axes.text(grid[0] / 1.6, place - 0.33, label, color=color, va="center")
        for step, threshold in enumerate(verdicts.THRESHOLDS):
            cells = verdicts.workable(factor, rows, largest_workable("lr", threshold=threshold))
            y, main = place + (step - 1) * 0.16, threshold == 0.5
            if len(cells) > 1:
                estimate = stats.workable_location(list(cells.values()), grid)
                _open_interval(axes, y, estimate, grid, color=color, marker=marker if main else "")
            elif main:
                axes.text(grid[0] / 1.6, y, "needs all rates of two seeds", va="center", **style.SMALL)
    axes.set_yticks([])
    axes.set_ylim(len(arms) - 0.6, -0.6)
    style.title(axes, "Largest workable rate", "95% interval for 50% (thin: 20%, 80%); arrow: no bound")
    _learning_rate_axis(axes, drawing, grid="x")
    axes.spines["left"].set_visible(False)


def _open_interval(
    axes: Axes, y: float, estimate: stats.Estimate, grid: Sequence[float], *, color: str, marker: str
) -> None:
    """Draw an interval on a log axis, thick and with its estimate where there is a marker; an end beyond
    the grid is an arrow."""
    low, high = max(estimate.low, grid[0] / 1.5), min(estimate.high, grid[-1] * 1.5)
    width, alpha = (3.0, 1.0) if marker else (1.0, 0.7)
    axes.plot([low, high], [y, y], color=color, lw=width, alpha=alpha, solid_capstyle="butt")
    for end, beyond, arrow in ((low, estimate.low < grid[0], "<"), (high, estimate.high > grid[-1], ">")):
        if beyond:
            axes.plot([end], [y], arrow, ms=3 + width, color=color, alpha=alpha)
    if marker and grid[0] < estimate.value < grid[-1]:  # at an end it is where the grid stops
        axes.plot([estimate.value], [y], marker, ms=6, mfc="white", mec=color, mew=1.4)


def _validation_over_epochs(drawing: Drawing, axes: Axes) -> None:
    ends = []
    for _, _, rows, color, marker in drawing.arms():
        best = verdicts.best_level(rows, "lr")
        curves = [list(curve) for curve in rows[rows.lr == best].validation_accuracy]
        mean = [sum(values) / len(values) for values in zip(*curves, strict=False)]
        epochs = range(1, len(mean) + 1)
        axes.plot(epochs, list(zip(*curves, strict=False)), color=color, lw=0.6, alpha=0.45)
        axes.plot(epochs, mean, color=color, marker=marker, ms=4, markevery=math.ceil(len(mean) / 10))
        ends.append((f"rate {best}", len(mean), mean[-1], color))
    last = max(epoch for _, epoch, _, _ in ends)
    axes.set(xlabel="epoch", ylabel="validation accuracy", xlim=(0.8, 1.25 * last))
    step = math.ceil(last / 10)
    axes.set_xticks(range(step, last + 1, step))
    _label_ends(axes, ends)
    style.percent(axes.yaxis)
    style.title(axes, "Each at its best rate", "best by this accuracy; line: mean; thin: seeds")
    style.tidy(axes)


def _label_ends(axes: Axes, ends: Sequence[tuple[str, int, float, str]]) -> None:
    """Write each curve's label after its end, moved up where labels would cover each other."""
    low, high = axes.get_ylim()
    places = style.apart([value for _, _, value, _ in ends], 0.055 * (high - low))
    for (text, epoch, _, color), y in zip(ends, places, strict=True):
        axes.annotate(
            text, (epoch, y), xytext=(6, 0), textcoords="offset points", va="center", color=color, fontsize=8
        )


FIGURES: dict[str, Callable[[Drawing], Figure]] = {"arms": _arms, "learning rates": _learning_rates}
