"""What a figure is drawn from: an ablation with its finished trials, by arm."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import pandas as pd

from bnstudy.books.language import tell
from bnstudy.design import Ablation
from bnstudy.errors import BnstudyError
from bnstudy.factors import Factor
from bnstudy.judgement import parties
from bnstudy.judgement.phrases import entitled, is_share, listed, titled
from bnstudy.outcome import known_outcome
from bnstudy.plots import style
from bnstudy.plots.style import Look

OUTCOME = "precise_test_accuracy"
"""What is drawn where no claim says otherwise."""

NAMES = {"lr": "learning rate", "batch": "batch size"}
"""Factors and fields that a text calls by another name."""

Curve = tuple[tuple[float, ...], bool]
"""Values over epochs, and whether the trial diverged."""

LOG_RATIO = 8  # of the largest level to the smallest, from which equal ratios are told from equal steps


@dataclass(frozen=True)
class Series:
    """Arms that are drawn alike: their levels, the rows of their trials, a label and a look."""

    levels: dict[str, str]
    rows: pd.DataFrame
    label: str
    look: Look

    @property
    def diverged(self) -> "pd.Series[bool]":
        """Whether each trial diverged."""
        return self.rows.status == "diverged"

    def curves(self, outcome: str) -> list[Curve]:
        """Return an outcome after each epoch of every trial that has such, and whether it diverged."""
        pairs = zip(self.rows[outcome], self.diverged, strict=True)
        return [(tuple(curve), bool(diverged)) for curve, diverged in pairs if len(curve)]


@dataclass(frozen=True)
class Drawing:
    """What a figure is drawn from: the ablation at its profile, and its finished trials."""

    ablation: Ablation
    frame: pd.DataFrame
    preview: str
    """What the figure says of itself when it is not the study of record, or nothing."""

    @property
    def question(self) -> str:
        """The ablation's question."""
        return tell(self.ablation.question)

    @property
    def varied(self) -> list[Factor]:
        """The factors that have more than one level here, or that some arms do not have."""
        return [f for f in self.ablation.factors if len(f.levels) > 1 or f.where]

    @property
    def held(self) -> str:
        """What all arms share, in words: the factors that a profile leaves one level of."""
        return listed(titled(f, f.levels[0].name) for f in self.ablation.factors if f not in self.varied)

    @property
    def scientific(self) -> Factor:
        """The factor that is the question: the first such one that varies."""
        return next((f for f in self.varied if f.role == "scientific"), self.ablation.factors[0])

    @cached_property
    def outcome(self) -> str:
        """The first outcome of a claim that is one number a trial and was measured."""
        claims = [c for c in self.ablation.claims if c.effect.kind not in ("exact", "false alarms")]
        named = [c.measure.outcome for c in claims if known_outcome(c.measure.outcome)]
        return next((name for name in named if self.values(self.frame, name).notna().any()), OUTCOME)

    def values(self, rows: pd.DataFrame, outcome: str = "") -> "pd.Series[float]":
        """Return an outcome of each row, by default the one that is drawn; NaN where there is none."""
        return parties.column(rows, outcome or self.outcome)

    def series(self, factors: Sequence[Factor], rows: pd.DataFrame | None = None) -> list[Series]:
        """Return the combinations of levels of these factors that have trials among `rows`, in the order of
        the design; colored by the question's factor, or else the first, and dashed by the others."""
        rows = self.frame if rows is None else rows
        first = next((f for f in factors if f == self.scientific), factors[0] if factors else None)
        found, dashes = [], dict[tuple[str, ...], int]()
        for levels in self._combinations(factors):
            rest = tuple(levels.get(f.name, f.control.name) for f in factors if f is not first)
            dash = dashes.setdefault(rest, len(dashes))
            mine = having(rows, factors, levels)
            if len(mine):
                label = listed(titled(f, levels[f.name]) for f in factors if f.name in levels)
                found.append(Series(levels, mine, label, style.look(self._place(first, levels), dash)))
        return found

    def _combinations(self, factors: Sequence[Factor]) -> list[dict[str, str]]:
        names = {factor.name for factor in factors}
        arms = [tuple((f, v) for f, v in arm.levels if f in names) for arm in self.ablation.arms]
        return [dict(levels) for levels in dict.fromkeys(arms)]

    def _place(self, factor: Factor | None, levels: dict[str, str]) -> int:
        """Return where a factor's level stands in the whole design, so that it keeps its color while others
        are missing."""
        if factor is None or factor.name not in levels:
            return 0
        every = self.ablation.whole.factor(factor.name).levels
        return [level.name for level in every].index(levels[factor.name])

    def numeric(self, kind: str) -> Factor:
        """Return the factor whose levels are numbers: rather a scientific one, then that with most levels."""
        able = [f for f in self.varied if numbers(f) is not None]
        if not able:
            raise BnstudyError(
                f"The figure {kind!r} of {self.ablation.name} needs a factor with two levels named by "
                'numbers, and there is none; choose another in the file, such as figure="arms".'
            )
        return max(able, key=lambda f: (f.role == "scientific", len(f.levels)))

    def noted(self, *notes: str) -> str:
        """Return notes on how to read a figure, those that are not empty, with what all arms share."""
        reading = together(*notes)
        if self.held:
            return tell("{notes}. All at {levels}.", notes=reading, levels=self.held)
        return tell("{notes}.", notes=reading)

    def key(self, series: Sequence[Series]) -> dict[str, Look]:
        """Return the key of series, without one where there is nothing to tell apart."""
        return {each.label: each.look for each in series if each.label}


