"""Whether a design has what its claims name: factors, levels, outcomes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from bnstudy.claims import Claim
from bnstudy.errors import BnstudyError, unknown
from bnstudy.outcome import LISTS, MAPS, NUMBERS, known_outcome

if TYPE_CHECKING:
    from bnstudy.design import Ablation
    from bnstudy.factors import Factor


def check_claim(ablation: Ablation, claim: Claim) -> None:
    """Raise `BnstudyError` for a claim about factors, levels or outcomes that the ablation does not have."""
    if claim.factor is not None:
        _check_factor(ablation.factor(claim.factor), claim)
    if claim.treatment is not None and claim.treatment in (claim.control, claim.of):
        raise BnstudyError(f"The claim {claim.text!r} compares {claim.treatment!r} with itself.")
    for factor, level in _named(claim):
        ablation.factor(factor).level(level)
    compared = {factor for factor, _ in _named(claim, fixed=False)} | {claim.factor or ""}
    if twice := sorted(compared & set(claim.fixed)):
        raise BnstudyError(f"The claim {claim.text!r} both compares and fixes levels of factor {twice[0]!r}.")
    _check_arms(ablation, claim)
    for each in (claim.outcome, claim.against):
        if each is not None:
            _check_outcome(each if isinstance(each, str) else each.outcome, claim)
    if claim.measure.over is not None:
        _check_over(ablation.factor(claim.measure.over), claim)


def _named(claim: Claim, *, fixed: bool = True) -> Iterator[tuple[str, str]]:
    """Yield every factor and level that the claim names, but for the levels of its own factor."""
    if fixed:
        yield from claim.fixed.items()
    for levels in (claim.treatment, claim.control, claim.of):
        if levels is not None and not isinstance(levels, str):
            yield from dict(levels).items()
    for _, levels in claim.contrast:
        yield from levels


def _check_factor(factor: Factor, claim: Claim) -> None:
    """Raise for levels that the claim's factor does not have, or a comparison of which one is not named."""
    for name in (claim.treatment, claim.control, claim.of, *claim.effect.levels, *claim.recorded_levels):
        if isinstance(name, str):
            factor.level(name)
    if claim.effect.rule == "best among" and len(set(claim.effect.levels)) == len(factor.levels):
        raise BnstudyError(f"The claim {claim.text!r} names every level of {factor.name!r} as the best.")
    if claim.form != "sides":
        return
    if claim.treatment is None and len(factor.levels) != 2:
        raise BnstudyError(
            f"The claim {claim.text!r} must name its treatment: factor {factor.name!r} has "
            f"{len(factor.levels)} levels."
        )
    control = claim.control or factor.control.name
    if control in (claim.treatment, claim.of):
        raise BnstudyError(f"The claim {claim.text!r} compares {control!r} with itself.")


def _check_arms(ablation: Ablation, claim: Claim) -> None:
    """Raise for levels that no arm has together, as those of a nested factor where it does not exist."""
    given = [claim.treatment, claim.control, claim.of, *(levels for _, levels in claim.contrast)]
    sides = [
        {claim.factor or "": each} if isinstance(each, str) else dict(each)
        for each in given
        if each is not None
    ]
    for side in sides or [dict[str, str]()]:
        levels = claim.fixed | side
        if not ablation.having(levels):
            together = ", ".join(f"{factor}={level}" for factor, level in levels.items())
            raise BnstudyError(f"The claim {claim.text!r} is about {together}, which no arm has together.")


def _check_outcome(outcome: str, claim: Claim) -> None:
    if known_outcome(outcome) or (claim.effect.kind == "exact" and outcome in LISTS):
        return
    field = outcome.partition(".")[0]
    if field in LISTS:
        raise BnstudyError(
            f"The claim {claim.text!r} needs one number a trial, and {field!r} has one an epoch: "
            f"name its last, '{field}.last'."
        )
    if field in MAPS:
        raise BnstudyError(
            f"The claim {claim.text!r} needs one number a trial, and {field!r} has several: name one of "
            f"them, '{field}.<name>'."
        )
    raise unknown("outcome that is one number", outcome, NUMBERS)


def _check_over(factor: Factor, claim: Claim) -> None:
    """Raise for a claim that summarizes over a factor that it also fixes, or over rates that are no rates."""
    if factor.name in (claim.factor, *(name for name, _ in _named(claim))):
        raise BnstudyError(f"The claim {claim.text!r} both fixes and summarizes over factor {factor.name!r}.")
    if claim.measure.summary == "largest workable":
        for level in factor.levels:
            if not _is_rate(level.name):
                raise BnstudyError(
                    f"The claim {claim.text!r} needs numbers above 0 as levels of {factor.name!r}, "
                    f"not {level.name!r}."
                )


def _is_rate(name: str) -> bool:
    try:
        return float(name) > 0
    except ValueError:
        return False
