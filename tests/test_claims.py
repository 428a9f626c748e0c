"""Claims say one thing each: what could not be judged is refused when it is written."""

from collections.abc import Callable

import pytest
from handmade import by_rate, made, two_arms

from bnstudy.claims import (
    Claim,
    Effect,
    at_best,
    at_least,
    at_most,
    best_among,
    contains,
    equal_within,
    exact,
    false_alarms,
    interaction,
    largest_workable,
    ranked,
    ratio_at_least,
    ratio_at_most,
    share_at_least,
    spread_at_most,
    spread_ratio_at_least,
    success,
    weighted,
)
from bnstudy.design import Ablation, Factor, Level
from bnstudy.errors import BnstudyError
from bnstudy.judgement.parties import parties, sides

AT = {"lr": "1"}


@pytest.mark.parametrize(
    ("fields", "form"),
    [
        ({"factor": "network"}, "sides"),
        ({"treatment": {"lr": "1"}, "control": {"lr": "10"}}, "sides"),
        ({"against": "test_accuracy"}, "outcomes"),
        ({"contrast": weighted("lr", {"1": 1, "10": -1})}, "contrast"),
        ({"at": AT}, "alone"),
        ({"factor": "lr", "effect": best_among("1")}, "levels"),
        ({"factor": "lr", "effect": contains({"1": 0.8})}, "levels"),
        ({"at": AT, "effect": contains(0.8)}, "alone"),
    ],
)
def test_what_a_claim_is_about_follows_from_its_fields(fields: dict[str, object], form: str) -> None:
    made_claim = Claim("It is so.", **{"effect": at_least(0)} | fields)  # type: ignore[arg-type]
    assert made_claim.form == form
    assert by_rate(made_claim).claims == (made_claim,), "a design accepts it"
    assert hash(made_claim) == hash(made_claim), "it is plain data"


def test_levels_are_given_as_a_mapping_or_as_pairs() -> None:
    pairs, mapping = (
        Claim("It is so.", factor="network", effect=at_least(0), at=at) for at in ((("lr", "1"),), AT)
    )
    assert pairs == mapping and pairs.fixed == AT


def test_an_interaction_is_a_difference_of_differences() -> None:
    contrast = interaction({"norm": ("bn", "none"), "dropout": ("0.5", "0")})
    assert {frozenset(levels): weight for weight, levels in contrast} == {
        frozenset({("norm", "bn"), ("dropout", "0.5")}): 1,
        frozenset({("norm", "none"), ("dropout", "0.5")}): -1,
        frozenset({("norm", "bn"), ("dropout", "0")}): -1,
        frozenset({("norm", "none"), ("dropout", "0")}): 1,
    }


def test_the_parties_of_a_share() -> None:
    whole = Claim(
        "Half.", factor="network", treatment="bn", control="affine", of="none", effect=share_at_least(0.5)
    )
    (network,) = two_arms().factors
    three = Factor("network", levels=(*network.levels, Level("none", norm="none")), varies=("norm",))
    names = [(p.name, p.weight) for p in parties(made(three, claims=(whole,)), whole)]
    assert names == [("bn", 1), ("affine", -1), ("none", 0)]
    other = Claim("Half.", factor="network", against="test_accuracy", effect=share_at_least(0.5))
    found = parties(two_arms(other), other)
    assert [(p.name, p.measure.outcome, p.weight) for p in found] == [
        ("bn", "precise_test_accuracy", 1),
        ("affine", "precise_test_accuracy", -1),
        ("bn", "test_accuracy", -1),
        ("affine", "test_accuracy", 1),
    ]


