"""A design is what its file says: its trials in one order, and no difference that is not declared."""

import dataclasses
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest

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
from bnstudy.design import QUICK, SMOKE, Ablation, Also, Factor, Level, Profile, across, trial_id
from bnstudy.errors import BnstudyError
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


@pytest.mark.parametrize("profile", [QUICK, SMOKE])
def test_a_profile_can_be_another_but_for_something(profile: Profile) -> None:
    assert profile.but() == profile
    other = profile.but(seeds=9, levels={"lr": ("1",)}, caps={"epochs": 5}, epochs=7, batch_size=32)
    assert (other.seeds, other.levels, other.caps) == (9, {"lr": ("1",)}, {"epochs": 5})
    assert other.base == {**profile.base, "epochs": 7, "batch_size": 32}


def test_caps_win_over_levels() -> None:
    """Images of 224 pixels are for a GPU, whichever level asks for them."""
    size = Factor("image_size", levels=(Level("224", image_size=224), Level("28")))
    part = ablation(size, quick=Profile(caps={"image_size": 64, "epochs": 5})).at("quick")
    assert [(arm.recipe.image_size, arm.recipe.epochs) for arm in part.arms] == [(64, 5), (28, 5)]
    assert [arm.recipe.image_size for arm in part.whole.arms] == [224, 28]


def test_caps_may_not_make_two_arms_one() -> None:
    few = across("train_images", 50_000, 5_000)
    with pytest.raises(BnstudyError, match="train_images=50000 and train_images=5000 have the same recipe"):
        ablation(few, quick=Profile(caps={"train_images": 1_000})).at("quick")


# Nested factors

DROPOUT = across("dropout", 0, 0.1, 0.5, role="scientific")
SITE = Factor(
    "site",
    levels=(Level("before"), Level("after", dropout_at="after_norms")),
    varies=("dropout_at",),
    where={"dropout": ("0.1", "0.5")},
)


def test_a_nested_factor_exists_at_some_levels_of_another() -> None:
    assert [arm.name for arm in ablation(DROPOUT, SITE, across("lr", 1)).arms] == [
        "dropout=0,lr=1",
        *(f"dropout={d},site={s},lr=1" for d, s in product(("0.1", "0.5"), ("before", "after"))),
    ]


def test_a_nested_factor_survives_its_profile() -> None:
    part = ablation(DROPOUT, SITE, quick=Profile(levels={"dropout": ("0.5", "0"), "site": ("after",)}))
    assert [arm.name for arm in part.at("quick").arms] == ["dropout=0", "dropout=0.5,site=after"]
    assert SITE.only(("after",)).where == SITE.where


def test_arms_are_found_by_their_levels() -> None:
    made = ablation(DROPOUT, SITE)
    assert [arm.name for arm in made.having({"site": "after"})] == [
        "dropout=0.1,site=after",
        "dropout=0.5,site=after",
    ]
    assert len(made.having({"dropout": "0"})) == 1 and len(made.having({})) == 5
    assert made.having({"dropout": "0", "site": "after"}) == ()


def test_the_control_has_the_control_of_every_factor() -> None:
    assert ablation().control.name == "network=affine,lr=0.1"
    assert ablation(DROPOUT, SITE).control.name == "dropout=0"
    last = Factor("dropout", levels=DROPOUT.levels, control=DROPOUT.levels[2])
    assert ablation(last, SITE).control.name == "dropout=0.5,site=before"


def test_what_is_nested_may_change_with_the_level_above_it() -> None:
    """Without dropout there is no site: the guard compares with an arm that has none."""
    other = Factor("site", levels=SITE.levels[1:], varies=SITE.varies, where=dict(SITE.where))
    assert len(ablation(DROPOUT, other).arms) == 3
    levels = (Level("before"), Level("after", dropout_at="after_norms", lr=2))
    sly = Factor("site", levels=levels, varies=SITE.varies, where=dict(SITE.where))
    with pytest.raises(
        BnstudyError, match=r"site=after and .* also differ in 'lr' .2.0 and 1.0., which factor"
    ):
        ablation(DROPOUT, sly)


# Fields that several factors make together

CONV, FULL = (
    Factor(
        name,
        levels=(Level("off"), Level("on", norm="batch_norm", norm_at=Also(name))),
        varies=("norm", "norm_at"),
    )
    for name in ("conv1", "fc1")
)


def test_factors_may_add_to_one_field() -> None:
    made = ablation(FULL, CONV, base=Recipe(norm="none"))
    assert [(arm.name, arm.recipe.norm, arm.recipe.norm_at) for arm in made.arms] == [
        ("fc1=off,conv1=off", "none", "hidden"),
        ("fc1=off,conv1=on", "batch_norm", "conv1"),
        ("fc1=on,conv1=off", "batch_norm", "fc1"),
        ("fc1=on,conv1=on", "batch_norm", "conv1,fc1"),
    ]


def test_factors_that_share_a_field_must_agree_on_it() -> None:
    other = Factor(
        "fc2",
        levels=(Level("off"), Level("on", norm="rms_norm", norm_at=Also("fc2"))),
        varies=("norm", "norm_at"),
    )
    with pytest.raises(BnstudyError, match="Two factors vary 'norm'; a recipe field belongs to one factor"):
        ablation(CONV, other, base=Recipe(norm="none"))
    plain = Factor("fc2", levels=(Level("off"), Level("on", norm_at="fc2")), varies=("norm_at",))
    with pytest.raises(BnstudyError, match="Two factors vary 'norm_at'"):
        ablation(CONV, plain, base=Recipe(norm="none"))


# Seeds


def test_a_level_may_ask_for_fewer_seeds() -> None:
    few = Factor("lr", levels=(Level("1", lr=1), Level("2", lr=2, seeds=2)))
    made = ablation(few, across("momentum", 0.1, 0.2), seeds=range(5, 9))
    assert [made.seeds_of(arm) for arm in made.arms] == [range(5, 9)] * 2 + [range(5, 7)] * 2
    assert [(t.arm.name, t.seed) for t in made.trials if t.arm.levels[0] == ("lr", "2")] == [
        (f"lr=2,momentum={m}", seed) for seed in (5, 6) for m in ("0.1", "0.2")
    ]
    assert len(made.trials) == 4 * 2 + 2 * 2
    assert len(made.at("paper", 1).trials) == 4


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
        (
            lambda: Factor("bias", levels=[Level("kept")]),
            r"name the fields that its levels change: varies=\(...\) in 'bias'",
        ),
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
        (
            lambda: ablation(SITE, DROPOUT),
            "'site' depends on the level of 'dropout': declare 'dropout' before",
        ),
        (
            lambda: ablation(
                DROPOUT, Factor("a", levels=SITE.levels, varies=SITE.varies, where={"dropout": "7"})
            ),
            "No level of factor 'dropout' named '7'",
        ),
        (
            lambda: Factor("lr", levels=(Level("1", lr=1, seeds=0),)),
            "Level '1' of factor 'lr' needs at least one seed",
        ),
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
        ({"outcome": "validation_accuracy"}, "name its last, 'validation_accuracy.last'"),
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


def test_the_base_of_an_ablation_is_the_textbook_s() -> None:
    assert ablation().base == BN_LENET
