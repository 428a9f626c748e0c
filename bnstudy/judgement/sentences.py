"""Verdicts in words: one readable sentence each, and what was measured of the sides."""

import math
import statistics
from collections.abc import Callable, Sequence
from itertools import groupby

import pandas as pd

from bnstudy.books.language import tell
from bnstudy.claims import Claim, Measure
from bnstudy.design import Ablation
from bnstudy.judgement import ratios, stats
from bnstudy.judgement.parties import Party, finished, left_out, outcomes, parties, rates, rows_of, workable
from bnstudy.judgement.phrases import (
    amount,
    change,
    counted,
    difference,
    digits,
    is_share,
    listed,
    size,
    spoken,
    titled,
)
from bnstudy.judgement.several import OF_SEVERAL, adjusted
from bnstudy.judgement.stats import Estimate
from bnstudy.judgement.verdicts import Verdict
from bnstudy.judgement.workable import Workable, workable_location
from bnstudy.recipe import level_name

OVER = {"lr": "learning rate"}
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
    if verdict.claim.form == "outcomes":
        told = [_measured(ablation, verdict.claim, compared[0].measure, list(sides.values()))]
    else:
        told = [
            _measured(ablation, verdict.claim, measure, [sides[party] for party in group])
            for measure, group in groupby(compared, key=lambda party: party.measure)
        ]
    return listed([*map(_capital, told), sentence(verdict)], ". ")


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


MEASURED = {
    "mean": "{outcome}, mean and 95% interval: {sides}",
    "mean at best": "{outcome}, mean and 95% interval, each at its best {factor}: {sides}",
    "spread": "{outcome}, standard deviation over seeds and 95% interval: {sides}",
    "spread at best": "{outcome}, standard deviation over seeds and 95% interval, each at its best {factor}: "
    "{sides}",
}
"""What is told of each side, by what of an outcome is estimated."""

MEASURED_OUTCOMES = {
    "mean": "mean and 95% interval: {sides}",
    "mean at best": "mean and 95% interval, each at its best {factor}: {sides}",
    "spread": "standard deviation over seeds and 95% interval: {sides}",
    "spread at best": "standard deviation over seeds and 95% interval, each at its best {factor}: {sides}",
}
"""The same where the sides are two outcomes."""


def _measured(ablation: Ablation, claim: Claim, measure: Measure, sides: Sequence[str]) -> str:
    """Return what was measured of sides: `test accuracy, mean and 95% interval: with BN 88.1% (...); ...`."""
    joined = listed(sides, "; ")
    if measure.summary == "largest workable":
        return tell("largest workable learning rate (95% interval): {sides}", sides=joined)
    what = "spread" if claim.effect.kind == "spread ratio" else "mean"
    template = (MEASURED_OUTCOMES if claim.form == "outcomes" else MEASURED)[
        f"{what} at best" if measure.over and len(ablation.factor(measure.over).levels) > 1 else what
    ]
    factor = tell(OVER.get(measure.over or "", measure.over or ""))
    return tell(template, outcome=spoken(measure.outcome), factor=factor, sides=joined)


def _side(ablation: Ablation, frame: pd.DataFrame, verdict: Verdict, party: Party) -> str:
    """Return a party with what was measured of it, or nothing where fewer than two seeds have it."""
    outcome, rows = party.measure.outcome, rows_of(ablation, finished(frame), party.levels)
    label = listed(titled(ablation.factor(factor), level) for factor, level in party.compared)
    label = label or spoken(outcome)
    if party.measure.summary == "largest workable":
        factor = ablation.factor(party.measure.over or "lr")
        cells = workable(factor, rows, party.measure)
        return "" if len(cells) < 2 else workable_range(label, list(cells.values()), rates(factor))
    values = list(outcomes(rows, party.measure).values())
    if len(values) < 2 or not all(map(math.isfinite, values)):
        return ""
    if verdict.claim.effect.kind != "spread ratio":
        mean = stats.mean(values)
        return _estimated(label, amount(mean.value, outcome), mean, lambda end: _bare(end, outcome))
    if len(values) < ratios.LEAST_SEEDS:
        return f"{label} {size(statistics.stdev(values), outcome)}"
    found = ratios.spread(values)
    return _estimated(label, size(found.value, outcome), found, lambda end: _bare(end, outcome, 2))


def _estimated(label: str, value: str, e: Estimate, told: Callable[[float], str]) -> str:
    return tell(
        "{label} {value} ({low} to {high})", label=label, value=value, low=told(e.low), high=told(e.high)
    )


def _bare(value: float, outcome: str, places: int = 1) -> str:
    """Return an end of an interval without its unit."""
    return f"{100 * value:.{places}f}" if is_share(outcome) else f"{value:.3g}"


def workable_range(label: str, cells: Sequence[Workable], grid: Sequence[float]) -> str:
    """Return an arm with the interval of its largest workable rate: `with BN between 10 and 30`."""
    estimate = workable_location(cells, grid)
    low, high = level_name(estimate.low), level_name(estimate.high)
    if estimate.low == 0 and math.isinf(estimate.high):
        return tell("{label} not known from these rates", label=label)
    if estimate.low == 0:
        return tell("{label} below {high}", label=label, high=high)
    if math.isinf(estimate.high):
        return tell("{label} {low} or more", label=label, low=low)
    return tell("{label} between {low} and {high}", label=label, low=low, high=high)


RESULTS = {"supported": "Supported", "refuted": "Refuted", "undecided": "Undecided"}
"""Verdicts as a sentence begins with them."""


