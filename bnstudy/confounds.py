"""The confound guard: arms differ in what their factors declare, and in nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bnstudy.errors import BnstudyError
from bnstudy.factors import Factor, Pairs

if TYPE_CHECKING:
    from bnstudy.design import Arm
    from bnstudy.recipe import Recipe


def check(factors: Sequence[Factor], arms: Sequence[Arm]) -> None:
    """Compare every arm's resolved recipe with the same arm at each factor's control, where there is one.

    Raises `BnstudyError` for a field that differs undeclared, and for two arms of one recipe. What is tuned
    belongs to each arm.
    """
    if len({arm.recipe for arm in arms}) < len(arms):
        raise BnstudyError(_same_recipe(arms))
    by_levels = {arm.levels: arm for arm in arms}
    tuned = {name for factor in factors if factor.search for name in factor.varies}
    for arm in arms:
        at = dict(arm.levels)
        for factor in factors:
            if at.get(factor.name, factor.control.name) == factor.control.name:
                continue  # it is at that control itself
            control = by_levels.get(_at_control(factors, arm, factor), arm)  # picked arms may lack it
            changed = {name for name, _ in set(arm.levels) ^ set(control.levels)}
            declared = {name for f in factors if f.name in changed for name in f.varies} | tuned
            found = arm.recipe.differences(control.recipe) if changed else {}
            undeclared = [name for name in found if name not in declared]
            if undeclared:
                raise BnstudyError(_confound(arm, control, factor, undeclared[0]))


def _at_control(factors: Sequence[Factor], arm: Arm, factor: Factor) -> Pairs:
    """Return the arm's levels with one factor at its control, and without or with what is nested below."""
    had, chosen = dict(arm.levels), dict[str, str]()
    for each in factors:
        if each.exists(chosen):
            level = each.control.name if each is factor else had.get(each.name, each.control.name)
            chosen[each.name] = level
    return tuple(chosen.items())


def _confound(arm: Arm, control: Arm, factor: Factor, name: str) -> str:
    here, there = arm.recipe.differences(control.recipe)[name]
    return (
        f"Arms {arm.name} and {control.name} also differ in {name!r} ({here!r} and {there!r}), which factor "
        f"{factor.name!r} does not declare: a confound. Leave the field alone, or add it to varies=(...)."
    )


def _same_recipe(arms: Sequence[Arm]) -> str:
    seen: dict[Recipe, Arm] = {}
    twin = next(arm for arm in arms if seen.setdefault(arm.recipe, arm) is not arm)
    return f"Arms {seen[twin.recipe].name} and {twin.name} have the same recipe: there is nothing to compare."
