"""The placebo counts what the judge would do, and finds a judge that errs too often."""

import numpy as np
import pytest
from simulation import generator

from bnstudy.judgement import placebo, stats
from bnstudy.judgement.placebo import FLIPS, LEAST_SEEDS, false_alarms


def test_it_judges_as_the_judge_does() -> None:
    """The ends of many intervals at once are those of one after the other."""
    samples = generator(1).normal(0.1, 1, (50, 20))
    for level in (0.9, 0.95):
        low, high = placebo._ends(samples, level)
        found = [stats.paired_mean(x.tolist(), level) for x in samples]
        assert low == pytest.approx(np.array([e.low for e in found]))
        assert high == pytest.approx(np.array([e.high for e in found]))


@pytest.mark.parametrize("n", [20, 40])
def test_equal_arms_pass(n: int) -> None:
    """Normal differences, whatever their scale to the margin: an honest pipeline is not accused."""
    for k, sd in enumerate((0.0005, 0.003, 0.02)):
        for run in range(10):
            found = false_alarms(generator(n, k, run).normal(0, sd, n).tolist(), 0.003)
            assert all(each.inside for each in found), found


def test_a_shift_that_all_seeds_share_is_flipped_away() -> None:
    """So a claim of equality has to stand beside it."""
    assert all(each.inside for each in false_alarms(generator(9).normal(0.05, 0.01, 20).tolist(), 0.003))


def test_pairs_that_are_counted_twice_are_found() -> None:
    """Twenty seeds entered twice are not forty: the judge of such a table errs three times as often."""
    once = generator(2).normal(0, 1, 20)
    signs = generator(3).choice([-1.0, 1.0], (FLIPS, 20))
    twice = np.concatenate([signs * once, signs * once], axis=1)
    low, high = placebo._ends(twice, 0.95)
    bounds = false_alarms(once.tolist(), 0.003)[0]
    assert float(((low > 0) | (high < 0)).mean()) > bounds.high


def test_a_seed_far_off_makes_the_judge_too_careful() -> None:
    differences = [*generator(4).normal(0, 0.01, 19).tolist(), 5.0]
    found = false_alarms(differences, 0.003)
    assert found[0].rate < found[0].low and not any(each.rate > each.high for each in found)


def test_bounds_are_those_of_the_binomial_distribution() -> None:
    (difference, more, less, equal, unequal) = false_alarms(generator(5).normal(0, 1, 20).tolist(), 0.5)
    # 1,000 flips at 5%: 50 +- 3.29 standard deviations of 6.9.
    assert (difference.low, difference.high) == pytest.approx((0.05 - 0.0227, 0.05 + 0.0227), abs=0.002)
    assert (more.level, less.level, equal.level, unequal.level) == (0.025, 0.025, 0.05, 0.025)
    assert equal.low == unequal.low == 0, "fewer are as good"
    assert more.rate + less.rate == pytest.approx(difference.rate), "a shift moves margin and data alike"


def test_the_number_of_seeds_at_which_flips_say_something() -> None:
    """The documented reason for the least number: below it honest data leave the bounds."""

    def outside(n: int) -> int:
        runs = [false_alarms(generator(n, run).normal(0, 1, n).tolist(), 1.0)[0] for run in range(60)]
        return sum(not each.inside for each in runs)

    assert outside(5) > 10 and outside(LEAST_SEEDS) == 0