def having(rows: pd.DataFrame, factors: Sequence[Factor], levels: dict[str, str]) -> pd.DataFrame:
    """Return the rows with these levels; a factor that `levels` leaves out must be missing."""
    for factor in factors:
        column = rows[factor.name]
        rows = rows[column == levels[factor.name] if factor.name in levels else column.isna()]
    return rows


def numbers(factor: Factor) -> list[float] | None:
    """Return the levels of a factor as numbers, ascending, or None where one is none."""
    try:
        found = sorted(float(level.name) for level in factor.levels)
    except ValueError:
        return None
    return found if len(found) > 1 and all(map(math.isfinite, found)) else None


def position(rows: pd.DataFrame, factor: Factor) -> "pd.Series[float]":
    """Return each row's level of a factor of numbers."""
    return rows[factor.name].astype(float)


def scale(levels: Sequence[float]) -> str:
    """Return the axis on which ascending levels lie evenly: log, symlog where they start at 0, or linear."""
    positive = [level for level in levels if level > 0]
    if levels[0] < 0 or len(positive) < 2 or positive[-1] < LOG_RATIO * positive[0]:
        return "linear"
    if _uneven([math.log(level) for level in positive]) > _uneven(levels):
        return "linear"
    return "log" if len(positive) == len(levels) else "symlog"


def _uneven(levels: Sequence[float]) -> float:
    """Return the largest step over the smallest."""
    steps = [b - a for a, b in pairwise(levels)]
    return max(steps) / min(steps)


def called(factor: Factor) -> str:
    """Return a factor's name as an axis says it, with what its labels add: `depth (N layers)`."""
    name = tell(NAMES[factor.name]) if factor.name in NAMES else entitled(factor)
    patterns = {tell(level.label).replace(level.name, "N", 1) for level in factor.levels}
    pattern = patterns.pop() if len(patterns) == 1 and numbers(factor) else "N"
    plain = pattern == "N" or pattern.split()[0] == name.split()[0]
    return name if plain else tell("{name} ({pattern})", name=name, pattern=pattern)


def bounded(outcome: str, low: float, high: float) -> tuple[float, float]:
    """Return an interval that ends where shares do."""
    return (max(0.0, low), min(1.0, high)) if is_share(outcome) else (low, high)


def together(*notes: str) -> str:
    """Return notes as one, those that are not empty."""
    return listed(filter(None, notes), "; ")


def crosses(frame: pd.DataFrame) -> str:
    """Return the note on crosses, where there are any."""
    return tell("crosses: diverged") if (frame.status == "diverged").any() else ""


def facets(drawing: Drawing, factors: Sequence[Factor]) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield a title and the rows of each panel; one without a title where there is nothing to part."""
    if not factors:
        yield "", drawing.frame
        return
    for each in drawing.series(factors):
        yield each.label, each.rows
