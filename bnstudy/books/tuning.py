"""Tuning: what is searched for each arm, what a ledger holds of it, and the best of that.

A point is a level of every factor. Points are asked for in rounds; a round counts once all of its points are
recorded, so that what is asked next depends on the ledger alone: not on workers, nor on interruptions.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from statistics import fmean
from typing import Any

from bnstudy.books.ledger import Record
from bnstudy.design import Ablation
from bnstudy.errors import BnstudyError
from bnstudy.factors import Factor, Level, Pairs
from bnstudy.outcome import Outcome
from bnstudy.packs import LARGEST
from bnstudy.recipe import level_name

SEEDS = range(1000, 1002)
"""Of tuning, used by no study: a rate that trains from one seed alone scores as half a failure."""

ROUND = LARGEST
"""Points of an arm that are asked for together: whole packs, whatever the number of workers."""

BUDGET = 2 * ROUND
"""Points an arm: the first round lies evenly over the range, the second about its best."""

EDGE = 0.05
"""A best value within this share of a range (of its logarithm) from an end is at the edge."""

PART = "tune"
"""The folder of the ledgers of searches, beside those of the study."""

OBJECTIVE = "validation_accuracy.last"


@dataclass(frozen=True)
class Space:
    """What is searched for one arm: its levels of the other factors, and all factors as they are searched."""

    fixed: Pairs
    factors: tuple[Factor, ...]

    @property
    def name(self) -> str:
        """The arm as it is written on the command line; empty where there is only one."""
        return ",".join(f"{factor}={level}" for factor, level in self.fixed)

    @property
    def searched(self) -> tuple[Factor, ...]:
        """The factors that are searched."""
        return tuple(factor for factor in self.factors if factor.name not in dict(self.fixed))

    @cached_property
    def points(self) -> tuple[Pairs, ...] | None:
        """All points, or `None` where there is a range among the factors."""
        if any(map(is_range, self.searched)):
            return None
        names = [[level.name for level in factor.levels] for factor in self.searched]
        combined = (dict(zip((f.name for f in self.searched), each, strict=True)) for each in product(*names))
        return tuple(dict.fromkeys(map(self.point, combined)))

    def point(self, values: Mapping[str, str]) -> Pairs:
        """Return the point with these levels of the searched factors, without those that do not exist."""
        chosen = dict[str, str]()
        for factor in self.factors:
            if factor.exists(chosen) and factor.name in {**values, **dict(self.fixed)}:
                chosen[factor.name] = dict(self.fixed).get(factor.name) or values[factor.name]
        return tuple(chosen.items())

    def holds(self, point: Pairs) -> bool:
        """Return whether a point belongs to this arm, and all its levels to what is searched."""
        levels, known = dict(point), {factor.name: factor for factor in self.factors}
        return (
            levels.keys() <= known.keys()
            and all(levels.get(name) == level for name, level in self.fixed)
            and all(_allows(known[name], level) for name, level in point)
            and self.point(levels) == point
        )


@dataclass(frozen=True)
class Tried:
    """A point with its score: the mean over the tuning seeds."""

    point: Pairs
    score: float
    round: int


@dataclass(frozen=True)
class Found:
    """The best point of an arm."""

    arm: str
    best: Pairs
    values: tuple[tuple[str, Any], ...]
    """The recipe fields that its searched levels set."""
    score: float
    trials: int
    at_edge: tuple[str, ...]
    """The searched factors whose best value lies at an end of their range."""


def is_range(factor: Factor) -> bool:
    """Return whether a factor is searched between its levels: learning rates, on a log scale."""
    return factor.varies == ("lr",)


def ends(factor: Factor) -> tuple[float, float]:
    """Return the smallest and the largest rate of a factor."""
    rates = factor.values("lr")
    return float(min(rates)), float(max(rates))


def spaces(ablation: Ablation) -> list[Space]:
    """Return what is searched for each arm: its tuned factors, or where there are none all nuisance factors.

    Raises `BnstudyError` where there is nothing to search, or nothing to judge it by.
    """
    tuned = [f.name for f in ablation.factors if f.search]
    names = tuned or [f.name for f in ablation.factors if f.role == "nuisance"]
    factors = tuple(_as_searched(ablation, f) if f.name in names else f for f in ablation.factors)
    if all(len(factor.levels) < 2 for factor in factors if factor.name in names):
        raise BnstudyError(
            f"{ablation.name} has nothing to tune: no nuisance factor with two levels. Declare one, as in "
            'tuned("lr", 0.01, 1000) or across("lr", 0.1, 1).'
        )
    for factor in ablation.factors:
        if factor.name not in names and (below := [name for name, _ in factor.where if name in names]):
            raise BnstudyError(
                f"{ablation.name} cannot be tuned: {factor.name!r} exists at some levels of {below[0]!r} "
                "only, which is what is tuned."
            )
    if any(not arm.recipe.validation_images for arm in ablation.arms):
        raise BnstudyError(
            f"{ablation.name} cannot be tuned: an arm has validation_images=0, so that the test images would "
            "choose its values. Give it validation images."
        )
    arms = (tuple(pair for pair in arm.levels if pair[0] not in names) for arm in ablation.arms)
    return [Space(arm, factors) for arm in dict.fromkeys(arms)]


def _as_searched(ablation: Ablation, factor: Factor) -> Factor:
    """Return a factor with the levels to search among; of a range the whole design's, whatever a profile
    runs of it."""
    declared = ablation.whole.factor(factor.name)
    return factor.of(factor.search or (declared.levels if is_range(factor) else factor.levels))


def _allows(factor: Factor, level: str) -> bool:
    if not is_range(factor):
        return level in [each.name for each in factor.levels]
    try:
        return ends(factor)[0] <= float(level) <= ends(factor)[1]
    except ValueError:
        return False


def literal(rate: float, factor: Factor) -> str:
    """Return a rate as a design writes it, with three digits and inside the range."""
    low, high = ends(factor)
    return level_name(min(max(float(f"{rate:.3g}"), low), high))


def design(ablation: Ablation, points: Sequence[Pairs]) -> Ablation:
    """Return these points as arms of the ablation, with the tuning seeds."""
    space = spaces(ablation)[0]

    def as_asked(factor: Factor) -> Factor:
        if factor not in space.searched or not is_range(factor):
            return factor
        names = dict.fromkeys(level for point in points for name, level in point if name == factor.name)
        return factor.of([Level(name, lr=float(name)) for name in names])

    return replace(
        ablation,
        factors=tuple(map(as_asked, space.factors)),
        picked=tuple(points),
        seeds=SEEDS,
        claims=(),
        found=(),
        declared=None,
    )


def tried(ablation: Ablation, records: Mapping[str, Record]) -> dict[str, list[Tried]]:
    """Return the points of each arm that a ledger holds whole, in a fixed order: by round, then by name."""
    rounds = dict(_rounds(records))
    every = spaces(ablation)
    mine = {space.name: sorted(point for point in rounds if space.holds(point)) for space in every}
    points = [point for each in mine.values() for point in each]
    scores = _scores(design(ablation, points), records) if points else {}
    return {
        name: sorted(
            (Tried(point, scores[point], rounds[point]) for point in each if point in scores),
            key=lambda tried: (tried.round, tried.point),
        )
        for name, each in mine.items()
    }


def _rounds(records: Mapping[str, Record]) -> Iterator[tuple[Pairs, int]]:
    """Yield the points of records of a search, each with its round."""
    for record in records.values():
        if search := record.provenance.get("search"):
            yield tuple(record.arm.items()), search["round"]


def _scores(made: Ablation, records: Mapping[str, Record]) -> dict[Pairs, float]:
    """Return the score of each arm that is recorded from every seed."""
    held: dict[Pairs, list[float]] = {arm.levels: [] for arm in made.arms}
    for trial in made.trials:
        if trial.id in records and records[trial.id].outcome.finished:
            held[trial.arm.levels].append(score(records[trial.id].outcome))
    seeds = {arm.levels: len(made.seeds_of(arm)) for arm in made.arms}
    return {levels: fmean(each) for levels, each in held.items() if len(each) == seeds[levels]}


def score(outcome: Outcome) -> float:
    """Return the validation accuracy after the last epoch; 0, the worst there is, where it diverged."""
    if outcome.status == "diverged" or not outcome.validation_accuracy:
        return 0.0
    return outcome.validation_accuracy[-1]


def budget_of(records: Mapping[str, Record]) -> int:
    """Return the largest budget that a ledger's searches were given, or the default where there is none."""
    searches = (record.provenance.get("search") for record in records.values())
    return max((each["budget"] for each in searches if each), default=BUDGET)


