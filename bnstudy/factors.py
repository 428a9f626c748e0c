"""Factors and levels: what varies in a design, and which recipe fields that changes."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from bnstudy import kinds
from bnstudy.errors import BnstudyError, unknown
from bnstudy.outcome import Outcome
from bnstudy.recipe import FIELDS, level_name

ROLES = ("scientific", "nuisance")
RESERVED = ("ablation", "trial", "seed", "fingerprint", *(f.name for f in fields(Outcome)))
"""Columns of every table of records; factors are columns too."""

TUNED = "tuned"
"""The one level of a factor that is tuned."""

Pairs = tuple[tuple[str, str], ...]
"""Names of factors and of their levels, in the order of declaration."""


@dataclass(frozen=True)
class Also:
    """A name that a level adds to a field of names, where a plain value would replace it: the levels of two
    factors with `norm_at=Also("conv1")` and `norm_at=Also("fc1")` make `norm_at="conv1,fc1"`."""

    name: str


@dataclass(frozen=True, init=False)
class Level:
    """One value of a factor: a name and the recipe fields that it changes. `seeds` is how many of the
    ablation's seeds its arms get: the first so many, by default all."""

    name: str
    label: str
    seeds: int | None
    changes: tuple[tuple[str, Any], ...]

    def __init__(self, name: str, label: str = "", *, seeds: int | None = None, **changes: Any) -> None:
        """`label` is what figures print; it defaults to the name."""
        kinds.kind("Level", "name", name, str)
        kinds.kind("Level", "label", label, str)
        plain = {field: value.name if isinstance(value, Also) else value for field, value in changes.items()}
        kinds.recipe_fields(f"Level {name!r}", plain)
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "label", label or name)
        object.__setattr__(self, "seeds", seeds)
        object.__setattr__(self, "changes", tuple(changes.items()))


@dataclass(frozen=True, init=False)
class Factor:
    """What varies. `varies` names the recipe fields that its levels may change, and no others may differ
    between arms that differ in this factor alone (the confound guard); by default the field of its name.

    `where` nests it: the factor exists only in arms that have one of these levels of other factors, declared
    before it; `where={"dropout": ("0.1", "0.5")}`. Other arms have no level of it.

    With `search` each arm has the best of these levels (of learning rates: the best between the smallest and
    the largest) by its own validation accuracy, and the factor's one level says so; see `tuned`.
    """

    name: str
    role: str
    levels: tuple[Level, ...]
    control: Level
    varies: tuple[str, ...]
    where: tuple[tuple[str, tuple[str, ...]], ...]
    search: tuple[Level, ...]

    def __init__(
        self,
        name: str,
        *,
        control: Level | None = None,
        treatments: Sequence[Level] = (),
        levels: Sequence[Level] = (),
        role: str = "scientific",
        varies: Sequence[str] = (),
        where: Mapping[str, Sequence[str]] | None = None,
        search: Sequence[Level] = (),
    ) -> None:
        """Give `control` and `treatments`, or `levels`, whose first is then the control."""
        every = _levels(name, control, treatments, levels)
        kinds.several(f"Factor {name!r}", "varies", varies, str)
        _check_factor(name, every, role, tuple(varies))
        if control is not None and control not in every:
            raise BnstudyError(f"The control {control.name!r} of factor {name!r} is none of its levels.")
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "role", role)
        object.__setattr__(self, "levels", every)
        object.__setattr__(self, "control", control or every[0])
        object.__setattr__(self, "varies", tuple(varies) or (name,))
        object.__setattr__(self, "where", tuple((k, tuple(v)) for k, v in (where or {}).items()))
        object.__setattr__(self, "search", tuple(search))

    def level(self, name: str) -> Level:
        """Return the level of that name, or raise an error with the nearest one."""
        for level in self.levels:
            if level.name == name:
                return level
        raise unknown(f"level of factor {self.name!r}", name, [level.name for level in self.levels])

    def only(self, names: Sequence[str]) -> "Factor":
        """Return the factor with some of its levels, in the order of declaration."""
        kept = [self.level(name) for name in names]
        return self.of([level for level in self.levels if level in kept], self.search)

    def of(self, levels: Sequence[Level], search: Sequence[Level] = ()) -> "Factor":
        """Return the factor with other levels; the first is the control where its own is not among them."""
        return Factor(
            self.name,
            control=self.control if self.control in levels else None,
            levels=levels,
            role=self.role,
            varies=self.varies,
            where=dict(self.where),
            search=search,
        )

    def exists(self, levels: Mapping[str, str]) -> bool:
        """Return whether an arm with these levels of the factors declared before has a level of this one."""
        return all(levels.get(name) in allowed for name, allowed in self.where)

    def values(self, name: str) -> list[Any]:
        """Return what its levels set a recipe field to."""
        return [value for level in self.levels for field, value in level.changes if field == name]


