"""A design is what its file says: its trials in one order, and no difference that is not declared."""

import dataclasses
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest

from bnstudy import data, machine, registry, train
from bnstudy.claims import (
    Claim,
    Effect,
    Measure,
    at_best,
    at_least,
    at_most,
    equal_within,
    largest_workable,
    ratio_at_least,
)
from bnstudy.design import PROFILES, QUICK, SMOKE, Ablation, Factor, Level, Profile, across, trial_id
from bnstudy.errors import BnstudyError
from bnstudy.packs import plan
from bnstudy.recipe import BN_LENET, Recipe

NORM = Factor(
    "network",
    control=Level("affine", "without BN", norm="affine"),
    treatments=(Level("bn", norm="batch_norm"), Level("plain", norm="none")),
    varies=("norm",),
)
RATES = across("lr", 0.1, 1, 10)
CLAIM = Claim("It matters.", factor="network", treatment="bn", effect=at_least(0.01))


def ablation(*factors: Factor, **changes: Any) -> Ablation:
    values: dict[str, Any] = {"question": "?", "source": "here", "seeds": range(3), "name": "made"}
    return Ablation(factors=factors or (NORM, RATES), **values | changes)


# Trials


def test_trials_have_golden_names_in_a_fixed_order() -> None:
    """Packs and ledgers are built on this order and these names: neither may change by accident."""
    trials = ablation().trials
    assert [(trial.arm.name, trial.seed, trial.id) for trial in trials[:5]] == [
        ("network=affine,lr=0.1", 0, "72217242bd51a3a5"),
        ("network=affine,lr=1", 0, "c7c0365a1cd8c693"),
        ("network=affine,lr=10", 0, "0f50414795a50e73"),
        ("network=bn,lr=0.1", 0, "17fc9405fd990256"),
        ("network=bn,lr=1", 0, "df85d68ea1c50177"),
    ]
    assert trials[9].seed == 1 and trials[9].arm == trials[0].arm
    assert len({trial.id for trial in trials}) == len(trials) == 27


def test_a_trial_is_its_recipe_and_seed_alone() -> None:
    """The same recipe and seed in another ablation is the same trial."""
    trial = ablation().trials[3]
    assert trial.arm.recipe == Recipe(lr=0.1) and trial.id == trial_id(Recipe(lr=0.1), 0)
    other = ablation(across("lr", 5, 0.1), name="other", question="else?")
    assert other.trials[1].id == trial.id
    assert trial_id(Recipe(lr=0.1), 1) != trial.id


def test_arms_are_nested_in_the_order_of_the_factors() -> None:
    names = [arm.name for arm in ablation(RATES, NORM).arms]
    assert names == [f"lr={r},network={n}" for r, n in product(("0.1", "1", "10"), ("affine", "bn", "plain"))]


def test_an_arm_is_the_base_with_its_levels() -> None:
    arms = {arm.name: arm.recipe for arm in ablation(base=Recipe(epochs=3)).arms}
    assert arms["network=plain,lr=10"] == Recipe(epochs=3, norm="none", lr=10)


def test_factors_know_their_control_and_roles() -> None:
    assert NORM.role == "scientific" and NORM.control.name == "affine" == NORM.levels[0].name
    assert RATES.role == "nuisance" and RATES.control.name == "0.1" and RATES.varies == ("lr",)
    assert NORM.level("affine").label == "without BN" and NORM.level("bn").label == "bn"
    assert [level.name for level in across("flush_denormals", True, False).levels] == ["on", "off"]


# Profiles


def test_a_profile_runs_a_part_of_the_design() -> None:
    quick = Profile(seeds=2, levels={"lr": ("10", "0.1")}, base={"epochs": 1})
    part = ablation(quick=quick).at("quick")
    assert [arm.name for arm in part.arms[:2]] == ["network=affine,lr=0.1", "network=affine,lr=10"]
    assert len(part.trials) == 3 * 2 * 2 and part.base.epochs == 1


