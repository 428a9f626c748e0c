"""From claims and records to verdicts: supported, refuted or undecided, with effect and interval."""

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from bnstudy import stats
from bnstudy.claims import Claim, Measure
from bnstudy.design import Ablation, Factor
from bnstudy.outcome import FINISHED
from bnstudy.recipe import level_name
from bnstudy.stats import Estimate, Interval, Workable

ERROR_RATE = 0.05
THRESHOLDS = (0.2, 0.5, 0.8)
"""Training accuracies that count as success: 50% decides, the others show how much that choice matters."""


@dataclass(frozen=True)
class Verdict:
    """What the records say of a claim: `supported`, `refuted` or `undecided`."""

    claim: Claim
    treatment: str
    control: str
    primary: bool
    preview: bool
    """Whether the records are less than a complete ledger of the `paper` profile."""
    seeds: int
    result: str = "undecided"
    estimate: Estimate | None = None
    p: float | None = None
    """The smaller p value of the claim and of its opposite; adjusted (Holm) unless the claim is primary."""
    detectable: float | None = None
    """The smallest difference (or margin of equality) that as many seeds see with 80% power."""
    pairing: float | None = None
    """Correlation of the arms over seeds: what is left of the common random numbers."""


@dataclass(frozen=True)
class Evidence:
    """A claim's effect as an interval of any level, and the p values of the claim and its opposite."""

    interval: Interval
    supported: float
    refuted: float
    detectable: float | None = None
    pairing: float | None = None

    @property
    def p(self) -> float:
        """The smaller of the two."""
        return min(self.supported, self.refuted)


