"""Ablations, profiles, arms and trials: from one ablation to its trials in one fixed order."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Any

from bnstudy import confounds, kinds
from bnstudy.claim_check import check_claim
from bnstudy.claims import Claim
from bnstudy.errors import BnstudyError, unknown
from bnstudy.factors import (
    Also,
    Factor,
    Level,
    Pairs,
    across,
    changes,
    check_nesting,
    check_overlap,
    tuned,
)
from bnstudy.recipe import BN_LENET, Recipe, digest

__all__ = [
    "PROFILES",
    "QUICK",
    "SMOKE",
    "Ablation",
    "Also",
    "Arm",
    "Factor",
    "Level",
    "Profile",
    "Trial",
    "across",
    "trial_id",
    "tuned",
]

PROFILES = ("smoke", "quick", "paper")


@dataclass(frozen=True, kw_only=True)
class Profile:
    """How much of an ablation to run: the number of seeds, some levels of factors, changes to the base.

    A level wins over the base; `caps` win over both: no arm has more than that of a recipe field.
    """

    seeds: int | None = None
    levels: Mapping[str, Sequence[str]] = field(default_factory=dict)
    base: Mapping[str, Any] = field(default_factory=dict)
    caps: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raise `BnstudyError` for fields that no recipe has."""
        kinds.recipe_fields("Profile", {**self.base, **self.caps})

    def but(
        self,
        *,
        seeds: int | None = None,
        levels: Mapping[str, Sequence[str]] | None = None,
        caps: Mapping[str, int] | None = None,
        **base: Any,
    ) -> "Profile":
        """Return the profile with other seeds, levels or caps, and more fields of the base changed."""
        return Profile(
            seeds=seeds or self.seeds,
            levels=self.levels if levels is None else levels,
            base={**self.base, **base},
            caps=self.caps if caps is None else caps,
        )


QUICK = Profile(seeds=3, base={"epochs": 4})
SMOKE = Profile(
    seeds=2,
    base={"data": "sample", "train_images": 1600, "validation_images": 400, "batch_size": 64, "epochs": 2},
)


@dataclass(frozen=True)
class Arm:
    """One level of every factor, and the recipe that they make of the base."""

    levels: Pairs
    recipe: Recipe
    untuned: bool = False
    """Whether the recipe still lacks the values that a search is to find."""

    @property
    def name(self) -> str:
        """Return the arm as it is written on the command line: `network=bn,lr=0.3`."""
        return ",".join(f"{factor}={level}" for factor, level in self.levels)


@dataclass(frozen=True)
class Trial:
    """The unit that is trained, recorded and counted: an arm and a seed."""

    arm: Arm
    seed: int

    @cached_property
    def id(self) -> str:
        """16 hexadecimal digits that name what the trial is: its recipe's fingerprint and its seed."""
        if self.arm.untuned:  # no record has such a name: nothing counts as done before the search
            return digest(f"untuned {self.arm.name}/{self.seed}")
        return trial_id(self.arm.recipe, self.seed)


def trial_id(recipe: Recipe, seed: int) -> str:
    """Return the name of a recipe trained from a seed; device, workers and packs are no part of it."""
    return digest(f"{recipe.fingerprint}/{seed}")


