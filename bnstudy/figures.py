"""From frames to figures, each with a sidecar that says what it was drawn from."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from bnstudy import stats, style, verdicts
from bnstudy.claims import largest_workable
from bnstudy.design import Ablation, Factor
from bnstudy.errors import BnstudyError, unknown
from bnstudy.ledger import Record
from bnstudy.recipe import canonical_json, digest, level_name

SUFFIXES = ("svg", "png")


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
            figure.text(0.995, 0.004, drawing.preview, ha="right", color=style.MUTED, fontsize=7.5)
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


def data_hash(records: Mapping[str, Record]) -> str:
    """Return the hash of what a figure shows: each trial and its outcome, whatever made them."""
    return digest(canonical_json({trial: repr(record.outcome) for trial, record in records.items()}))


def sidecar(
    ablation: Ablation, records: Mapping[str, Record], profile: str, commit: str | None
) -> dict[str, Any]:
    """Return what goes beside a figure: trials drawn, hash of the data behind it, commit of the code."""
    held = {trial.id: records[trial.id] for trial in ablation.trials if trial.id in records}
    return {
        "ablation": ablation.name,
        "profile": profile,
        "question": ablation.question,
        "trials": sorted(held),
        "data_hash": data_hash(held),
        "commit": commit,
    }


def _arms(drawing: Drawing) -> Figure:
    """Draw the primary outcome of every arm: all seeds, and the mean with its 95% interval."""
    names = [f.name for f in drawing.ablation.factors]
    labels = drawing.frame[names].astype(str).agg(", ".join, axis=1)
    order = list(dict.fromkeys(labels))
    figure = Figure(figsize=(style.WIDTH, 1.2 + 0.3 * len(order)))
    axes = figure.subplots()
    color = drawing.frame[drawing.scientific.name].map(
        {name: color for name, _, _, color, _ in drawing.arms()}
    )
    for place, label in enumerate(order):
        rows = drawing.frame[labels == label]
        ink = color[rows.index[0]]
        axes.plot(
            rows.precise_test_accuracy, [place] * len(rows), "o", ms=3.5, mfc="none", mec=ink, alpha=0.7
        )
        if len(rows) > 1:
            mean = stats.mean(list(rows.precise_test_accuracy))
            axes.plot([mean.low, mean.high], [place, place], color=ink, lw=2.5, alpha=0.45)
            axes.plot([mean.value], [place], "|", ms=11, color=ink, mew=2)
    axes.set_yticks(range(len(order)), order)
    axes.invert_yaxis()
    axes.set_xlabel("test accuracy (statistics recomputed); circles: seeds, bar: mean and 95% interval")
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    style.headline(figure, drawing.ablation.question)
    style.tidy(axes)
    axes.grid(visible=True, axis="x")
    return figure


def _learning_rates(drawing: Drawing) -> Figure:
    """Draw accuracy against learning rate, the share of seeds that train, the largest workable rate of each
    arm, and the validation accuracy over epochs at its best rate."""
    figure = Figure(figsize=(style.WIDTH, 6.6))
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
        means = scores.groupby(_rate(rows)).mean()
        axes.plot(means.index, means, color=color)
        intervals = {rate: stats.mean(list(v)) for rate, v in scores.groupby(_rate(rows)) if len(v) > 1}
        low = [max(0.0, interval.low) for interval in intervals.values()]
        high = [min(1.0, interval.high) for interval in intervals.values()]
        axes.fill_between(list(intervals), low, high, color=color, alpha=0.14, lw=0)
    axes.axhline(0.5, color=style.MUTED, lw=0.8, ls=(0, (4, 3)))
    axes.set(ylim=(0, 1), ylabel="training accuracy at the end")
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.set_title("Every seed, mean and 95% interval")
    _learning_rate_axis(axes, drawing)


def _learning_rate_axis(axes: Axes, drawing: Drawing) -> None:
    """Make x a log axis whose ticks are the powers of ten among the rates, written as they are declared."""
    grid = verdicts.rates(drawing.ablation.factor("lr"))
    axes.set(xscale="log", xlim=(grid[0] / 1.8, grid[-1] * 1.8), xlabel="learning rate")
    decades = [rate for rate in grid if math.log10(rate).is_integer()]
    axes.set_xticks(decades, [level_name(rate) for rate in decades])
    axes.set_xticks(grid, minor=True, labels=[""] * len(grid))
    style.tidy(axes)


def _share_that_trains(drawing: Drawing, axes: Axes) -> None:
    for place, (_, _, rows, color, marker) in enumerate(drawing.arms()):
        works = {t: rows.precise_train_accuracy >= t for t in verdicts.THRESHOLDS}
        shares = {t: worked.groupby(_rate(rows)).mean() for t, worked in works.items()}
        # Arms that agree would hide each other: each is drawn a hair lower than the one before.
        shift = -0.012 * place
        grid = shares[0.5].index
        axes.fill_between(grid, shares[0.2] + shift, shares[0.8] + shift, color=color, alpha=0.14, lw=0)
        axes.plot(grid, shares[0.5] + shift, marker=marker, ms=4, color=color)
    axes.set(ylim=(-0.08, 1.04), ylabel="share of seeds")
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.set_title("Seeds that reach 50% (band: 80 to 20%)")
    _learning_rate_axis(axes, drawing)


def _largest_workable(drawing: Drawing, axes: Axes) -> None:
    factor = drawing.ablation.factor("lr")
    grid, arms = verdicts.rates(factor), drawing.arms()
    for place, (_, label, rows, color, marker) in enumerate(arms):
        axes.text(grid[0] / 1.6, place - 0.33, label, color=color, va="center")
        for step, threshold in enumerate(verdicts.THRESHOLDS):
            cells = verdicts.workable(factor, rows, largest_workable("lr", threshold=threshold))
            if len(cells) < 2:
                continue
            estimate = stats.workable_location(list(cells.values()), grid)
            y, main = place + (step - 1) * 0.16, threshold == 0.5
            _open_interval(axes, y, estimate, grid, color=color, marker=marker if main else "")
    axes.set_yticks([])
    axes.set_ylim(len(arms) - 0.6, -0.6)
    axes.set_title("Largest workable rate, 95% interval")
    _learning_rate_axis(axes, drawing)
    axes.set_xlabel("learning rate\nsuccess: thick 50%, thin 20% and 80%; arrow: the grid ends")
    axes.spines["left"].set_visible(False)
    axes.grid(visible=True, axis="x")


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
    last = 0
    for _, _, rows, color, marker in drawing.arms():
        best = verdicts.best_level(rows, "lr")
        curves = [list(curve) for curve in rows[rows.lr == best].validation_accuracy]
        mean = [sum(values) / len(values) for values in zip(*curves, strict=True)]
        epochs = range(1, len(mean) + 1)
        axes.plot(epochs, list(zip(*curves, strict=True)), color=color, lw=0.6, alpha=0.45)
        axes.plot(epochs, mean, color=color, marker=marker, ms=4)
        axes.annotate(
            f"rate {best}",
            (len(mean), mean[-1]),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            color=color,
            fontsize=8,
        )
        last = max(last, len(mean))
    axes.set(xlabel="epoch", ylabel="validation accuracy", xlim=(0.8, last + 0.2 * last))
    axes.set_xticks(range(1, last + 1))
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.set_title("At each arm's best rate (thin: seeds)")
    style.tidy(axes)


FIGURES: dict[str, Callable[[Drawing], Figure]] = {"arms": _arms, "learning rates": _learning_rates}
