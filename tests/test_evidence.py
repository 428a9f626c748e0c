"""Every kind of verdict errs as often as it says, at the seed counts that the study uses."""

from collections.abc import Callable

import numpy as np
import pytest
import simulation
from scipy.stats import binom
from simulation import Floats, generator, near

from bnstudy.claims import (
    Claim,
    at_least,
    at_most,
    best_among,
    contains,
    equal_within,
    ratio_at_least,
    share_at_least,
    spread_at_most,
    spread_ratio_at_least,
    success,
    weighted,
)
from bnstudy.judgement import evidence, stats
from bnstudy.judgement.evidence import Evidence, Values
from bnstudy.judgement.weighing import ERROR_RATE

SEED_COUNTS = (5, 8, 20, 40)
RUNS = 120
"""One verdict takes milliseconds; the intervals behind it are simulated more often with their modules."""
MARGIN = 0.02


def values(table: Floats, *weights: float) -> Values:
    return Values(tuple("abcdef"[: len(table)]), np.array(weights), table)


def rates(
    claim: Claim, weigh: Callable[[Claim, Values], Evidence], samples: Floats, *weights: float
) -> tuple[int, int]:
    """Return how often samples [runs, parties, seeds] support and refute a claim."""
    found = [weigh(claim, values(table, *weights)) for table in samples]
    assert not any(each.reason for each in found)
    return (
        sum(each.supported <= ERROR_RATE for each in found),
        sum(each.refuted <= ERROR_RATE for each in found),
    )


def paired(n: int, shift: float, sd: float = 0.01, runs: int = RUNS) -> Floats:
    """Two arms that share a part of their noise, the first ahead by `shift`: [runs, 2, seeds]."""
    shared = generator(n, 1).normal(0, sd, (runs, 1, n))
    own = generator(n, 2).normal(0, sd, (runs, 2, n))
    samples: Floats = 0.8 + shared + own + np.array([[shift], [0.0]])
    return samples


@pytest.mark.parametrize("n", SEED_COUNTS)
def test_a_difference_at_its_margin(n: int) -> None:
    least = Claim("", factor="x", effect=at_least(MARGIN))
    most = Claim("", factor="x", effect=at_most(MARGIN))
    samples = paired(n, MARGIN, runs=RUNS)
    supported, refuted = rates(least, evidence.weigh_mean, samples, 1, -1)
    assert near(supported, RUNS, 0.025) and near(refuted, RUNS, 0.025)
    assert rates(most, evidence.weigh_mean, samples, 1, -1) == (refuted, supported)


@pytest.mark.parametrize("n", SEED_COUNTS)
def test_equality_at_its_margin_and_where_it_holds(n: int) -> None:
    """At the margin the two tests err at 5%; within it they see what they are said to see."""
    claim = Claim("", factor="x", effect=equal_within(MARGIN))
    supported, refuted = rates(claim, evidence.weigh_mean, paired(n, MARGIN, 0.004), 1, -1)
    assert near(supported, RUNS, 0.05) and simulation.at_most(refuted, RUNS, 0.025)
    sd = MARGIN / stats.detectable_margin(1, n)
    found, _ = rates(claim, evidence.weigh_mean, paired(n, 0.0, sd / 2**0.5), 1, -1)
    assert near(found, RUNS, 0.8)


@pytest.mark.parametrize("n", SEED_COUNTS)
def test_a_contrast_of_four_arms_that_differ_in_spread(n: int) -> None:
    weights = {"a": 1.0, "b": -1.0, "c": -1.0, "d": 1.0}
    claim = Claim("", contrast=weighted("x", weights), effect=at_least(MARGIN))
    noise = generator(n, 3).normal(0, 1, (RUNS, 4, n)) * np.array([[0.01], [0.002], [0.03], [0.01]])
    samples = 0.8 + noise + np.array([[MARGIN], [0], [0], [0]])
    for hits in rates(claim, evidence.weigh_mean, samples, *weights.values()):
        assert near(hits, RUNS, 0.025)


@pytest.mark.parametrize("n", SEED_COUNTS)
def test_a_share_at_its_bound(n: int) -> None:
    """A third of a whole of five standard deviations."""
    claim = Claim("", factor="x", of="c", effect=share_at_least(1 / 3))
    noise = generator(n, 4).normal(0, 0.01, (RUNS, 3, n))
    samples = 0.8 + noise + np.array([[0.1 / 3], [0], [0.1]])
    for hits in rates(claim, evidence.weigh_share, samples, 1, -1, 0):
        assert near(hits, RUNS, 0.025)


