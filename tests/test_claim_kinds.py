"""Every kind of claim gets the verdict that a known truth deserves, told in one sentence; and where it cannot
be judged, the reason."""

import dataclasses
import json
import math
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from handmade import by_rate, diverged, made, outcome, table, two_arms, write

from bnstudy.claims import (
    Claim,
    at_best,
    at_least,
    at_most,
    best_among,
    contains,
    equal_within,
    exact,
    false_alarms,
    interaction,
    ranked,
    ratio_at_least,
    ratio_at_most,
    share_at_least,
    share_at_most,
    spread_at_least,
    spread_at_most,
    spread_ratio_at_least,
    spread_ratio_at_most,
    success,
    weighted,
)
from bnstudy.design import Ablation, Factor, Level, across
from bnstudy.judgement import sentences
from bnstudy.judgement.sentences import answer, sentence
from bnstudy.judgement.verdicts import Verdict, judge
from bnstudy.outcome import Outcome

Measured = Callable[[Mapping[str, str], int], Outcome | None]
NO_SPREAD = "for every seed, so that nothing tells how far chance reaches"


def draw(*key: object) -> float:
    """Return a normal number that the key alone decides."""
    return random.Random(repr(key)).gauss(0, 1)


def claim(effect: object, **more: Any) -> Claim:
    return Claim("It is so.", effect=effect, **more)  # type: ignore[arg-type]


def verdict_on(ablation: Ablation, measured: Measured) -> Verdict:
    (verdict, *_) = judge(ablation, table(ablation, measured), preview=False)
    assert "nan" not in sentence(verdict) and "nan" not in sentences.power(verdict)
    assert sentence(verdict).startswith("It is so. ") and sentence(verdict).endswith(".")
    return verdict


def scores(spread: Mapping[str, float], mean: Mapping[str, float]) -> Measured:
    """Each network's accuracies are normal, independent of the other's."""
    return lambda arm, seed: outcome(
        mean[arm["network"]] + spread[arm["network"]] * draw(seed, arm["network"])
    )


BASE = {"bn": 0.88, "affine": 0.85}


# An arm alone


@pytest.mark.parametrize(
    ("effect", "result"),
    [
        (at_least(0.5), "supported"),
        (at_least(0.95), "refuted"),
        (at_least(0.88), "undecided"),
        (at_most(0.95), "supported"),
        (equal_within(0.1), "refuted"),
    ],
)
def test_the_mean_of_an_arm_alone(effect: object, result: str) -> None:
    ablation = two_arms(claim(effect, at={"network": "bn"}), seeds=8)
    assert verdict_on(ablation, scores({"bn": 0.01, "affine": 0.3}, BASE)).result == result


def test_an_arm_alone_is_told_by_its_value() -> None:
    ablation = two_arms(claim(at_least(0.5), at={"network": "bn"}), seeds=8)
    measured = scores({"bn": 0.01, "affine": 0.3}, BASE)
    verdict = verdict_on(ablation, measured)
    assert sentence(verdict) == "It is so. Supported: 87.9%, 95% interval 87.3% to 88.5% (8 seeds)."
    assert answer(ablation, table(ablation, measured), verdict) == sentence(verdict)
    assert (verdict.treatment, verdict.control) == ("", "")
    assert sentences.power(verdict) == "8 seeds like these show a difference of 0.88 points with 80% power."


def test_a_share_of_seeds() -> None:
    """18 of 20 seeds train: Wilson's interval is 70 to 97%."""
    ablation = two_arms(claim(at_least(0.6), at={"network": "bn"}, outcome=success()), seeds=20)
    verdict = verdict_on(ablation, lambda arm, seed: outcome(0.9 if seed > 1 else 0.1))
    assert sentence(verdict) == (
        "It is so. Supported: 90% of seeds succeed, 95% interval 70% to 97% (20 seeds)."
    )


def test_seeds_that_all_succeed_are_no_certainty_but_a_share() -> None:
    """A mean would have no spread; the share of seeds has an interval."""
    claims = [claim(at_most(0.2), at={"network": "bn"}, outcome=o) for o in ("train_accuracy", success())]
    ablation = two_arms(*claims, seeds=20)
    mean, share = judge(ablation, table(ablation, lambda arm, seed: diverged()), False)
    assert sentence(mean) == f"It is so. Undecided: it is 10.0% {NO_SPREAD}."
    assert (share.result, share.estimate and share.estimate.value) == ("supported", 0)


