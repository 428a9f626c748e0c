"""From frames to figures, each with a sidecar that says what it was drawn from."""

import json
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
from bnstudy.recipe import canonical_json, digest

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
            figure.text(0.995, 0.995, drawing.preview, ha="right", va="top", color=style.MUTED, fontsize=7.5)
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
    axes.set_title(drawing.ablation.question)
    style.tidy(axes)
    axes.grid(visible=True, axis="x")
    return figure


def _learning_rates(drawing: Drawing) -> Figure:
    """Draw accuracy against learning rate, the share of seeds that train, the largest workable rate of each
    arm, and the validation accuracy over epochs at its best rate."""
    figure = Figure(figsize=(style.WIDTH, 6.3))
    (accuracy, share), (largest, epochs) = figure.subplots(2, 2)
    _accuracy_by_rate(drawing, accuracy)
    _share_that_trains(drawing, share)
    _largest_workable(drawing, largest)
    _validation_over_epochs(drawing, epochs)
    figure.suptitle(drawing.ablation.question, x=0.008, ha="left", fontsize=11.5, fontweight="bold")
    return figure


def _rate(rows: pd.DataFrame) -> "pd.Series[float]":
    return rows.lr.astype(float)


def _accuracy_by_rate(drawing: Drawing, axes: Axes) -> None:
    seeds = drawing.frame.seed.nunique()
    for _, label, rows, color, marker in drawing.arms():
        by_rate = [(rate, list(group)) for rate, group in rows.precise_train_accuracy.groupby(_rate(rows))]
        axes.plot(
            _rate(rows), rows.precise_train_accuracy, marker, ms=3, mfc="none", mec=color, mew=0.7, alpha=0.6
        )
        axes.plot([r for r, _ in by_rate], [sum(v) / len(v) for _, v in by_rate], color=color, label=label)
        means = [(rate, stats.mean(group)) for rate, group in by_rate if len(group) > 1]
        low = [max(0.0, mean.low) for _, mean in means]
        high = [min(1.0, mean.high) for _, mean in means]
        axes.fill_between([rate for rate, _ in means], low, high, color=color, alpha=0.15, lw=0)
    axes.axhline(0.5, color=style.MUTED, lw=0.8, ls=(0, (4, 3)))
    axes.text(
        0.995,
        0.51,
        "optimization works",
        transform=axes.get_yaxis_transform(),
        ha="right",
        fontsize=7,
        color=style.MUTED,
    )
    axes.set(
        xscale="log", ylim=(0, 1), xlabel="learning rate", ylabel="training accuracy after the last epoch"
    )
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.set_title(f"Accuracy: {seeds} seeds, mean and 95% interval")
    axes.legend(frameon=False, fontsize=7.5, loc="upper left", bbox_to_anchor=(0, 0.46))
    style.tidy(axes)


def _share_that_trains(drawing: Drawing, axes: Axes) -> None:
    arms = drawing.arms()
    for place, (_, _, rows, color, marker) in enumerate(arms):
        shares = {
            t: (rows.precise_train_accuracy >= t).groupby(_rate(rows)).mean() for t in verdicts.THRESHOLDS
        }
        middle = shares[0.5]
        # Arms that agree would hide each other: each is drawn a hair lower than the one before.
        shift = -0.012 * place
        axes.fill_between(
            middle.index, shares[0.2] + shift, shares[0.8] + shift, color=color, alpha=0.18, lw=0
        )
        axes.plot(middle.index, middle + shift, marker=marker, ms=4, color=color)
    axes.set(xscale="log", ylim=(-0.07, 1.05), xlabel="learning rate", ylabel="share of seeds")
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.set_title("Seeds that reach 50% (band: 80% to 20%)")
    style.tidy(axes)


def _largest_workable(drawing: Drawing, axes: Axes) -> None:
    factor = drawing.ablation.factor("lr")
    grid = verdicts.rates(factor)
    arms = drawing.arms()
    for place, (_, _, rows, color, marker) in enumerate(arms):
        for step, threshold in enumerate(verdicts.THRESHOLDS):
            cells = verdicts.workable(factor, rows, largest_workable("lr", threshold=threshold))
            y = place + (step - 1) * 0.2
            if len(cells) < 2:
                continue
            estimate = stats.workable_location(list(cells.values()), grid)
            _open_interval(axes, y, estimate, grid, color=color, main=threshold == 0.5, marker=marker)
    axes.set_yticks(range(len(arms)), [label for _, label, *_ in arms])
    axes.set_ylim(len(arms) - 0.45, -0.55)
    axes.set(xscale="log", xlim=(grid[0] / 2, grid[-1] * 2), xlabel="learning rate")
    axes.set_title("Largest workable rate, 95% interval")
    axes.text(
        0,
        -0.27,
        "thick: 50% training accuracy; thin: 20% above, 80% below. Arrow: the grid ends.",
        transform=axes.transAxes,
        fontsize=7,
        color=style.MUTED,
    )
    style.tidy(axes)
    axes.grid(visible=True, axis="x")
    axes.grid(visible=False, axis="y")


def _open_interval(
    axes: Axes,
    y: float,
    estimate: stats.Estimate,
    grid: Sequence[float],
    *,
    color: str,
    main: bool,
    marker: str,
) -> None:
    """Draw an interval on a log axis; an end beyond the grid is an arrow."""
    low, high = max(estimate.low, grid[0] / 1.6), min(estimate.high, grid[-1] * 1.6)
    axes.plot(
        [low, high],
        [y, y],
        color=color,
        lw=3 if main else 1.1,
        alpha=0.9 if main else 0.6,
        solid_capstyle="butt",
    )
    if estimate.low < grid[0]:
        axes.plot([low], [y], "<", ms=5, color=color)
    if estimate.high > grid[-1]:
        axes.plot([high], [y], ">", ms=5, color=color)
    if main:
        axes.plot([estimate.value], [y], marker, ms=6, mfc="white", mec=color, mew=1.4)


def _validation_over_epochs(drawing: Drawing, axes: Axes) -> None:
    for _, label, rows, color, marker in drawing.arms():
        best = verdicts.best_level(rows, "lr")
        curves = rows[rows.lr == best].set_index("seed").validation_accuracy.apply(pd.Series)
        epochs = range(1, curves.shape[1] + 1)
        axes.plot(epochs, curves.T, color=color, lw=0.6, alpha=0.45)
        axes.plot(epochs, curves.mean(), color=color, marker=marker, ms=4, label=f"{label}, rate {best}")
    axes.set(xlabel="epoch", ylabel="validation accuracy")
    axes.set_xticks(range(1, curves.shape[1] + 1))
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.set_title("At each arm's best rate (thin: seeds)")
    axes.legend(frameon=False, fontsize=7.5, loc="lower right")
    style.tidy(axes)


FIGURES: dict[str, Callable[[Drawing], Figure]] = {"arms": _arms, "learning rates": _learning_rates}