@dataclass(frozen=True, kw_only=True)
class Ablation:
    """One question: factors over a base recipe, seeds, and claims written down before the runs.

    The first claim is primary. `figure` names a picture of `bnstudy.plots.figures`, or is a function that
    takes a `bnstudy.plots.drawing.Drawing` and returns a matplotlib `Figure`.
    """

    question: str
    source: str
    factors: tuple[Factor, ...]
    seeds: Sequence[int]
    claims: tuple[Claim, ...] = ()
    base: Recipe = BN_LENET
    quick: Profile = QUICK
    smoke: Profile = SMOKE
    figure: str | Callable[..., Any] = "arms"
    name: str = ""
    caps: Mapping[str, int] = field(default_factory=dict)
    """What no arm has more of, where a profile says so."""
    picked: tuple[Pairs, ...] = ()
    """The arms, each by its levels, where they are not every combination of levels."""
    found: tuple[tuple[Pairs, tuple[tuple[str, Any], ...]], ...] = ()
    """By an arm's levels, the recipe fields that the search of its tuned factors found."""
    declared: "Ablation | None" = field(default=None, repr=False, compare=False)
    """The whole design, where this is the part of it that a profile runs."""
    file: str = field(default="", repr=False, compare=False)
    """The text of the file that declares it: its expectation, and the reasons for margins and seeds."""

    def __post_init__(self) -> None:
        """Raise `BnstudyError` for a design that cannot answer its question."""
        _check_kinds(self)
        _check_ablation(self)

    @property
    def whole(self) -> "Ablation":
        """The design as declared: claims are about it, whatever part of it a profile runs."""
        return self.declared or self

    def read_from(self, name: str, file: str) -> "Ablation":
        """Return the ablation with its name and the text of its file: the same design, checked already."""
        named = copy(self)
        object.__setattr__(named, "name", name)
        object.__setattr__(named, "file", file)
        return named

    def at(self, profile: str, seeds: int | None = None) -> "Ablation":
        """Return the ablation as a profile runs it; `seeds` overrides the profile's number of seeds."""
        if profile not in PROFILES:
            raise unknown("profile", profile, PROFILES)
        chosen = {"quick": self.quick, "smoke": self.smoke}.get(profile, Profile())
        count = seeds or min(chosen.seeds or len(self.seeds), len(self.seeds))
        if count > len(self.seeds):
            raise BnstudyError(f"{self.name} declares {len(self.seeds)} seeds; {count} were asked for.")
        for name in chosen.levels:
            self.factor(name)
        factors = tuple(f.only(chosen.levels.get(f.name, [v.name for v in f.levels])) for f in self.factors)
        base = self.base.replace(**chosen.base)
        first = tuple(self.seeds)[:count]
        return replace(self, factors=factors, seeds=first, base=base, caps=chosen.caps, declared=self.whole)

    def factor(self, name: str) -> Factor:
        """Return the factor of that name, or raise an error with the nearest one."""
        for factor in self.factors:
            if factor.name == name:
                return factor
        raise unknown("factor", name, [factor.name for factor in self.factors])

    @cached_property
    def arms(self) -> tuple[Arm, ...]:
        """Every combination of levels, the last factor moving fastest, a nested factor where it exists; or
        those that are picked."""
        return _arms(self.factors, self.base, tuple(self.caps.items()), self.picked, self.found)

    @property
    def control(self) -> Arm:
        """The arm that has the control of every factor."""
        return self.having({f.name: f.control.name for f in self.factors}, strict=False)[0]

    def having(self, levels: Mapping[str, str], *, strict: bool = True) -> tuple[Arm, ...]:
        """Return the arms with these levels; if not `strict`, also those that have no level of the factor."""
        wanted = levels.items()
        if strict:
            return tuple(arm for arm in self.arms if wanted <= set(arm.levels))
        held = ((arm, dict(arm.levels)) for arm in self.arms)
        return tuple(
            arm for arm, own in held if all(own.get(factor, level) == level for factor, level in wanted)
        )

    def seeds_of(self, arm: Arm) -> Sequence[int]:
        """Return the seeds of an arm: all, or the first so many that one of its levels asks for."""
        wanted = [self.factor(name).level(level).seeds for name, level in arm.levels]
        return self.seeds[: min((n for n in wanted if n is not None), default=None)]

    @cached_property
    def trials(self) -> tuple[Trial, ...]:
        """All arms of the first seed, then of the second: what is complete first can be judged first."""
        return tuple(
            Trial(arm, seed) for seed in self.seeds for arm in self.arms if seed in self.seeds_of(arm)
        )


@lru_cache(maxsize=256)
def _arms(
    factors: tuple[Factor, ...],
    base: Recipe,
    caps: tuple[tuple[str, int], ...],
    picked: tuple[Pairs, ...],
    found: tuple[tuple[Pairs, tuple[tuple[str, Any], ...]], ...],
) -> tuple[Arm, ...]:
    """Return the arms of a design, checked for confounds; once, although an ablation is copied for its name
    and for each profile: with twenty of them `bnstudy list` takes half as long."""
    values, by_name = dict(found), {factor.name: factor for factor in factors}
    searched = {factor.name for factor in factors if factor.search}
    arms = []
    for levels in picked or _combinations(factors, ()):
        chosen = [by_name[name].level(level) for name, level in levels]
        recipe = _recipe(base, changes(chosen) | dict(values.get(levels, ())), caps)
        arms.append(Arm(levels, recipe, levels not in values and not searched.isdisjoint(dict(levels))))
    confounds.check(factors, arms)
    return tuple(arms)


def _recipe(base: Recipe, changed: Mapping[str, Any], caps: tuple[tuple[str, int], ...]) -> Recipe:
    capped = {name: min(cap, changed.get(name, getattr(base, name))) for name, cap in caps}
    return base.replace(**{**changed, **capped})


def _combinations(factors: Sequence[Factor], chosen: Pairs) -> Iterator[Pairs]:
    """Yield every combination of levels of the factors that exist beside those chosen before them."""
    if not factors:
        yield chosen
    elif not factors[0].exists(dict(chosen)):
        yield from _combinations(factors[1:], chosen)
    else:
        for level in factors[0].levels:
            yield from _combinations(factors[1:], (*chosen, (factors[0].name, level.name)))


def _check_kinds(ablation: Ablation) -> None:
    """Raise for fields of another kind; lists become tuples."""
    single = {"question": str, "source": str, "base": Recipe, "quick": Profile, "smoke": Profile}
    for name, wanted in single.items():
        kinds.kind("Ablation", name, getattr(ablation, name), wanted)
    for name, wanted in {"factors": Factor, "claims": Claim, "seeds": int}.items():
        values = kinds.several("Ablation", name, getattr(ablation, name), wanted)
        if name != "seeds":
            object.__setattr__(ablation, name, values)
    kinds.figure(ablation.figure)


def _check_ablation(ablation: Ablation) -> None:
    if not ablation.factors:
        raise BnstudyError("An ablation needs at least one factor.")
    if not ablation.seeds or len(set(ablation.seeds)) < len(ablation.seeds):
        raise BnstudyError("An ablation needs at least one seed, and each only once.")
    check_overlap(ablation.factors)
    is_whole = ablation.declared is None  # a profile's part has the nesting and the claims of the whole
    if is_whole:
        check_nesting(ablation.factors)
    _ = ablation.arms  # checked for confounds as they are made
    for claim in ablation.claims if is_whole else ():
        check_claim(ablation, claim)
