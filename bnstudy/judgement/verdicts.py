"""From claims and records to verdicts: supported, refuted or undecided, with effect and interval."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pandas as pd

from bnstudy.claims import Claim
from bnstudy.design import Ablation
from bnstudy.judgement import stats
from bnstudy.judgement.evidence import LEAST_RECORDED, Evidence, Part
from bnstudy.judgement.parties import finished, sides
from bnstudy.judgement.stats import Estimate
from bnstudy.judgement.weighing import ERROR_RATE, weigh


@dataclass(frozen=True)
class Verdict:
    """What the records say of a claim: `supported`, `refuted` or `undecided`."""

    claim: Claim
    treatment: str
    """What is compared with the control: a level, levels or an outcome; empty where one arm is alone."""
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
    """The smallest difference (or margin of equality, or factor from the bound) that as many seeds see with
    80% power."""
    pairing: float | None = None
    """Correlation of the arms over seeds: what is left of the common random numbers."""
    parts: tuple[Part, ...] = ()
    """The numbers of a claim about several, each with its bounds."""


def judge(ablation: Ablation, frame: pd.DataFrame, preview: bool) -> list[Verdict]:
    """Return a verdict for each claim, the first one primary and unadjusted, the others Holm-adjusted.

    frame: `Ledger.frame` of the ablation. Only finished trials count, and only seeds that have every trial
    of all sides. A claim that cannot be judged is undecided, with the reason, and counts in the adjustment;
    one that is decided without a test (`exact`, `false_alarms`) does not.
    """
    weighed = [weigh(ablation, finished(frame), claim) for claim in ablation.claims]
    p_values = _adjusted(weighed)
    judged = []
    for place, (claim, evidence, p) in enumerate(zip(ablation.claims, weighed, p_values, strict=True)):
        verdict = Verdict(claim, *sides(ablation, claim), place == 0, preview, evidence.seeds)
        judged.append(_decided(verdict, evidence, p))
    return judged


def _adjusted(weighed: Sequence[Evidence]) -> list[float]:
    """Return the p value of each, Holm-adjusted but for the first."""
    p_values = [evidence.p for evidence in weighed]
    family = [place for place, evidence in enumerate(weighed) if place and not evidence.result]
    for place, p in zip(family, stats.holm([p_values[place] for place in family]), strict=True):
        p_values[place] = p
    return p_values


def _decided(verdict: Verdict, evidence: Evidence, p: float) -> Verdict:
    if evidence.reason:
        return replace(verdict, reason=evidence.reason)
    if evidence.result:
        return replace(verdict, result=evidence.result, parts=evidence.parts)
    if evidence.interval is None:
        return replace(verdict, result=_typical(evidence, p), p=p, parts=evidence.parts)
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


def _typical(evidence: Evidence, p: float) -> str:
    """Return the verdict on recorded numbers: few seeds can tell that one is not typical, but not that all
    are."""
    if p <= ERROR_RATE:
        return "refuted"
    return "supported" if evidence.seeds >= LEAST_RECORDED else "undecided"
