"""What repeated trainings show: equal bits, first steps within rounding, an equal mean; never more."""

import math
import random
from math import comb
from statistics import stdev

import pytest
from handmade import SMALL, outcome
from numpy import float32
from scipy.stats import binom

from bnstudy.judgement import certify
from bnstudy.judgement.certify import Equivalence, FirstSteps, Judged
from bnstudy.judgement.stats import detectable_margin

ALL = certify.plain(outcome(0.8)).keys()


def apart(a: object, b: object) -> dict[str, float]:
    return certify.differences({"x": a}, {"x": b}, {"x"})


# Numbers


def test_an_outcome_is_compared_as_the_ledger_holds_it() -> None:
    found = certify.plain(outcome(0.8, train_loss=math.inf, first_losses=(2.0, math.nan)))
    assert found["train_loss"] is None and found["first_losses"] == [2.0, None]
    assert found["weight_norms"] == {"fc.weight": 1.5}


def test_equal_outcomes_do_not_differ() -> None:
    same = certify.plain(outcome(0.8, train_loss=None))
    assert certify.differences(same, dict(same), ALL) == {}


def test_each_number_that_differs_is_named_with_its_relative_difference() -> None:
    before = certify.plain(outcome(0.8, first_losses=(2.0, 1.0)))
    after = certify.plain(outcome(0.8, first_losses=(2.0, 1.25), weight_norms={"fc.weight": 1.2}))
    found = certify.differences(before, after, ALL)
    assert found == pytest.approx({"first_losses[1]": 0.2, "weight_norms.fc.weight": 0.2})
    assert certify.largest({"a": 0.1, "b": 0.2}) == "b differs by 2.0e-01, with 1 other values"


def test_the_last_bit_is_a_difference() -> None:
    assert 0 < apart(0.1, math.nextafter(0.1, 1))["x"] < 1e-15


@pytest.mark.parametrize(
    ("a", "b"), [(None, 0.5), (0.5, None), ("ok", "diverged"), ([0.1], [0.1, 0.2]), ({"w": 1.0}, None)]
)
def test_what_cannot_be_compared_differs_infinitely(a: object, b: object) -> None:
    found = apart(a, b)
    assert found and set(found.values()) == {math.inf}
    assert " by " not in certify.largest(found)


def test_a_field_that_is_younger_than_the_record_is_no_difference() -> None:
    before, after = certify.plain(outcome(0.8)), certify.plain(outcome(0.8, first_losses=(2.0,)))
    assert certify.differences(before, after, ALL - {"first_losses"}) == {}
    assert certify.differences(before, after, ALL) == {"first_losses[0]": math.inf}


# First steps


def test_first_steps_that_agree() -> None:
    found = certify.first_steps([2.0, 1.5, None], [2.0, 1.5 * (1 + 5e-5), None])
    assert found is not None and found.apart is None and found.steps == 3
    assert found.largest == pytest.approx(5e-5, rel=1e-3)


@pytest.mark.parametrize(
    ("again", "step"),
    [([2.0, 1.5002, 1.0], 1), ([None, 1.5, 1.0], 0), ([2.0, 1.5], 2), ([2.0, 1.5, 1, 9], 3)],
)
def test_the_first_step_beyond_the_tolerance_is_found(again: list[float | None], step: int) -> None:
    found = certify.first_steps([2.0, 1.5, 1.0], again)
    assert found is not None and found.apart == step


def test_later_steps_are_not_looked_at() -> None:
    assert certify.first_steps([1.0] * 21, [1.0] * 20 + [2.0]) == FirstSteps(0.0, None, 20)


def test_a_record_without_first_losses_shows_nothing() -> None:
    assert certify.first_steps([], [2.0]) is None


def test_rounding_is_the_largest_drift_up_to_a_step() -> None:
    exact = [1.0] * 4
    others: list[list[float | None]] = [[1.0, 1.0 + 1e-6, 1.0, 2.0], [1.0, 1.0 - 3e-6, 1.0, None]]
    assert certify.rounding(exact, others, 0) == 0
    assert certify.rounding(exact, others, 1) == pytest.approx(3e-6, rel=1e-4)
    assert certify.rounding(exact, others[:1], 3) == pytest.approx(0.5)
    assert certify.rounding(exact, others, 3) == math.inf
    assert certify.rounding(exact, [], 3) == 0


@pytest.mark.parametrize(("changes", "steps"), [({"epochs": 10}, 20), ({}, 10), ({"updates": 7}, 7)])
def test_recipes_are_off_by_rounding_errors_over_the_first_steps(changes: dict[str, int], steps: int) -> None:
    recipe = SMALL.replace(**changes)
    rows = certify.rounded(recipe)
    for row in rows:
        assert {r.updates for r in row} == {steps} and len({r.eps for r in row}) == 1
        assert all(r.differences(recipe).keys() <= {"lr", "eps", "updates"} for r in row)
        assert max(abs(r.lr / recipe.lr - 1) for r in row) == pytest.approx(2**-21)
        assert len({float32(r.lr) for r in row}) == 4 and row[0].lr == recipe.lr
    assert sorted(row[0].eps / recipe.eps - 1 for row in rows) == pytest.approx([-(2**-8), 2**-8])