def across(name: str, *values: Any, role: str = "nuisance", **options: Any) -> Factor:
    """Return a factor with one level for each value of a recipe field: `across("lr", 0.1, 1)`."""
    return Factor(name, levels=[Level(level_name(v), **{name: v}) for v in values], role=role, **options)


def tuned(name: str, *values: Any, **options: Any) -> Factor:
    """Return a nuisance factor that every arm has at its own best value: `tuned("lr", 0.01, 1000)`.

    `bnstudy run` searches first, on the validation images and with as many trials for each arm: learning
    rates between the smallest and the largest value, other fields among the values.
    """
    search = [Level(level_name(v), **{name: v}) for v in values]
    if len(search) < 2:
        raise BnstudyError(f"tuned({name!r}, ...) needs at least two values to search among.")
    return Factor(name, levels=[Level(TUNED, f"tuned {name}")], role="nuisance", search=search, **options)


def changes(levels: Iterable[Level]) -> dict[str, Any]:
    """Return the recipe fields that levels of several factors change together."""
    found: dict[str, Any] = {}
    for name, value in (change for level in levels for change in level.changes):
        if isinstance(value, Also):
            found[name] = f"{found[name]},{value.name}" if name in found else value.name
        else:
            found[name] = value
    return found


def _agree(a: Factor, b: Factor, name: str) -> bool:
    """Return whether two factors can both change a recipe field: by adding to it, or to one same value."""
    values = a.values(name) + b.values(name)
    return all(isinstance(value, Also) or value == values[0] for value in values)


def _levels(
    name: str, control: Level | None, treatments: Sequence[Level], levels: Sequence[Level]
) -> tuple[Level, ...]:
    """Return every level; raise for what is none."""
    kinds.kind("Factor", "name", name, str)
    owner = f"Factor {name!r}"
    if control is not None:
        kinds.kind(owner, "control", control, Level)
    rest = kinds.several(owner, "treatments", treatments, Level)
    return kinds.several(owner, "levels", levels, Level) or ((control,) if control else ()) + rest


def check_overlap(factors: Sequence[Factor]) -> None:
    """Raise `BnstudyError` for two factors of one name, or that disagree on a recipe field."""
    for a, b in itertools.combinations(factors, 2):
        shared = [name for name in sorted(set(a.varies) & set(b.varies)) if not _agree(a, b, name)]
        if a.name == b.name or shared:
            what = f"vary {shared[0]!r}" if shared else f"are named {a.name!r}"
            raise BnstudyError(f"Two factors {what}; a recipe field belongs to one factor.")


def check_nesting(factors: Sequence[Factor]) -> None:
    """Raise `BnstudyError` for a factor nested in one that comes later, or in a level that does not exist."""
    for place, factor in enumerate(factors):
        before = {each.name: each for each in factors[:place]}
        for name, levels in factor.where:
            if name not in before:
                raise BnstudyError(
                    f"Factor {factor.name!r} depends on the level of {name!r}: declare {name!r} before it."
                )
            for level in levels:
                before[name].level(level)


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
    for level in levels:
        if level.seeds is not None and level.seeds < 1:
            raise BnstudyError(f"Level {level.name!r} of factor {name!r} needs at least one seed.")
