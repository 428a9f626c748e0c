"""What values over seeds say of a claim, before any adjustment: an interval, and p values for and against.

Where nothing can be said there is a reason and no interval: too few seeds, or no spread. Seeds that all agree
(say, because every one saturates at 10%) would make an interval of no width, which is certainty out of
nothing; a claim on the share of seeds that succeed, or an exact one, can still be judged there.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy.special import expit, logit

from bnstudy.books.language import tell
from bnstudy.claims import Claim
from bnstudy.judgement import orders, placebo, ratios, stats
from bnstudy.judgement.phrases import amount, change, counted, difference, is_share
from bnstudy.judgement.stats import Floats, Interval

LEAST_RECORDED = 10
"""Seeds for a recorded number to count as typical: with 10 a 99% prediction interval is 1.3 times as wide as
with very many, with 5 twice as wide. A number outside of a wide interval is still outside."""


@dataclass(frozen=True)
class Part:
    """One of several numbers that a claim is about, with the bounds it is held against."""

    name: str
    value: float
    low: float
    high: float

    @property
    def inside(self) -> bool:
        """Whether the number is within its bounds."""
        return self.low <= self.value <= self.high


@dataclass(frozen=True)
class Evidence:
    """A claim's effect as an interval of any level, and the p values of the claim and its opposite."""

    seeds: int
    reason: str = ""
    """Why there is no verdict."""
    interval: Interval | None = None
    supported: float = 1.0
    refuted: float = 1.0
    result: str = ""
    """The verdict where it is no test of one claim: it has no p value and takes no part in adjustments."""
    detectable: float | None = None
    pairing: float | None = None
    parts: tuple[Part, ...] = ()

    @property
    def p(self) -> float:
        """The smaller of the two."""
        return min(self.supported, self.refuted)


@dataclass(frozen=True)
class Values:
    """What a claim's parties measured over their common seeds."""

    names: tuple[str, ...]
    weights: Floats
    table: Floats
    """Float [parties, seeds]."""

    @property
    def seeds(self) -> int:
        """How many seeds there are."""
        return int(self.table.shape[1])

    @property
    def pairing(self) -> float | None:
        """The correlation of two parties over seeds."""
        if len(self.table) != 2:
            return None
        return stats.pairing(self.table[0].tolist(), self.table[1].tolist()).value


TOO_FEW = {
    1: "{seeds} with all trials, and at least {least} are needed",
    2: "{seeds} with all trials of both sides, and at least {least} are needed",
    3: "{seeds} with all trials of all sides, and at least {least} are needed",
}
"""By the number of parties."""


def too_few(seeds: int, least: int, parties: int) -> Evidence:
    """Return the evidence of fewer seeds than a claim needs."""
    return Evidence(seeds, tell(TOO_FEW[min(parties, 3)], seeds=counted(seeds, "seed"), least=least))


def no_spread(seeds: int, what: str) -> Evidence:
    """Return the evidence of seeds that all agree."""
    told = tell("{what} for every seed, so that nothing tells how far chance reaches", what=what)
    return Evidence(seeds, told)


def tested(
    claim: Claim,
    seeds: int,
    interval: Interval,
    *,
    detectable: float | None = None,
    pairing: float | None = None,
) -> Evidence:
    """Return the evidence that an interval is, by the claim's rule."""
    margin = claim.effect.margin
    if claim.effect.rule == "equal within":
        both = tuple(f(interval, -margin, margin) for f in (stats.p_within, stats.p_outside))
    else:
        both = stats.p_above(interval, margin), stats.p_below(interval, margin)
    supported, refuted = both[::-1] if claim.effect.rule == "at most" else both
    return Evidence(seeds, "", interval, supported, refuted, detectable=detectable, pairing=pairing)


def same(values: Floats) -> bool:
    """Return whether values [seeds] differ by no more than rounding."""
    return bool(np.ptp(values) <= 1e-12 * max(1.0, float(np.abs(values).max())))


def weigh_mean(claim: Claim, values: Values) -> Evidence:
    """Return the evidence on a mean difference, a contrast or the mean of an arm: the paired t interval."""
    x: Floats = values.weights @ values.table
    if same(x):
        return no_spread(values.seeds, _constant(claim, float(x[0])))
    smallest = stats.detectable_margin if claim.effect.rule == "equal within" else stats.detectable
    seen = smallest(float(x.std(ddof=1)), values.seeds)
    interval = partial(stats.paired_mean, x.tolist())
    return tested(claim, values.seeds, interval, detectable=seen, pairing=values.pairing)


def _constant(claim: Claim, value: float) -> str:
    if claim.form == "alone":
        return tell("it is {value}", value=amount(value, claim.measure.outcome))
    return tell("the difference is {value}", value=change(value, claim.measure.outcome))


def weigh_success(claim: Claim, values: Values) -> Evidence:
    """Return the evidence on the share of seeds that succeed: Wilson's interval."""
    n, succeeded = values.seeds, int(values.table[0].sum())
    return tested(claim, n, lambda level: stats.wilson(succeeded, n, level))


def weigh_ratio(claim: Claim, values: Values) -> Evidence:
    """Return the evidence on a ratio of means."""
    x, y = values.table
    if values.table.min() <= 0:
        return Evidence(values.seeds, tell("a ratio of means needs values above 0"))
    if same(x / x.mean() - y / y.mean()):
        return no_spread(values.seeds, tell("the ratio is the same"))
    return _tested_factor(claim, values, ratios.mean_ratio(x.tolist(), y.tolist()))


