"""From a claim and the finished trials to its evidence."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from bnstudy.books.language import tell
from bnstudy.claims import Claim
from bnstudy.design import Ablation
from bnstudy.judgement import evidence, parties, ratios, workable
from bnstudy.judgement.evidence import Evidence, Part, Values
from bnstudy.judgement.parties import Party
from bnstudy.judgement.phrases import spoken
from bnstudy.outcome import NUMBERS

ERROR_RATE = 0.05

Entries = dict[tuple[object, ...], tuple[float, ...]]
"""The numbers of each trial of a party, by its seed and the levels that the parties share."""


@dataclass(frozen=True)
class Question:
    """A claim with its parties and, of each, the rows of the seeds that have all of its trials."""

    ablation: Ablation
    claim: Claim
    parties: tuple[Party, ...]
    rows: tuple[pd.DataFrame, ...]


def weigh(ablation: Ablation, frame: pd.DataFrame, claim: Claim) -> Evidence:
    """Return the evidence on a claim from finished trials, or why there is none."""
    missing = parties.left_out(ablation, claim)
    if missing:
        return Evidence(0, tell("this profile leaves out {level}", level=missing))
    compared = parties.parties(ablation, claim)
    rows = tuple(parties.rows_of(ablation, frame, party.levels) for party in compared)
    question = Question(ablation, claim, compared, rows)
    if claim.measure.summary == "largest workable":
        return _weigh_workable(question)
    if claim.effect.kind == "exact":
        return _weigh_exact(question)
    if claim.effect.kind == "recorded":
        return _weigh_recorded(question)
    return _weigh_values(question)


def _weigh_values(question: Question) -> Evidence:
    claim, compared = question.claim, question.parties
    pairs = list(zip(compared, question.rows, strict=True))
    found = [parties.outcomes(rows, party.measure) for party, rows in pairs]
    seeds = parties.common(found)
    least = ratios.LEAST_SEEDS if claim.effect.kind in evidence.MANY else 2
    if len(seeds) < least:
        return evidence.too_few(len(seeds), least, len(compared))
    table = np.array([[each[seed] for seed in seeds] for each in found], dtype=np.float64)
    for party, values in zip(compared, table, strict=True):
        if not np.isfinite(values).all():
            return _without(len(seeds), party)
    weights = np.array([party.weight for party in compared])
    values = Values(tuple(party.name for party in compared), weights, table)
    if claim.form == "alone" and _are_shares_of_seeds(question):
        return evidence.weigh_success(claim, values)
    return evidence.WEIGHERS[claim.effect.kind](claim, values)


def _without(seeds: int, party: Party) -> Evidence:
    return Evidence(seeds, tell("some trials have no {outcome}", outcome=spoken(party.measure.outcome)))


def _are_shares_of_seeds(question: Question) -> bool:
    """Return whether each seed of an arm alone has a yes or no."""
    measure, rows = question.claim.measure, question.rows[0]
    flags = measure.outcome in NUMBERS and pd.api.types.is_bool_dtype(rows[measure.outcome])
    return measure.summary == "success" or (flags and not rows.seed.duplicated().any())


def _weigh_workable(question: Question) -> Evidence:
    claim = question.claim
    over = question.ablation.factor(claim.measure.over or "lr")
    cells = [parties.workable(over, rows, claim.measure) for rows in question.rows]
    seeds = parties.common(cells)
    if len(seeds) < 2:
        return evidence.too_few(len(seeds), 2, 2)
    treatment, control = ([each[seed] for seed in seeds] for each in cells)
    interval = partial(workable.workable_ratio, treatment, control, parties.rates(over))
    seen = ratios.detectable_within(interval(0.95), logs=True)
    return evidence.tested(claim, len(seeds), interval, detectable=seen)


def _weigh_recorded(question: Question) -> Evidence:
    """Weigh each number by all seeds of its own arm."""
    claim, compared = question.claim, question.parties
    values = []
    for party, rows in zip(compared, question.rows, strict=True):
        mine = np.array(list(parties.outcomes(rows, party.measure).values()), dtype=np.float64)
        if len(mine) < 2:
            return evidence.too_few(len(mine), 2, len(compared))
        if not np.isfinite(mine).all():
            return _without(len(mine), party)
        if evidence.same(mine):
            return evidence.no_spread(len(mine), tell("the value is the same"))
        values.append(mine.tolist())
    return evidence.weigh_recorded(claim, values, ERROR_RATE)


def _weigh_exact(question: Question) -> Evidence:
    """Look at the worst of all trials, one by one: nothing is averaged."""
    claim, compared = question.claim, question.parties
    seeds = parties.common([dict.fromkeys(rows.seed.astype(int)) for rows in question.rows])
    if not seeds:
        return evidence.too_few(0, 1, len(compared))
    shared = _shared(question)
    found = [
        _entries(rows[rows.seed.isin(seeds)], party.measure.outcome, shared)
        for party, rows in zip(compared, question.rows, strict=True)
    ]
    for party, entries in zip(compared, found, strict=True):
        if not all(each and all(map(math.isfinite, each)) for each in entries.values()):
            return _without(len(seeds), party)
    if any(
        {k: len(v) for k, v in each.items()} != {k: len(v) for k, v in found[0].items()} for each in found
    ):
        return Evidence(len(seeds), tell("the two sides have different numbers of entries"))
    worst, key = max((_furthest([each[key] for each in found]), key) for key in found[0])
    part = Part(tell("seed {seed}", seed=key[0]), worst, 0.0, claim.effect.margin)
    return Evidence(len(seeds), result="supported" if part.inside else "refuted", parts=(part,))


def _shared(question: Question) -> list[str]:
    """Return the factors whose levels pair the trials of the parties."""
    compared = {factor for party in question.parties for factor, _ in party.compared}
    return [factor.name for factor in question.ablation.factors if factor.name not in compared]


def _entries(rows: pd.DataFrame, outcome: str, shared: Sequence[str]) -> Entries:
    keys = [tuple(map(str, key)) for key in rows[["seed", *shared]].itertuples(index=False)]
    if outcome in NUMBERS or outcome not in rows:
        return dict(zip(keys, [(float(x),) for x in parties.column(rows, outcome)], strict=True))
    lists = [tuple(math.nan if x is None else float(x) for x in held) for held in rows[outcome]]
    return dict(zip(keys, lists, strict=True))


def _furthest(sides: Sequence[tuple[float, ...]]) -> float:
    """Return the largest distance of two lists from each other, or of one from 0."""
    first, *others = sides
    second = others[0] if others else (0.0,) * len(first)
    return max(abs(a - b) for a, b in zip(first, second, strict=True))
