"""The judge is tested by simulation: what claims 95% has to cover 95%, at the seed counts the study uses."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as reference
from simulation import Floats, at_least, at_most, generator, holds
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import ttost_paired

from bnstudy.judgement import stats
from bnstudy.judgement.stats import Estimate

SEED_COUNTS = (5, 8, 20, 40)

differences = st.lists(st.floats(-1, 1).map(lambda x: round(x, 3)), min_size=2, max_size=8)


class TestIntervalsOfMeans:
    def test_mean_of_one_to_five(self) -> None:
        estimate = stats.mean([1, 2, 3, 4, 5])
        # 2.776445 is the 97.5% quantile of t with 4 degrees of freedom; the standard error is sqrt(2.5 / 5).
        assert estimate.value == 3
        assert estimate.high == pytest.approx(3 + 2.776445 * 0.5**0.5, rel=1e-6)
        assert estimate.low == pytest.approx(3 - 2.776445 * 0.5**0.5, rel=1e-6)
        assert (estimate.level, estimate.n) == (0.95, 5)

    def test_paired_mean_agrees_with_scipy(self) -> None:
        treatment, control = np.array([0.87, 0.86, 0.88, 0.85]), np.array([0.83, 0.86, 0.85, 0.85])
        interval = reference.ttest_rel(treatment, control).confidence_interval(0.9)
        estimate = stats.paired_mean((treatment - control).tolist(), level=0.9)
        assert (estimate.low, estimate.high) == pytest.approx((interval.low, interval.high))

    def test_equal_differences_leave_a_point(self) -> None:
        estimate = stats.paired_mean([0.25, 0.25, 0.25])
        assert (estimate.low, estimate.high) == (0.25, 0.25)

    def test_prediction_of_one_to_five(self) -> None:
        estimate = stats.prediction([1, 2, 3, 4, 5])
        assert estimate.high == pytest.approx(3 + 2.776445 * (2.5 * 1.2) ** 0.5, rel=1e-6)

    @pytest.mark.parametrize("n", SEED_COUNTS)
    def test_mean_and_prediction_cover(self, n: int) -> None:
        runs, rng = 2000, generator(n)
        samples, new = rng.normal(0.8, 0.02, (runs, n)).tolist(), rng.normal(0.8, 0.02, runs)
        covered = holds(map(stats.paired_mean, samples), 0.8)
        assert at_least(covered, runs, 0.95) and at_most(covered, runs, 0.95)
        predicted = sum(holds([stats.prediction(x)], y) for x, y in zip(samples, new, strict=True))
        assert at_least(predicted, runs, 0.95) and at_most(predicted, runs, 0.95)


class TestProportionsAndCorrelations:
    def test_wilson_without_a_success(self) -> None:
        estimate = stats.wilson(0, 5)
        # z^2 / (n + z^2) at z = 1.96.
        assert (estimate.value, estimate.low) == (0, 0)
        assert estimate.high == pytest.approx(3.8415 / 8.8415, rel=1e-4)

    @pytest.mark.parametrize("n", SEED_COUNTS)
    def test_wilson_covers_on_average_and_never_less_than_documented(self, n: int) -> None:
        proportions = np.linspace(0.0005, 0.9995, 2000)[:, None]
        estimates = [stats.wilson(k, n) for k in range(n + 1)]
        inside = (np.array([e.low for e in estimates]) <= proportions) & (
            proportions <= np.array([e.high for e in estimates])
        )
        coverage = (reference.binom.pmf(np.arange(n + 1), n, proportions) * inside).sum(1)
        assert 0.95 <= coverage.mean() <= 0.96
        assert coverage.min() >= 0.82

    def test_pairing_agrees_with_scipy(self) -> None:
        x, y = [0.1, 0.2, 0.4, 0.3, 0.6], [0.2, 0.1, 0.5, 0.4, 0.4]
        expected = reference.pearsonr(x, y)
        estimate = stats.pairing(x, y)
        assert estimate.value == pytest.approx(expected.statistic)
        assert (estimate.low, estimate.high) == pytest.approx(tuple(expected.confidence_interval(0.95)))

    def test_pairing_of_an_arm_that_does_not_vary(self) -> None:
        assert stats.pairing([0.1, 0.1, 0.1, 0.1], [1, 2, 3, 4]) == Estimate(0.0, -1.0, 1.0, 0.95, 4)

    @pytest.mark.parametrize("n", SEED_COUNTS)
    def test_pairing_covers(self, n: int) -> None:
        runs = 1000
        pairs = generator(n).multivariate_normal([0, 0], [[1, 0.6], [0.6, 1]], (runs, n))
        covered = holds((stats.pairing(p[:, 0].tolist(), p[:, 1].tolist()) for p in pairs), 0.6)
        assert at_least(covered, runs, 0.95)


class TestRules:
    def test_p_values_are_those_of_the_textbook_tests(self) -> None:
        sample = [0.01, 0.02, 0.005, 0.013, -0.002]
        interval = partial(stats.paired_mean, sample)
        student = reference.ttest_1samp(sample, 0).pvalue
        assert stats.p_above(interval, 0) == pytest.approx(student)
        assert stats.p_below(lambda level: stats.mean([-x for x in sample], level), 0) == pytest.approx(
            student
        )
        two_one_sided = ttost_paired(np.array(sample), np.zeros(5), -0.02, 0.02)[0]
        assert stats.p_within(interval, -0.02, 0.02) == pytest.approx(two_one_sided)
        outside = reference.ttest_1samp(sample, 0.001).pvalue
        assert stats.p_outside(interval, -0.001, 0.001) == pytest.approx(outside)

    def test_the_wrong_side_has_a_p_value_of_one(self) -> None:
        interval = partial(stats.paired_mean, [0.1, 0.2, 0.3])
        assert stats.p_below(interval, 0) == stats.p_above(interval, 0.5) == 1
        assert stats.p_within(interval, -0.1, 0.1) == stats.p_outside(interval, 0, 1) == 1

    def test_no_spread_has_the_smallest_p_value(self) -> None:
        interval = partial(stats.paired_mean, [0.0, 0.0, 0.0])
        assert stats.p_within(interval, -0.003, 0.003) == stats.SMALLEST_P

    @settings(max_examples=40, deadline=None)
    @given(sample=differences, bound=st.floats(0.001, 1), level=st.sampled_from([0.5, 0.9, 0.95, 0.99]))
    def test_a_p_value_says_what_its_interval_says(
        self, sample: list[float], bound: float, level: float
    ) -> None:
        interval, alpha = partial(stats.paired_mean, sample), 1 - level
        estimate, narrow = interval(level), interval(1 - 2 * alpha)
        near = 1e-6
        if abs(estimate.low - bound) > near:
            assert (stats.p_above(interval, bound) < alpha) == (estimate.low > bound)
        if abs(estimate.high + bound) > near:
            assert (stats.p_below(interval, -bound) < alpha) == (estimate.high < -bound)
        if min(abs(narrow.low + bound), abs(narrow.high - bound)) > near:
            inside = -bound < narrow.low and narrow.high < bound
            assert (stats.p_within(interval, -bound, bound) < alpha) == inside

    @pytest.mark.parametrize("n", SEED_COUNTS)
    def test_false_alarms_at_the_margin(self, n: int) -> None:
        runs, margin = 2000, 0.003
        # A spread at which equivalence is sometimes shown: at 0.42 points and n = 3 it never is.
        samples = generator(n).normal(margin, 0.002, (runs, n)).tolist()
        wide = [stats.paired_mean(x) for x in samples]
        narrow = [stats.paired_mean(x, level=0.9) for x in samples]
        supported, refuted = sum(e.low > margin for e in wide), sum(e.high < margin for e in wide)
        equal = sum(-margin < e.low and e.high < margin for e in narrow)
        unequal = sum(e.low > margin or e.high < -margin for e in wide)
        for alarms, rate in ((supported, 0.025), (refuted, 0.025), (equal, 0.05), (unequal, 0.025)):
            assert at_most(alarms, runs, rate)
        assert at_least(supported, runs, 0.025) and at_least(refuted, runs, 0.025)

    def test_holm_by_hand(self) -> None:
        # 3 * .01; 2 * .03; .04, raised to the one before it.
        assert stats.holm([0.01, 0.04, 0.03]) == pytest.approx((0.03, 0.06, 0.06))
        assert stats.holm([]) == ()

    @pytest.mark.parametrize("n", (1, 2, 7))
    def test_holm_is_that_of_statsmodels(self, n: int) -> None:
        p_values = generator(n).uniform(0, 0.4, n).round(1)  # with ties
        assert stats.holm(p_values.tolist()) == pytest.approx(multipletests(p_values, method="holm")[1])

    @pytest.mark.parametrize("n", SEED_COUNTS)
    def test_false_verdicts_among_several_claims(self, n: int) -> None:
        runs, claims = 1500, 4
        samples = generator(n).normal(0, 1, (runs, claims, n))
        samples += generator(n, 1).normal(0, 1, (runs, 1, n))
        two_sided: Floats = np.asarray(reference.ttest_1samp(samples, 0, axis=-1).pvalue)
        false = sum(min(stats.holm(p)) <= 0.05 for p in two_sided.tolist())
        assert at_most(false, runs, 0.05)


class TestWhatCouldHaveBeenSeen:
    def test_two_points_six_of_spread_takes_106_seeds_for_one_point(self) -> None:
        # Two independent arms: their difference has sqrt(2) times the spread.
        assert stats.detectable(2.6 * 2**0.5, 108) == pytest.approx(1, abs=0.01)

    @pytest.mark.parametrize(("n", "power"), [(10, 0.365), (20, 0.848)])
    def test_equivalence_within_three_tenths_of_a_point(self, n: int, power: float) -> None:
        assert stats.detectable_margin(0.42, n, power) == pytest.approx(0.3, rel=1e-3)

    @pytest.mark.parametrize("n", SEED_COUNTS)
    def test_power_by_simulation(self, n: int) -> None:
        runs = 1500
        noise = generator(n).normal(0, 2, (runs, n))
        effect, margin = stats.detectable(2, n), stats.detectable_margin(2, n)
        seen = sum(stats.mean(x).low > 0 for x in (noise + effect).tolist())
        narrow = [stats.mean(x, level=0.9) for x in noise.tolist()]
        equal = sum(-margin < e.low and e.high < margin for e in narrow)
        for hits in (seen, equal):
            assert at_least(hits, runs, 0.8) and at_most(hits, runs, 0.8)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: stats.mean([]), "values must have one dimension and at least 2 entries"),
        (lambda: stats.paired_mean([0.1]), "differences must have one dimension and at least 2 entries"),
        (lambda: stats.mean([0.1, float("nan")]), "values must be finite: nan at index 1"),
        (lambda: stats.mean([1, 2], level=95), r"level must lie in \[0, 1\): 95"),
        (lambda: stats.wilson(4, 3), "4 of 3"),
        (lambda: stats.wilson(0, 0), "0 of 0"),
        (
            lambda: stats.pairing([1, 2, 3], [1, 2]),
            "control must have the same length as treatment: 3, not 2",
        ),
        (lambda: stats.holm([0.5, 1.5]), r"p_values must lie in 0..1: \[0.5, 1.5\]"),
        (lambda: stats.holm([float("nan")]), "p_values must lie in 0..1"),
        (lambda: stats.detectable(0.4, 1), "2 seeds or more"),
        (lambda: stats.detectable_margin(-1, 3), "sd -1, n 3"),
    ],
)
def test_bad_input_is_told(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