def weigh_spread(claim: Claim, values: Values) -> Evidence:
    """Return the evidence on the standard deviation of one arm."""
    if same(values.table[0]):
        return no_spread(values.seeds, tell("the value is the same"))
    return _tested_factor(claim, values, partial(ratios.spread, values.table[0].tolist()))


def weigh_spread_ratio(claim: Claim, values: Values) -> Evidence:
    """Return the evidence on the ratio of two standard deviations."""
    if any(map(same, values.table)):
        return no_spread(values.seeds, tell("one side is the same"))
    x, y = values.table.tolist()
    return _tested_factor(claim, values, partial(ratios.spread_ratio, x, y))


def _tested_factor(claim: Claim, values: Values, interval: Interval) -> Evidence:
    seen = ratios.detectable_within(interval(0.95), logs=True)
    return tested(claim, values.seeds, interval, detectable=seen, pairing=values.pairing)


def weigh_share(claim: Claim, values: Values) -> Evidence:
    """Return the evidence on one difference as a share of another, which has to be above 0."""
    treatment, control, whole, *base = values.table
    parts, wholes = treatment - control, whole - (base[0] if base else control)
    if same(parts) and same(wholes):
        return no_spread(values.seeds, tell("each difference is the same"))
    gain = stats.paired_mean(wholes.tolist())
    if gain.low <= 0:
        low, high = (difference(end, claim.measure.outcome) for end in (gain.low, gain.high))
        told = tell(
            "the whole is not clearly above 0 ({value}, 95% interval {low} to {high}), so there is no share "
            "of it",
            value=change(gain.value, claim.measure.outcome),
            low=low,
            high=high,
        )
        return Evidence(values.seeds, told)
    sd = float((parts - claim.effect.margin * wholes).std(ddof=1)) / gain.value
    seen = stats.detectable(sd, values.seeds)
    interval = partial(ratios.share, parts.tolist(), wholes.tolist())
    return tested(claim, values.seeds, interval, detectable=seen)


def weigh_order(claim: Claim, values: Values) -> Evidence:
    """Return the evidence on which level is best, or whether means descend, simultaneous over the pairs."""
    if all(map(same, np.diff(values.table, axis=0))):
        return no_spread(values.seeds, tell("every difference is the same"))
    table = dict(zip(values.names, values.table.tolist(), strict=True))
    wanted = [table[name] for name in claim.effect.levels]
    interval: Interval = partial(orders.smallest_step, wanted)
    if claim.effect.rule == "best among":
        others = [each for name, each in table.items() if name not in claim.effect.levels]
        interval = partial(orders.lead, wanted, others)
    seen = ratios.detectable_within(interval(0.95), logs=False)
    return tested(claim, values.seeds, interval, detectable=seen)


def weigh_alarms(claim: Claim, values: Values) -> Evidence:
    """Return the evidence on the judge itself: refuted where it raises more false alarms than it says."""
    differences: Floats = values.weights @ values.table
    if same(differences):
        return no_spread(values.seeds, tell("the difference is the same"))
    found = placebo.false_alarms(differences.tolist(), claim.effect.margin)
    parts = tuple(Part(each.name, each.rate, each.low, each.high) for each in found)
    if any(part.value > part.high for part in parts):
        return Evidence(values.seeds, result="refuted", parts=parts)
    if not all(part.inside for part in parts):
        return Evidence(values.seeds, result="undecided", parts=parts)
    return Evidence(values.seeds, result="supported", parts=parts)


def weigh_recorded(claim: Claim, values: Sequence[Sequence[float]], error_rate: float) -> Evidence:
    """Return the evidence on numbers of single runs: prediction intervals, simultaneous over the numbers.

    values: those of each number's arm over its own seeds. Inside is as near to support as it comes, so there
    is only a p value against. Shares are taken to be normal in their log-odds, since accuracies are skewed
    near their ceiling: with log-normal errors (sigma 0.4) and 40 seeds, 6% of studies refute five numbers of
    as many recipes so, and 11% as they are.
    """
    recorded, rounding = claim.effect.recorded, claim.effect.margin
    shares = is_share(claim.measure.outcome) and all(0 < x < 1 for each in values for x in each)
    parts, p_values = [], []
    for (name, number), each in zip(recorded, values, strict=True):
        interval = partial(stats.prediction, logit(each).tolist() if shares else each)
        ends = np.array([number - rounding, number + rounding])
        low, high = (logit(np.clip(ends, 0, 1)) if shares else ends).tolist()
        p_values.append(stats.p_outside(interval, low, high))
        bounds = interval(1 - error_rate / len(recorded))
        around = np.array([bounds.low, bounds.high])
        lowest, highest = (expit(around) if shares else around).tolist()
        parts.append(Part(name, number, lowest - rounding, highest + rounding))
    p = min(1.0, len(recorded) * min(p_values))
    return Evidence(min(map(len, values)), refuted=p, parts=tuple(parts))


WEIGHERS: dict[str, Callable[[Claim, Values], Evidence]] = {
    "difference": weigh_mean,
    "ratio": weigh_ratio,
    "spread": weigh_spread,
    "spread ratio": weigh_spread_ratio,
    "share": weigh_share,
    "order": weigh_order,
    "false alarms": weigh_alarms,
}
"""By the kind of a claim's effect."""

MANY = ("ratio", "spread", "spread ratio", "false alarms")
"""The kinds of effects that need `ratios.LEAST_SEEDS`."""