def best(space: Space, points: Sequence[Tried]) -> Found:
    """Return the best of an arm's points; of equally good ones that with the lowest rate."""
    rates = [factor.name for factor in space.searched if is_range(factor)]

    def rate(each: Tried) -> float:
        return float(dict(each.point).get(rates[0], 0)) if rates else 0.0

    chosen = max(sorted(points, key=rate), key=lambda each: each.score)
    levels = {name: level for name, level in chosen.point if name not in dict(space.fixed)}
    at_edge = tuple(f.name for f in space.searched if f.name in levels and _at_edge(f, levels[f.name]))
    values = [pair for factor in space.searched for pair in _changes(factor, levels.get(factor.name))]
    return Found(space.name, chosen.point, tuple(values), chosen.score, len(points), at_edge)


def _changes(factor: Factor, level: str | None) -> tuple[tuple[str, Any], ...]:
    if level is None:
        return ()
    return (("lr", float(level)),) if is_range(factor) else factor.level(level).changes


def _at_edge(factor: Factor, level: str) -> bool:
    if not is_range(factor):
        return False
    low, high = map(math.log, ends(factor))
    place = (math.log(float(level)) - low) / (high - low) if high > low else 0.5
    return not EDGE <= place <= 1 - EDGE


def found(ablation: Ablation, records: Mapping[str, Record], budget: int) -> list[Found] | None:
    """Return the best of each arm, or `None` where one has not been searched with all of its budget."""
    held, every = tried(ablation, records), spaces(ablation)
    if any(len(held[space.name]) < wanted(space, budget) for space in every):
        return None
    return [best(space, held[space.name]) for space in every]


def wanted(space: Space, budget: int) -> int:
    """Return how many points an arm is given: the budget, or all that there are."""
    return budget if space.points is None else min(budget, len(space.points))


def at_tuned(ablation: Ablation, records: Mapping[str, Record]) -> Ablation:
    """Return the ablation with the values that its tuned factors were found to have; as it is before."""
    if not any(factor.search for factor in ablation.factors):
        return ablation
    bests = found(ablation, records, budget_of(records))
    values = {each.arm: each.values for each in bests or ()}
    names = {factor.name for factor in ablation.factors if factor.search}
    return replace(
        ablation,
        found=tuple(
            (arm.levels, values[name])
            for arm in ablation.arms
            if (name := ",".join(f"{f}={v}" for f, v in arm.levels if f not in names)) in values
        ),
    )
