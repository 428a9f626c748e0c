"""Further rates close in on the true threshold, and tell what they know beside the verdict, never in it."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import refined
from refined import DECLARED, TRUTH
from scipy.stats import t
from simulation import at_least, generator

from bnstudy.books import registry
from bnstudy.commands import study
from bnstudy.design import Ablation, Factor, Level, across, tuned
from bnstudy.errors import BnstudyError
from bnstudy.factors import Pairs
from bnstudy.judgement import refinement
from bnstudy.judgement import workable as module
from bnstudy.judgement.refinement import Located, further, wanted
from bnstudy.judgement.workable import workable, workable_location

AFFINE: Pairs = (("norm", "affine"),)


def at(grid: Sequence[float], thresholds: Sequence[float]) -> Located:
    """Return where an arm stands whose seeds train at all rates of a grid up to their thresholds."""
    cells = tuple(workable(grid, [0.9 if rate <= end else 0.1 for rate in grid]) for end in thresholds)
    return Located("norm=affine", AFFINE, tuple(grid), cells, workable_location(cells, grid))


def bisected(thresholds: Sequence[float], width: float, rounds: int = 6) -> Located:
    """Return where an arm stands after rounds of bisection."""
    grid: list[float] = sorted(map(float, DECLARED))
    for _ in range(rounds):
        grid = sorted({*grid, *further(at(grid, thresholds), width)})
    return at(grid, thresholds)


@pytest.mark.parametrize("truth", [0.011, 0.5, 2.9, 99.0, 517.0])
@pytest.mark.parametrize("width", [1.1, 1.5, 3.0])
def test_bisection_converges_to_a_threshold_that_all_seeds_share(truth: float, width: float) -> None:
    found = bisected([truth] * 5, width)
    assert found.estimate.low <= truth < found.estimate.high and found.ratio < width
    assert len(found.grid) - len(DECLARED) <= 6  # halving three times in log rate goes from 3 to below 1.2


@pytest.mark.parametrize(("n", "spread"), [(3, 0.0), (3, 0.02), (5, 0.05), (20, 0.1)])
def test_the_interval_covers_the_truth_as_often_as_it_says(
    n: int, spread: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seeds differ, and refined cells are of several widths: at least 95% of intervals hold, and
    they are at most half as wide again as the t interval of the thresholds themselves would be."""
    monkeypatch.setattr(module, "_fitted_mean", lambda cells: 0.0)  # slow, and not part of the interval
    runs, truths = 200, (0.5, 31.0)
    ideal = 10 ** (2 * float(t.ppf(0.975, n - 1)) * spread / math.sqrt(n))
    for truth in truths:
        draws = 10 ** generator(n, round(100 * spread)).normal(math.log10(truth), spread, (runs, n))
        ends = [bisected(draw.tolist(), 1.5, 4).estimate for draw in draws]
        assert at_least(sum(e.low <= truth <= e.high for e in ends), runs, 0.95)
        narrow = [e.high / e.low for e in ends]
        assert np.median(narrow) < 1.5 * ideal, (truth, np.median(narrow))


def test_rates_are_short_literals_in_the_middle_of_uncertain_cells() -> None:
    assert further(at((1, 10, 100, 1000), [31.0] * 5), 1.5) == [31.6]
    assert further(at((1, 10, 31.6, 100), [31.0] * 5), 1.5) == [17.8]
    assert further(at((1, 10, 31.6, 100), [31.0] * 5), 4.0) == []  # narrow enough
    # Of three seeds the interval reaches into the neighbouring cells: they are split as well.
    assert further(at((1, 10, 100, 1000), [31.0] * 3), 1.5) == [3.16, 31.6, 316]
    # Of seeds that differ: every cell with a threshold, and the ends of the interval, 1 to 100; not 3 to 10.
    assert further(at((0.1, 1, 3, 10, 30, 100, 300), [2.0, 20.0, 20.0, 20.0, 20.0]), 2.0) == [
        1.73,
        17.3,
        54.8,
    ]


def test_what_no_rate_between_two_can_bound_is_left_alone() -> None:
    assert further(at((1, 10, 100), [1e6] * 5), 1.5) == [] and not at((1, 10, 100), [1e6] * 5).bounded
    assert further(at((1, 10, 100), [20.0, 0.5, 20.0]), 1.5) == []


def test_only_arms_that_need_rates_get_some() -> None:
    narrow, wide = at((1, 1.2, 1.4, 100), [1.3] * 5), replace(at((1, 10, 100), [20.0] * 5), arm="norm=bn")
    assert wanted([narrow, wide], 1.5) == {"norm=bn": [31.6]}
    assert wanted([narrow], 1.5) == {}


