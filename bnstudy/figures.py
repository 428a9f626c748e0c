"""From frames to figures, each with a sidecar that says what it was drawn from."""

import json
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from bnstudy import style
from bnstudy.drawing import Drawing, called
from bnstudy.errors import BnstudyError, unknown
from bnstudy.language import tell
from bnstudy.phrases import amount, listed, spoken
from bnstudy.plot_effects import effects
from bnstudy.plot_lines import curves, dose
from bnstudy.plot_published import published
from bnstudy.plot_rates import learning_rates
from bnstudy.plot_strips import arms_figure, statistics

__all__ = ["FIGURES", "Drawing", "draw", "save"]

SUFFIXES = ("svg", "png")

FIGURES: dict[str, Callable[[Drawing], Figure]] = {
    "arms": arms_figure,
    "learning rates": learning_rates,
    "curves": curves,
    "effects": effects,
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


ALTERNATIVE = "{question} Figure: {kind}. Mean {outcome}: {means}."
AVERAGED_ALTERNATIVE = "{question} Figure: {kind}. Mean {outcome}, averaged over {factors}: {means}."
"""What a figure shows in words, of one factor and of several."""


def described(drawing: Drawing) -> str:
    """Return what a figure shows in words, for those who do not see it: the question and the means."""
    ablation, outcome = drawing.ablation, drawing.outcome
    means = [(arm.label, drawing.values(arm.rows).mean()) for arm in drawing.series([drawing.scientific])]
    told = listed((f"{label} {amount(mean, outcome)}" for label, mean in means if mean == mean), "; ")
    others = [called(factor) for factor in drawing.varied if factor != drawing.scientific]
    told = tell(
        AVERAGED_ALTERNATIVE if others else ALTERNATIVE,
        question=drawing.question,
        kind=tell(ablation.figure if isinstance(ablation.figure, str) else "the ablation's own"),
        outcome=spoken(outcome),
        factors=listed(others, " and "),
        means=told,
    )
    return tell("{text} ({preview})", text=told, preview=drawing.preview) if drawing.preview else told


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
