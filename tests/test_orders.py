"""Orders of means are judged over all pairs at once, and no more often wrongly for it."""

import numpy as np
import pytest
from scipy import stats as reference
from simulation import at_least, at_most, generator

from bnstudy.judgement import orders, stats

SEED_COUNTS = (5, 8, 20, 40)


def test_two_levels_are_a_paired_difference() -> None:
    x, y = [0.8, 0.82, 0.85, 0.81], [0.7, 0.75, 0.76, 0.74]
    expected = stats.paired_mean((np.array(x) - y).tolist())
    for found in (orders.lead([x], [y]), orders.smallest_step([x, y])):
        assert (found.value, found.low, found.high) == pytest.approx(
            (expected.value, expected.low, expected.high)
        )


def test_the_lead_is_of_the_two_best() -> None:
    table = {"a": [0.5, 0.51, 0.5], "b": [0.9, 0.91, 0.91], "c": [0.8, 0.79, 0.8], "d": [0.1, 0.1, 0.12]}
    estimate = orders.lead([table["a"], table["b"]], [table["c"], table["d"]])
    assert estimate.value == pytest.approx(np.mean(table["b"]) - np.mean(table["c"]))
    # Two levels inside: the lower bound is at a quarter of the error rate instead of half.
    differences = np.subtract(table["b"], table["c"])
    half = reference.t.isf(0.025 / 2, 2) * reference.sem(differences)
    assert estimate.low == pytest.approx(differences.mean() - half)


def test_steps_that_never_vary_bound_nothing() -> None:
    found = orders.smallest_step([[3.0, 3.0], [2.0, 2.0], [1.0, 1.5]])
    assert found.low == -np.inf and found.value < found.high < np.inf, (
        "the other step still bounds from above"
    )


@pytest.mark.parametrize("n", SEED_COUNTS)
def test_false_alarms_where_all_levels_are_equal(n: int) -> None:
    """The worst case of both sides: any of several levels could be taken for the best."""
    runs = 700
    samples = generator(n).normal(0, 1, (runs, 6, n))
    for inside in (1, 3, 5):
        found = [orders.lead(x[:inside], x[inside:]) for x in samples]
        assert at_most(sum(e.low > 0 for e in found), runs, 0.025), inside
        assert at_most(sum(e.high < 0 for e in found), runs, 0.025), inside
    steps = [orders.smallest_step(x[:4]) for x in samples]
    assert at_most(sum(e.low > 0 for e in steps), runs, 0.025)
    assert at_most(sum(e.high < 0 for e in steps), runs, 0.025)


@pytest.mark.parametrize("n", SEED_COUNTS)
def test_a_clear_order_is_seen(n: int) -> None:
    """Steps of 4 standard errors of a difference: more than 80% power, and 95% intervals that cover."""
    runs, step = 400, 4 * (2 / n) ** 0.5
    if n == 5:
        step *= 1.5  # four degrees of freedom want more
    samples = generator(n, 1).normal(0, 1, (runs, 4, n)) + step * np.array([[3.0], [2], [1], [0]])
    leads = [orders.lead(x[:1], x[1:]) for x in samples]
    steps = [orders.smallest_step(x) for x in samples]
    for found in (leads, steps):
        assert at_least(sum(e.low > 0 for e in found), runs, 0.8)
        assert at_least(sum(e.low <= step <= e.high for e in found), runs, 0.95)