def test_a_seed_succeeds_with_all_of_its_trials() -> None:
    ablation = by_rate(claim(at_least(0.1), at={"network": "bn"}, outcome=success()), seeds=6)
    verdict = verdict_on(ablation, lambda arm, seed: outcome(0.1 if arm["lr"] == "100" and seed < 3 else 0.9))
    assert verdict.estimate is not None and verdict.estimate.value == 0.5


def test_whether_trials_stay_finite_is_a_share_of_seeds() -> None:
    ablation = two_arms(claim(at_least(0.5), at={"network": "bn"}, outcome="finite"), seeds=20)
    verdict = verdict_on(ablation, lambda arm, seed: outcome(0.9))
    assert verdict.result == "supported"
    assert verdict.estimate is not None and verdict.estimate.low == pytest.approx(0.839, abs=0.001)


# Several factors, contrasts, outcomes


def two_factors(*claims: Claim, seeds: int = 8) -> Ablation:
    (network,) = two_arms().factors
    return made(network, across("lr", 0.1, 1.0), claims=claims, seeds=range(seeds))


def added(bn: float, rate: float, both: float) -> Measured:
    """Effects of the network, of the rate, and of both together beyond that."""

    def measured(arm: Mapping[str, str], seed: int) -> Outcome:
        with_bn, fast = arm["network"] == "bn", arm["lr"] == "1"
        gain = bn * with_bn + rate * fast + both * (with_bn and fast)
        return outcome(0.5 + gain + 0.004 * draw(seed, *arm.values()))

    return measured


def test_sides_that_differ_in_several_factors() -> None:
    """The corner against its opposite, whatever lies between."""
    far = claim(
        equal_within(0.02),
        treatment={"network": "bn", "lr": "1"},
        control={"network": "affine", "lr": "0.1"},
    )
    verdict = verdict_on(two_factors(far), added(0.1, -0.1, 0))
    assert verdict.result == "supported"
    assert (verdict.treatment, verdict.control) == ("network=bn,lr=1", "network=affine,lr=0.1")
    measured = added(0.1, -0.1, 0)
    text = answer(two_factors(far), table(two_factors(far), measured), verdict)
    assert text.startswith(
        "Test accuracy (statistics recomputed), mean and 95% interval: with BN, lr 1 49.9% (49.6 to 50.3); "
        "without BN, lr 0.1 50.0% (49.7 to 50.2). It is so. Supported: -0.01 points, 90% interval "
    )


def test_main_effects_and_interactions() -> None:
    """BN gains 2 points at the small rate and 12 at the large: 7 on average, and 10 more at the large."""
    claims = (
        claim(at_least(0.06), factor="network"),
        claim(at_least(0.09), contrast=interaction({"network": ("bn", "affine"), "lr": ("1", "0.1")})),
        claim(at_most(0.11), contrast=interaction({"network": ("bn", "affine"), "lr": ("1", "0.1")})),
        claim(equal_within(0.01), contrast=weighted("lr", {"1": 0.5, "0.1": -0.5})),
    )
    ablation = two_factors(*claims)
    judged = judge(ablation, table(ablation, added(0.02, -0.05, 0.1)), False)
    assert [v.result for v in judged] == ["supported"] * 4
    values = [v.estimate.value for v in judged if v.estimate]
    assert values == pytest.approx([0.07, 0.1, 0.1, 0.0], abs=0.004)
    assert sentences.power(judged[1]).endswith("with 80% power.")


def test_one_outcome_against_another_of_the_same_trials() -> None:
    ablation = two_arms(
        claim(at_least(0.02), outcome="precise_test_accuracy", against="test_accuracy", at={"network": "bn"}),
        seeds=8,
    )

    def measured(arm: Mapping[str, str], seed: int) -> Outcome:
        return outcome(0.9, test_accuracy=0.86 + 0.005 * draw(seed))

    verdict = verdict_on(ablation, measured)
    assert verdict.result == "supported"
    assert (verdict.treatment, verdict.control) == ("precise_test_accuracy", "test_accuracy")
    assert answer(ablation, table(ablation, measured), verdict).startswith(
        "Mean and 95% interval: test accuracy (statistics recomputed) 90.0% (90.0 to 90.0); test accuracy "
        "(running averages) 86."
    )