def test_the_sides_of_several_factors_are_named_by_them() -> None:
    both = Claim(
        "It is so.",
        treatment={"network": "bn", "lr": "10"},
        control={"network": "affine", "lr": "1"},
        effect=at_least(0),
    )
    assert sides(by_rate(both), both) == ("network=bn,lr=10", "network=affine,lr=1")


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"effect": at_least(0), "outcome": largest_workable(), "factor": "network"}, "mixes a ratio"),
        ({"effect": spread_at_most(1), "factor": "network"}, "effect on its spread, which needs at= alone"),
        ({"effect": spread_ratio_at_least(3), "at": AT}, "needs factor= .* or against="),
        ({"effect": ratio_at_most(3), "at": AT}, "needs factor= .* or against="),
        ({"effect": best_among("1")}, "needs factor= without treatment and control"),
        ({"effect": false_alarms(0.1)}, "effect on its false alarms, which needs factor="),
        (
            {"effect": at_least(0), "factor": "network", "outcome": success()},
            r"success\(...\) is for one arm",
        ),
        ({"effect": spread_at_most(0.1), "outcome": success()}, r"success\(...\) is for one arm"),
        (
            {"effect": exact(0), "factor": "network", "outcome": at_best("lr")},
            "needs plain names of outcomes",
        ),
        (
            {"effect": at_least(0), "against": "test_accuracy", "outcome": at_best("lr")},
            "needs plain names of outcomes",
        ),
        ({"effect": at_least(0), "treatment": "bn"}, 'needs factor="..."'),
        ({"effect": at_least(0), "treatment": {"lr": "1"}}, 'needs factor="..."'),
        ({"effect": at_least(0), "factor": "network", "treatment": {"lr": "1"}}, "are names of levels"),
        (
            {"effect": spread_ratio_at_least(3), "factor": "network", "against": "test_accuracy"},
            "compares both levels and outcomes",
        ),
        ({"effect": best_among("1"), "factor": "lr", "treatment": "1"}, "compares none of them"),
        (
            {"effect": at_least(0), "factor": "lr", "contrast": weighted("lr", {"1": 1, "10": -1})},
            "names its own levels",
        ),
        (
            {"effect": at_least(0), "contrast": weighted("lr", {"1": 1, "10": -2})},
            "add up to -1 instead of 0",
        ),
        ({"effect": share_at_least(0.5), "factor": "network"}, "give of=... .a level. or against=..."),
        ({"effect": at_least(0), "factor": "lr", "treatment": "1", "of": "10"}, "goes with share_at_least"),
        ({"effect": contains({"1": 0.8}), "at": AT}, "one recorded number for each of its levels"),
        ({"effect": contains(0.8), "factor": "lr"}, "one recorded number for each of its levels"),
        ({"effect": ranked("1"), "factor": "lr"}, "ranks at least two levels"),
    ],
)
def test_fields_that_make_no_statement_together(fields: dict[str, object], told: str) -> None:
    with pytest.raises(BnstudyError, match=f"The claim 'It is so.' .*{told}"):
        Claim("It is so.", **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"factor": "network", "treatment": "bm"}, "Known: affine, bn"),
        ({"factor": "lr", "treatment": "1", "of": "11", "effect": share_at_least(0.5)}, "named '11'"),
        ({"factor": "lr", "effect": best_among("1", "2")}, "No level of factor 'lr' named '2'"),
        ({"factor": "lr", "effect": best_among("0.1", "1", "10", "100")}, "names every level of 'lr'"),
        ({"factor": "lr", "effect": contains({"2": 0.5})}, "No level of factor 'lr' named '2'"),
        ({"treatment": {"network": "bn"}, "control": {"netwrk": "bn"}}, "No factor named 'netwrk'"),
        ({"contrast": weighted("lr", {"1": 1, "2": -1})}, "No level of factor 'lr' named '2'"),
        ({"factor": "lr"}, "must name its treatment: factor 'lr' has 4 levels"),
        ({"factor": "network", "treatment": "bn", "control": "bn"}, "compares 'bn' with itself"),
        ({"treatment": {"lr": "1"}, "control": {"lr": "1"}}, "with itself"),
        (
            {"factor": "lr", "treatment": "1", "of": "1", "effect": share_at_least(1)},
            "compares '1' with itself",
        ),
        (
            {"factor": "network", "at": {"network": "bn"}},
            "both compares and fixes levels of factor 'network'",
        ),
        ({"at": {"lr": "2"}}, "No level of factor 'lr' named '2'"),
        ({"at": AT, "outcome": "online_train_loss"}, "name its last, 'online_train_loss.last'"),
        ({"at": AT, "outcome": "online_train_loss.first"}, "name its last, 'online_train_loss.last'"),
        ({"at": AT, "outcome": "weight_norms"}, "name one of them, 'weight_norms.<name>'"),
        ({"at": AT, "against": "test_acuracy"}, "Did you mean 'test_accuracy'"),
        ({"at": AT, "outcome": at_best("lr")}, "both fixes and summarizes over factor 'lr'"),
    ],
)
def test_names_that_the_design_does_not_have(fields: dict[str, object], told: str) -> None:
    claim = Claim("It is so.", **{"effect": at_least(0)} | fields)  # type: ignore[arg-type]
    with pytest.raises(BnstudyError, match=told):
        by_rate(claim)


