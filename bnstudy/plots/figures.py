"""From frames to figures, each with a sidecar that says what it was drawn from."""

import json
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from bnstudy.books.language import tell
from bnstudy.errors import BnstudyError, unknown
from bnstudy.judgement import parties
from bnstudy.judgement.phrases import amount, listed, spoken
from bnstudy.plots import style
from bnstudy.plots.drawing import Drawing, called
from bnstudy.plots.plot_effects import effects
from bnstudy.plots.plot_lines import curves, dose
from bnstudy.plots.plot_published import published
from bnstudy.plots.plot_rates import learning_rates
from bnstudy.plots.plot_strips import arms_figure, statistics
from bnstudy.plots.plot_subsets import subsets

__all__ = ["FIGURES", "Drawing", "draw", "save"]

SUFFIXES = ("svg", "png")
RATE = "lr"

FIGURES: dict[str, Callable[[Drawing], Figure]] = {
    "arms": arms_figure,
    "learning rates": learning_rates,
    "curves": curves,
    "effects": effects,
    "subsets": subsets,
    "dose": dose,
    "statistics": statistics,
    "published": published,
}
"""By the name that an ablation's file gives."""


def draw(drawing: Drawing) -> Figure:
    """Return the ablation's figure; raises `BnstudyError` without finished trials or such a figure."""
    ablation = drawing.ablation
    if drawing.frame.empty:
        raise BnstudyError(f"{ablation.name} has no finished trials yet; `bnstudy run {ablation.name}`.")
    with style.applied():
        if isinstance(ablation.figure, str):
            figure = _known(drawing, ablation.figure)
        else:
            figure = _own(drawing, ablation.figure)
        if drawing.preview:
            style.footnote(figure, drawing.preview)
        figure.set_label(described(drawing))
        return figure


SHOWN = {
    "arms": "Each arm's mean with its 95% interval, and every seed.",
    "learning rates": "How accurate the networks are at each learning rate, and up to which rate they train.",
    "curves": "Accuracy after each epoch.",
    "effects": "Differences between arms, paired by seed, with their 95% intervals.",
    "subsets": "Every subset of the parts that are on, its mean with the 95% interval, and every seed.",
    "dose": "Means by the size of a factor, with their 95% intervals, and every seed.",
    "statistics": "The same networks, predicted with different statistics, and how far the seeds spread.",
    "published": "Published numbers among our own seeds.",
    "": "A figure of the ablation's own.",
}
"""What a figure shows, by the name that an ablation's file gives."""

ALTERNATIVE = "{question} {shown} Mean {outcome}: {means}."
DETAILED_ALTERNATIVE = "{question} {shown} Mean {outcome}, {how}: {means}."
SHORT_ALTERNATIVE = "{question} {shown}"
"""A figure in words: of one factor, of several, and of parts, where means over the others mislead."""


def described(drawing: Drawing) -> str:
    """Return what a figure shows in words, for those who do not see it: the question and the means."""
    kind, outcome = drawing.ablation.figure, drawing.outcome
    others = [factor for factor in drawing.varied if factor != drawing.scientific]
    means = [(arm.label, _mean(drawing, arm.rows)) for arm in drawing.series([drawing.scientific])]
    told = listed((f"{label} {amount(mean, outcome)}" for label, mean in means if mean == mean), "; ")
    best = [tell("each at its best {factor}", factor=called(f)) for f in others if f.name == RATE]
    averaged = listed((called(factor) for factor in others if factor.name != RATE), " and ")
    over = [tell("averaged over {factors}", factors=averaged)] if averaged else []
    detailed = DETAILED_ALTERNATIVE if others else ALTERNATIVE
    told = tell(
        SHORT_ALTERNATIVE if kind == "subsets" else detailed,
        question=drawing.question,
        shown=tell(SHOWN[kind if isinstance(kind, str) else ""]),
        outcome=spoken(outcome),
        how=listed([*best, *over]),
        means=told,
    )
    return tell("{text} ({preview})", text=told, preview=drawing.preview) if drawing.preview else told


def _mean(drawing: Drawing, rows: pd.DataFrame) -> float:
    """Return the mean of what is drawn over all trials of an arm, at its best learning rate."""
    held = rows[rows[RATE] == parties.best_level(rows, RATE)] if RATE in rows else rows
    return float(drawing.values(held).mean())


def _known(drawing: Drawing, kind: str) -> Figure:
    if kind not in FIGURES:
        raise unknown("figure", kind, FIGURES)
    return FIGURES[kind](drawing)


def _own(drawing: Drawing, function: Callable[[Drawing], Any]) -> Figure:
    """Return the figure that a function of the ablation's file draws; what goes wrong there is told with its
    line."""
    name = f"The figure function {getattr(function, '__name__', function)!r} of {drawing.ablation.name}"
    try:
        figure = function(drawing)
    except BnstudyError:
        raise
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        what = " ".join(f"{type(error).__name__}: {error}".split())
        raise BnstudyError(f"{name} failed at {place.filename}, line {place.lineno}: {what}") from error
    if not isinstance(figure, Figure):
        raise BnstudyError(f"{name} must return a matplotlib Figure, not {type(figure).__name__}.")
    return figure


def save(
    figure: Figure, folder: Path, name: str, sidecar: Mapping[str, Any], command: str = "figures"
) -> list[Path]:
    """Write a figure as SVG and PNG with its sidecar, each by temporary file and rename; return the paths.

    `command` is the one to give again where they cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for suffix in SUFFIXES:
            described = {"Description": str(figure.get_label())}
            metadata = {"Date": None, **described} if suffix == "svg" else {"Software": None, **described}
            with style.applied():
                figure.savefig(folder / f".{name}.tmp", format=suffix, metadata=metadata)
            (folder / f".{name}.tmp").replace(folder / f"{name}.{suffix}")
        beside = {**sidecar, "alternative_text": figure.get_label()}
        (folder / f".{name}.tmp").write_text(json.dumps(beside, indent=1) + "\n")
        (folder / f".{name}.tmp").replace(folder / f"{name}.json")
    except OSError as error:
        raise BnstudyError(
            f"Cannot write figures to {folder}: {error.strerror or error}. "
            f"Free the disk or mend the permission, then `bnstudy {command}`."
        ) from error
    return [folder / f"{name}.{suffix}" for suffix in (*SUFFIXES, "json")]
