"""Factors, levels, arms and trials: from one ablation to its trials in one fixed order."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any

from bnstudy.claims import Claim
from bnstudy.errors import BnstudyError, unknown
from bnstudy.outcome import NUMBERS, Outcome
from bnstudy.recipe import BN_LENET, FIELDS, Recipe, digest, level_name

ROLES = ("scientific", "nuisance")
PROFILES = ("smoke", "quick", "paper")
RESERVED = ("ablation", "trial", "seed", "fingerprint", *(f.name for f in fields(Outcome)))
"""Columns of every table of records; factors are columns too."""


@dataclass(frozen=True, init=False)
class Level:
    """One value of a factor: a name and the recipe fields that it changes."""

    name: str
    label: str
    changes: tuple[tuple[str, Any], ...]

    def __init__(self, name: str, label: str = "", **changes: Any) -> None:
        """`label` is what figures print; it defaults to the name."""
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "label", label or name)
        object.__setattr__(self, "changes", tuple(changes.items()))


@dataclass(frozen=True, init=False)
class Factor:
    """What varies. `varies` names the recipe fields that its levels may change, and no others may differ
    between arms that differ in this factor alone (the confound guard); by default the field of its name.
    """

    name: str
    role: str
    levels: tuple[Level, ...]
    control: Level
    varies: tuple[str, ...]

    def __init__(
        self,
        name: str,
        *,
        control: Level | None = None,
        treatments: Sequence[Level] = (),
        levels: Sequence[Level] = (),
        role: str = "scientific",
        varies: Sequence[str] = (),
    ) -> None:
        """Give `control` and `treatments`, or `levels`, whose first is then the control."""
        every = tuple(levels) or ((control,) if control else ()) + tuple(treatments)
        _check_factor(name, every, role, tuple(varies))
        if control is not None and control not in every:
            raise BnstudyError(f"The control {control.name!r} of factor {name!r} is none of its levels.")
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "role", role)
        object.__setattr__(self, "levels", every)
        object.__setattr__(self, "control", control or every[0])
        object.__setattr__(self, "varies", tuple(varies) or (name,))

    def level(self, name: str) -> Level:
        """Return the level of that name, or raise an error with the nearest one."""
        for level in self.levels:
            if level.name == name:
                return level
        raise unknown(f"level of factor {self.name!r}", name, [level.name for level in self.levels])

    def only(self, names: Sequence[str]) -> "Factor":
        """Return the factor with some of its levels, in the order of declaration."""
        kept = [self.level(name) for name in names]
        levels = [level for level in self.levels if level in kept]
        control = self.control if self.control in kept else None
        return Factor(self.name, control=control, levels=levels, role=self.role, varies=self.varies)


def across(name: str, *values: Any, role: str = "nuisance") -> Factor:
    """Return a factor with one level for each value of a recipe field; `across("lr", 0.1, 1)`."""
    return Factor(name, levels=[Level(level_name(v), **{name: v}) for v in values], role=role)


@dataclass(frozen=True, kw_only=True)
class Profile:
    """How much of an ablation to run: the number of seeds, some levels of factors, changes to the base."""

    seeds: int | None = None
    levels: Mapping[str, Sequence[str]] = field(default_factory=dict)
    base: Mapping[str, Any] = field(default_factory=dict)


QUICK = Profile(seeds=3, base={"epochs": 4})
SMOKE = Profile(
    seeds=2,
    base={"data": "sample", "train_images": 1600, "validation_images": 400, "batch_size": 64, "epochs": 2},
)


@dataclass(frozen=True)
class Arm:
    """One level of every factor, and the recipe that they make of the base."""

    levels: tuple[tuple[str, str], ...]
    recipe: Recipe

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
        return trial_id(self.arm.recipe, self.seed)


def trial_id(recipe: Recipe, seed: int) -> str:
    """Return the name of a recipe trained from a seed; device, workers and packs are no part of it."""
    return digest(f"{recipe.fingerprint}/{seed}")


@dataclass(frozen=True, kw_only=True)
class Ablation:
    """One question: factors over a base recipe, seeds, and claims written down before the runs.

    The first claim is primary. `figure` names a picture of `bnstudy.figures`.
    """

    question: str
    source: str
    factors: tuple[Factor, ...]
    seeds: Sequence[int]
    claims: tuple[Claim, ...] = ()
    base: Recipe = BN_LENET
    quick: Profile = QUICK
    smoke: Profile = SMOKE
    figure: str = "arms"
    name: str = ""
    declared: "Ablation | None" = field(default=None, repr=False, compare=False)
    """The whole design, where this is the part of it that a profile runs."""

    def __post_init__(self) -> None:
        """Raise `BnstudyError` for a design that cannot answer its question."""
        _check_ablation(self)

    @property
    def whole(self) -> "Ablation":
        """The design as declared: claims are about it, whatever part of it a profile runs."""
        return self.declared or self

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
        return replace(self, factors=factors, seeds=first, base=base, declared=self.whole)

    def factor(self, name: str) -> Factor:
        """Return the factor of that name, or raise an error with the nearest one."""
        for factor in self.factors:
            if factor.name == name:
                return factor
        raise unknown("factor", name, [factor.name for factor in self.factors])

    @cached_property
    def arms(self) -> tuple[Arm, ...]:
        """Every combination of levels, the last factor moving fastest."""
        return tuple(
            Arm(tuple((f.name, level.name) for f, level in zip(self.factors, chosen, strict=True)), recipe)
            for chosen, recipe in self._resolved()
        )

    def _resolved(self) -> Iterator[tuple[tuple[Level, ...], Recipe]]:
        for chosen in itertools.product(*(factor.levels for factor in self.factors)):
            changes = {name: value for level in chosen for name, value in level.changes}
            yield chosen, self.base.replace(**changes)

    @cached_property
    def trials(self) -> tuple[Trial, ...]:
        """All arms of the first seed, then of the second: what is complete first can be judged first."""
        return tuple(Trial(arm, seed) for seed in self.seeds for arm in self.arms)


def _check_factor(name: str, levels: tuple[Level, ...], role: str, varies: tuple[str, ...]) -> None:
    if role not in ROLES:
        raise unknown("factor role", role, ROLES)
    if name in RESERVED:
        raise BnstudyError(
            f"A factor cannot be named {name!r}: tables have a column of that name. Rename it."
        )
    if not levels:
        raise BnstudyError(f"Factor {name!r} has no levels; give `control` and `treatments`, or `levels`.")
    for field_name in varies or (name,):
        if field_name not in FIELDS:
            hint = "" if varies else f" (name the fields that its levels change: varies=(...) in {name!r})"
            raise BnstudyError(f"{unknown('recipe field', field_name, FIELDS)}{hint}")
    names = [level.name for level in levels]
    twice = [n for n in names if names.count(n) > 1]
    if twice:
        raise BnstudyError(f"Factor {name!r} has two levels named {twice[0]!r}; give each its own name.")


def _check_ablation(ablation: Ablation) -> None:
    if not ablation.factors:
        raise BnstudyError("An ablation needs at least one factor.")
    if not ablation.seeds or len(set(ablation.seeds)) < len(ablation.seeds):
        raise BnstudyError("An ablation needs at least one seed, and each only once.")
    _check_overlap(ablation.factors)
    _check_confounds(ablation)
    for claim in ablation.claims:
        _check_claim(ablation.whole, claim)


def _check_overlap(factors: tuple[Factor, ...]) -> None:
    for a, b in itertools.combinations(factors, 2):
        shared = set(a.varies) & set(b.varies)
        if a.name == b.name or shared:
            what = f"vary {sorted(shared)[0]!r}" if shared else f"are named {a.name!r}"
            raise BnstudyError(f"Two factors {what}; a recipe field belongs to one factor.")


def _check_confounds(ablation: Ablation) -> None:
    """The confound guard: compare every arm's resolved recipe with the same arm at each factor's control."""
    arms = {arm.levels: arm for arm in ablation.arms}
    if len({arm.recipe for arm in ablation.arms}) < len(arms):
        raise BnstudyError(_same_recipe(ablation.arms))
    for arm in ablation.arms:
        for factor in ablation.factors:
            levels = tuple((f, factor.control.name if f == factor.name else level) for f, level in arm.levels)
            found = arm.recipe.differences(arms[levels].recipe)
            undeclared = [name for name in found if name not in factor.varies]
            if undeclared:
                raise BnstudyError(_confound(arm, arms[levels], factor, undeclared[0]))


def _confound(arm: Arm, control: Arm, factor: Factor, name: str) -> str:
    here, there = arm.recipe.differences(control.recipe)[name]
    return (
        f"Arms {arm.name} and {control.name} also differ in {name!r} ({here!r} and {there!r}), which factor "
        f"{factor.name!r} does not declare: a confound. Leave the field alone, or add it to varies=(...)."
    )


def _same_recipe(arms: tuple[Arm, ...]) -> str:
    seen: dict[Recipe, Arm] = {}
    twin = next(arm for arm in arms if seen.setdefault(arm.recipe, arm) is not arm)
    return f"Arms {seen[twin.recipe].name} and {twin.name} have the same recipe: there is nothing to compare."


def _check_claim(ablation: Ablation, claim: Claim) -> None:
    factor, measure = ablation.factor(claim.factor), claim.measure
    for name in (claim.treatment, claim.control):
        if name is not None:
            factor.level(name)
    if claim.treatment is None and len(factor.levels) != 2:
        raise BnstudyError(
            f"The claim {claim.text!r} must name its treatment: factor {factor.name!r} has "
            f"{len(factor.levels)} levels."
        )
    if claim.treatment == (claim.control or factor.control.name):
        raise BnstudyError(f"The claim {claim.text!r} compares {claim.treatment!r} with itself.")
    for name, level in claim.at:
        ablation.factor(name).level(level)
    if measure.outcome not in NUMBERS:
        raise unknown("outcome that is one number", measure.outcome, NUMBERS)
    if measure.over is not None:
        _check_over(ablation.factor(measure.over), claim)


def _check_over(factor: Factor, claim: Claim) -> None:
    """Raise for a claim that summarizes over a factor that it also fixes, or over rates that are no rates."""
    if factor.name in (claim.factor, *dict(claim.at)):
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
