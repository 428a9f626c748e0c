"""Which level is best, and whether means descend: intervals simultaneous over the comparisons."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from bnstudy.judgement.stats import Estimate, Floats, checked, checked_level, t_quantile


def lead(
    inside: Sequence[Sequence[float]], outside: Sequence[Sequence[float]], level: float = 0.95
) -> Estimate:
    """Return how far the best mean of `inside` lies above the best of `outside`, each [levels][seeds].

    The difference of the two best is the smallest over the levels outside of the largest over those inside.
    Its lower bound is the same of the paired lower bounds, and may fail only at the best level outside: one
    level inside errs at (1 - level) / 2 over the number of levels inside (Bonferroni). The upper bound is the
    mirror image. So each side errs at no more than (1 - level) / 2, however many levels are looked at.
    """
    x, y = _table(inside), _table(outside)
    differences = x[:, None, :] - y[None, :, :]
    means = differences.mean(-1)
    low = (means - _halves(differences, level, len(x))).max(0).min()
    high = (means + _halves(differences, level, len(y))).min(1).max()
    return Estimate(float(means.max(0).min()), float(low), float(high), level, x.shape[1])


def smallest_step(ordered: Sequence[Sequence[float]], level: float = 0.95) -> Estimate:
    """Return the smallest difference of the mean of a level and of the next, [levels][seeds].

    The lower bound needs no adjustment, since it can fail only at the smallest step; the upper one is
    adjusted for the number of steps (Bonferroni).
    """
    x = _table(ordered)
    differences = np.array([above - below for above, below in pairwise(x)])
    means = differences.mean(-1)
    low = (means - _halves(differences, level, 1)).min()
    high = (means + _halves(differences, level, len(means))).min()
    return Estimate(float(means.min()), float(low), float(high), level, x.shape[1])


def _halves(differences: Floats, level: float, comparisons: int) -> Floats:
    """Return half of the t interval of each mean [..., seeds]; infinite where a difference never varies."""
    n = differences.shape[-1]
    quantile = t_quantile((1 - checked_level(level)) / 2 / comparisons, n)
    halves: Floats = quantile * differences.std(-1, ddof=1) / np.sqrt(n)
    return np.where(np.ptp(differences, -1) == 0, np.inf, halves)


def _table(values: Sequence[Sequence[float]]) -> Floats:
    return np.array([checked(each, "levels", 2) for each in values])