def test_levels_against_each_other_by_the_difference_of_two_outcomes() -> None:
    """BN's accuracies differ by 1 point and the control's by 5."""
    gap = claim(
        at_most(-0.03), factor="network", outcome="precise_train_accuracy", against="precise_test_accuracy"
    )

    def measured(arm: Mapping[str, str], seed: int) -> Outcome:
        lost = 0.01 if arm["network"] == "bn" else 0.05
        return outcome(0.9, precise_test_accuracy=0.9 - lost + 0.003 * draw(seed, arm["network"]))

    verdict = verdict_on(two_arms(gap, seeds=8), measured)
    assert verdict.result == "supported"
    assert verdict.estimate is not None and verdict.estimate.value == pytest.approx(-0.04, abs=0.003)


def test_outcomes_inside_of_fields() -> None:
    """Entries of a field of numbers by name, also where the name has dots, and the last of a list."""
    claims = (
        claim(at_least(0.4), outcome="weight_norms.fc.weight", against="weight_norms.0.9"),
        claim(at_most(0.3), outcome="online_train_loss.last", at={"network": "bn"}),
        claim(at_least(0), outcome="weight_norms.gamma"),
    )

    def measured(arm: Mapping[str, str], seed: int) -> Outcome:
        noise = 0.01 * draw(seed, arm["network"])
        norms = {"fc.weight": 1.5 + noise, "0.9": 1.0}
        return outcome(0.9, weight_norms=norms, online_train_loss=(0.5, 0.2 + noise))

    ablation = two_arms(*claims, seeds=8)
    first, second, third = judge(ablation, table(ablation, measured), False)
    assert (first.result, second.result) == ("supported", "supported")
    assert sentence(third) == "It is so. Undecided: some trials have no weight norms (gamma)."


# Ratios and spreads


@pytest.mark.parametrize(
    ("effect", "result"),
    [
        (spread_ratio_at_least(3), "supported"),
        (spread_ratio_at_most(3), "refuted"),
        (spread_ratio_at_least(20), "refuted"),
        (spread_ratio_at_least(8), "undecided"),
    ],
)
def test_spreads_of_two_arms(effect: object, result: str) -> None:
    ablation = two_arms(claim(effect, factor="network", treatment="affine", control="bn"), seeds=20)
    assert verdict_on(ablation, scores({"bn": 0.002, "affine": 0.016}, BASE)).result == result


def test_spreads_of_two_outcomes_are_told() -> None:
    cut = claim(
        spread_ratio_at_least(3),
        outcome="test_accuracy",
        against="precise_test_accuracy",
        at={"network": "bn"},
    )

    def measured(arm: Mapping[str, str], seed: int) -> Outcome:
        return outcome(0.9 + 0.004 * draw("p", seed), test_accuracy=0.84 + 0.03 * draw("r", seed))

    ablation = two_arms(cut, seeds=20)
    verdict = verdict_on(ablation, measured)
    assert answer(ablation, table(ablation, measured), verdict) == (
        "Standard deviation over seeds and 95% interval: test accuracy (running averages) 2.66 points (2.09 "
        "to 3.79); test accuracy (statistics recomputed) 0.39 points (0.27 to 0.62). It is so. Supported: "
        "6.8 times, 95% interval 4.1 to 11 (20 seeds)."
    )
    assert sentences.power(verdict) == (
        "20 seeds like these show a factor of 2.1 from the bound with 80% power; over seeds the two sides "
        "correlate by 0.09."
    )
    few = two_arms(cut, seeds=8)
    assert sentence(verdict_on(few, measured)) == (
        "It is so. Undecided: 8 seeds with all trials of both sides, and at least 20 are needed."
    )
    text = answer(few, table(few, measured), verdict_on(few, measured))
    assert text.startswith(
        "Standard deviation over seeds and 95% interval: test accuracy (running averages) "
    )


