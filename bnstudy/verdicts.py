"""From claims and records to verdicts: supported, refuted or undecided, with effect and interval."""

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import pandas as pd

from bnstudy import stats
from bnstudy.claims import Claim, Measure
from bnstudy.design import Ablation, Factor
from bnstudy.outcome import FINISHED
from bnstudy.recipe import level_name
from bnstudy.stats import Estimate, Interval, Workable
from bnstudy.words import counted

ERROR_RATE = 0.05
THRESHOLDS = (0.2, 0.5, 0.8)
"""Training accuracies that count as success: 50% decides, the others show how much that choice matters."""

SPOKEN = {
    "precise_test_accuracy": "test accuracy (statistics recomputed)",
    "test_accuracy": "test accuracy (running averages)",
    "batch_test_accuracy": "test accuracy (each batch's statistics)",
    "mean_test_accuracy": "mean test accuracy of the last three epochs",
    "validation_area": "mean validation accuracy over the epochs",
    "epochs_to_85": "number of epochs to 85% validation accuracy",
}
"""Outcomes whose name alone does not say what they are."""


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
    reason: str = ""
    """Why there is no estimate."""
    estimate: Estimate | None = None
    """The effect with the interval that its rule looks at: 90% to show equality, else 95%."""
    p: float | None = None
    """The smaller p value of the claim and of its opposite; adjusted (Holm) unless the claim is primary."""
    detectable: float | None = None
    """The smallest difference (or margin of equality) that as many seeds see with 80% power."""
    pairing: float | None = None
    """Correlation of the arms over seeds: what is left of the common random numbers."""


@dataclass(frozen=True)
class Evidence:
    """A claim's effect as an interval of any level, and the p values of the claim and its opposite."""

    seeds: int
    reason: str = ""
    """Why there is no interval."""
    interval: Interval | None = None
    supported: float = 1.0
    refuted: float = 1.0
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
    weighed = [weigh(ablation, finished(frame), claim) for claim in ablation.claims]
    p_values = [evidence.p for evidence in weighed]
    p_values[1:] = stats.holm(p_values[1:])
    judged = []
    for place, (claim, evidence, p) in enumerate(zip(ablation.claims, weighed, p_values, strict=True)):
        verdict = Verdict(claim, *sides(ablation, claim), place == 0, preview, evidence.seeds)
        judged.append(_decided(verdict, evidence, p))
    return judged


def sides(ablation: Ablation, claim: Claim) -> tuple[str, str]:
    """Return the names of a claim's treatment and control, as the whole design declares them."""
    factor = ablation.whole.factor(claim.factor)
    control = claim.control or factor.control.name
    return claim.treatment or next(v.name for v in factor.levels if v.name != control), control


def _decided(verdict: Verdict, evidence: Evidence, p: float) -> Verdict:
    if evidence.interval is None:
        return replace(verdict, reason=evidence.reason)
    better = "supported" if evidence.supported < evidence.refuted else "refuted"
    result = better if p <= ERROR_RATE else "undecided"
    two_tests = verdict.claim.effect.rule == "equal within" and result != "refuted"
    return replace(
        verdict,
        result=result,
        p=p,
        estimate=evidence.interval(1 - (2 if two_tests else 1) * ERROR_RATE),
        detectable=evidence.detectable,
        pairing=evidence.pairing,
    )


def weigh(ablation: Ablation, frame: pd.DataFrame, claim: Claim) -> Evidence:
    """Return the evidence on a claim from finished trials, or why there is none."""
    left_out = _left_out(ablation, claim)
    if left_out:
        return Evidence(0, f"this profile leaves out {left_out}")
    rows = [side(ablation, frame, claim, name) for name in sides(ablation, claim)]
    if claim.measure.summary == "largest workable":
        return _weigh_workable(ablation, rows, claim)
    values = [outcomes(each, claim.measure) for each in rows]
    seeds = _common(values)
    x, y = ([each[seed] for seed in seeds] for each in values)
    if len(seeds) < 2:
        return Evidence(len(seeds), _too_few(seeds))
    if not all(map(math.isfinite, x + y)):
        return Evidence(len(seeds), f"some trials have no {spoken(claim.measure.outcome)}")
    differences = [a - b for a, b in zip(x, y, strict=True)]
    evidence = _evidence(functools.partial(stats.paired_mean, differences), claim, len(seeds))
    smallest = stats.detectable_margin if claim.effect.rule == "equal within" else stats.detectable
    spread = float(pd.Series(differences).std())
    return replace(evidence, detectable=smallest(spread, len(seeds)), pairing=stats.pairing(x, y).value)


