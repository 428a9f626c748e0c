"""The table of an ablation's arms: the mean of each outcome over seeds, with its interval."""

import math
from dataclasses import dataclass

import pandas as pd

from bnstudy.books.language import tell
from bnstudy.judgement import parties, stats
from bnstudy.judgement.phrases import amount, interval, is_share, size, spoken
from bnstudy.outcome import known_outcome
from bnstudy.plots.drawing import OUTCOME, Drawing, called, having

MOST = 4
"""Outcomes in a table: more do not fit a page beside the factors."""


@dataclass(frozen=True)
class Mean:
    """The mean of an outcome over seeds in its own unit, with its 95% interval and the seeds' standard
    deviation; these are None for fewer than two seeds."""

    outcome: str
    value: float
    low: float | None
    high: float | None
    deviation: float | None

    @property
    def text(self) -> str:
        """The mean: 87.1%."""
        return amount(self.value, self.outcome)

    @property
    def interval(self) -> str:
        """Its interval: 86.9% to 87.3%; nothing without one."""
        if self.low is None or self.high is None:
            return ""
        return interval(self.low, self.high, self.outcome)

    @property
    def spread(self) -> str:
        """The standard deviation over seeds: 0.42 points; nothing without one."""
        return "" if self.deviation is None else size(self.deviation, self.outcome)


@dataclass(frozen=True)
class ArmLine:
    """An arm: its level of each factor ("" where it has none), finished seeds, and its means."""

    levels: tuple[str, ...]
    seeds: int
    diverged: int
    means: tuple[Mean | None, ...]
    """One for each outcome; None where it was not measured, or not finite."""


@dataclass(frozen=True)
class ArmTable:
    """Arms in the order of the design."""

    factors: tuple[str, ...]
    outcomes: tuple[str, ...]
    """As a text names them."""
    lines: tuple[ArmLine, ...]


def of(drawing: Drawing) -> ArmTable:
    """Return the table of the arms that have finished trials, by the factors that vary."""
    factors = drawing.varied or [drawing.scientific]
    outcomes = _outcomes(drawing)
    lines = []
    for arm in drawing.ablation.arms:
        levels = dict(arm.levels)
        rows = having(drawing.frame, factors, {f.name: levels[f.name] for f in factors if f.name in levels})
        if len(rows):
            labels = tuple(tell(f.level(levels[f.name]).label) if f.name in levels else "" for f in factors)
            diverged = int((rows.status == "diverged").sum())
            means = tuple(_mean(parties.column(rows, outcome), outcome) for outcome in outcomes)
            lines.append(ArmLine(labels, len(rows), diverged, means))
    return ArmTable(tuple(map(called, factors)), tuple(map(spoken, outcomes)), tuple(lines))


def _outcomes(drawing: Drawing) -> list[str]:
    """Return what the figure draws, the primary accuracy, and further outcomes of claims, as measured."""
    claims = [claim for claim in drawing.ablation.claims if claim.effect.kind != "exact"]
    claimed = (name for claim in claims for name in (claim.measure.outcome, claim.against))
    named = dict.fromkeys(name for name in (drawing.outcome, OUTCOME, *claimed) if isinstance(name, str))
    found: dict[str, pd.Series[float]] = {}
    for name in filter(known_outcome, named):
        values = drawing.values(drawing.frame, name)
        again = name not in (drawing.outcome, OUTCOME) and any(map(values.equals, found.values()))
        if values.notna().any() and not again:  # a claim's may be another by a second name
            found[name] = values
    return list(found)[:MOST]


def _mean(values: "pd.Series[float]", outcome: str) -> Mean | None:
    known = [float(value) for value in values if math.isfinite(value)]
    if not known:
        return None
    if len(known) == 1:
        return Mean(outcome, known[0], None, None, None)
    found = stats.mean(known)
    low, high = (max(0.0, found.low), min(1.0, found.high)) if is_share(outcome) else (found.low, found.high)
    return Mean(outcome, found.value, low, high, float(pd.Series(known).std()))