def test_the_spread_of_one_arm() -> None:
    claims = (
        claim(spread_at_least(0.015), at={"network": "affine"}),
        claim(spread_at_most(0.004), at={"network": "bn"}),
        claim(spread_at_most(0.01), at={"network": "affine"}),
    )
    ablation = two_arms(*claims, seeds=20)
    judged = judge(ablation, table(ablation, scores({"bn": 0.002, "affine": 0.03}, BASE)), False)
    assert [v.result for v in judged] == ["supported", "supported", "refuted"]
    assert sentence(judged[1]) == ("It is so. Supported: 0.20 points, 95% interval 0.14 to 0.33 (20 seeds).")


def test_the_ratio_of_two_means() -> None:
    ablation = two_arms(
        claim(ratio_at_least(1.5), factor="network", outcome="train_loss"),
        claim(ratio_at_most(2.02), factor="network", outcome="train_loss"),
        seeds=20,
    )

    def measured(arm: Mapping[str, str], seed: int) -> Outcome:
        return outcome(0.9, train_loss=(0.6 if arm["network"] == "bn" else 0.3) * (1 + 0.1 * draw(seed, arm)))

    first, second = judge(ablation, table(ablation, measured), False)
    assert (first.result, second.result) == ("supported", "undecided")
    assert sentence(first) == "It is so. Supported: 2.1 times, 95% interval 1.9 to 2.2 (20 seeds)."
    zero = verdict_on(ablation, lambda arm, seed: outcome(0.9, train_loss=0.0 if seed == 3 else 0.5))
    assert sentence(zero) == "It is so. Undecided: a ratio of means needs values above 0."


# Shares


def partly(part: float, whole: float) -> Measured:
    """Of a whole gain over no normalization, one network gets a part."""
    gains = {"none": 0.0, "affine": part, "bn": whole}
    return lambda arm, seed: outcome(0.5 + gains[arm["network"]] + 0.01 * draw(seed, arm["network"]))


def three(*claims: Claim, seeds: int = 8) -> Ablation:
    none = Level("none", norm="none")
    (network,) = two_arms().factors
    factor = Factor("network", control=none, treatments=network.levels, varies=("norm",))
    return made(factor, claims=claims, seeds=range(seeds))


@pytest.mark.parametrize(
    ("effect", "part", "result"),
    [
        (share_at_least(0.5), 0.08, "supported"),
        (share_at_least(0.5), 0.02, "refuted"),
        (share_at_least(0.5), 0.052, "undecided"),
        (share_at_most(0.5), 0.02, "supported"),
    ],
)
def test_a_part_of_a_whole_gain(effect: object, part: float, result: str) -> None:
    ablation = three(claim(effect, factor="network", treatment="affine", of="bn"))
    assert verdict_on(ablation, partly(part, 0.1)).result == result


def test_a_share_is_told_with_all_three_sides() -> None:
    ablation = three(claim(share_at_least(0.5), factor="network", treatment="affine", of="bn"))
    verdict = verdict_on(ablation, partly(0.08, 0.1))
    text = answer(ablation, table(ablation, partly(0.08, 0.1)), verdict)
    assert "without BN 57.4% (" in text and "; none 50.7% (" in text and "; with BN 59.9% (" in text
    assert "of the whole, 95% interval " in text
    assert "a share 1" in sentences.power(verdict) and "away from the bound" in sentences.power(verdict)


@pytest.mark.parametrize("whole", [0.0, -0.1])
def test_there_is_no_share_of_what_is_no_gain(whole: float) -> None:
    ablation = three(claim(share_at_least(0.5), factor="network", treatment="affine", of="bn"))
    verdict = verdict_on(ablation, partly(whole, whole))
    assert "Undecided: the whole is not clearly above 0 (" in sentence(verdict)


def test_what_another_outcome_leaves_of_a_loss() -> None:
    """By running averages the control loses 5 points, by recomputed statistics 1."""
    left = claim(share_at_most(0.5), factor="network", against="test_accuracy")

    def measured(arm: Mapping[str, str], seed: int) -> Outcome:
        noise, lost = 0.003 * draw(seed, arm["network"]), arm["network"] == "affine"
        return outcome(0.9 - 0.01 * lost + noise, test_accuracy=0.9 - 0.05 * lost + noise)

    verdict = verdict_on(two_arms(left, seeds=8), measured)
    assert verdict.result == "supported"
    assert verdict.estimate is not None and verdict.estimate.value == pytest.approx(0.2, abs=0.06)


# Orders