def _weigh_workable(ablation: Ablation, rows: Sequence[pd.DataFrame], claim: Claim) -> Evidence:
    over = ablation.factor(claim.measure.over or "lr")
    cells = [workable(over, each, claim.measure) for each in rows]
    seeds = _common(cells)
    if len(seeds) < 2:
        return Evidence(len(seeds), _too_few(seeds))
    treatment, control = ([each[seed] for seed in seeds] for each in cells)
    interval = functools.partial(stats.workable_ratio, treatment, control, rates(over))
    return _evidence(interval, claim, len(seeds))


def _left_out(ablation: Ablation, claim: Claim) -> str:
    """Return the first level that a claim needs and this part of the design does not have, or nothing."""
    needed = [*((claim.factor, name) for name in sides(ablation, claim)), *claim.at]
    missing = (
        f"{factor}={name}"
        for factor, name in needed
        if name not in [level.name for level in ablation.factor(factor).levels]
    )
    return next(missing, "")


def _common(values: Sequence[Mapping[int, object]]) -> list[int]:
    return sorted(set(values[0]) & set(values[1]))


def _too_few(seeds: Sequence[int]) -> str:
    return f"{counted(len(seeds), 'seed')} with all trials of both sides, and at least 2 are needed"


def _evidence(interval: Interval, claim: Claim, seeds: int) -> Evidence:
    margin = claim.effect.margin
    if claim.effect.rule == "equal within":
        within, outside = (f(interval, -margin, margin) for f in (stats.p_within, stats.p_outside))
        return Evidence(seeds, "", interval, within, outside)
    above, below = stats.p_above(interval, margin), stats.p_below(interval, margin)
    return Evidence(
        seeds, "", interval, *((above, below) if claim.effect.rule == "at least" else (below, above))
    )


def side(ablation: Ablation, frame: pd.DataFrame, claim: Claim, level: str) -> pd.DataFrame:
    """Return the rows of one side of a claim: those of the seeds that have all of its trials."""
    fixed = {claim.factor: level, **dict(claim.at)}
    for name, value in fixed.items():
        frame = frame[frame[name] == value]
    arms = math.prod(len(factor.levels) for factor in ablation.factors if factor.name not in fixed)
    counts = frame.groupby("seed").size()
    return frame[frame.seed.isin(counts.index[counts == arms])]


def rates(factor: Factor) -> list[float]:
    """Return the levels of a factor of numbers, ascending."""
    return sorted(float(level.name) for level in factor.levels)


def outcomes(rows: pd.DataFrame, measure: Measure) -> dict[int, float]:
    """Return one side's value by seed, averaged over whatever factors are left in `rows`."""
    if measure.over is not None and len(rows):
        rows = rows[rows[measure.over] == best_level(rows, measure.over)]
    return {
        int(str(seed)): fmean(each.to_numpy(dtype=float, na_value=math.nan))
        for seed, each in rows.groupby("seed")[measure.outcome]
    }


def workable(factor: Factor, rows: pd.DataFrame, measure: Measure) -> dict[int, Workable]:
    """Return each seed's largest workable rate among the levels of `factor`, as a cell of their grid.

    Only seeds that have every level count.
    """
    grid, cells = rates(factor), {}
    for seed, mine in rows.groupby("seed"):
        scores = mine.groupby(mine[factor.name].astype(float))[measure.outcome].mean()
        accuracies = [float(scores.get(rate, math.nan)) for rate in grid]
        if all(map(math.isfinite, accuracies)):
            cells[int(str(seed))] = stats.workable(grid, accuracies, measure.threshold or 0.5)
    return cells


def best_level(rows: pd.DataFrame, factor: str) -> str:
    """Return the level with the highest mean validation accuracy after the last epoch."""
    final = rows.validation_accuracy.map(lambda curve: curve[-1] if curve else 0.0)
    return str(final.groupby(rows[factor], observed=True).mean().idxmax())


def answer(ablation: Ablation, frame: pd.DataFrame, verdict: Verdict) -> str:
    """Return the answer in two sentences: what was measured of both sides, and the verdict on the claim."""
    if verdict.estimate is None:
        return sentence(verdict)
    claim, factor = verdict.claim, ablation.factor(verdict.claim.factor)
    treatment, control = (
        f"{titled(factor, name)} {_measured(ablation, side(ablation, finished(frame), claim, name), claim)}"
        for name in (verdict.treatment, verdict.control)
    )
    what = _what(claim.measure)
    return f"{what[0].upper()}{what[1:]}: {treatment}; {control}. {sentence(verdict)}"


def titled(factor: Factor, name: str) -> str:
    """Return a level as a text names it: its label, or `lr 0.1` where that is only a number."""
    label = factor.level(name).label
    return f"{factor.name} {label}" if label[0].isdigit() else label


