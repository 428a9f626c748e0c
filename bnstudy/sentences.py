"""Verdicts in words: one readable sentence each, and what was measured of the sides."""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby

import pandas as pd

from bnstudy import ratios, stats
from bnstudy.claims import Claim, Measure
from bnstudy.design import Ablation
from bnstudy.evidence import LEAST_RECORDED
from bnstudy.parties import Party, finished, left_out, outcomes, parties, rates, rows_of, workable
from bnstudy.phrases import amount, difference, digits, is_share, size, spoken, titled, unit
from bnstudy.recipe import level_name
from bnstudy.stats import Estimate
from bnstudy.verdicts import Verdict
from bnstudy.words import counted
from bnstudy.workable import Workable, workable_location

_OVER = {"lr": "learning rate"}
MOST_PARTIES = 6
"""More arms than these are for the figure."""


def answer(ablation: Ablation, frame: pd.DataFrame, verdict: Verdict) -> str:
    """Return the answer in two sentences: what was measured of the sides, and the verdict on the claim."""
    compared = parties(ablation, verdict.claim)
    if verdict.parts or left_out(ablation, verdict.claim) or not 1 < len(compared) <= MOST_PARTIES:
        return sentence(verdict)
    sides = {party: _side(ablation, frame, verdict, party) for party in compared}
    if not all(sides.values()):
        return sentence(verdict)
    told = [
        f"{_heading(verdict.claim, measure)}{'; '.join(sides[party] for party in group)}"
        for measure, group in groupby(compared, key=lambda party: party.measure)
    ]
    return f"{_joined(told, verdict.claim.form)}. {sentence(verdict)}"


def _joined(told: Sequence[str], form: str) -> str:
    if form == "outcomes":
        return "; ".join([_capital(told[0]), *(each.partition(": ")[2] for each in told[1:])])
    return ". ".join(map(_capital, told))


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _heading(claim: Claim, measure: Measure) -> str:
    """Return what is told of each side: `test accuracy, mean and 95% interval: `."""
    if measure.summary == "largest workable":
        return "largest workable learning rate (95% interval): "
    what = "standard deviation over seeds" if claim.effect.kind == "spread ratio" else "mean"
    named = (
        f"{what} and 95% interval"
        if claim.form == "outcomes"
        else f"{spoken(measure.outcome)}, {what} and 95% interval"
    )
    best = f", each at its best {_OVER.get(measure.over, measure.over)}" if measure.over else ""
    return f"{named}{best}: "


def _side(ablation: Ablation, frame: pd.DataFrame, verdict: Verdict, party: Party) -> str:
    """Return a party with what was measured of it, or nothing where fewer than two seeds have it."""
    outcome, rows = party.measure.outcome, rows_of(ablation, finished(frame), party.levels)
    label = ", ".join(titled(ablation.factor(factor), level) for factor, level in party.compared)
    label = label or spoken(outcome)
    if party.measure.summary == "largest workable":
        factor = ablation.factor(party.measure.over or "lr")
        cells = workable(factor, rows, party.measure)
        return "" if len(cells) < 2 else f"{label} {_range(cells, rates(factor))}"
    values = list(outcomes(rows, party.measure).values())
    if len(values) < 2 or not all(map(math.isfinite, values)):
        return ""
    if verdict.claim.effect.kind == "spread ratio":
        if len(values) < ratios.LEAST_SEEDS:
            return f"{label} {size(statistics.stdev(values), outcome)}"
        found = ratios.spread(values)
        low, high = (_bare(end, outcome, 2) for end in (found.low, found.high))
        return f"{label} {size(found.value, outcome)} ({low} to {high})"
    mean = stats.mean(values)
    return (
        f"{label} {amount(mean.value, outcome)} ({_bare(mean.low, outcome)} to {_bare(mean.high, outcome)})"
    )


def _bare(value: float, outcome: str, places: int = 1) -> str:
    """Return an end of an interval without its unit."""
    return f"{100 * value:.{places}f}" if is_share(outcome) else f"{value:.3g}"


def _range(cells: Mapping[int, Workable], grid: Sequence[float]) -> str:
    estimate = workable_location(list(cells.values()), grid)
    low, high = level_name(estimate.low), level_name(estimate.high)
    if estimate.low == 0:
        return "not known from these rates" if math.isinf(estimate.high) else f"below {high}"
    return f"{low} or more" if math.isinf(estimate.high) else f"between {low} and {high}"


def sentence(verdict: Verdict) -> str:
    """Return a verdict as a sentence: the claim, what became of it, the effect and its interval."""
    return f"{verdict.claim.text.rstrip('.')}. {verdict.result.capitalize()}: {finding(verdict)}."


def finding(verdict: Verdict) -> str:
    """Return what decided a verdict: the effect with its interval and seeds, or why there is none."""
    if verdict.parts:
        return _PARTS[verdict.claim.effect.kind](verdict)
    if verdict.estimate is None:
        return verdict.reason
    effect = _effect(verdict, verdict.estimate)
    return f"{effect} ({counted(verdict.seeds, 'seed')}){_remark(verdict)}"


