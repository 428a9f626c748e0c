"""The lines of the figure of effects: paired differences over seeds, by treatment and circumstance."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from bnstudy.books.language import tell
from bnstudy.claims import Claim, Measure
from bnstudy.design import Ablation
from bnstudy.factors import Factor
from bnstudy.judgement import parties
from bnstudy.judgement.parties import Party
from bnstudy.judgement.phrases import listed, titled
from bnstudy.plots import style
from bnstudy.plots.drawing import Drawing
from bnstudy.plots.style import Look

AVERAGED = "averaged"
CLAIM_LOOK = Look(style.COLORS[7], style.MARKERS[0])  # gray: it is about no one level of a factor

Sides = tuple[Mapping[str, str], Mapping[str, str]]
"""The levels of a treatment and of its control."""


@dataclass(frozen=True)
class Contrast:
    """Treatment minus control for each seed: what is compared, where, and the claims about exactly that."""

    what: str
    where: str
    differences: tuple[float, ...]
    look: Look
    claims: tuple[Claim, ...]
    single: bool
    """Whether it is about one circumstance of several."""


def contrasts(drawing: Drawing) -> list[Contrast]:
    """Return the lines: claims that compare more than two levels of one factor, then each treatment with its
    control, averaged and in every circumstance; without those that no seed has."""
    plain, lines = [], []
    for claim in _claims(drawing):
        if claim.form == "sides" and claim.factor is not None and claim.measure.over is None:
            plain.append(claim)
        else:
            found = _weighed(drawing, parties.parties(drawing.ablation, claim))
            lines.append(Contrast(tell(claim.text), "", found, CLAIM_LOOK, (claim,), False))
    for factor, treatment, control in _comparisons(drawing, plain):
        about = [c for c in plain if (c.factor, *_sides(drawing, c)) == (factor.name, treatment, control)]
        lines += _of(drawing, factor, treatment, control, about)
    return [line for line in lines if line.differences]


def _claims(drawing: Drawing) -> list[Claim]:
    """Return the claims about differences of the outcome drawn that this profile has the levels for."""
    return [
        claim
        for claim in drawing.ablation.claims
        if claim.effect.kind == "difference"
        and claim.form in ("sides", "contrast")
        and claim.against is None
        and claim.measure.outcome == drawing.outcome
        and not parties.left_out(drawing.ablation, claim)
    ]


def _sides(drawing: Drawing, claim: Claim) -> tuple[str, str]:
    return parties.sides(drawing.ablation, claim)


def _comparisons(drawing: Drawing, claims: Sequence[Claim]) -> list[tuple[Factor, str, str]]:
    """Return factor, treatment and control of what is compared: each treatment of the factors that claims are
    about, one or several at once, or else that are the question, the way round that a claim has it; then what
    claims add."""
    named = {f for claim in drawing.ablation.claims for f in _about(drawing.ablation, claim)}
    asked = [f for f in drawing.varied if f.name in named]
    asked = asked or [f for f in drawing.varied if f.role == "scientific"]
    claimed = [(drawing.ablation.factor(c.factor or ""), *_sides(drawing, c)) for c in claims]
    found = [(f, v.name, f.control.name) for f in asked for v in f.levels if v != f.control]
    pairs: list[tuple[Factor, str, str]] = []
    for factor, treatment, control in found:
        ways = [(factor, treatment, control), (factor, control, treatment)]
        pairs += [way for way in ways if way in claimed] or ways[:1]
    return list(dict.fromkeys([*pairs, *claimed]))


def _about(ablation: Ablation, claim: Claim) -> set[str]:
    """Return the factors whose levels a claim sets against each other."""
    if claim.form != "sides":
        return set()
    first, second = (dict(party.compared) for party in parties.parties(ablation, claim)[:2])
    return {factor for factor in first.keys() & second.keys() if first[factor] != second[factor]}


def _of(
    drawing: Drawing, factor: Factor, treatment: str, control: str, claims: Sequence[Claim]
) -> Iterator[Contrast]:
    """Yield the lines of a comparison: the average, what claims fix, and every circumstance."""
    place = [each.name for each in drawing.ablation.whole.factor(factor.name).levels].index(treatment)
    what = " \N{MINUS SIGN} ".join((titled(factor, treatment), titled(factor, control)))
    cells = dict(_cells(drawing, factor, treatment, control))
    one = len(cells) == 1
    asked = [(), *(tuple(claim.fixed.items()) for claim in claims)]
    wide = {where: _wide(factor, treatment, control, where) for where in asked if where not in cells}
    if not any(claim.fixed == {} for claim in claims):
        wide |= {(): _averaged(drawing.ablation, factor, treatment, control)}
    for where, (treated, controlled) in (cells if one else wide | cells).items():
        compared = _party(drawing, treated, 1.0), _party(drawing, controlled, -1.0)
        about = tuple(claim for claim in claims if one or set(claim.fixed.items()) == set(where))
        told = _told(drawing, where, averaged=where not in cells)
        differences = _weighed(drawing, compared)
        yield Contrast(what, told, differences, style.look(place), about, not one and where in cells)


def _cells(
    drawing: Drawing, factor: Factor, treatment: str, control: str
) -> Iterator[tuple[tuple[tuple[str, str], ...], Sides]]:
    """Yield each circumstance of a treatment, the levels of the other factors, with its arm and the arm that
    has the control there; factors that only the control's arm has are at their own control."""
    controls = {f.name: f.control.name for f in drawing.ablation.factors}
    for arm in drawing.ablation.having({factor.name: treatment}):
        others = {f: level for f, level in arm.levels if f != factor.name}
        found = drawing.ablation.having(controls | others | {factor.name: control}, strict=False)
        if found:
            varied = {f.name for f in drawing.varied}
            where = tuple((f, level) for f, level in others.items() if f in varied)
            yield where, (dict(arm.levels), dict(found[0].levels))


def _wide(factor: Factor, treatment: str, control: str, where: tuple[tuple[str, str], ...]) -> Sides:
    return {**dict(where), factor.name: treatment}, {**dict(where), factor.name: control}


def _averaged(ablation: Ablation, factor: Factor, treatment: str, control: str) -> Sides:
    """Return both sides of the average over all circumstances: factors that only the control's arms have are
    at their own control there, as in each circumstance."""
    treated, controlled = (
        {f for arm in ablation.having({factor.name: level}) for f, _ in arm.levels}
        for level in (treatment, control)
    )
    held = {f: ablation.factor(f).control.name for f in controlled - treated}
    return {factor.name: treatment}, {**held, factor.name: control}


def _party(drawing: Drawing, levels: Mapping[str, str], weight: float) -> Party:
    return Party(weight, tuple(levels.items()), (), Measure(drawing.outcome))


def _weighed(drawing: Drawing, compared: Sequence[Party]) -> tuple[float, ...]:
    """Return the weighted sum of parties for each seed that has all of their trials."""
    found = [
        parties.outcomes(parties.rows_of(drawing.ablation, drawing.frame, party.levels), party.measure)
        for party in compared
    ]
    sums = (
        sum(party.weight * values[seed] for party, values in zip(compared, found, strict=True))
        for seed in parties.common(found)
    )
    return tuple(value for value in sums if math.isfinite(value))


def _told(drawing: Drawing, where: Sequence[tuple[str, str]], *, averaged: bool) -> str:
    """Return a circumstance in words."""
    names = listed(titled(drawing.ablation.factor(f), level) for f, level in where)
    if not averaged:
        return names
    return tell("averaged: {levels}", levels=names) if names else tell(AVERAGED)