def _what(measure: Measure) -> str:
    if measure.summary == "largest workable":
        return "largest workable learning rate (95% interval)"
    best = f", each at its best {_OVER.get(measure.over, measure.over)}" if measure.over else ""
    return f"{spoken(measure.outcome)}, mean and 95% interval{best}"


_OVER = {"lr": "learning rate"}


def spoken(outcome: str) -> str:
    """Return an outcome's name as a text says it."""
    return SPOKEN.get(outcome, outcome.replace("_", " "))


def _measured(ablation: Ablation, rows: pd.DataFrame, claim: Claim) -> str:
    """Return one side's value in words, with its 95% interval."""
    measure = claim.measure
    if measure.summary == "largest workable":
        factor = ablation.factor(measure.over or "lr")
        return _range(workable(factor, rows, measure), rates(factor))
    mean = stats.mean(list(outcomes(rows, measure).values()))
    if is_share(measure.outcome):
        return f"{100 * mean.value:.1f}% ({100 * mean.low:.1f} to {100 * mean.high:.1f})"
    return f"{mean.value:.3g} ({mean.low:.3g} to {mean.high:.3g})"


def is_share(outcome: str) -> bool:
    """Return whether an outcome is a share in [0, 1], whose differences are told in points."""
    return "accuracy" in outcome or outcome in ("validation_area", "finite")


def _range(cells: Mapping[int, Workable], grid: Sequence[float]) -> str:
    estimate = stats.workable_location(list(cells.values()), grid)
    low, high = level_name(estimate.low), level_name(estimate.high)
    if estimate.low == 0:
        return "not known from these rates" if math.isinf(estimate.high) else f"below {high}"
    return f"{low} or more" if math.isinf(estimate.high) else f"between {low} and {high}"


def sentence(verdict: Verdict) -> str:
    """Return a verdict as a sentence: the claim, what became of it, the effect and its interval."""
    what = f"{verdict.claim.text.rstrip('.')}. {verdict.result.capitalize()}"
    if verdict.estimate is None:
        return f"{what}: {verdict.reason}."
    ratio = verdict.claim.effect.kind == "ratio"
    share = is_share(verdict.claim.measure.outcome)
    effect = _ratio(verdict.estimate) if ratio else _difference(verdict.estimate, share)
    return f"{what}: {effect} ({counted(verdict.seeds, 'seed')}){_remark(verdict)}."


def power(verdict: Verdict) -> str:
    """Return what such a comparison can see, and what is left of the pairing; nothing for ratios."""
    if verdict.detectable is None or verdict.pairing is None:
        return ""
    share = is_share(verdict.claim.measure.outcome)
    size = f"{100 * verdict.detectable:.2f} points" if share else f"{verdict.detectable:.3g}"
    what = "equality within" if verdict.claim.effect.rule == "equal within" else "a difference of"
    return (
        f"{counted(verdict.seeds, 'seed')} like these show {what} {size} with 80% power; "
        f"over seeds the two sides correlate by {verdict.pairing:.2f}."
    )


def _ratio(e: Estimate) -> str:
    """Return a ratio in words; the value of an open interval says only where the rates tried end."""
    if e.low == 0 and math.isinf(e.high):
        return "the rates tried are too few to bound the ratio"
    if math.isinf(e.high):
        return (
            f"at least {_digits(e.low)} times by the 95% interval, with no upper bound from the rates tried"
        )
    if e.low == 0:
        return (
            f"at most {_digits(e.high)} times by the 95% interval, with no lower bound from the rates tried"
        )
    return f"{_digits(e.value)} times, 95% interval {_digits(e.low)} to {_digits(e.high)}"


def _difference(e: Estimate, share: bool) -> str:
    value, low, high = (points(x) if share else f"{x:+.3g}" for x in (e.value, e.low, e.high))
    return f"{value}{' points' if share else ''}, {100 * e.level:.0f}% interval {low} to {high}"


def points(share: float) -> str:
    """Return a difference of shares in points, with its sign."""
    return f"{round(100 * share, 2) + 0.0:+.2f}"


def _remark(verdict: Verdict) -> str:
    """Return why an interval that is clear by itself does not decide: it is one of several."""
    e, effect = verdict.estimate, verdict.claim.effect
    if verdict.result != "undecided" or verdict.primary or e is None:
        return ""
    ends = (-effect.margin, effect.margin) if effect.rule == "equal within" else (effect.margin,)
    clear = all(not e.low <= end <= e.high for end in ends)
    return f"; after adjusting for several claims p = {verdict.p:.2g}" if clear else ""


def _digits(value: float) -> str:
    """Return a positive number to two digits: 0.0098, 3.2, 320."""
    rounded = float(f"{value:.2g}")
    return f"{rounded:,.0f}" if rounded >= 10 else level_name(rounded)