def test_further_rates_are_arms_beside_the_declared_ones() -> None:
    ablation = refined.design()
    whole = refinement.extended(ablation, {"norm=bn": [17.3, 54.8], "norm=affine": [1.73, 3]})
    assert whole.arms[: len(ablation.arms)] == ablation.arms
    assert [arm.name for arm in whole.arms[len(ablation.arms) :]] == [
        "norm=affine,lr=1.73",
        "norm=bn,lr=17.3",
        "norm=bn,lr=54.8",
    ]  # 3 is declared
    assert whole.whole == ablation and refinement.extended(ablation, {}).arms == ablation.arms
    alone = refinement.design(ablation, {"norm=bn": [17.3]})
    assert [(arm.name, arm.recipe.lr) for arm in alone.arms] == [("norm=bn,lr=17.3", 17.3)]
    assert list(alone.seeds) == list(ablation.seeds) and not alone.claims


def test_further_rates_regroup_nothing() -> None:
    """A rate's seeds are a pack of their own, whatever other rates were added."""
    ablation = refined.design()
    one = refinement.design(ablation, {"norm=bn": [17.3]})
    two = refinement.design(ablation, {"norm=affine": [1.73], "norm=bn": [17.3]})
    assert [pack.trials for pack in study.packs.plan(one)] == [
        pack.trials for pack in study.packs.plan(two) if pack.trials[0].arm.recipe.norm == "batch_norm"
    ]
    declared = study.packs.plan(ablation)
    assert not {trial.id for p in declared for trial in p.trials} & {trial.id for trial in two.trials}


@pytest.mark.parametrize(
    "factors",
    [
        (refined.NORM,),
        (refined.NORM, tuned("lr", 0.1, 1)),
        (refined.NORM, across("lr", 1)),
        (refined.NORM, Factor("lr", levels=(Level("low", lr=0.1), Level("high", lr=1)))),
    ],
)
def test_a_design_without_rates_cannot_be_refined(factors: tuple[Factor, ...]) -> None:
    ablation = Ablation(question="?", source="here", factors=factors, seeds=range(3), name="made")
    with pytest.raises(BnstudyError, match="made has no learning rates to refine"):
        refinement.rates_of(ablation)


def test_the_project_s_sweeps_can_be_refined() -> None:
    found = {n for n, each in registry.find().ablations.items() if refinement.refinable(each)}
    assert {"lr-sweep", "lite-bn"} <= found and "placebo" not in found


def test_what_is_held_tells_beside_the_verdict_what_further_rates_know(tmp_path: Path) -> None:
    ablation, place = refined.design(), study.Place(tmp_path, "paper", pytest.fail)
    refined.train(ablation, place.ledger(ablation.name))
    before = study.judge(ablation, place)
    assert before.refined is None and "urther rates" not in before.answer

    rates = {"norm=bn": [54.8]}
    made = refinement.design(ablation, rates)
    refined.train(made, place.ledger(ablation.name, "refine"), refine={"round": 0, "rates": rates})
    after = study.judge(ablation, place)
    assert after.verdicts == before.verdicts and after.preview == before.preview == ""
    assert after.answer == (
        f"{before.answer} Further rates (5 trials, which the verdict leaves out) narrow the largest workable "
        "learning rate (95% interval): bn between 54.8 and 100."
    )
    assert (
        len(after.finished) == len(before.finished) and len(after.drawing.frame) == len(before.finished) + 5
    )
    assert dict(after.drawing.ablation.arms[-1].levels) == {"norm": "bn", "lr": "54.8"}
    located = {each.arm: each for each in refinement.located(refinement.held(ablation, place))}
    assert TRUTH["batch_norm"] == 80 and (located["norm=bn"].estimate.low, located["norm=bn"].ratio) == (
        54.8,
        pytest.approx(100 / 54.8),
    )
    assert located["norm=affine"].grid == tuple(map(float, DECLARED))


def test_a_rate_that_misses_a_seed_is_not_told(tmp_path: Path) -> None:
    ablation, place = refined.design(), study.Place(tmp_path, "paper", pytest.fail)
    refined.train(ablation, place.ledger(ablation.name))
    rates = {"norm=bn": [54.8]}
    fewer = replace(refinement.design(ablation, rates), seeds=range(3))
    refined.train(fewer, place.ledger(ablation.name, "refine"), refine={"round": 0, "rates": rates})
    held = refinement.held(ablation, place)
    assert held.rates == {} and held.ablation == ablation and refinement.told(held) == ""


@pytest.mark.parametrize("said", [{"round": -1}, {"rates": {"norm=bn": [0.0]}}, {"rates": ["1"]}])
def test_a_record_says_which_rates_its_round_had(tmp_path: Path, said: dict[str, Any]) -> None:
    ablation = refined.design()
    ledger = study.Place(tmp_path, "paper", pytest.fail).ledger(ablation.name, "refine")
    made = refinement.design(ablation, {"norm=bn": [54.8]})
    with pytest.raises(ValueError, match=r"provenance\.refine"):
        refined.train(made, ledger, refine={"round": 0, "rates": {"norm=bn": [54.8]}} | said)
