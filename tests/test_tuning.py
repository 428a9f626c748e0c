"""What is searched for each arm, what counts as tried, and which of it is the best."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import searched
from searched import NORM, RATES

from bnstudy.books import tuning
from bnstudy.books.ledger import Ledger, Record
from bnstudy.books.tuning import Tried
from bnstudy.design import Ablation, Factor, Level, across, tuned
from bnstudy.errors import BnstudyError
from bnstudy.factors import Pairs
from bnstudy.outcome import Outcome
from bnstudy.recipe import Recipe

POOL = across("pool", "avg", "max")
DROPOUT = across("dropout", 0.0, 0.5, where={"pool": ("max",)})


def at(norm: str, lr: str) -> Pairs:
    return (("norm", norm), ("lr", lr))


def recorded(
    ablation: Ablation, points: list[Pairs], said: dict[str, Any] | None = None
) -> dict[str, Record]:
    """Return the records of a search of these points, by trial."""
    trials = tuning.design(ablation, points).trials
    provenance = {"search": {"round": 0, "budget": 16} | (said or {})}
    return {t.id: Record.of(ablation.name, t, searched.outcome(t), provenance) for t in trials}


def test_each_arm_of_the_other_factors_is_searched() -> None:
    spaces = tuning.spaces(searched.design(NORM, RATES, POOL))
    assert [space.name for space in spaces] == ["norm=affine", "norm=bn", "norm=plain"]
    assert [factor.name for factor in spaces[0].searched] == ["lr", "pool"]
    assert tuning.ends(spaces[0].searched[0]) == (0.01, 1000)
    assert spaces[0].points is None


def test_where_a_factor_is_tuned_it_alone_is_searched() -> None:
    spaces = tuning.spaces(searched.design(NORM, POOL, tuned("lr", 0.1, 10)))
    assert [space.name for space in spaces][:2] == ["norm=affine,pool=avg", "norm=affine,pool=max"]
    assert [factor.name for factor in spaces[0].searched] == ["lr"] and len(spaces) == 6


def test_a_profile_searches_the_whole_range() -> None:
    """It leaves out levels to save trials, and a search has as many whatever its range."""
    cut = searched.design().at("quick")
    cut = dataclasses.replace(cut, factors=(NORM, RATES.only(["1"])))
    assert tuning.ends(tuning.spaces(cut)[0].searched[0]) == (0.01, 1000)


def test_a_design_of_points_trains_them_from_seeds_of_their_own() -> None:
    points = [at("bn", "17.8"), at("affine", "0.562")]
    made = tuning.design(searched.design(), points)
    assert [(arm.levels, arm.recipe) for arm in made.arms] == [
        (points[0], Recipe(lr=17.8)),
        (points[1], Recipe(norm="affine", lr=0.562)),
    ]
    assert list(made.seeds) == [1000, 1001] and not made.claims
    assert not set(made.seeds) & set(searched.design().seeds)


def test_points_have_no_level_of_what_does_not_exist() -> None:
    [space] = tuning.spaces(searched.design(Factor("norm", levels=(NORM.levels[0],)), POOL, DROPOUT))
    assert [dict(point) for point in space.points or ()] == [
        {"norm": "affine", "pool": "avg"},
        {"norm": "affine", "pool": "max", "dropout": "0"},
        {"norm": "affine", "pool": "max", "dropout": "0.5"},
    ]
    assert all(map(space.holds, space.points or ()))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: searched.design(NORM), "nothing to tune: no nuisance factor with two levels"),
        (lambda: searched.design(NORM, across("lr", 1)), "nothing to tune"),
        (lambda: searched.design(NORM, RATES, base=Recipe(validation_images=0)), "the test images would"),
        (
            lambda: searched.design(POOL, Factor("norm", levels=NORM.levels, where={"pool": ("max",)})),
            "'norm' exists at some levels of 'pool' only",
        ),
    ],
)
def test_what_cannot_be_searched_is_told(make: Callable[[], Ablation], message: str) -> None:
    with pytest.raises(BnstudyError, match=message):
        tuning.spaces(make())


def test_validation_decides_and_divergence_is_the_worst_there_is() -> None:
    assert tuning.score(Outcome(status="ok", validation_accuracy=(0.9, 0.7), test_accuracy=0.99)) == 0.7
    assert tuning.score(Outcome(status="diverged", validation_accuracy=(0.9, 0.8))) == 0.0
    assert tuning.score(Outcome(status="ok")) == 0.0


def test_a_point_counts_once_every_seed_is_recorded() -> None:
    ablation, points = searched.design(), [at("bn", "17.8"), at("bn", "3"), at("affine", "3")]
    records = recorded(ablation, points)
    tried = tuning.tried(ablation, records)
    assert {name: [each.point for each in found] for name, found in tried.items()} == {
        "norm=affine": [at("affine", "3")],
        "norm=bn": [at("bn", "17.8"), at("bn", "3")],
        "norm=plain": [],
    }
    scores = [searched.accuracy(trial) for trial in tuning.design(ablation, points[:1]).trials]
    assert tried["norm=bn"][0].score == pytest.approx(sum(scores) / 2)
    records.popitem()
    crashed = dataclasses.replace(next(iter(records.values())), outcome=Outcome(status="crashed"))
    left = tuning.tried(ablation, records | {crashed.trial: crashed})
    assert [len(each) for each in left.values()] == [0, 1, 0]


def test_what_another_design_searched_does_not_count() -> None:
    points = [at("bn", "17.8"), at("bn", "500")]
    records = recorded(searched.design(), points)
    narrower = searched.design(NORM, across("lr", 0.1, 100))
    longer = searched.design(base=Recipe(epochs=20))
    fewer = searched.design(Factor("norm", levels=(NORM.levels[0], NORM.levels[2]), varies=("norm",)), RATES)
    assert [e.point for e in tuning.tried(narrower, records)["norm=bn"]] == points[:1]
    assert not any(tuning.tried(longer, records).values()) and not any(tuning.tried(fewer, records).values())


def test_the_best_is_flagged_at_the_edge_of_its_range() -> None:
    bn = tuning.spaces(searched.design())[1]

    for rate, edge in {"0.01": True, "0.0177": True, "0.0179": False, "560": False, "570": True}.items():
        found = tuning.best(bn, [Tried(at("bn", rate), 0.8, 0), Tried(at("bn", "1"), 0.7, 0)])
        assert (found.values, found.at_edge) == ((("lr", float(rate)),), ("lr",) if edge else ())


def test_of_equally_good_rates_the_lowest_is_the_best() -> None:
    bn = tuning.spaces(searched.design())[1]
    tried = [Tried(at("bn", rate), 0.8, 0) for rate in ("30", "4", "100")]
    assert tuning.best(bn, tried).best == at("bn", "4")


def test_levels_found_bring_the_fields_that_they_change() -> None:
    adam = Level("adam", optimizer="adam", lr=1e-3)
    optimizer = Factor("optimizer", levels=(Level("sgd"), adam), role="nuisance", varies=("optimizer", "lr"))
    [space, *_] = tuning.spaces(searched.design(NORM, optimizer))
    found = tuning.best(space, [Tried((("norm", "affine"), ("optimizer", "adam")), 0.5, 0)])
    assert found.values == (("optimizer", "adam"), ("lr", 1e-3)) and found.at_edge == ()


def test_an_ablation_is_at_its_tuned_values_once_every_arm_has_its_budget() -> None:
    ablation = searched.design(NORM, tuned("lr", 0.01, 1000))
    points = [at(norm, rate) for norm in ("affine", "bn", "plain") for rate in ("0.3", "17.8", "900")]
    said = {"budget": 3}
    records = recorded(ablation, points, said)
    made = tuning.at_tuned(ablation, records)
    assert [arm.recipe.lr for arm in made.arms] == [0.3, 17.8, 900] and not any(a.untuned for a in made.arms)
    assert tuning.at_tuned(ablation, recorded(ablation, points[:-1], said)) == ablation
    assert tuning.at_tuned(ablation, {}) == ablation
    assert tuning.at_tuned(searched.design(), records) == searched.design()


def test_the_budget_is_that_of_the_largest_search_begun() -> None:
    ablation = searched.design()
    few, more = (recorded(ablation, [at("bn", r)], {"budget": b}) for r, b in (("1", 8), ("2", 32)))
    assert [tuning.budget_of(each) for each in ({}, few, few | more)] == [tuning.BUDGET, 8, 32]


@pytest.mark.parametrize("said", [{"round": "first"}, {"round": -1}, {"budget": 0}, {"budget": 1e3}])
def test_a_record_says_where_it_stands_in_a_search(tmp_path: Path, said: dict[str, Any]) -> None:
    """Commands calculate with it, so that nonsense is told when it is read."""
    ledger = Ledger(tmp_path / "searched.jsonl")
    records = recorded(searched.design(), [at("bn", "1")])
    ledger.append(list(records.values()))
    wrong = list(recorded(searched.design(), [at("bn", "2")], said).values())
    with pytest.raises(ValueError, match=r"provenance\.search"):
        ledger.append(wrong)
    assert ledger.recorded() == records