def sentence(verdict: Verdict) -> str:
    """Return a verdict as a sentence: the claim, what became of it, the effect and its interval."""
    claim = tell(verdict.claim.text).rstrip(".\N{IDEOGRAPHIC FULL STOP}")
    told = tell(RESULTS[verdict.result])
    return tell("{claim}. {verdict}: {found}.", claim=claim, verdict=told, found=finding(verdict))


def finding(verdict: Verdict) -> str:
    """Return what decided a verdict: the effect with its interval and seeds, or why there is none."""
    told = effect(verdict)
    return told if verdict.estimate is None else _remarked(verdict, told)


def effect(verdict: Verdict) -> str:
    """Return the effect with its interval after a comma, or why there is none."""
    if verdict.parts:
        return OF_SEVERAL[verdict.claim.effect.kind](verdict)
    return _effect(verdict, verdict.estimate) if verdict.estimate else verdict.reason


def _effect(verdict: Verdict, e: Estimate) -> str:
    """Return the effect with its interval, in the words of its kind."""
    kind, claim, outcome = verdict.claim.effect.kind, verdict.claim, verdict.claim.measure.outcome
    if kind == "ratio" and claim.measure.summary == "largest workable":
        return _ratio_of_rates(e)
    if kind in ("ratio", "spread ratio"):
        return _interval(EFFECTS["ratio"], e, digits(e.value), digits)
    if kind == "spread":
        return _interval(EFFECTS[""], e, size(e.value, outcome), lambda x: _bare(x, outcome, 2))
    if kind == "share":
        return _interval(EFFECTS["share"], e, _rounded(e.value), _rounded)
    if claim.measure.summary == "success":
        return _interval(EFFECTS["success"], e, _rounded(e.value), _rounded)
    if claim.form == "alone":
        return _interval(EFFECTS[""], e, amount(e.value, outcome), lambda x: amount(x, outcome))
    template = EFFECTS.get(claim.effect.rule, EFFECTS[""])
    return _interval(template, e, change(e.value, outcome), lambda x: difference(x, outcome))


EFFECTS = {
    "": "{value}, {level}% interval {low} to {high}",
    "ratio": "{value} times, {level}% interval {low} to {high}",
    "share": "{value} of the whole, {level}% interval {low} to {high}",
    "success": "{value} of seeds succeed, {level}% interval {low} to {high}",
    "best among": "the best of these is ahead of the best other by {value}, {level}% interval {low} "
    "to {high}",
    "ranked": "the smallest step in this order is {value}, {level}% interval {low} to {high}",
}
"""How an effect is told, by its kind or rule."""


def _interval(template: str, e: Estimate, value: str, told: Callable[[float], str]) -> str:
    return tell(template, value=value, level=f"{100 * e.level:.0f}", low=told(e.low), high=told(e.high))


def _rounded(share: float) -> str:
    return f"{100 * share:.0f}%"


def _ratio_of_rates(e: Estimate) -> str:
    """Return a ratio in words; the value of an open interval says only where the rates tried end."""
    if e.low == 0 and math.isinf(e.high):
        return tell("the rates tried are too few to bound the ratio")
    if math.isinf(e.high):
        return tell(
            "at least {low} times by the 95% interval, with no upper bound from the rates tried",
            low=digits(e.low),
        )
    if e.low == 0:
        return tell(
            "at most {high} times by the 95% interval, with no lower bound from the rates tried",
            high=digits(e.high),
        )
    return _interval(EFFECTS["ratio"], e, digits(e.value), digits)


def _remarked(verdict: Verdict, effect: str) -> str:
    """Return an effect with its seeds, and why an interval that is clear by itself does not decide: it is one
    of several."""
    told = tell("{effect} ({seeds})", effect=effect, seeds=counted(verdict.seeds, "seed"))
    e, held = verdict.estimate, verdict.claim.effect
    if verdict.result != "undecided" or verdict.primary or e is None:
        return told
    ends = (-held.margin, held.margin) if held.rule == "equal within" else (held.margin,)
    clear = all(not e.low <= end <= e.high for end in ends)
    return adjusted(verdict, told) if clear else told


SEEN = {
    "equal within": "{seeds} like these show equality within {size} with 80% power",
    "share": "{seeds} like these show a share {size} of the whole away from the bound with 80% power",
    "order": "{seeds} like these show a lead of {size} with 80% power",
    "difference": "{seeds} like these show a difference of {size} with 80% power",
    "": "{seeds} like these show a factor of {size} from the bound with 80% power",
}
"""What a comparison can see, by its rule or kind."""


def power(verdict: Verdict) -> str:
    """Return what such a comparison can see, and what is left of the pairing; nothing where it tests none."""
    if verdict.detectable is None:
        return ""
    effect, outcome = verdict.claim.effect, verdict.claim.measure.outcome
    which = effect.rule if effect.rule in SEEN else effect.kind if effect.kind in SEEN else ""
    if which == "share":
        seen = _rounded(verdict.detectable)
    else:
        seen = size(verdict.detectable, outcome) if which else digits(verdict.detectable)
    told = tell(SEEN[which], seeds=counted(verdict.seeds, "seed"), size=seen)
    if verdict.pairing is None:
        return tell("{found}.", found=told)
    return tell(
        "{found}; over seeds the two sides correlate by {correlation}.",
        found=told,
        correlation=f"{verdict.pairing:.2f}",
    )
