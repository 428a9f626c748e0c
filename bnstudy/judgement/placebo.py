"""How often the judge is wrong where nothing differs: two arms that are the same, their signs flipped.

Under common seeds the difference of two such arms is as likely as its negative. So every flip of the signs of
the differences is another study of nothing, and after adding a margin to all of them another one exactly at
that margin.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binom, ttest_1samp

from bnstudy.judgement.stats import Floats, checked

LEAST_SEEDS = 20
"""With 10 seeds and normal differences the rate of a 5% test over all their flips lies between 2.2 and 6.6%
for 98% of sets, with 8 between 0 and 7.4%, with 20 between 3.8 and 5.9%: inside the bounds of 1,000 flips."""
FLIPS = 1000
OUTSIDE = 0.001
"""How often a rate at its level is outside of its bounds, both sides together."""


@dataclass(frozen=True)
class Alarms:
    """How often a verdict was false, and what its level allows."""

    name: str
    rate: float
    level: float
    low: float
    high: float
    """Bounds of the rate, with 99.9% probability at the level; `low` is 0 where fewer are as good."""

    @property
    def inside(self) -> bool:
        """Whether the rate is within its bounds."""
        return self.low <= self.rate <= self.high


def false_alarms(
    differences: Sequence[float], margin: float, flips: int = FLIPS, seed: int = 0
) -> tuple[Alarms, ...]:
    """Return the false alarms of each rule over random sign flips of paired differences of equal arms."""
    x = checked(differences, "differences", 2)
    nothing: Floats = np.random.default_rng(seed).choice([-1.0, 1.0], (flips, len(x))) * x
    low, high = _ends(nothing, 0.95)
    shifted_low, shifted_high = _ends(nothing + margin, 0.95)
    inner_low, inner_high = _ends(nothing + margin, 0.9)
    alarms = (
        ("falsely different", (low > 0) | (high < 0), 0.05, True),
        ("falsely above the margin", shifted_low > margin, 0.025, True),
        ("falsely below it", shifted_high < margin, 0.025, True),
        ("falsely equal", (-margin < inner_low) & (inner_high < margin), 0.05, False),
        ("falsely unequal", (shifted_low > margin) | (shifted_high < -margin), 0.025, False),
    )
    return tuple(_alarms(name, int(np.sum(found)), flips, level, both) for name, found, level, both in alarms)


def _alarms(name: str, count: int, flips: int, level: float, both: bool) -> Alarms:
    low, high = (float(binom.ppf(tail, flips, level)) / flips for tail in (OUTSIDE / 2, 1 - OUTSIDE / 2))
    return Alarms(name, count / flips, level, low if both else 0.0, high)


def _ends(samples: Floats, level: float) -> tuple[Floats, Floats]:
    """Return the ends of the t interval of each row [flips, seeds]: `stats.paired_mean` of many at once."""
    interval = ttest_1samp(samples, 0, axis=-1).confidence_interval(level)
    return np.asarray(interval.low), np.asarray(interval.high)
