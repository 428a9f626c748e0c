"""Tuned values belong to an arm, picked arms need no counterpart; nothing else differs undeclared."""

from dataclasses import replace

import pytest

from bnstudy.design import Ablation, Factor, Level, across, tuned
from bnstudy.errors import BnstudyError
from bnstudy.factors import Pairs
from bnstudy.recipe import Recipe

NORM = Factor("norm", control=Level("affine", norm="affine"), treatments=(Level("bn", norm="batch_norm"),))
AFFINE: Pairs = (("norm", "affine"), ("lr", "tuned"))
BN: Pairs = (("norm", "bn"), ("lr", "tuned"))
FOUND = ((AFFINE, (("lr", 0.562),)), (BN, (("lr", 17.8),)))


def at_tuned_rates(**changes: object) -> Ablation:
    values: dict[str, object] = {"question": "?", "source": "here", "seeds": range(2), "name": "made"}
    return Ablation(factors=(NORM, tuned("lr", 0.01, 1000)), **values | changes)  # type: ignore[arg-type]


def test_an_arm_has_its_own_tuned_value_and_nothing_else_differs() -> None:
    affine, bn = at_tuned_rates(found=FOUND).arms
    assert (affine.name, bn.name) == ("norm=affine,lr=tuned", "norm=bn,lr=tuned")
    assert (affine.recipe, bn.recipe) == (Recipe(norm="affine", lr=0.562), Recipe(lr=17.8))
    assert bn.recipe.differences(affine.recipe).keys() == {"norm", "lr"}
    assert not affine.untuned and not bn.untuned


def test_what_is_not_tuned_yet_has_the_name_of_no_record() -> None:
    """Its recipe still has the rate of the base: trials recorded at that rate are not the ones asked for."""
    before, after = at_tuned_rates(), at_tuned_rates(found=((BN, (("lr", 1.0),)), (AFFINE, (("lr", 3.0),))))
    assert all(arm.untuned for arm in before.arms)
    assert before.arms[1].recipe == after.arms[1].recipe
    assert not {trial.id for trial in before.trials} & {trial.id for trial in after.trials}
    assert len({trial.id for trial in before.trials}) == 4
    assert [arm.untuned for arm in at_tuned_rates(found=FOUND[1:]).arms] == [True, False]


def test_tuning_one_field_hides_no_other() -> None:
    smuggled = ((AFFINE, (("lr", 0.5), ("epochs", 20))), FOUND[1])
    with pytest.raises(BnstudyError, match=r"differ in 'epochs'.*a confound"):
        at_tuned_rates(found=smuggled)


def test_a_tuned_factor_survives_its_profiles_and_needs_something_to_search() -> None:
    factor = at_tuned_rates(found=FOUND).at("smoke").factor("lr")
    assert [level.name for level in factor.levels] == ["tuned"] and factor.role == "nuisance"
    assert [level.name for level in factor.search] == ["0.01", "1000"]
    assert [arm.recipe.lr for arm in at_tuned_rates(found=FOUND).at("smoke").arms] == [0.562, 17.8]
    with pytest.raises(BnstudyError, match=r"tuned\('lr', \.\.\.\) needs at least two values"):
        tuned("lr", 0.1)


def test_picked_arms_are_the_design() -> None:
    whole = Ablation(
        question="?", source="here", factors=(NORM, across("lr", 0.1, 1, 10)), seeds=range(2), name="made"
    )
    picked = replace(whole, picked=(whole.arms[4].levels, whole.arms[2].levels))
    assert picked.arms == (whole.arms[4], whole.arms[2])
    assert [trial.id for trial in picked.trials] == [
        trial.id for seed in range(2) for arm in picked.arms for trial in whole.trials
        if trial.arm == arm and trial.seed == seed
    ]  # fmt: skip


def test_picked_arms_are_held_against_those_controls_that_there_are() -> None:
    hot = Factor(
        "norm",
        levels=(Level("affine", norm="affine"), Level("bn"), Level("long", epochs=20)),
        varies=("norm", "epochs"),
    )
    rates = Factor("lr", levels=(Level("1", lr=1), Level("2", lr=2)))
    arms = ((("norm", "bn"), ("lr", "1")), (("norm", "long"), ("lr", "2")))
    made = Ablation(question="?", source="here", factors=(hot, rates), seeds=range(2), picked=arms)
    assert len(made.arms) == 2  # no two of them differ in one factor alone
    undeclared = Factor("norm", levels=hot.levels, varies=("norm",))
    with pytest.raises(BnstudyError, match="a confound"):
        replace(made, factors=(undeclared, rates), picked=(*arms, (("norm", "affine"), ("lr", "2"))))