def test_the_paper_is_the_design_as_declared() -> None:
    whole = ablation()
    assert whole.at("paper").trials == whole.trials
    assert [a.at("quick").whole is a for a in (whole, whole.at("smoke").whole)] == [True, True]


def test_profiles_have_defaults() -> None:
    whole = ablation(seeds=range(2))
    assert len(whole.at("quick").seeds) == 2, "not more than there are"
    assert whole.at("quick").base == Recipe(epochs=QUICK.base["epochs"])
    smoke = whole.at("smoke").base
    assert smoke.data == "sample" and smoke.train_images == SMOKE.base["train_images"]


def test_seeds_can_be_chosen() -> None:
    assert ablation().at("paper", 2).seeds == (0, 1)
    assert ablation().at("quick", 1).seeds == (0,)
    with pytest.raises(BnstudyError, match="made declares 3 seeds; 4 were asked for"):
        ablation().at("paper", 4)


def test_a_factor_of_some_levels_keeps_its_order_and_control() -> None:
    kept = NORM.only(("plain", "affine"))
    assert [level.name for level in kept.levels] == ["affine", "plain"] and kept.control == NORM.control
    assert kept.role == NORM.role and kept.varies == NORM.varies
    assert NORM.only(("plain", "bn")).control.name == "bn", "the first that is left"


def test_a_control_may_stand_anywhere() -> None:
    last = Factor("lr", levels=(Level("a", lr=1), Level("b", lr=2)), control=Level("b", lr=2))
    assert last.control.name == "b"
    assert [level.name for level in last.only(("b", "a")).levels] == ["a", "b"]
    assert last.only(("b", "a")).control.name == "b"


# What is refused


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ablation().at("quik"), "No profile named 'quik'. Did you mean 'quick'"),
        (lambda: ablation().factor("netwrk"), "No factor named 'netwrk'. Did you mean 'network'"),
        (lambda: NORM.level("bnn"), "No level of factor 'network' named 'bnn'. Did you mean 'bn'"),
        (lambda: NORM.only(["plan"]), "named 'plan'. Did you mean 'plain'"),
        (lambda: NORM.only([]), "Factor 'network' has no levels"),
        (lambda: Factor("lr"), "Factor 'lr' has no levels; give `control` and `treatments`, or `levels`"),
        (lambda: across("lr", 0.1, 0.10), "Factor 'lr' has two levels named '0.1'"),
        (lambda: across("lrr", 0.1), "No recipe field named 'lrr'. Did you mean 'lr'"),
        (lambda: across("bias", 1), r"name the fields that its levels change: varies=\(...\) in 'bias'"),
        (
            lambda: across("lr", 1, role="nuisanse"),
            "No factor role named 'nuisanse'. Did you mean 'nuisance'",
        ),
        (
            lambda: Factor("network", levels=NORM.levels, varies=("nrom",)),
            "No recipe field named 'nrom'. Did you mean 'norm'",
        ),
        (
            lambda: Factor("lr", levels=RATES.levels, control=Level("7", lr=7)),
            "The control '7' of factor 'lr' is none of its levels",
        ),
        (lambda: Ablation(question="", source="", factors=(), seeds=[1]), "at least one factor"),
        (lambda: ablation(seeds=()), "at least one seed, and each only once"),
        (lambda: ablation(seeds=(1, 2, 1)), "at least one seed, and each only once"),
        (
            lambda: ablation(Factor("norm", levels=(Level("a"), Level("b", nrom="none")))),
            "No recipe field named 'nrom'. Did you mean 'norm'",
        ),
        (lambda: ablation(across("lr", 1, -1)), "lr = -1.0 cannot train"),
        (lambda: ablation(quick=Profile(levels={"rate": ("1",)})).at("quick"), "No factor named 'rate'"),
        (
            lambda: ablation(quick=Profile(levels={"lr": ("2",)})).at("quick"),
            "No level of factor 'lr' named '2'",
        ),
        (lambda: ablation(quick=Profile(base={"epoch": 1})).at("quick"), "Did you mean 'epochs'"),
    ],
)
def test_mistakes_are_told(make: Callable[[], object], message: str) -> None:
    with pytest.raises(BnstudyError, match=message):
        make()


