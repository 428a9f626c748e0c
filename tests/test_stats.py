"""The judge is tested by simulation: what claims 95% has to cover 95%, at the seed counts the study uses."""

from collections.abc import Callable, Iterable
from functools import partial
from itertools import pairwise
from statistics import fmean

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats as reference
from statsmodels.stats.weightstats import ttost_paired

from bnstudy import stats
from bnstudy.stats import Estimate, Workable, workable, workable_location, workable_ratio

Floats = NDArray[np.float64]

SEED_COUNTS = (3, 5, 20)
GRID = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
CELLS = tuple(Workable(low, high) for low, high in pairwise((0.0, *GRID, np.inf)))
# Of a decade, so that a simulated log rate in grid steps is its own cell number.
DECADES = tuple(float(10**k) for k in range(-12, 13))

differences = st.lists(st.floats(-1, 1).map(lambda x: round(x, 3)), min_size=2, max_size=8)
seeds_of_cells = st.lists(st.sampled_from(CELLS), min_size=2, max_size=6)


def generator(*key: int) -> np.random.Generator:
    return np.random.default_rng([20, *key])


def holds(estimates: Iterable[Estimate], truth: float) -> int:
    return sum(e.low <= truth <= e.high for e in estimates)


def at_least(hits: float, n: int, rate: float) -> bool:
    """Whether `hits` of n is no fewer than a true rate of at least `rate` gives but once in 10,000 tests."""
    return hits >= reference.binom.ppf(1e-4, n, rate)


def at_most(hits: float, n: int, rate: float) -> bool:
    return at_least(n - hits, n, 1 - rate)


def cells_of(log_rates: Floats, top: int = 12) -> list[Workable]:
    """Return the cells, on the grid of decades up to 10^top, of log10 rates [seeds]."""
    lows = np.minimum(np.floor(log_rates), top)
    return [Workable(10.0**k, np.inf if k == top else 10.0 ** (k + 1)) for k in map(int, lows)]


def misses(samples: Floats, interval: Callable[[Floats], Estimate], truth: float) -> tuple[int, int]:
    """Return how many of the intervals of `samples` [runs, ...] lie above and below; equals judged once."""
    distinct, counts = np.unique(samples, axis=0, return_counts=True)
    estimates = [interval(sample) for sample in distinct]
    above = sum(n for e, n in zip(estimates, counts.tolist(), strict=True) if e.low > truth)
    return above, sum(n for e, n in zip(estimates, counts.tolist(), strict=True) if e.high < truth)


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