def _effect(verdict: Verdict, e: Estimate) -> str:
    """Return the effect with its interval, in the words of its kind."""
    kind, claim, outcome = verdict.claim.effect.kind, verdict.claim, verdict.claim.measure.outcome
    if kind == "ratio" and claim.measure.summary == "largest workable":
        return _ratio_of_rates(e)
    if kind in ("ratio", "spread ratio"):
        return f"{digits(e.value)} times{_interval(e, digits)}"
    if kind == "spread":
        return f"{size(e.value, outcome)}{_interval(e, lambda x: _bare(x, outcome, 2))}"
    if kind == "share":
        return f"{100 * e.value:.0f}% of the whole{_interval(e, lambda x: f'{100 * x:.0f}%')}"
    if claim.measure.summary == "success":
        return f"{100 * e.value:.0f}% of seeds succeed{_interval(e, lambda x: f'{100 * x:.0f}%')}"
    if claim.form == "alone":
        return f"{amount(e.value, outcome)}{_interval(e, lambda x: amount(x, outcome))}"
    told = f"{difference(e.value, outcome)}{unit(outcome)}{_interval(e, lambda x: difference(x, outcome))}"
    return f"{_LEADS.get(claim.effect.rule, '')}{told}"


_LEADS = {
    "best among": "the best of these is ahead of the best other by ",
    "ranked": "the smallest step in this order is ",
}


def _interval(e: Estimate, told: Callable[[float], str]) -> str:
    return f", {100 * e.level:.0f}% interval {told(e.low)} to {told(e.high)}"


def _ratio_of_rates(e: Estimate) -> str:
    """Return a ratio in words; the value of an open interval says only where the rates tried end."""
    if e.low == 0 and math.isinf(e.high):
        return "the rates tried are too few to bound the ratio"
    if math.isinf(e.high):
        return f"at least {digits(e.low)} times by the 95% interval, with no upper bound from the rates tried"
    if e.low == 0:
        return f"at most {digits(e.high)} times by the 95% interval, with no lower bound from the rates tried"
    return f"{digits(e.value)} times{_interval(e, digits)}"


def _remark(verdict: Verdict) -> str:
    """Return why an interval that is clear by itself does not decide: it is one of several."""
    e, effect = verdict.estimate, verdict.claim.effect
    if verdict.result != "undecided" or verdict.primary or e is None:
        return ""
    ends = (-effect.margin, effect.margin) if effect.rule == "equal within" else (effect.margin,)
    clear = all(not e.low <= end <= e.high for end in ends)
    return f"; after adjusting for several claims p = {verdict.p:.2g}" if clear else ""


def _exact(verdict: Verdict) -> str:
    (worst,) = verdict.parts
    what = "value" if verdict.claim.form == "alone" else "difference"
    found = f"the largest {what} is {worst.value:.3g} ({worst.name})"
    return f"{found}, the bound {worst.high:.3g}, in {counted(verdict.seeds, 'seed')}"


def _recorded(verdict: Verdict) -> str:
    """Return where each recorded number lies; only those outside where there are such."""
    parts, outcome = verdict.parts, verdict.claim.measure.outcome
    outside = [part for part in parts if not part.inside]
    level = f"{100 - 5 / len(parts):.3g}% prediction interval{'' if len(parts) == 1 else 's'}"
    where = "; ".join(
        f"{f'{p.name} ' if p.name else ''}{amount(p.value, outcome)}, interval {amount(p.low, outcome)} to "
        f"{amount(p.high, outcome)}"
        for p in outside or parts
    )
    count = f"{len(outside)} of {len(parts)}" if outside else "all" if len(parts) > 1 else "the"
    told = f"{count} recorded number{'s' * (len(parts) > 1)} lie{'s' * (len(outside or parts) == 1)} "
    told += f"{'outside of' if outside else 'inside'} the {level} ({where}; {counted(verdict.seeds, 'seed')})"
    if verdict.result != "undecided":
        return told
    if outside:
        return f"{told}; after adjusting for several claims p = {verdict.p:.2g}"
    return f"{told}, and at least {LEAST_RECORDED} seeds are needed to call that typical"


def _alarms(verdict: Verdict) -> str:
    told = "; ".join(
        f"{p.name} {100 * p.value:.1f}% ({100 * p.low:.1f} to {100 * p.high:.1f}% allowed)"
        for p in verdict.parts
    )
    few = (
        "fewer false alarms than stated, as where one seed lies far off: "
        if verdict.result == "undecided"
        else ""
    )
    return f"{few}{told}, over sign flips of {counted(verdict.seeds, 'seed')}"


_PARTS: dict[str, Callable[[Verdict], str]] = {
    "exact": _exact,
    "recorded": _recorded,
    "false alarms": _alarms,
}


def power(verdict: Verdict) -> str:
    """Return what such a comparison can see, and what is left of the pairing; nothing where it tests none."""
    if verdict.detectable is None:
        return ""
    kind, outcome = verdict.claim.effect.kind, verdict.claim.measure.outcome
    seen = {
        "share": f"a share {100 * verdict.detectable:.0f}% of the whole away from the bound",
        "order": f"a lead of {size(verdict.detectable, outcome)}",
        "difference": f"a difference of {size(verdict.detectable, outcome)}",
    }.get(kind, f"a factor of {digits(verdict.detectable)} from the bound")
    if verdict.claim.effect.rule == "equal within":
        seen = f"equality within {size(verdict.detectable, outcome)}"
    told = f"{counted(verdict.seeds, 'seed')} like these show {seen} with 80% power"
    if verdict.pairing is None:
        return f"{told}."
    return f"{told}; over seeds the two sides correlate by {verdict.pairing:.2f}."