def finished(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of trainings that ran to their end, diverged or not."""
    return frame[frame.status.isin(FINISHED)]


def judge(ablation: Ablation, frame: pd.DataFrame, preview: bool) -> list[Verdict]:
    """Return a verdict for each claim, the first one primary and unadjusted, the others Holm-adjusted.

    frame: `Ledger.frame` of the ablation. Only finished trials count, and only seeds that have every trial
    of both sides. A claim with fewer than two such seeds is undecided, without an estimate.
    """
    frame = finished(frame)
    verdicts, found = [], {}
    for place, claim in enumerate(ablation.claims):
        treatment, control = sides(ablation, claim)
        evidence, seeds = weigh(ablation, frame, claim)
        verdicts.append(Verdict(claim, treatment, control, place == 0, preview, seeds))
        if evidence is not None:
            found[place] = evidence
    others = [place for place in found if place > 0]
    p_values = {place: found[place].p for place in found}
    p_values |= dict(zip(others, stats.holm([found[place].p for place in others]), strict=True))
    return [_decided(v, found[i], p_values[i]) if i in found else v for i, v in enumerate(verdicts)]


def sides(ablation: Ablation, claim: Claim) -> tuple[str, str]:
    """Return the names of a claim's treatment and control."""
    factor = ablation.factor(claim.factor)
    control = claim.control or factor.control.name
    return claim.treatment or next(v.name for v in factor.levels if v.name != control), control


def _decided(verdict: Verdict, evidence: Evidence, p: float) -> Verdict:
    better = "supported" if evidence.supported < evidence.refuted else "refuted"
    return replace(
        verdict,
        result=better if p <= ERROR_RATE else "undecided",
        p=p,
        estimate=evidence.interval(1 - ERROR_RATE),
        detectable=evidence.detectable,
        pairing=evidence.pairing,
    )


def weigh(ablation: Ablation, frame: pd.DataFrame, claim: Claim) -> tuple[Evidence | None, int]:
    """Return the evidence on a claim and the number of its complete seeds; no evidence below two."""
    factor = ablation.factor(claim.factor)
    for name, level in claim.at:
        frame = frame[frame[name] == level]
    treatment, control = (frame[frame[factor.name] == name] for name in sides(ablation, claim))
    if claim.measure.summary == "largest workable":
        over = ablation.factor(claim.measure.over or "lr")
        cells = workable(over, treatment, claim.measure), workable(over, control, claim.measure)
        seeds = sorted(set(cells[0]) & set(cells[1]))
        if len(seeds) < 2:
            return None, len(seeds)
        treatments, controls = ([side[seed] for seed in seeds] for side in cells)
        interval = functools.partial(stats.workable_ratio, treatments, controls, rates(over))
        return _evidence(interval, claim), len(seeds)
    values = outcomes(ablation, treatment, claim.measure), outcomes(ablation, control, claim.measure)
    seeds = sorted(set(values[0]) & set(values[1]))
    if len(seeds) < 2:
        return None, len(seeds)
    x, y = (pd.Series([side[seed] for seed in seeds]) for side in values)
    evidence = _evidence(functools.partial(stats.paired_mean, list(x - y)), claim)
    smallest = stats.detectable_margin if claim.effect.rule == "equal within" else stats.detectable
    spread = float((x - y).std())
    return replace(evidence, detectable=smallest(spread, len(seeds)), pairing=float(x.corr(y))), len(seeds)


def _evidence(interval: Interval, claim: Claim) -> Evidence:
    margin = claim.effect.margin
    if claim.effect.rule == "equal within":
        within, outside = (f(interval, -margin, margin) for f in (stats.p_within, stats.p_outside))
        return Evidence(interval, within, outside)
    above, below = stats.p_above(interval, margin), stats.p_below(interval, margin)
    return Evidence(interval, *((above, below) if claim.effect.rule == "at least" else (below, above)))


def rates(factor: Factor) -> list[float]:
    """Return the levels of a factor of numbers, ascending."""
    return sorted(float(level.name) for level in factor.levels)


def outcomes(ablation: Ablation, rows: pd.DataFrame, measure: Measure) -> dict[int, float]:
    """Return one arm's value by seed, averaged over whatever factors are left in `rows`."""
    if measure.over is not None:
        rows = complete(rows, ablation.factor(measure.over))
        rows = rows[rows[measure.over] == best_level(rows, measure.over)] if len(rows) else rows
    counts = rows.groupby("seed").size()
    whole = rows[rows.seed.isin(counts.index[counts == counts.max()])]
    return _by_seed(whole.groupby("seed")[measure.outcome].mean())


def workable(factor: Factor, rows: pd.DataFrame, measure: Measure) -> dict[int, Workable]:
    """Return each seed's largest workable rate among the levels of `factor`, as a cell of their grid."""
    grid, cells = rates(factor), {}
    rows = complete(rows, factor)
    for seed in rows.seed.unique():
        mine = rows[rows.seed == seed]
        scores = mine.groupby(mine[factor.name].astype(float))[measure.outcome].mean()
        cells[int(seed)] = stats.workable(
            grid, [float(scores[rate]) for rate in grid], measure.threshold or 0.5
        )
    return cells


def complete(rows: pd.DataFrame, factor: Factor) -> pd.DataFrame:
    """Return the rows of the seeds that have every level of `factor`."""
    levels = rows.groupby("seed")[factor.name].nunique()
    return rows[rows.seed.isin(levels.index[levels == len(factor.levels)])]


def best_level(rows: pd.DataFrame, factor: str) -> str:
    """Return the level with the highest mean validation accuracy after the last epoch."""
    final = rows.validation_accuracy.map(lambda curve: curve[-1])
    return str(final.groupby(rows[factor], observed=True).mean().idxmax())


def _by_seed(values: "pd.Series[float]") -> dict[int, float]:
    return {int(str(seed)): float(value) for seed, value in values.items()}


def answer(ablation: Ablation, frame: pd.DataFrame, verdict: Verdict) -> str:
    """Return the answer in two sentences: what was measured of both sides, and the verdict on the claim."""
    factor, measure = ablation.factor(verdict.claim.factor), verdict.claim.measure
    rows = finished(frame)
    measured = [
        f"{_measured(ablation, rows[rows[factor.name] == name], measure)} {factor.level(name).label}"
        for name in (verdict.treatment, verdict.control)
    ]
    workable = measure.summary == "largest workable"
    what = "largest workable learning rate" if workable else measure.outcome.replace("_", " ")
    return f"The {what} is {' and '.join(measured)}. {sentence(verdict)}"


def _measured(ablation: Ablation, rows: pd.DataFrame, measure: Measure) -> str:
    """Return one arm's value in words, with its 95% interval."""
    if measure.summary == "largest workable":
        factor = ablation.factor(measure.over or "lr")
        return _range(workable(factor, rows, measure), rates(factor))
    values = outcomes(ablation, rows, measure)
    if len(values) < 2:
        return "not known yet"
    mean = stats.mean(list(values.values()))
    return f"{100 * mean.value:.1f}% ({100 * mean.low:.1f} to {100 * mean.high:.1f})"


def _range(cells: Mapping[int, Workable], grid: Sequence[float]) -> str:
    if len(cells) < 2:
        return "not known yet"
    estimate = stats.workable_location(list(cells.values()), grid)
    low, high = level_name(estimate.low), level_name(estimate.high)
    if estimate.low == 0:
        return "not known on this grid" if math.isinf(estimate.high) else f"below {high}"
    return f"{low} or more" if math.isinf(estimate.high) else f"between {low} and {high}"


def sentence(verdict: Verdict) -> str:
    """Return a verdict as a sentence: the claim, what became of it, the effect and its interval."""
    claim, e = verdict.claim, verdict.estimate
    what = f"{claim.text} {verdict.result.capitalize()}"
    if e is None:
        return f"{what}: {verdict.seeds} seeds have all trials of both arms; at least 2 are needed."
    if claim.effect.kind == "ratio":
        high = "up, as far as the grid goes" if math.isinf(e.high) else f"to {_digits(e.high)}"
        effect = f"{_digits(e.value)} times, 95% interval {_digits(e.low)} {high}"
    else:
        points = [f"{100 * x:+.2f}" for x in (e.value, e.low, e.high)]
        effect = f"{points[0]} points, 95% interval {points[1]} to {points[2]}"
    return f"{what}: {effect} ({verdict.seeds} seeds)."


def _digits(value: float) -> str:
    return f"{value:.2g}" if value < 100 else f"{value:,.0f}"
