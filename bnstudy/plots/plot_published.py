"""The figure of published runs: each recorded number over our own trials of the same recipe."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bnstudy.books.language import tell
from bnstudy.claims import Claim
from bnstudy.errors import BnstudyError
from bnstudy.judgement import parties, stats
from bnstudy.judgement.phrases import amount, counted
from bnstudy.plots import drawing as arms
from bnstudy.plots import marks, style
from bnstudy.plots.drawing import Drawing, Series
from bnstudy.plots.label_table import LabelTable
from bnstudy.plots.plot_strips import EDGES, ROOM, Strip, beside, draw_seeds, name_axis
from bnstudy.systems import SYSTEMS, published_runs

RIGHT = 1.5  # inches of the words at the end of each line
LEVEL = 0.95
TEXTBOOK = "S4b"
"""The system whose recipe many others published runs of."""

RUNS = {
    "test_accuracy": "test_accuracy",
    "online_train_accuracy.last": "train_accuracy",
    "online_train_loss.last": "train_loss",
}
"""What those runs printed, by outcome."""


@dataclass(frozen=True)
class Published:
    """An outcome, and by level of a factor the number that was published of it."""

    outcome: str
    recorded: dict[str, float]
    rounding: float


def published(drawing: Drawing) -> Figure:
    """Draw published single runs over the distributions of the same recipes, with the interval in which 95%
    of all such numbers together lie if nothing differs; a panel for each outcome."""
    claims = _recorded(drawing)
    factor = drawing.scientific
    series = drawing.series([factor])
    textbook = [each for each in series if _is_textbook(drawing, each)][:1]
    labels = [(tell(factor.level(each.levels[factor.name]).label),) for each in series]
    runs = len(published_runs())
    labels += [(tell("{count} published runs of {arm}", count=runs, arm=each.label),) for each in textbook]
    table = LabelTable(labels, most=2.4)
    figure = Figure(figsize=(style.WIDTH, (EDGES + table.height) * len(claims)))
    every = figure.subplots(len(claims), squeeze=False).flatten()
    for axes, each in zip(every, claims, strict=True):
        _panel(drawing, axes, table, series, each)
        if textbook:
            _runs(axes, table.places[-1], each.outcome, style.WIDTH - sum(table.widths) - RIGHT)
    reading = tell(
        "Hollow: our seeds; bar: where one more run lies, 95% for all published numbers of a panel together; "
        "filled diamonds: published single runs"
    )
    style.headline(figure, drawing.question, reading=drawing.noted(reading, arms.crosses(drawing.frame)))
    return figure


def _is_textbook(drawing: Drawing, series: Series) -> bool:
    """Return whether these arms are, at full size, the recipe of which many runs were published."""
    return any(arm.recipe == SYSTEMS[TEXTBOOK] for arm in drawing.ablation.whole.having(series.levels))


def _runs(axes: Axes, place: float, outcome: str, inches: float) -> None:
    """Draw the many published runs of one recipe on a line of their own."""
    if outcome in RUNS:
        values = [float(getattr(run, RUNS[outcome])) for run in published_runs()]
        low, high = axes.get_xlim()
        span = max(high, *values) - min(low, *values)
        aside = marks.swarm(values, marks.SEED * 1.1 * span / inches, 0.12, ROOM)
        axes.plot(values, [place + step for step in aside], "D", ms=3.6, mfc=style.INK, mec="white", mew=0.4)


def _recorded(drawing: Drawing) -> list[Published]:
    """Return the numbers that the ablation's claims say were published, one entry for each outcome."""
    found: dict[str, Published] = {}
    for claim in drawing.ablation.claims:
        if claim.effect.kind == "recorded":
            held = found.get(claim.measure.outcome, Published(claim.measure.outcome, {}, claim.effect.margin))
            held.recorded.update(_by_level(drawing, claim))
            found[claim.measure.outcome] = held
    if not any(each.recorded for each in found.values()):
        raise BnstudyError(
            f"The figure 'published' of {drawing.ablation.name} needs a claim with effect=contains(...) on "
            f'levels of {drawing.scientific.name!r}; add one or choose another figure, such as "arms".'
        )
    return list(found.values())


def _by_level(drawing: Drawing, claim: Claim) -> dict[str, float]:
    """Return the recorded numbers by level of the question's factor."""
    name = drawing.scientific.name
    if claim.factor == name:
        return dict(claim.effect.recorded)
    if claim.factor is not None or name not in claim.fixed:
        return {}
    return {claim.fixed[name]: dict(claim.effect.recorded)[""]}


def _panel(
    drawing: Drawing, axes: Axes, table: LabelTable, series: Sequence[Series], published: Published
) -> None:
    strips = [
        Strip(cells, parties.column(each.rows, published.outcome), each.diverged, each.look)
        for cells, each in zip(table.cells, series, strict=False)
    ]
    places = table.draw(axes)[: len(strips)]
    draw_seeds(axes, strips, places, style.WIDTH - sum(table.widths) - RIGHT)
    level = 1 - (1 - LEVEL) / max(1, len(published.recorded))
    for each, strip, place in zip(series, strips, places, strict=False):
        if len(set(strip.known)) > 1:
            found = stats.prediction(strip.known, level)
            ends = found.low - published.rounding, found.high + published.rounding
            marks.bar(axes, place, arms.bounded(published.outcome, *ends), strip.look.color)
        number = published.recorded.get(each.levels[drawing.scientific.name])
        if number is not None:
            axes.plot([number], [place], "D", ms=7, mfc=style.INK, mec="white", mew=0.9, zorder=5)
            beside(axes, place, _beside(strip.values, number, published.outcome))
    name_axis(axes, published.outcome)


def _beside(values: "pd.Series[float]", number: float, outcome: str) -> str:
    """Return where a published number lies among our seeds."""
    known = values.dropna()
    if known.empty:
        return amount(number, outcome)
    below = int((known < number).sum())
    value, seeds = amount(number, outcome), counted(len(known), "seed")
    return tell("{value}, above {below} of {seeds}", value=value, below=below, seeds=seeds)
