"""Effects: what a claim says of a treatment and its control, or of an arm alone, with its margin."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from bnstudy.errors import BnstudyError


@dataclass(frozen=True)
class Effect:
    """What a claim says of treatment minus control (`kind` "difference"), treatment over control ("ratio"),
    one standard deviation ("spread"), two ("spread ratio"), one difference as a share of another ("share"),
    the order of means ("order"), numbers recorded elsewhere ("recorded"), rounding ("exact") or the judge
    itself ("false alarms").

    `rule` is `at least`, `at most`, `equal within`, `best among`, `ranked`, `contains`, `exact` or `within
    bounds`; `margin` is in units of the outcome (accuracies in [0, 1]: 0.003 is 0.3 points), or a factor for
    ratios.
    """

    rule: str
    margin: float = 0.0
    kind: str = "difference"
    levels: tuple[str, ...] = ()
    """Of the claim's factor: those among which the best lies, or all in their order."""
    recorded: tuple[tuple[str, float], ...] = ()
    """Numbers of single runs by level of the claim's factor; the level is empty for an arm alone."""

    def __post_init__(self) -> None:
        """Raise `BnstudyError` for a margin with which the rule could not decide."""
        for value in (self.margin, *dict(self.recorded).values()):
            if not isinstance(value, int | float) or not math.isfinite(value):
                raise BnstudyError(f"A claim's margin must be a finite number, not {value!r}.")
        if self.rule == "equal within" and self.margin <= 0:
            raise BnstudyError(f"equal_within needs a margin above 0, not {self.margin!r}.")
        if self.kind in ("ratio", "spread ratio") and self.margin <= 0:
            raise BnstudyError(f"A ratio's margin must be above 0, not {self.margin!r}.")
        if self.kind in ("spread", "exact", "false alarms") and self.margin < 0:
            raise BnstudyError(f"The bound of a claim on its {self.kind} cannot be {self.margin!r}.")
        if (self.kind == "order" and not self.levels) or (self.kind == "recorded" and not self.recorded):
            raise BnstudyError(f"A claim with the rule {self.rule!r} needs at least one level or number.")


def at_least(margin: float) -> Effect:
    """Treatment minus control is at least `margin`; so is the mean of an arm alone, or a contrast."""
    return Effect("at least", margin)


def at_most(margin: float) -> Effect:
    """Treatment minus control is at most `margin`; so is the mean of an arm alone, or a contrast."""
    return Effect("at most", margin)


def equal_within(margin: float) -> Effect:
    """Treatment and control differ by less than `margin` either way (two one-sided tests)."""
    return Effect("equal within", margin)


def ratio_at_least(factor: float) -> Effect:
    """Treatment over control is at least `factor`: largest workable rates, or means (20 seeds)."""
    return Effect("at least", factor, "ratio")


def ratio_at_most(factor: float) -> Effect:
    """Treatment over control is at most `factor`: largest workable rates, or means (20 seeds)."""
    return Effect("at most", factor, "ratio")


def spread_at_least(spread: float) -> Effect:
    """The standard deviation over seeds of an arm alone is at least `spread` (20 seeds)."""
    return Effect("at least", spread, "spread")


def spread_at_most(spread: float) -> Effect:
    """The standard deviation over seeds of an arm alone is at most `spread` (20 seeds)."""
    return Effect("at most", spread, "spread")


def spread_ratio_at_least(factor: float) -> Effect:
    """The standard deviation of treatment (or outcome) over that of control (or `against`) (20 seeds)."""
    return Effect("at least", factor, "spread ratio")


def spread_ratio_at_most(factor: float) -> Effect:
    """As `spread_ratio_at_least`, the other way."""
    return Effect("at most", factor, "spread ratio")


def share_at_least(share: float) -> Effect:
    """Treatment minus control is at least this share of a whole, which has to be above 0: of `of` minus
    control, or of treatment minus control by the outcome `against`."""
    return Effect("at least", share, "share")


def share_at_most(share: float) -> Effect:
    """As `share_at_least`, the other way."""
    return Effect("at most", share, "share")


def best_among(*levels: str) -> Effect:
    """The level of `factor` with the highest mean is one of these."""
    return Effect("best among", kind="order", levels=levels)


def ranked(*levels: str) -> Effect:
    """The means of these levels of `factor` descend in this order."""
    return Effect("ranked", kind="order", levels=levels)


def contains(recorded: float | Mapping[str, float], rounding: float = 0.0) -> Effect:
    """Each number recorded for a level of `factor` (or the one of an arm alone) is typical of its recipe: it
    lies inside a prediction interval for one new run, 95% for all of them together.

    `rounding` is how far a number may be from what was measured: 0.0005 where three digits were printed.
    """
    numbers = recorded if isinstance(recorded, Mapping) else {"": recorded}
    return Effect("contains", rounding, "recorded", recorded=tuple(numbers.items()))


def exact(bound: float) -> Effect:
    """In every trial, treatment and control (lists: each entry) differ by no more than `bound`; of an arm
    alone, the outcome is no further from 0."""
    return Effect("exact", bound, "exact")


def false_alarms(margin: float) -> Effect:
    """The judge decides wrongly as often as stated: over sign flips of the differences of two arms that are
    the same, and of such arms of which one is shifted by `margin`."""
    return Effect("within bounds", margin, "false alarms")