def by_batch(*claims: Claim) -> Ablation:
    sizes = [Level(str(n), batch_size=n) for n in (16, 64, 256)]
    return made(Factor("batch_size", levels=sizes), claims=claims, seeds=range(8))


def peaked(middle: float) -> Measured:
    gains = {"16": 0.0, "64": middle, "256": 0.01}
    return lambda arm, seed: outcome(0.8 + gains[arm["batch_size"]] + 0.005 * draw(seed, arm["batch_size"]))


@pytest.mark.parametrize(
    ("effect", "middle", "result"),
    [
        (best_among("64"), 0.05, "supported"),
        (best_among("64"), -0.05, "refuted"),
        (best_among("64"), 0.01, "undecided"),
        (best_among("64", "256"), 0.01, "supported"),
        (best_among("16", "64"), 0.05, "supported"),
        (ranked("64", "256", "16"), 0.05, "supported"),
        (ranked("256", "64", "16"), 0.05, "refuted"),
        (ranked("64", "256"), 0.01, "undecided"),
    ],
)
def test_orders(effect: object, middle: float, result: str) -> None:
    assert verdict_on(by_batch(claim(effect, factor="batch_size")), peaked(middle)).result == result


def test_orders_are_told() -> None:
    ablation = by_batch(
        claim(best_among("64"), factor="batch_size"), claim(ranked("64", "16"), factor="batch_size")
    )
    best, order = judge(ablation, table(ablation, peaked(0.05)), False)
    assert "Supported: the best of these is ahead of the best other by +" in sentence(best)
    assert "Supported: the smallest step in this order is +" in sentence(order)
    text = answer(ablation, table(ablation, peaked(0.05)), best)
    assert "batch size 16 79.8% (" in text and "batch size 64 85.3% (" in text and "batch size 256 " in text
    assert "show a lead of 0." in sentences.power(best)


# Numbers of single runs


@pytest.mark.parametrize(
    ("recorded", "seeds", "result"),
    [
        ({"affine": 0.86, "bn": 0.88}, 20, "supported"),
        ({"affine": 0.86, "bn": 0.99}, 20, "refuted"),
        ({"affine": 0.86, "bn": 0.88}, 8, "undecided"),
        ({"affine": 0.86, "bn": 0.99}, 8, "refuted"),
    ],
)
def test_recorded_numbers(recorded: Mapping[str, float], seeds: int, result: str) -> None:
    ablation = two_arms(claim(contains(recorded), factor="network"), seeds=seeds)
    assert verdict_on(ablation, scores({"bn": 0.01, "affine": 0.02}, BASE)).result == result


def test_recorded_numbers_are_told() -> None:
    measured = scores({"bn": 0.01, "affine": 0.02}, BASE)
    inside, outside = (
        two_arms(claim(contains({"affine": 0.86, "bn": bn}), factor="network"), seeds=20)
        for bn in (0.88, 0.99)
    )
    assert sentence(verdict_on(inside, measured)) == (
        "It is so. Supported: all recorded numbers lie inside the 97.5% prediction intervals (affine 86.0%, "
        "interval 78.5% to 88.9%; bn 88.0%, interval 85.3% to 90.4%; 20 seeds)."
    )
    assert sentence(verdict_on(outside, measured)) == (
        "It is so. Refuted: 1 of 2 recorded numbers lies outside of the 97.5% prediction intervals (bn "
        "99.0%, interval 85.3% to 90.4%; 20 seeds)."
    )
    alone = two_arms(claim(contains(0.88), at={"network": "bn"}), seeds=8)
    assert "the recorded number lies inside the 95% prediction interval (88.0%, interval 8" in sentence(
        verdict_on(alone, measured)
    )
    assert sentence(verdict_on(alone, measured)).endswith(
        "8 seeds), and at least 10 seeds are needed to call that typical."
    )


def test_each_recorded_number_is_judged_by_the_seeds_of_its_own_arm() -> None:
    ablation = two_arms(claim(contains({"bn": 0.88}), factor="network"), seeds=20)
    measured = scores({"bn": 0.01, "affine": 0.02}, BASE)
    only = verdict_on(ablation, lambda arm, seed: measured(arm, seed) if arm["network"] == "bn" else None)
    assert (only.result, only.seeds) == ("supported", 20)


