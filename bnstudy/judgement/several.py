"""Verdicts on several numbers in words: the worst of them, where each lies, how often the judge was wrong."""

from collections.abc import Callable

from bnstudy.books.language import tell
from bnstudy.judgement.evidence import LEAST_RECORDED, Part
from bnstudy.judgement.phrases import amount, counted, listed
from bnstudy.judgement.placebo import FLIPS
from bnstudy.judgement.verdicts import Verdict

EXACT = {
    "value": "the largest value is {value} ({where}), the bound {bound}, in {seeds}",
    "difference": "the largest difference is {value} ({where}), the bound {bound}, in {seeds}",
    "no value": "it is 0 in {seeds}, the bound {bound}",
    "no difference": "the two sides are equal in {seeds}, the bound {bound}",
}
"""The worst of all trials, of one arm or of two."""

ALARMS = {
    "": "{alarms}, over {flips} sign flips of {seeds}",
    "few": "fewer false alarms than stated, as where one seed lies far off: {alarms}, over {flips} sign "
    "flips of {seeds}",
}
"""How often the judge was wrong; `few` where that is too seldom."""


def adjusted(verdict: Verdict, told: str) -> str:
    """Return what was found with why it does not decide: the claim is one of several."""
    return tell("{found}; after adjusting for several claims p = {p}", found=told, p=f"{verdict.p:.2g}")


def _exact(verdict: Verdict) -> str:
    (worst,) = verdict.parts
    form = "value" if verdict.claim.form == "alone" else "difference"
    return tell(
        EXACT[form if worst.value else f"no {form}"],
        value=f"{worst.value:.3g}",
        where=worst.name,
        bound=f"{worst.high:.3g}",
        seeds=counted(verdict.seeds, "seed"),
    )


RECORDED = {
    "one outside": "1 of 1 recorded number lies outside of the {level}% prediction interval ({where}; "
    "{seeds})",
    "outside": "{outside} of {count} recorded numbers lie outside of the {level}% prediction intervals "
    "({where}; {seeds})",
    "outside, singular": "{outside} of {count} recorded numbers lies outside of the {level}% prediction "
    "intervals ({where}; {seeds})",
    "one inside": "the recorded number lies inside the {level}% prediction interval ({where}; {seeds})",
    "inside": "all recorded numbers lie inside the {level}% prediction intervals ({where}; {seeds})",
}
"""Where recorded numbers lie."""


def _recorded(verdict: Verdict) -> str:
    """Return where each recorded number lies; only those outside where there are such."""
    parts = verdict.parts
    outside = [part for part in parts if not part.inside]
    told = tell(
        RECORDED[_which(len(outside), len(parts))],
        outside=len(outside),
        count=len(parts),
        level=f"{100 - 5 / len(parts):.3g}",
        where=listed((_place(p, verdict.claim.measure.outcome) for p in outside or parts), "; "),
        seeds=counted(verdict.seeds, "seed"),
    )
    if verdict.result != "undecided":
        return told
    if outside:
        return adjusted(verdict, told)
    return tell(
        "{found}, and at least {least} seeds are needed to call that typical",
        found=told,
        least=LEAST_RECORDED,
    )


def _which(outside: int, count: int) -> str:
    """Return the key of `RECORDED` for so many numbers."""
    if count == 1:
        return "one outside" if outside else "one inside"
    return "outside, singular" if outside == 1 else "outside" if outside else "inside"


def _place(part: Part, outcome: str) -> str:
    told = tell(
        "{value}, interval {low} to {high}",
        value=amount(part.value, outcome),
        low=amount(part.low, outcome),
        high=amount(part.high, outcome),
    )
    return f"{part.name} {told}" if part.name else told


def _alarms(verdict: Verdict) -> str:
    told = listed(
        (
            tell(
                "{alarm} {rate}% ({low} to {high}% allowed)",
                alarm=tell(p.name),
                rate=f"{100 * p.value:.1f}",
                low=f"{100 * p.low:.1f}",
                high=f"{100 * p.high:.1f}",
            )
            for p in verdict.parts
        ),
        "; ",
    )
    template = ALARMS["few" if verdict.result == "undecided" else ""]
    return tell(template, alarms=told, flips=f"{FLIPS:,}", seeds=counted(verdict.seeds, "seed"))


OF_SEVERAL: dict[str, Callable[[Verdict], str]] = {
    "exact": _exact,
    "recorded": _recorded,
    "false alarms": _alarms,
}
"""What was found, by the kind of a claim's effect."""