def test_a_factor_may_not_change_what_it_does_not_declare() -> None:
    """The published comparisons of "with" and "without" also changed the padding and the learning rate."""
    padded = Factor("norm", control=Level("bn"), treatments=(Level("lenet", norm="none", padding=2),))
    with pytest.raises(BnstudyError) as caught:
        ablation(padded)
    assert str(caught.value) == (
        "Arms norm=lenet and norm=bn also differ in 'padding' (2 and 0), which factor 'norm' does not "
        "declare: a confound. Leave the field alone, or add it to varies=(...)."
    )
    declared = Factor("norm", levels=padded.levels, varies=("norm", "padding"))
    assert ablation(declared).arms[1].recipe.padding == 2


def test_a_confound_in_one_cell_of_many_is_found() -> None:
    sly = Factor("batch_size", levels=(Level("256"), Level("64", batch_size=64, epochs=3)))
    with pytest.raises(
        BnstudyError, match=r"batch_size=64 .* also differ in 'epochs' .3 and 10., which factor"
    ):
        ablation(NORM, sly)


def test_factors_may_not_share_a_field() -> None:
    other = Factor(
        "optimizer", levels=(Level("slow", lr=0.5), Level("fast", lr=5)), varies=("lr", "optimizer")
    )
    with pytest.raises(BnstudyError, match="Two factors vary 'lr'; a recipe field belongs to one factor"):
        ablation(RATES, other)
    with pytest.raises(BnstudyError, match="Two factors are named 'lr'"):
        ablation(RATES, Factor("lr", levels=NORM.levels, varies=("norm",)))


def test_arms_may_not_be_the_same() -> None:
    twins = Factor("norm", levels=(Level("textbook"), Level("bn", norm="batch_norm")))
    with pytest.raises(BnstudyError, match="Arms norm=textbook and norm=bn have the same recipe"):
        ablation(twins)


# Claims


def test_claims_are_plain_data() -> None:
    assert at_least(0.1) == Effect("at least", 0.1) and at_most(0.1) == Effect("at most", 0.1)
    assert equal_within(0.1) == Effect("equal within", 0.1)
    assert ratio_at_least(5) == Effect("at least", 5, "ratio")
    assert CLAIM.measure == Measure("precise_test_accuracy")
    assert at_best("lr") == Measure("precise_test_accuracy", "lr", "best")
    assert largest_workable() == Measure("precise_train_accuracy", "lr", "largest workable", 0.5)
    assert ablation(claims=(CLAIM,)).claims == (CLAIM,)


@pytest.mark.parametrize("margin", [float("nan"), float("inf")])
def test_margins_are_numbers(margin: float) -> None:
    with pytest.raises(BnstudyError, match="margin must be a finite number"):
        at_least(margin)


def test_margins_can_decide() -> None:
    with pytest.raises(BnstudyError, match="equal_within needs a margin above 0, not 0"):
        equal_within(0)
    with pytest.raises(BnstudyError, match="ratio's margin must be above 0, not -1"):
        ratio_at_least(-1)