def test_rounding_of_the_printed_number_is_allowed_for() -> None:
    measured = scores({"bn": 1e-5, "affine": 0.02}, {"bn": 0.8802, "affine": 0.85})
    for rounding, result in ((0.0, "refuted"), (0.0005, "supported")):
        ablation = two_arms(claim(contains({"bn": 0.88}, rounding), factor="network"), seeds=20)
        assert verdict_on(ablation, measured).result == result


# Exact claims


def test_exact_differences_of_lists() -> None:
    """One entry of one seed is enough to refute."""

    def measured(arm: Mapping[str, str], seed: int) -> Outcome:
        off = 3e-4 if arm["network"] == "bn" and seed == 3 else 1e-9
        return outcome(0.9, online_train_loss=(0.5, 0.4 + off))

    for bound, result in ((1e-3, "Supported"), (1e-4, "Refuted")):
        ablation = two_arms(claim(exact(bound), factor="network", outcome="online_train_loss"))
        assert sentence(verdict_on(ablation, measured)) == (
            f"It is so. {result}: the largest difference is 0.0003 (seed 3), the bound {bound:.3g}, in 5 "
            "seeds."
        )


def test_exact_values_of_an_arm_alone_are_not_averaged() -> None:
    """Opposite signs at two rates: their mean is zero, and they are not."""
    small = claim(exact(1e-6), outcome="train_loss", at={"network": "bn"})

    def measured(size: float) -> Measured:
        return lambda arm, seed: outcome(0.9, train_loss=size if arm["lr"] == "1" else -size)

    assert verdict_on(two_factors(small), measured(1e-7)).result == "supported"
    assert verdict_on(two_factors(small), measured(1e-3)).result == "refuted"


def test_exact_pairs_are_of_the_same_level_of_every_other_factor() -> None:
    same = claim(exact(0), factor="network", outcome="train_loss")

    def measured(arm: Mapping[str, str], seed: int) -> Outcome:
        return outcome(0.9, train_loss=seed + float(arm["lr"]))

    verdict = verdict_on(two_factors(same), measured)
    assert verdict.result == "supported"
    assert sentence(verdict) == "It is so. Supported: the two sides are equal in 8 seeds, the bound 0."


@pytest.mark.parametrize(
    ("loss", "told"),
    [
        ((0.5, None), "some trials have no online train loss"),
        ((), "some trials have no online train loss"),
        ((0.5,), "the two sides have different numbers of entries"),
    ],
)
def test_what_cannot_be_compared_exactly(loss: tuple[float | None, ...], told: str) -> None:
    ablation = two_arms(claim(exact(1), factor="network", outcome="online_train_loss"))

    def measured(arm: Mapping[str, str], seed: int) -> Outcome:
        return outcome(0.9, online_train_loss=loss if arm["network"] == "bn" and seed == 2 else (0.5, 0.4))

    assert sentence(verdict_on(ablation, measured)) == f"It is so. Undecided: {told}."


def test_exact_claims_take_no_part_in_the_adjustment() -> None:
    """p = 0.031 is enough for one claim besides the primary, and not for one of two."""
    wiggle = (0.01, -0.01, 0.005, -0.005, 0.0)

    def measured(arm: Mapping[str, str], seed: int) -> Outcome:
        return outcome(0.6 + wiggle[seed] if arm["network"] == "bn" else 0.5)

    borderline = claim(at_least(0.1 - 0.0115), factor="network")
    for other, result in (
        (claim(exact(1), factor="network"), "supported"),
        (claim(at_least(0.1), factor="network"), "undecided"),
    ):
        ablation = two_arms(borderline, borderline, other)
        assert judge(ablation, table(ablation, measured), False)[1].result == result


# The placebo


def test_the_placebo_of_equal_arms() -> None:
    ablation = two_arms(claim(false_alarms(0.003), factor="network"), seeds=20)
    verdict = verdict_on(ablation, scores({"bn": 0.01, "affine": 0.01}, {"bn": 0.8, "affine": 0.8}))
    assert verdict.result == "supported" and len(verdict.parts) == 5 and verdict.p is None
    assert sentence(verdict).startswith("It is so. Supported: falsely different ") and sentence(
        verdict
    ).endswith(", over 1,000 sign flips of 20 seeds.")


