"""How simulations of the judge are counted."""

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from bnstudy.judgement.stats import Estimate

Floats = NDArray[np.float64]


def generator(*key: int) -> np.random.Generator:
    return np.random.default_rng([20, *key])


def holds(estimates: Iterable[Estimate], truth: float) -> int:
    return sum(e.low <= truth <= e.high for e in estimates)


def at_least(hits: float, n: int, rate: float) -> bool:
    """Whether `hits` of n is no fewer than a true rate of at least `rate` gives but once in 2,000 tests."""
    return bool(hits >= binom.ppf(5e-4, n, rate))


def at_most(hits: float, n: int, rate: float) -> bool:
    return at_least(n - hits, n, 1 - rate)


def near(hits: float, n: int, rate: float) -> bool:
    """Whether `hits` of n is what a true rate gives but once in 1,000 tests: the 99.9% bounds."""
    return at_least(hits, n, rate) and at_most(hits, n, rate)


def misses(samples: Floats, interval: Callable[[Floats], Estimate], truth: float) -> tuple[int, int]:
    """Return how many of the intervals of `samples` [runs, ...] lie above and below; equals judged once."""
    distinct, counts = np.unique(samples, axis=0, return_counts=True)
    estimates = [interval(sample) for sample in distinct]
    above = sum(n for e, n in zip(estimates, counts.tolist(), strict=True) if e.low > truth)
    return above, sum(n for e, n in zip(estimates, counts.tolist(), strict=True) if e.high < truth)
