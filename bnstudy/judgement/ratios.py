"""Intervals of ratios over seeds: of means, of spreads, and of one difference to another.

Spreads were tried with the BCa bootstrap first. In 2,000 simulations a 95% interval of one standard deviation
missed the truth to the left and to the right in 4.4 and 7.5% of samples of 20 normal values and in 3.6 and
5.1% of 40, where 2.5% are stated; a ratio of two in 4.0 and 4.2% (20 seeds), 5.0 and 4.7% (20, correlation
0.7), 3.8 and 3.0% (40). A verdict would err twice as often as it says, so `spread` and `spread_ratio` take
intervals that keep their level; BCa is kept for ratios of means, where it does.
"""

from collections.abc import Sequence
from functools import lru_cache, partial

import numpy as np
from scipy.stats import bootstrap, norm, trim_mean

from bnstudy.judgement.stats import (
    Estimate,
    Floats,
    Interval,
    checked,
    checked_level,
    detectable,
    half_width,
    paired,
    t_quantile,
)

LEAST_SEEDS = 20
"""Fewer seeds leave the tails of a spread, and of a bootstrap distribution, to chance."""
RESAMPLES = 9999


def spread(values: Sequence[float], level: float = 0.95) -> Estimate:
    """Return the standard deviation over seeds with Bonett's interval; at least five seeds.

    ln(c s^2) +- q c sqrt((g - (n - 3) / n) / (n - 1)), with g the kurtosis about a trimmed mean and c = n /
    (n - q) (Bonett 2006, equation 4), but q of Student's t and not normal: with the latter it misses 2.8 and
    2.7% at n = 20. So it misses 2.2 and 2.0% there for normal values and 2.4 and 2.5% at n = 40; at n = 20
    and 40 1.4 and 5.8 to 7.2% for Student's t with 5 degrees of freedom, 1.0 and 14 to 16% for log-normal
    values (sigma 0.7): large spreads of skewed values are understated by any method tried.
    """
    n = len(values)
    value, kurtosis = _moments(tuple(values))
    quantile = t_quantile((1 - checked_level(level)) / 2, n)
    if value == 0 or quantile >= n:
        return Estimate(value, 0.0, np.inf, level, n)
    c = n / (n - quantile)
    middle = value * np.sqrt(c)
    with np.errstate(over="ignore"):
        reach = np.exp(quantile * c * np.sqrt(max(0.0, kurtosis - (n - 3) / n) / (n - 1)) / 2)
    return Estimate(value, float(middle / reach), float(middle * reach), level, n)


@lru_cache(maxsize=16)
def _moments(values: tuple[float, ...]) -> tuple[float, float]:
    """Return the standard deviation and the kurtosis; cached, since a p value asks for 70 levels."""
    x = checked(values, "values", 5)
    n = len(x)
    center = float(trim_mean(x, 1 / (2 * np.sqrt(n - 4)))) if n > 5 else float(x.mean())
    squares = float(((x - x.mean()) ** 2).sum())
    if np.ptp(x) == 0:
        return 0.0, 0.0
    return float(x.std(ddof=1)), float(n * ((x - center) ** 4).sum() / squares**2)


def spread_ratio(treatment: Sequence[float], control: Sequence[float], level: float = 0.95) -> Estimate:
    """Return the ratio of the standard deviations of two arms over common seeds; at least three seeds.

    The t interval of its logarithm, with the variance of the jackknife (Miller 1968). At n = 20 and 40, and
    correlations 0 and 0.7, a 95% interval covers 93 to 96% for normal values, 93 to 94% for Student's t with
    5 degrees of freedom and 88 to 92% for log-normal ones (sigma 0.7); the BCa bootstrap 90 to 93, 89 to 91
    and 84 to 85%. The ratio to a control that does not vary is infinite, and nothing is bounded where all
    seeds but one agree.
    """
    x, y = paired(treatment, control, 3)
    half = half_width(_log_spreads(x) - _log_spreads(y), level)
    ratio = float(x.std(ddof=1) / y.std(ddof=1)) if np.ptp(y) else np.inf
    return _around(ratio, half, level, len(x))