def test_the_placebo_with_a_seed_far_off() -> None:
    ablation = two_arms(claim(false_alarms(0.003), factor="network"), seeds=20)

    def measured(arm: Mapping[str, str], seed: int) -> Outcome:
        far = 0.4 if seed == 7 and arm["network"] == "bn" else 0.0
        return outcome(0.8 - far + 0.0001 * draw(seed, arm["network"]))

    assert "Undecided: fewer false alarms than stated" in sentence(verdict_on(ablation, measured))


# What cannot be judged


EVERY_KIND = {
    "difference": claim(at_least(0.01), factor="network"),
    "equality": claim(equal_within(0.01), factor="network"),
    "alone": claim(at_most(0.5), at={"network": "bn"}),
    "contrast": claim(at_least(0), contrast=weighted("network", {"bn": 1, "affine": -1})),
    "outcomes": claim(at_least(0), outcome="test_accuracy", against="precise_test_accuracy"),
    "ratio": claim(ratio_at_least(2), factor="network"),
    "spread": claim(spread_at_most(0.1), at={"network": "bn"}),
    "spread ratio": claim(spread_ratio_at_least(2), factor="network"),
    "share": claim(share_at_least(0.5), factor="network", against="test_accuracy"),
    "best": claim(best_among("bn"), factor="network"),
    "ranked": claim(ranked("bn", "affine"), factor="network"),
    "recorded": claim(contains({"bn": 0.1}), factor="network"),
    "false alarms": claim(false_alarms(0.01), factor="network"),
}


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_all_seeds_saturate(kind: str) -> None:
    verdict = verdict_on(two_arms(EVERY_KIND[kind], seeds=20), lambda arm, seed: diverged())
    assert verdict.result == "undecided" and sentence(verdict).endswith(f"{NO_SPREAD}.")


@pytest.mark.parametrize("kind", [*EVERY_KIND, "exact", "success", "best rate"])
@pytest.mark.parametrize("seeds", [0, 1])
def test_too_few_seeds(kind: str, seeds: int) -> None:
    more = {
        "exact": claim(exact(0.1), factor="network"),
        "success": claim(at_least(0.5), at={"network": "bn"}, outcome=success()),
    }
    if kind == "best rate":
        ablation = by_rate(claim(at_least(0), factor="network", outcome=at_best("lr")), seeds=20)
    else:
        ablation = two_arms((EVERY_KIND | more)[kind], seeds=20)
    verdict = verdict_on(ablation, lambda arm, seed: outcome(0.5) if seed < seeds else None)
    if (kind, seeds) == ("exact", 1):
        assert verdict.result == "supported", "one seed is enough to look at"
        return
    assert verdict.result == "undecided" and verdict.seeds == seeds
    assert "seed" in sentence(verdict) and "needed" in sentence(verdict)


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_two_seeds_give_no_nan(kind: str) -> None:
    measured = scores({"bn": 0.01, "affine": 0.01}, BASE)
    verdict = verdict_on(two_arms(EVERY_KIND[kind], seeds=2), measured)
    assert verdict.p is None or not math.isnan(verdict.p)


def test_every_kind_reads_what_the_ledger_gives(tmp_path: Path) -> None:
    """The tables above have the ledger's columns; so all of this holds for its own frame, too."""
    more = (
        claim(at_least(0.5), at={"network": "bn"}, outcome="finite"),
        claim(at_least(0.5), at={"network": "bn"}, outcome=success()),
        claim(at_least(1), outcome="weight_norms.fc.weight", at={"network": "bn"}),
        claim(exact(1), factor="network", outcome="validation_accuracy"),
        claim(at_least(0), outcome="validation_accuracy.last", at={"network": "bn"}),
    )
    ablation = two_arms(*EVERY_KIND.values(), *more, seeds=20)
    measured = scores({"bn": 0.01, "affine": 0.01}, BASE)
    judged = judge(ablation, write(tmp_path, ablation, measured).frame(ablation), False)
    assert judged == judge(ablation, table(ablation, measured), False)
    assert [v.result for v in judged[-5:]] == [
        "supported",
        "supported",
        "undecided",
        "supported",
        "supported",
    ]
    for verdict in judged:
        json.dumps(dataclasses.asdict(verdict), allow_nan=True)