def test_ratios_and_differences_are_not_mixed() -> None:
    with pytest.raises(BnstudyError, match="'x' mixes a ratio and a difference"):
        Claim("x", factor="network", effect=ratio_at_least(2))
    with pytest.raises(BnstudyError, match="'x' mixes a ratio and a difference"):
        Claim("x", factor="network", effect=at_least(2), outcome=largest_workable())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"factor": "netwrk"}, "No factor named 'netwrk'. Did you mean 'network'"),
        ({"treatment": "bnn"}, "No level of factor 'network' named 'bnn'. Did you mean 'bn'"),
        ({"control": "afine"}, "No level of factor 'network' named 'afine'. Did you mean 'affine'"),
        ({"treatment": None}, "'It matters.' must name its treatment: factor 'network' has 3 levels"),
        ({"treatment": "affine"}, "compares 'affine' with itself"),
        ({"treatment": "bn", "control": "bn"}, "compares 'bn' with itself"),
        ({"at": (("rate", "1"),)}, "No factor named 'rate'"),
        ({"at": (("lr", "2"),)}, "No level of factor 'lr' named '2'"),
        ({"outcome": "precise_test_acuracy"}, "Did you mean 'precise_test_accuracy'"),
        ({"outcome": "validation_accuracy"}, "No outcome that is one number named 'validation_accuracy'"),
        ({"outcome": at_best("rate")}, "No factor named 'rate'"),
        ({"outcome": at_best("lr"), "at": (("lr", "1"),)}, "both fixes and summarizes over factor 'lr'"),
        ({"outcome": at_best("network")}, "both fixes and summarizes over factor 'network'"),
    ],
)
def test_a_claim_is_about_its_ablation(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BnstudyError, match=message):
        ablation(claims=(dataclasses.replace(CLAIM, **changes),))


def test_the_largest_workable_rate_needs_rates() -> None:
    claim = Claim(
        "x", factor="lr", treatment="1", effect=ratio_at_least(5), outcome=largest_workable("network")
    )
    with pytest.raises(BnstudyError, match="needs numbers above 0 as levels of 'network', not 'affine'"):
        ablation(claims=(claim,))


def test_a_claim_outlives_the_part_that_a_profile_runs() -> None:
    claim = dataclasses.replace(CLAIM, treatment="plain")
    part = ablation(claims=(claim,), quick=Profile(levels={"network": ("affine", "bn")})).at("quick")
    assert part.claims == (claim,) and len(part.factor("network").levels) == 2


# The files


def every_ablation() -> list[tuple[str, Ablation]]:
    found = registry.find()
    assert not found.broken
    return list(found.ablations.items())


ABLATIONS = every_ablation()


@pytest.mark.parametrize(("name", "declared"), ABLATIONS, ids=[name for name, _ in ABLATIONS])
@pytest.mark.parametrize("profile", PROFILES)
def test_every_ablation_plans_in_every_profile(name: str, declared: Ablation, profile: str) -> None:
    part = declared.at(profile)
    assert part.name == name and part.question.endswith("?") and part.source
    packed = [trial for pack in plan(part) for trial in pack.trials]
    assert sorted(trial.id for trial in packed) == sorted(trial.id for trial in part.trials)
    assert profile == "smoke" or all(arm.recipe.data == "fashion-mnist" for arm in part.arms)


@pytest.mark.parametrize(("name", "declared"), ABLATIONS, ids=[name for name, _ in ABLATIONS])
def test_the_first_pack_of_every_ablation_trains(name: str, declared: Ablation) -> None:
    machine.prepare("cpu")
    pack = plan(declared)[0]
    batch = min(64, pack.trials[0].arm.recipe.batch_size)
    small = {
        "data": "sample",
        "train_images": 2 * batch,
        "validation_images": 20,
        "batch_size": batch,
        "epochs": 1,
    }
    recipes = [trial.arm.recipe.replace(**small) for trial in pack.slots]
    seeds = [trial.seed for trial in pack.slots]
    seen: list[int] = []
    outcomes = train.train_pack(
        recipes, seeds, data.load("sample"), shares_images=pack.shares_images, report=seen.append
    )
    assert seen == [len(recipes) * batch] * 2 and all(outcome.finished for outcome in outcomes)


def test_the_base_of_an_ablation_is_the_textbook_s() -> None:
    assert ablation().base == BN_LENET