@pytest.mark.parametrize("n", [20, 40])
def test_spreads_at_their_bounds(n: int) -> None:
    three = Claim("", factor="x", effect=spread_ratio_at_least(3))
    samples = 0.8 + generator(n, 5).normal(0, 1, (RUNS, 2, n)) * np.array([[0.03], [0.01]])
    for hits in rates(three, evidence.weigh_spread_ratio, samples, 1, -1):
        assert simulation.at_most(hits, RUNS, 0.025)
    one = Claim("", effect=spread_at_most(0.01))
    for hits in rates(one, evidence.weigh_spread, samples[:, 1:], 1):
        assert simulation.at_most(hits, RUNS, 0.025)


@pytest.mark.parametrize("n", [20, 40])
def test_a_ratio_of_means_at_its_bound(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evidence.ratios, "RESAMPLES", 999)
    claim = Claim("", factor="x", effect=ratio_at_least(2))
    runs = 20
    samples = (1 + 0.1 * generator(n, 6).normal(0, 1, (runs, 2, n))) * np.array([[2.0], [1.0]])
    for hits in rates(claim, evidence.weigh_ratio, samples, 1, -1):
        assert simulation.at_most(hits, runs, 0.025)


@pytest.mark.parametrize("n", SEED_COUNTS)
def test_the_best_level_where_two_are_equal(n: int) -> None:
    """One inside and one outside tie, two lag: the case next to which a verdict is wrong."""
    claim = Claim("", factor="x", effect=best_among("a", "b"))
    means = np.array([[0.82], [0.80], [0.82], [0.80]])
    samples = means + generator(n, 7).normal(0, 0.01, (RUNS, 4, n))
    for hits in rates(claim, evidence.weigh_order, samples, 1, 1, 1, 1):
        assert simulation.at_most(hits, RUNS, 0.025)
    samples[:, 0] += 0.03
    supported, refuted = rates(claim, evidence.weigh_order, samples, 1, 1, 1, 1)
    assert refuted == 0 and simulation.at_least(supported, RUNS, 0.8)


@pytest.mark.parametrize("n", SEED_COUNTS)
def test_recorded_numbers_of_the_same_recipes_are_seldom_refuted(n: int) -> None:
    """Five systems, each with a number that is one more of its runs: 5% for all of them together."""
    samples = generator(n, 8).normal(0.85, 0.02, (RUNS, 5, n + 1))
    refuted = 0
    for sample in samples:
        numbers = {name: float(x) for name, x in zip("abcde", sample[:, 0], strict=True)}
        claim = Claim("", factor="x", outcome="train_loss", effect=contains(numbers))
        found = evidence.weigh_recorded(claim, [each[1:].tolist() for each in sample], ERROR_RATE)
        assert (found.refuted <= ERROR_RATE) == (not all(part.inside for part in found.parts))
        refuted += found.refuted <= ERROR_RATE
    assert near(refuted, RUNS, 0.05)


def test_recorded_shares_are_predicted_in_their_log_odds() -> None:
    """Accuracies have a ceiling: no interval passes it, and the skewed tail is not called untypical."""
    accuracies = (1 - 0.12 * np.exp(0.6 * generator(9).normal(0, 1, 40))).tolist()
    claims = [
        Claim("", outcome=outcome, effect=contains(0.57)) for outcome in ("test_accuracy", "train_loss")
    ]
    share, plain = (evidence.weigh_recorded(claim, [accuracies], ERROR_RATE) for claim in claims)
    assert share.parts[0].high < 1 < plain.parts[0].high
    assert share.parts[0].low < 0.57 < plain.parts[0].low
    assert share.refuted > ERROR_RATE > plain.refuted
    assert (share.parts[0].inside, plain.parts[0].inside) == (True, False)


@pytest.mark.parametrize("n", SEED_COUNTS)
def test_shares_of_seeds_by_all_outcomes_that_there_are(n: int) -> None:
    """Wilson's interval errs at its level on average over the true share; here at each of many, exactly."""
    claim = Claim("", outcome=success(), effect=at_least(0.5))
    found = [
        evidence.weigh_success(claim, values(np.array([[1.0] * k + [0.0] * (n - k)]), 1))
        for k in range(n + 1)
    ]
    decided = [each.supported <= ERROR_RATE for each in found]
    assert decided == sorted(decided), "more successes support it more"
    assert decided[n] and not decided[n // 2]
    at_half = sum(binom.pmf(k, n, 0.5) for k in range(n + 1) if decided[k])
    assert at_half <= 0.045  # 3.1% at 5 seeds, 3.5% at 8, 2.1% at 20, 1.9% at 40
