"""The parties of a claim: which arms and outcomes it looks at, and one value of each for every seed."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import pandas as pd

from bnstudy.claims import Claim, Levels, Measure, Pairs
from bnstudy.design import Ablation, Factor
from bnstudy.judgement import workable as rates_that_work
from bnstudy.judgement.workable import Workable
from bnstudy.outcome import FINISHED


@dataclass(frozen=True)
class Party:
    """Arms that a claim looks at as one, by one outcome, and their weight in its sum."""

    weight: float
    compared: Pairs
    """The levels that tell it from the other parties."""
    fixed: Pairs
    """The levels that all parties share."""
    measure: Measure

    @property
    def levels(self) -> dict[str, str]:
        """All levels that its arms have."""
        return dict(self.fixed) | dict(self.compared)

    @property
    def name(self) -> str:
        """Return what tells it from the others, as a design writes it: `bn`, `gamma=fixed,beta=fixed`."""
        if len(self.compared) == 1:
            return self.compared[0][1]
        return ",".join(f"{factor}={level}" for factor, level in self.compared)


def finished(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of trainings that ran to their end, diverged or not."""
    return frame[frame.status.isin(FINISHED)]


def sides(ablation: Ablation, claim: Claim) -> tuple[str, str]:
    """Return the names of what a claim compares, as the whole design declares them; empty for one arm."""
    if claim.form not in ("sides", "outcomes"):
        return "", ""
    first, second = parties(ablation, claim)[:2]
    if claim.form == "outcomes":
        return first.measure.outcome, second.measure.outcome
    return first.name, second.name


def parties(ablation: Ablation, claim: Claim) -> tuple[Party, ...]:
    """Return the parties of a claim.

    Of two sides: treatment, control, then the whole that their difference is a share of: the level `of`, or
    both sides by the outcome `against`.
    """
    fixed, measure = tuple(claim.fixed.items()), claim.measure
    if claim.form == "contrast":
        return tuple(Party(weight, levels, fixed, measure) for weight, levels in claim.contrast)
    if claim.form == "levels":
        return tuple(Party(1.0, levels, fixed, measure) for levels in _levels(ablation, claim))
    compared = _compared(ablation, claim) if claim.form == "sides" else [()]
    first = tuple(
        Party(weight, levels, fixed, measure)
        for weight, levels in zip((1.0, -1.0, 0.0), compared, strict=False)
    )
    if claim.against is None:
        return first
    other = _measure(claim.against)
    return (*first, *(replace(party, weight=-party.weight, measure=other) for party in first))


def _levels(ablation: Ablation, claim: Claim) -> list[Pairs]:
    """Return the levels that an order or recorded numbers are about, each by itself."""
    factor = ablation.whole.factor(claim.factor or "")
    named = claim.effect.levels if claim.effect.rule == "ranked" else claim.recorded_levels
    return [((factor.name, level),) for level in named or [level.name for level in factor.levels]]


def _measure(outcome: str | Measure) -> Measure:
    return Measure(outcome) if isinstance(outcome, str) else outcome


def _compared(ablation: Ablation, claim: Claim) -> list[Pairs]:
    """Return the levels of treatment and control, and of the whole where the claim names it."""
    given = [claim.treatment, claim.control, *([] if claim.of is None else [claim.of])]
    if claim.factor is None:
        return [tuple(dict(levels).items()) for levels in given if not isinstance(levels, str) and levels]
    factor = ablation.whole.factor(claim.factor)
    control = claim.control if isinstance(claim.control, str) else factor.control.name
    treatment = claim.treatment or next(level.name for level in factor.levels if level.name != control)
    names = [treatment, control, *given[2:]]
    return [((factor.name, str(name)),) for name in names]


def left_out(ablation: Ablation, claim: Claim) -> str:
    """Return the first level that a claim needs and this part of the design does not have, or nothing."""
    held = {factor.name: {level.name for level in factor.levels} for factor in ablation.factors}
    needed = (pair for party in parties(ablation, claim) for pair in party.levels.items())
    return next((f"{factor}={level}" for factor, level in needed if level not in held[factor]), "")


def rows_of(ablation: Ablation, frame: pd.DataFrame, levels: Levels) -> pd.DataFrame:
    """Return the rows of the arms with these levels, of the seeds that have all of them."""
    wanted = dict(levels)
    for factor, level in wanted.items():
        frame = frame[frame[factor] == level]
    counts = frame.groupby("seed").size()
    return frame[frame.seed.isin(counts.index[counts == len(ablation.having(wanted))])]


def column(rows: pd.DataFrame, outcome: str) -> "pd.Series[float]":
    """Return an outcome of each row, NaN where there is none; its names are those of `Measure`."""
    if outcome in rows:
        return pd.Series(rows[outcome].to_numpy(dtype=float, na_value=math.nan), rows.index)
    field, _, key = outcome.partition(".")
    return pd.Series([_entry(held, key) for held in rows[field]], rows.index, dtype=float)


def _entry(held: object, key: str) -> float:
    found = (
        held.get(key) if isinstance(held, dict) else held[-1] if isinstance(held, tuple) and held else None
    )
    return math.nan if found is None else float(found)


def outcomes(rows: pd.DataFrame, measure: Measure) -> dict[int, float]:
    """Return a party's value by seed, averaged over whatever factors are left in `rows`; for a success
    whether all of the seed's trials reach the threshold, 1 or 0."""
    if measure.over is not None and len(rows):
        rows = rows[rows[measure.over] == best_level(rows, measure.over)]
    found = {int(str(seed)): list(each) for seed, each in column(rows, measure.outcome).groupby(rows.seed)}
    if measure.summary == "success":
        return {seed: _success(values, measure.threshold or 0.5) for seed, values in found.items()}
    return {seed: fmean(values) for seed, values in found.items()}


def _success(values: list[float], threshold: float) -> float:
    return math.nan if any(map(math.isnan, values)) else float(min(values) >= threshold)


def rates(factor: Factor) -> list[float]:
    """Return the levels of a factor of numbers, ascending."""
    return sorted(float(level.name) for level in factor.levels)


def rates_of(ablation: Ablation, factor: Factor, levels: Levels) -> list[float]:
    """Return the rates of the arms with these levels, ascending: further ones belong to single arms."""
    names = {dict(arm.levels)[factor.name] for arm in ablation.having(dict(levels))}
    return sorted(map(float, names))


def workable(
    factor: Factor, rows: pd.DataFrame, measure: Measure, grid: Sequence[float] = ()
) -> dict[int, Workable]:
    """Return each seed's largest workable rate as a cell of a grid: the levels of `factor`, or those given.

    Only seeds that have every rate of the grid count.
    """
    grid, cells = grid or rates(factor), {}
    scored = column(rows, measure.outcome)
    for seed, mine in rows.groupby("seed"):
        scores = scored[mine.index].groupby(mine[factor.name].astype(float)).mean()
        accuracies = [float(scores.get(rate, math.nan)) for rate in grid]
        if all(map(math.isfinite, accuracies)):
            cells[int(str(seed))] = rates_that_work.workable(grid, accuracies, measure.threshold or 0.5)
    return cells


def best_level(rows: pd.DataFrame, factor: str) -> str:
    """Return the level with the highest mean validation accuracy after the last epoch."""
    final = rows.validation_accuracy.map(lambda curve: curve[-1] if curve else 0.0)
    return str(final.groupby(rows[factor], observed=True).mean().idxmax())


def common(values: Sequence[Mapping[int, object]]) -> list[int]:
    """Return the seeds that all parties have."""
    return sorted(set.intersection(*(set(each) for each in values)))