def test_rounding_errors_of_double_precision_are_smaller() -> None:
    for row in certify.rounded(SMALL.replace(precision="float64")):
        for recipe in row[1:]:
            assert 0 < abs(recipe.lr / SMALL.lr - 1) < 1e-14 and abs(recipe.eps / SMALL.eps - 1) < 1e-10


# Levels


WITHIN, AT_STEP_3, AT_ONCE = FirstSteps(1e-6, None, 20), FirstSteps(0.5, 3, 20), FirstSteps(0.5, 0, 20)


@pytest.mark.parametrize(
    ("differs", "steps", "elsewhere", "excuse", "level", "told"),
    [
        ({}, None, False, 0.0, "L0", ""),
        ({}, WITHIN, True, 0.0, "L0", ""),
        ({"a": 1e-9}, WITHIN, False, 1.0, "failed", "the environment is the same, and a differs by 1.0e-09"),
        ({"a": 0.1}, WITHIN, True, 0.0, "L1", ""),
        ({"a": 0.1}, None, True, 1.0, "not shown", "holds no losses of its first steps"),
        ({"a": 0.1}, AT_STEP_3, True, 0.0, "failed", "the loss of step 3 is more than 0.0001 apart"),
        ({"a": 0.1}, AT_STEP_3, True, 2e-5, "L1", ""),
        ({"a": 0.1}, AT_ONCE, True, 1.0, "failed", "the loss of step 0"),
    ],
)
def test_a_trial_reaches_the_level_that_it_shows(
    differs: dict[str, float],
    steps: FirstSteps | None,
    elsewhere: bool,
    excuse: float,
    level: str,
    told: str,
) -> None:
    found = certify.judge(differs, steps, elsewhere=elsewhere, excuse=excuse)
    assert found.level == level and told in found.reason and bool(told) == bool(found.reason)


def test_the_steps_that_agree_are_counted() -> None:
    assert certify.judge({"a": 0.1}, WITHIN, elsewhere=True) == Judged("L1", steps=20)
    assert certify.judge({"a": 0.1}, AT_STEP_3, elsewhere=True, excuse=1.0) == Judged("L1", steps=3)


# The mean


def test_equivalence_needs_five_trials() -> None:
    found = certify.equivalence([0.0] * 4, 0.003)
    assert found == Equivalence("not shown", 4, 0.003)
    assert certify.equivalence([0.0] * 5, 0.003).state == "shown"


@pytest.mark.parametrize(
    ("center", "state"), [(0.0, "shown"), (0.0005, "shown"), (0.0028, "not shown"), (0.02, "refuted")]
)
@pytest.mark.parametrize("sign", [1, -1])
def test_equivalence_follows_the_intervals(center: float, state: str, sign: int) -> None:
    spread = [-0.001, -0.0005, 0.0, 0.0005, 0.001, 0.0]
    found = certify.equivalence([sign * (center + x) for x in spread], 0.003)
    assert found.state == state and found.mean == pytest.approx(sign * center)
    assert found.low is not None and found.high is not None and found.low < found.mean < found.high  # type: ignore[operator]
    assert found.visible == pytest.approx(detectable_margin(stdev(spread), 6))


def test_a_sample_too_spread_to_see_the_margin_shows_nothing() -> None:
    found = certify.equivalence([-0.02, 0.02, -0.01, 0.01, 0.0], 0.003)
    assert found.state == "not shown" and found.visible is not None and found.visible > 0.003


def test_a_difference_of_the_whole_margin_is_rarely_taken_for_none() -> None:
    """At the margin itself two one-sided tests at 5% err in 5% of the samples."""
    draw = random.Random(0).gauss
    shown = sum(
        certify.equivalence([draw(0.003, 0.001) for _ in range(6)], 0.003).state == "shown"
        for _ in range(600)
    )
    low, high = binom.interval(0.999, 600, 0.05)
    assert low <= shown <= high


@pytest.mark.parametrize(
    ("levels", "equal", "verdict"),
    [
        (["L0", "L0"], "not shown", "bitwise"),
        (["L0", "L1"], "shown", "within tolerance"),
        (["L0", "L1"], "not shown", "not shown"),
        (["L0", "not shown"], "shown", "not shown"),
        (["L0", "not verified"], "shown", "not shown"),
        (["L0", "failed"], "shown", "failed"),
        (["not verified", "failed"], "not shown", "failed"),
        (["L1", "L1"], "refuted", "failed"),
    ],
)
def test_a_sample_certifies_what_all_its_trials_reach(levels: list[str], equal: str, verdict: str) -> None:
    assert certify.verdict(levels, Equivalence(equal, len(levels), 0.003)) == verdict


@pytest.mark.parametrize(("drawn", "of"), [(1, 1), (1, 42), (3, 42), (6, 16), (15, 16), (42, 42), (60, 300)])
def test_what_a_sample_can_miss_is_counted_exactly(drawn: int, of: int) -> None:
    """The largest number of differing records of which a sample misses all in 5% of the draws or more."""
    missed = [n for n in range(of - drawn + 1) if comb(of - n, drawn) >= 0.05 * comb(of, drawn)]
    assert certify.undetected(drawn, of) == max(missed)
