"""Ratios cover at their level: of spreads, of means, and of one difference to another."""

import warnings
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as reference
from simulation import at_least, at_most, generator, holds, misses, near

from bnstudy.judgement import ratios, stats
from bnstudy.judgement.stats import Estimate

SEED_COUNTS = (5, 8, 20, 40)
positive = st.lists(st.floats(0.1, 1).map(lambda x: round(x, 3)), min_size=6, max_size=12, unique=True)


class TestSpread:
    def test_value_is_the_standard_deviation(self) -> None:
        assert ratios.spread([1, 2, 3, 4, 5]).value == pytest.approx(2.5**0.5)

    def test_the_formula_by_hand(self) -> None:
        x = np.array([1.0, 2.0, 3.0, 4.0, 10.0])
        n, q = 5, reference.t.isf(0.025, 4)
        c = n / (n - q)
        kurtosis = n * ((x - 4) ** 4).sum() / ((x - 4) ** 2).sum() ** 2
        reach = q * c * ((kurtosis - (n - 3) / n) / (n - 1)) ** 0.5
        estimate = ratios.spread(x.tolist())
        assert np.log([estimate.low**2, estimate.high**2]) == pytest.approx(
            np.log(c * x.var(ddof=1)) + np.array([-reach, reach])
        )

    def test_no_spread_and_a_level_beyond_the_seeds_bound_nothing(self) -> None:
        assert ratios.spread([1, 1, 1, 1, 1]) == Estimate(0, 0, np.inf, 0.95, 5)
        assert ratios.spread([1, 2, 3, 4, 5], 0.9999).high == np.inf

    @given(values=positive, level=st.floats(0.01, 0.99))
    def test_a_higher_level_has_a_wider_interval(self, values: list[float], level: float) -> None:
        narrow, wide = ratios.spread(values, level / 2), ratios.spread(values, level)
        assert wide.low <= narrow.low and narrow.high <= wide.high

    @pytest.mark.parametrize("n", [20, 40])
    def test_false_alarms_of_normal_values(self, n: int) -> None:
        runs = 2000
        above, below = misses(generator(n).normal(0, 1, (runs, n)), lambda x: ratios.spread(x.tolist()), 1)
        assert at_most(above, runs, 0.025) and at_most(below, runs, 0.025)
        assert at_least(runs - above - below, runs, 0.95)

    @pytest.mark.parametrize("n", [20, 40])
    def test_power_at_the_factor_that_is_told(self, n: int) -> None:
        runs, factor = 400, 0.0
        samples = generator(n).normal(0, 1, (runs, n))
        told = [ratios.detectable_within(ratios.spread(x.tolist()), logs=True) for x in samples]
        factor = float(np.median([f for f in told if f is not None]))
        seen = sum(ratios.spread(x.tolist()).low > 1 / factor for x in samples)
        assert 0.7 <= seen / runs <= 0.9


class TestSpreadRatio:
    def test_ratio_of_an_arm_scaled_by_two(self) -> None:
        estimate = ratios.spread_ratio([2, 4, 8], [1, 2, 4])
        assert (estimate.value, estimate.low, estimate.high) == pytest.approx((2, 2, 2))

    def test_no_spread_bounds_nothing(self) -> None:
        assert ratios.spread_ratio([1, 2, 4], [0.1, 0.1, 0.1]) == Estimate(np.inf, 0, np.inf, 0.95, 3)

    def test_the_interval_is_that_of_the_jackknife(self) -> None:
        # Leaving out each leaves sds, in 1/sqrt(2), of 1, 2, 1 for 1, 2, 3 and of 2, 3, 1 for 1, 2, 4.
        pseudo_values = -2 * (np.log([1, 2, 1]) - np.log([2, 3, 1]))
        half = reference.t.isf(0.025, 2) * reference.sem(pseudo_values)
        estimate = ratios.spread_ratio([1, 2, 3], [1, 2, 4])
        assert np.log(estimate.high / estimate.value) == pytest.approx(half)

    @pytest.mark.parametrize("correlation", [0.0, 0.7])
    @pytest.mark.parametrize("n", [20, 40])
    def test_false_alarms_of_normal_values(self, n: int, correlation: float) -> None:
        runs = 600
        cov = [[1, correlation], [correlation, 1]]
        pairs = generator(n).multivariate_normal([0, 0], cov, (runs, n)) * [3, 1]
        found = [ratios.spread_ratio(p[:, 0].tolist(), p[:, 1].tolist()) for p in pairs]
        for alarms in (sum(e.low > 3 for e in found), sum(e.high < 3 for e in found)):
            assert at_most(alarms, runs, 0.025)

    def test_a_threefold_spread_is_found_with_twenty_seeds(self) -> None:
        """The sample size of the claim that recomputed statistics cut the spread threefold: truth sixfold."""
        x = generator(3).normal(0, 1, (300, 2, 20)) * [[6], [1]]
        found = sum(ratios.spread_ratio(a.tolist(), b.tolist()).low > 3 for a, b in x)
        assert 0.7 <= found / 300 <= 0.9