def _log_spreads(x: Floats) -> Floats:
    """Return the jackknife's pseudo-values of the log standard deviation, but for a constant."""
    n, squares = len(x), (x - x.mean()) ** 2
    rests = squares.sum() - squares * n / (n - 1)  # of squares, without each value in turn
    varies = (rests > 1e-12 * squares.sum()) & (np.ptp(x) > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(varies, (1 - n) * np.log(rests / (n - 2)) / 2, np.inf)


def _around(value: float, half: float, level: float, n: int) -> Estimate:
    """Return a positive value within `half` on either side of its logarithm."""
    if not np.isfinite(half):
        return Estimate(value, 0.0, np.inf, level, n)
    with np.errstate(over="ignore"):
        reach = float(np.exp(half))
    return Estimate(value, value / reach, value * reach, level, n)


def mean_ratio(treatment: Sequence[float], control: Sequence[float]) -> Interval:
    """Return the interval of the ratio of two means of positive values: BCa bootstrap over whole seeds.

    Its percentiles are those of Student's t instead of the normal distribution (Hesterberg 2015, section
    5.2): for normal values it then misses 2.4 to 2.5% to the left and 2.7 to 2.9% to the right at n = 20 and
    2.8 to 3.1 and 1.9 to 2.7% at n = 40, where plain BCa misses 4.1 to 4.5 and 3.6 to 3.9, 2.7 to 3.6 and 2.7
    to 3.1%. A level beyond what the resamples resolve bounds nothing.
    """
    x, y = paired(treatment, control, 2)
    value, n = float(x.mean() / y.mean()), len(x)
    bca = partial(bootstrap, (x, y), _quotient, paired=True, method="BCa")
    drawn = bca(n_resamples=RESAMPLES, rng=np.random.default_rng(0))

    def interval(level: float) -> Estimate:
        tail = float(norm.sf(np.sqrt(n / (n - 1)) * t_quantile((1 - checked_level(level)) / 2, n)))
        if tail * RESAMPLES < 1:
            return Estimate(value, 0.0, np.inf, level, n)
        found = bca(n_resamples=0, confidence_level=1 - 2 * tail, bootstrap_result=drawn).confidence_interval
        return Estimate(value, float(found.low), float(found.high), level, n)

    return interval


def _quotient(x: Floats, y: Floats, axis: int = -1) -> Floats:
    quotient: Floats = x.mean(axis=axis) / y.mean(axis=axis)
    return quotient


def share(parts: Sequence[float], wholes: Sequence[float], level: float = 0.95) -> Estimate:
    """Return the mean of `parts` as a share of the mean of `wholes`, paired by seed, with Fieller's interval.

    It holds every share s for which the mean of part - s whole is not told from zero by Student's test
    (Fieller 1954), and everything where the whole is not told from zero. For normal values it covers at its
    level with any number of seeds; in 1,500 simulations at n = 5, 8, 20 and 40, with a whole of 2 to 10
    standard deviations, 94 to 96%, where the BCa bootstrap covered 83 to 85, 87 to 89, 93 and 93 to 95%.
    """
    x, y = paired(parts, wholes, 2)
    n, part, whole = len(x), float(x.mean()), float(y.mean())
    value = part / whole if whole else np.inf
    covariance = t_quantile((1 - checked_level(level)) / 2, n) ** 2 * np.cov(x, y) / n
    a = whole**2 - covariance[1, 1]
    if a <= 0:
        return Estimate(value, -np.inf, np.inf, level, n)
    b = part * whole - covariance[0, 1]
    root = np.sqrt(max(0.0, b**2 - a * (part**2 - covariance[0, 0])))
    return Estimate(value, float((b - root) / a), float((b + root) / a), level, n)


def detectable_within(estimate: Estimate, *, logs: bool, power: float = 0.8) -> float | None:
    """Return how far from the bound a value has to be to be told from it with that power: a difference, or a
    factor where the interval is one of logarithms. That of the t interval as wide as this one."""
    ends = np.array([estimate.low, estimate.high])
    with np.errstate(divide="ignore"):
        half = float(np.ptp(np.log(ends) if logs else ends)) / 2
    if not np.isfinite(half) or half <= 0:
        return None
    sd = half * np.sqrt(estimate.n) / t_quantile((1 - estimate.level) / 2, estimate.n)
    least = detectable(float(sd), estimate.n, power, estimate.level)
    return float(np.exp(least)) if logs else least
