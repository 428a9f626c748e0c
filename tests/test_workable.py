"""The largest workable learning rate: one cell a seed, and intervals no finer than the grid."""

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from statistics import fmean

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as reference
from simulation import Floats, at_most, generator, misses

from bnstudy.judgement import stats
from bnstudy.judgement import workable as module
from bnstudy.judgement.stats import Estimate
from bnstudy.judgement.workable import Workable, workable, workable_location, workable_ratio

SEED_COUNTS = (3, 5, 20)
GRID = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
CELLS = tuple(Workable(low, high) for low, high in pairwise((0.0, *GRID, np.inf)))
# Of a decade, so that a simulated log rate in grid steps is its own cell number.
DECADES = tuple(float(10**k) for k in range(-12, 13))

seeds_of_cells = st.lists(st.sampled_from(CELLS), min_size=2, max_size=6)


def cells_of(log_rates: Floats, top: int = 12) -> list[Workable]:
    """Return the cells, on the grid of decades up to 10^top, of log10 rates [seeds]."""
    lows = np.minimum(np.floor(log_rates), top)
    return [Workable(10.0**k, np.inf if k == top else 10.0 ** (k + 1)) for k in map(int, lows)]


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
        monkeypatch.setattr(module, "_fitted_mean", lambda cells: 0.0)  # slow, and not part of the interval
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
        monkeypatch.setattr(module, "_fitted_mean", lambda cells: 0.0)
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
    treatment = [Workable(1.0, 10.0), Workable(10.0, 100.0), Workable(100.0, np.inf)]
    control = [Workable(0.1, 1.0), Workable(10.0, 100.0), Workable(0.1, 1.0)]
    interval = partial(workable_ratio, control, treatment, grid)
    assert interval(1 - 1e-12).low == 0
    assert 0 <= stats.p_above(interval, 5) <= 1
    closed = partial(workable_ratio, control, control[::-1], grid)
    assert closed(1 - 1e-12).high > 1e100
    assert closed(1 - 1e-15).high == np.inf