class TestMeanRatio:
    def test_value(self) -> None:
        estimate = ratios.mean_ratio([2, 4, 6], [1, 2, 4])(0.95)
        assert estimate.value == pytest.approx(12 / 7)
        assert estimate.low < estimate.value < estimate.high

    def test_levels_beyond_the_resamples_bound_nothing(self) -> None:
        interval = ratios.mean_ratio(*(generator(1).normal([[2], [1]], 0.1, (2, 20)).tolist()))
        assert interval(1 - 1e-9).high == np.inf
        assert stats.p_above(interval, 0.5) > 1 / ratios.RESAMPLES

    def test_it_is_the_same_each_time(self) -> None:
        x, y = generator(2).normal([[2], [1]], 0.1, (2, 20)).tolist()
        assert ratios.mean_ratio(x, y)(0.9) == ratios.mean_ratio(x, y)(0.9)

    @pytest.mark.parametrize("n", [20, 40])
    def test_coverage(self, n: int, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(ratios, "RESAMPLES", 999)
        runs = 400
        shared = generator(n).normal(0, 1, (runs, 1, n))
        noise = generator(n, 1).normal(0, 1, (runs, 2, n))
        pairs = np.array([[2.0], [1.0]]) * (1 + 0.1 * (shared + noise))
        covered = holds((ratios.mean_ratio(x.tolist(), y.tolist())(0.95) for x, y in pairs), 2)
        assert near(covered, runs, 0.95)


class TestShare:
    def test_a_whole_without_noise_divides_the_interval(self) -> None:
        parts = [0.1, 0.2, 0.3, 0.2]
        expected = stats.mean(parts)
        estimate = ratios.share(parts, [0.5] * 4)
        assert estimate.value == pytest.approx(0.4)
        assert (estimate.low, estimate.high) == pytest.approx((2 * expected.low, 2 * expected.high))

    def test_a_bound_inside_is_one_that_students_test_does_not_reject(self) -> None:
        parts, wholes = generator(4).normal([[0.5], [1]], 0.2, (2, 8))
        estimate = ratios.share(parts.tolist(), wholes.tolist())
        for end in (estimate.low, estimate.high):
            assert reference.ttest_1samp(parts - end * wholes, 0).pvalue == pytest.approx(0.05)

    def test_a_whole_that_may_be_nothing_bounds_nothing(self) -> None:
        estimate = ratios.share([0.1, 0.2, 0.3], [1, -1, 0.5])
        assert (estimate.low, estimate.high) == (-np.inf, np.inf)
        assert ratios.share([0.1, 0.2], [0.0, 0.0]).value == np.inf

    @pytest.mark.parametrize("n", SEED_COUNTS)
    def test_false_alarms_and_coverage(self, n: int) -> None:
        runs = 1500
        cov = [[0.04, 0.02], [0.02, 0.04]]
        pairs = generator(n).multivariate_normal([0.5, 1], cov, (runs, n))
        found = [ratios.share(p[:, 0].tolist(), p[:, 1].tolist()) for p in pairs]
        assert near(sum(e.low > 0.5 for e in found), runs, 0.025)
        assert near(sum(e.high < 0.5 for e in found), runs, 0.025)


def test_what_is_told_of_power_is_that_of_the_t_interval() -> None:
    x = [0.1, 0.2, 0.3, 0.25, 0.15]
    sd = float(np.std(x, ddof=1))
    assert ratios.detectable_within(stats.mean(x), logs=False) == pytest.approx(stats.detectable(sd, 5))
    assert ratios.detectable_within(Estimate(1, 0, np.inf, 0.95, 5), logs=True) is None
    logs = Estimate(2, 1, 4, 0.95, 5)
    difference = Estimate(np.log(2), 0, np.log(4), 0.95, 5)
    told = ratios.detectable_within(difference, logs=False)
    assert told is not None and ratios.detectable_within(logs, logs=True) == pytest.approx(np.exp(told))


def test_nothing_warns() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for interval in (
            partial(ratios.spread, [1.0, 1, 1, 1, 2]),
            partial(ratios.spread_ratio, [1.0, 1, 1, 2], [1.0, 2, 3, 4]),
            ratios.mean_ratio([1.0, 1, 1, 1.5], [1.0, 2, 3, 4]),
            partial(ratios.share, [1.0, 1, 2], [3.0, 3, 3]),
        ):
            for level in (0.0, 0.5, 0.95, 1 - 1e-12):
                estimate = interval(level)
                assert not np.isnan([estimate.low, estimate.high]).any()