class TestSpreads:
    def test_value_is_the_standard_deviation(self) -> None:
        estimate = stats.spread([1, 2, 3])
        assert estimate.value == pytest.approx(1)
        # Leaving out 1, 2, 3 leaves sds of 1/sqrt(2), sqrt(2), 1/sqrt(2): pseudo-values ln(2) * (1, -1, 1).
        pseudo_values = np.log(2) * np.array([1, -1, 1])
        half = reference.t.isf(0.025, 2) * reference.sem(pseudo_values)
        assert np.log([estimate.high, 1 / estimate.low]) == pytest.approx([half, half])

    def test_ratio_of_an_arm_scaled_by_two(self) -> None:
        estimate = stats.spread_ratio([2, 4, 8], [1, 2, 4])
        assert (estimate.value, estimate.low, estimate.high) == pytest.approx((2, 2, 2))

    def test_no_spread_bounds_nothing(self) -> None:
        assert stats.spread([1, 1, 1, 2]).high == np.inf
        assert stats.spread_ratio([1, 2, 4], [0.1, 0.1, 0.1]) == Estimate(np.inf, 0, np.inf, 0.95, 3)

    # The coverages are those of the docstrings: lower than the level, and said so.
    def test_coverage_is_as_documented(self) -> None:
        runs, n = 500, 20
        pairs = generator(1).multivariate_normal([0, 0], [[1, 0.7], [0.7, 1]], (runs, n))
        x, y = pairs[..., 0].tolist(), pairs[..., 1].tolist()
        assert at_least(holds(map(stats.spread, x), 1), runs, 0.94)
        assert at_least(holds(map(stats.spread_ratio, x, y), 1), runs, 0.945)


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

    @pytest.mark.parametrize("n", SEED_COUNTS)
    def test_false_verdicts_among_several_claims(self, n: int, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("gc.collect", lambda: 0)  # statsmodels collects at each call, 50 ms
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


class TestWorkable:
    RATES = (0.1, 1.0, 10.0, 100.0)

    @pytest.mark.parametrize(
        ("accuracies", "expected"),
        [
            ((0.8, 0.9, 0.1, 0.1), (1.0, 10.0)),
            ((0.2, 0.9, 0.1, 0.1), (1.0, 10.0)),  # too slow at the bottom is no failure at the top
            ((0.7, 0.9, 0.1, 0.6), (1.0, 10.0)),  # a lone success above the run
            ((0.6, 0.1, 0.9, 0.1), (10.0, 100.0)),  # a lone success below it
            ((0.6, 0.7, 0.8, 0.9), (100.0, np.inf)),
            ((0.1, 0.2, 0.49, 0.1), (0.0, 0.1)),
            ((0.9, 0.1, 0.9, 0.1), (0.1, 1.0)),  # equally good: the lower
            ((0.9, 0.5, 0.1, 0.1), (1.0, 10.0)),  # the threshold itself is a success
        ],
    )
    def test_end_of_the_unbroken_run(self, accuracies: list[float], expected: tuple[float, float]) -> None:
        assert workable(self.RATES, accuracies) == Workable(*expected)

    def test_threshold(self) -> None:
        accuracies = (0.3, 0.9, 0.6, 0.3)
        found = [workable(self.RATES, accuracies, threshold) for threshold in (0.2, 0.5, 0.8)]
        assert found == [Workable(100.0, np.inf), Workable(10.0, 100.0), Workable(1.0, 10.0)]


class TestLocation:
    def test_all_seeds_in_one_cell(self) -> None:
        cell = Workable(0.3, 1.0)
        assert workable_location([cell] * 5, GRID).value == pytest.approx(0.3**0.5)
        # Three seeds share a neighbouring cell's seeds by chance too often (1 in 8 at its edge): one more.
        ends = [(e.low, e.high) for e in (workable_location([cell] * n, GRID) for n in (3, 5, 20))]
        assert ends == [(0.1, 3.0), (0.3, 1.0), (0.3, 1.0)]

    def test_two_neighbouring_cells_meet_at_their_rate(self) -> None:
        cells = [Workable(0.3, 1.0)] * 4 + [Workable(1.0, 3.0)]
        assert workable_location(cells, GRID).value == pytest.approx(1)

    # At the second, scipy's own starting point stalls half a decade away.
    @pytest.mark.parametrize("found", [(2, 3, 3, 5, 6, 11), (0, 0, 2, 6, 8, 10)])
    def test_value_is_the_maximum_of_the_likelihood(self, found: tuple[int, ...]) -> None:
        cells = [CELLS[k] for k in found]
        with np.errstate(divide="ignore"):
            lows, highs = np.log10([(c.low, c.high) for c in cells]).T[:, :, None, None]
        means, spreads = np.meshgrid(np.linspace(-2, 3, 501), np.linspace(0.5, 4, 351), indexing="ij")
        ends = zip(lows, highs, strict=True)
        chances = [np.diff(reference.norm.cdf([e, f], means, spreads), axis=0) for e, f in ends]
        best = means.flat[np.prod(chances, axis=0).argmax()]
        assert np.log10(workable_location(cells, GRID).value) == pytest.approx(best, abs=0.01)

    def test_seeds_that_never_fail_leave_the_top_open(self) -> None:
        assert workable_location([CELLS[-1]] * 5, GRID) == Estimate(1000, 1000, np.inf, 0.95, 5)
        some = workable_location([CELLS[k] for k in (7, 8, 9, 9, 10, 11)], GRID)
        assert some.high == np.inf and 0 < some.low < some.value < 1000

    def test_seeds_that_never_work_leave_the_bottom_open(self) -> None:
        assert workable_location([CELLS[0]] * 5, GRID) == Estimate(0.01, 0, 0.01, 0.95, 5)
        some = workable_location([CELLS[0], CELLS[3], CELLS[5]], GRID)
        assert some.low == 0 and 0.01 < some.value < some.high < np.inf

    def test_only_open_cells_say_nothing(self) -> None:
        estimate = workable_location([CELLS[0], CELLS[0], CELLS[-1]], GRID)
        assert (estimate.low, estimate.high) == (0, np.inf)
        assert estimate.value == pytest.approx((0.01 * 1000) ** 0.5)

    @settings(max_examples=60, deadline=None)
    @given(cells=seeds_of_cells, level=st.floats(0, 0.999))
    def test_interval_is_no_finer_than_the_grid(self, cells: list[Workable], level: float) -> None:
        estimate = workable_location(cells, GRID, level)
        assert {estimate.low, estimate.high} <= {0.0, *GRID, np.inf}
        assert estimate.low < estimate.high
        assert estimate.low <= estimate.value <= estimate.high
        lows = fmean(np.log10(c.low) if c.low else -np.inf for c in cells)
        assert estimate.low == 0 or np.log10(estimate.low) <= lows + 1e-9

    @settings(max_examples=30, deadline=None)
    @given(cells=seeds_of_cells, data=st.data())
    def test_order_of_seeds_and_unit_of_rates(self, cells: list[Workable], data: st.DataObject) -> None:
        estimate = workable_location(cells, GRID)
        assert workable_location(data.draw(st.permutations(cells)), GRID) == estimate
        scaled = {cell: Workable(cell.low * 10, cell.high * 10) for cell in CELLS}
        again = workable_location([scaled[c] for c in cells], [10 * rate for rate in GRID])
        assert (again.low, again.high) == (10 * estimate.low, 10 * estimate.high)
        assert again.value == pytest.approx(10 * estimate.value, rel=2e-3)

    @pytest.mark.parametrize("top", [12, 0])
    @pytest.mark.parametrize("n", SEED_COUNTS)
    def test_coverage(self, n: int, top: int, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(stats, "_fitted_mean", lambda cells: 0.0)  # slow, and not part of the interval
        runs, grid = 3000, DECADES[: DECADES.index(10.0**top) + 1]
        for i, spread in enumerate((0, 0.3, 1, 2) if n < 20 else (0, 0.3, 0.7)):
            for offset in (0.002, 0.4, 0.998):
                log_rates = np.floor(generator(n, i).normal(offset, spread, (runs, n)))
                samples = np.sort(np.minimum(log_rates, top))
                missed = misses(samples, lambda x: workable_location(cells_of(x, top), grid), 10**offset)
                assert at_most(sum(missed), runs, 0.05), (spread, offset)


class TestRatio:
    def test_paired_by_seed(self) -> None:
        treatment, control = [Workable(10.0, 30.0)] * 20, [Workable(0.3, 1.0)] * 20
        estimate = workable_ratio(treatment, control, GRID)
        assert estimate.value == pytest.approx(300**0.5 / 0.3**0.5)
        # Each seed's ratio lies between 10 / 1 and 30 / 0.3; twenty agree on it, five nearly do.
        assert (estimate.low, estimate.high) == pytest.approx((10, 100))
        few = workable_ratio(treatment[:5], control[:5], GRID)
        assert 9 < few.low < 10 and 100 < few.high < 110

    def test_a_shared_shift_of_both_arms_costs_nothing(self) -> None:
        decades = [Workable(10.0**k, 10.0 ** (k + 1)) for k in (-3, 0, 4)]
        above = [Workable(100 * c.low, 100 * c.high) for c in decades]
        same = workable_ratio([above[1]] * 3, [decades[1]] * 3, DECADES)
        shifted = workable_ratio(above, decades, DECADES)
        assert (shifted.low, shifted.high) == pytest.approx((same.low, same.high))

    def test_open_ends(self) -> None:
        top, bottom, inside = [CELLS[-1]] * 6, [CELLS[0]] * 6, [CELLS[4]] * 6
        above = workable_ratio(top, inside, GRID)
        assert above.low == pytest.approx(1000 / 1) and above.high == np.inf
        assert workable_ratio(top, bottom, GRID).low == pytest.approx(1000 / 0.01)
        nothing = workable_ratio(top, top, GRID)
        assert (nothing.value, nothing.low, nothing.high) == (1, 0, np.inf)

    def test_five_seeds_can_support_a_claim_under_holm(self) -> None:
        treatment, control = [Workable(10.0, 30.0)] * 5, [Workable(0.3, 1.0)] * 5
        interval = partial(workable_ratio, treatment, control, GRID)
        assert stats.p_above(interval, 5) == pytest.approx(0.0055, abs=0.0005)
        assert stats.p_below(interval, 5) == 1

    def test_a_margin_on_the_grid_does_not_hang_on_the_last_digit(self) -> None:
        for low, high in zip(CELLS[1:-4], CELLS[4:-1], strict=True):
            margin = high.low / low.high
            estimate = workable_ratio([high] * 20, [low] * 20, GRID)
            assert estimate.low < margin == pytest.approx(estimate.low)

    @settings(max_examples=40, deadline=None)
    @given(pairs=st.lists(st.tuples(st.sampled_from(CELLS), st.sampled_from(CELLS)), min_size=2, max_size=6))
    def test_swapping_the_arms_inverts_the_ratio(self, pairs: list[tuple[Workable, Workable]]) -> None:
        treatment, control = [p[0] for p in pairs], [p[1] for p in pairs]
        estimate, inverse = (
            workable_ratio(treatment, control, GRID),
            workable_ratio(control, treatment, GRID),
        )
        assert estimate.low <= estimate.value <= estimate.high
        assert inverse.value == pytest.approx(1 / estimate.value)
        assert inverse.low == pytest.approx(0 if estimate.high == np.inf else 1 / estimate.high)
        assert inverse.high == pytest.approx(np.inf if estimate.low == 0 else 1 / estimate.low)

    @pytest.mark.parametrize("n", SEED_COUNTS)
    def test_coverage_and_false_alarms_at_the_margin(self, n: int, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(stats, "_fitted_mean", lambda cells: 0.0)
        runs = 2000
        # The worst cases of a finer search: the control sits at a grid rate, the treatment varies about one.
        cases = [(0.5, 0.0, 0.002, 0.998), (2.0, 2.0, 0.4, 0.4), (0.3, 0.3, 0.998, 0.002)]
        for i, (spread, control_spread, offset, control_offset) in enumerate(cases if n < 20 else cases[:1]):
            means, spreads = (
                np.array([[offset], [control_offset - 2]]),
                np.array([[spread], [control_spread]]),
            )
            samples = np.floor(means + spreads * generator(n, i).normal(size=(runs, 2, n)))
            margin = 10 ** (offset - control_offset + 2)

            def ratio(pair: Floats) -> Estimate:
                return workable_ratio(cells_of(pair[0]), cells_of(pair[1]), DECADES)

            for alarms in misses(samples, ratio, margin):
                assert at_most(alarms, runs, 0.025)


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
        (lambda: stats.spread([1, 2]), "at least 3 entries"),
        (lambda: stats.holm([0.5, 1.5]), r"p_values must lie in 0..1: \[0.5, 1.5\]"),
        (lambda: stats.holm([float("nan")]), "p_values must lie in 0..1"),
        (lambda: stats.detectable(0.4, 1), "2 seeds or more"),
        (lambda: stats.detectable_margin(-1, 3), "sd -1, n 3"),
        (lambda: workable([1, 10], [0.5]), "accuracies must have the same length as rates: 2, not 1"),
        (lambda: workable([1, 10], [0.5, float("nan")]), "accuracies must be finite: nan at index 1"),
        (lambda: workable([10, 1], [0.5, 0.5]), "rates must be positive and ascend"),
        (lambda: workable([0, 1], [0.5, 0.5]), "rates must be positive and ascend"),
        (lambda: workable_location([CELLS[2]], GRID), "cells must hold at least 2 seeds: 1"),
        (lambda: workable_location([Workable(0.1, 1.0)] * 2, GRID), "cells must join neighbouring rates"),
        (
            lambda: workable_ratio(CELLS[:3], CELLS[:2], GRID),
            "control must have the same length as treatment",
        ),
    ],
)
def test_bad_input_is_told(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_extreme_levels_give_open_ends_and_no_overflow() -> None:
    """Three seeds that disagree have t intervals of hundreds of decades at the levels that p values try."""
    grid = [0.1, 1.0, 10.0, 100.0]
    treatment = [stats.Workable(1.0, 10.0), stats.Workable(10.0, 100.0), stats.Workable(100.0, np.inf)]
    control = [stats.Workable(0.1, 1.0), stats.Workable(10.0, 100.0), stats.Workable(0.1, 1.0)]
    interval = partial(stats.workable_ratio, control, treatment, grid)
    assert interval(1 - 1e-12).low == 0
    assert 0 <= stats.p_above(interval, 5) <= 1
    closed = partial(stats.workable_ratio, control, control[::-1], grid)
    assert closed(1 - 1e-12).high > 1e100
    assert closed(1 - 1e-15).high == np.inf