def test_lists_are_compared_entry_by_entry_and_only_exactly() -> None:
    two_arms(Claim("Equal.", factor="network", outcome="online_train_loss", effect=exact(0)))
    two_arms(Claim("Small.", factor="network", outcome="online_train_loss.last", effect=equal_within(1)))
    two_arms(Claim("Small.", factor="network", outcome="weight_norms.conv1.weight", effect=at_most(1)))


def test_rates_of_a_workable_range_are_numbers() -> None:
    words = Factor("momentum", levels=(Level("slow", momentum=0.1), Level("fast", momentum=0.9)))
    (network,) = two_arms().factors
    claim = Claim("More.", factor="network", outcome=largest_workable("momentum"), effect=ratio_at_least(2))
    with pytest.raises(BnstudyError, match="needs numbers above 0 as levels of 'momentum', not 'slow'"):
        made(network, words, claims=(claim,))


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: at_least(float("nan")), "must be a finite number, not nan"),
        (lambda: contains({"1": float("inf")}), "must be a finite number, not inf"),
        (lambda: equal_within(0), "needs a margin above 0"),
        (lambda: ratio_at_least(0), "A ratio's margin must be above 0"),
        (lambda: spread_ratio_at_least(-1), "A ratio's margin must be above 0"),
        (lambda: spread_at_most(-1), "on its spread cannot be -1"),
        (lambda: exact(-1e-6), "on its exact cannot be -1e-06"),
        (lambda: best_among(), "'best among' needs at least one level"),
        (lambda: contains({}), "'contains' needs at least one level or number"),
    ],
)
def test_margins_that_could_not_decide(make: Callable[[], Effect], told: str) -> None:
    with pytest.raises(BnstudyError, match=told):
        make()


def nested(*claims: Claim) -> Ablation:
    """Dropout has a site where there is dropout."""
    (network,) = two_arms().factors
    dropout = Factor("dropout", levels=(Level("0", dropout=0.0), Level("0.5", dropout=0.5)))
    sites = (Level("before", dropout_at="before_norm"), Level("after", dropout_at="after_norms"))
    site = Factor("site", levels=sites, varies=("dropout_at",), where={"dropout": ("0.5",)})
    return made(network, dropout, site, claims=claims)


def test_a_side_may_name_a_factor_that_the_other_does_not_have() -> None:
    claim = Claim(
        "It is so.",
        treatment={"dropout": "0.5", "site": "after"},
        control={"dropout": "0"},
        effect=at_least(0),
    )
    compared = parties(nested(claim), claim)
    assert [p.name for p in compared] == ["dropout=0.5,site=after", "0"]


def test_levels_that_no_arm_has_together_are_an_error() -> None:
    claim = Claim("It is so.", factor="site", treatment="after", at={"dropout": "0"}, effect=at_least(0))
    with pytest.raises(BnstudyError, match="is about dropout=0, site=after, which no arm has together"):
        nested(claim)
