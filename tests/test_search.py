"""The search finds a known optimum with one budget for every arm, whoever runs it and however often."""

import dataclasses
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import searched
from fakes import seen
from searched import BEST, NORM, RATES

from bnstudy.books import schedule, search, tuning
from bnstudy.books.executors import InProcess, Pool
from bnstudy.books.ledger import Ledger
from bnstudy.design import Factor, across
from bnstudy.packs import Job, Result

NAMES = {"norm=affine": "affine", "norm=bn": "batch_norm", "norm=plain": "none"}


def test_every_arm_has_the_same_budget_and_comes_near_its_optimum(tmp_path: Path) -> None:
    """A parabola over five decades; within a third of a decade 0.9 minus 0.011 is reached."""
    ablation = searched.design()
    ledger, trainer = searched.searched(ablation, tmp_path)
    found = tuning.found(ablation, ledger.recorded(), 16)
    assert found is not None and [each.trials for each in found] == [16, 16, 16]
    assert len(ledger.records()) == 16 * 3 * len(tuning.SEEDS)
    for each in found:
        rate = float(dict(each.best)["lr"])
        assert abs(math.log10(rate) - BEST[NAMES[each.arm]]) < 1 / 3, each
        assert rate == float(f"{rate:.3g}")
    assert [each.at_edge for each in found] == [(), (), ("lr",)]  # the last is best at the end
    assert {len(job.pack.trials) for job in trainer.packs} == {8}  # whole packs: eight rates of one seed
    assert all(job.pack.shares_images for job in trainer.packs)


def test_a_second_round_looks_nearer_to_the_best(tmp_path: Path) -> None:
    """Over the arms, more points of the second round than of the first lie within a decade of the best."""
    ablation = searched.design()
    ledger, _ = searched.searched(ablation, tmp_path)
    near = {0: 0, 1: 0}
    for arm, points in tuning.tried(ablation, ledger.recorded()).items():
        for each in points:
            away = abs(math.log10(float(dict(each.point)["lr"])) - BEST[NAMES[arm]])
            near[each.round] += away < 1
    assert near[1] > near[0]


def test_the_first_round_lies_evenly_from_end_to_end(tmp_path: Path) -> None:
    [space, *_] = tuning.spaces(searched.design())
    rates = sorted(float(dict(point)["lr"]) for point in search.ask(space, [], 0, 8))
    assert (rates[0], rates[-1]) == (0.01, 1000)
    steps = [math.log10(b / a) for a, b in pairwise(rates)]
    assert max(steps) - min(steps) < 0.01


def test_workers_change_nothing(tmp_path: Path) -> None:
    """Two processes end packs in any order; what is asked next follows from the round alone."""
    ablation = searched.design()
    one, _ = searched.searched(ablation, tmp_path / "one")
    two = Ledger(tmp_path / "two" / "searched.jsonl")
    pool = Pool(searched.train, ["cpu", "cpu"])

    def train(made: Any, said: dict[str, Any]) -> schedule.Tally:
        return schedule.Run(made, two, search.scratch(), pool, provenance={"search": said}).execute()

    try:
        search.run(ablation, two, 16, train)
    finally:
        pool.close()
    assert seen(two) == seen(one)
    assert {r.provenance["search"]["round"] for r in two.records()} == {0, 1}


@pytest.mark.parametrize("done", [1, 5, 6, 7, 11])
def test_an_interrupted_search_goes_on_as_if_it_had_not_been(tmp_path: Path, done: int) -> None:
    ablation = searched.design()
    whole, packs = searched.searched(ablation, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        searched.searched(ablation, tmp_path / "cut", fails_at=done)
    ledger, rest = searched.searched(ablation, tmp_path / "cut")
    assert len(rest.packs) == len(packs.packs) - done  # nothing is trained twice
    assert seen(ledger) == seen(whole)
    assert searched.searched(ablation, tmp_path / "cut")[1].packs == []


def test_a_larger_budget_goes_on_from_a_smaller_one(tmp_path: Path) -> None:
    ablation = searched.design()
    searched.searched(ablation, tmp_path, 8)
    ledger, _ = searched.searched(ablation, tmp_path, 16)
    at_once, _ = searched.searched(ablation, tmp_path / "at once", 16)
    assert seen(ledger) == seen(at_once)


def test_categories_are_tried_one_by_one_where_the_budget_suffices(tmp_path: Path) -> None:
    levels = Factor("norm", levels=(NORM.levels[0],))
    ablation = searched.design(levels, across("dropout", 0.5, 0.0, 0.2), across("pool", "avg", "max"))
    ledger, _ = searched.searched(ablation, tmp_path)
    found = tuning.found(ablation, ledger.recorded(), 16)
    assert found is not None and found[0].trials == 6 and dict(found[0].best)["dropout"] == "0"
    assert found[0].at_edge == ()
    assert searched.searched(ablation, tmp_path)[1].packs == []


def test_categories_are_searched_beside_a_range(tmp_path: Path) -> None:
    ablation = searched.design(Factor("norm", levels=(NORM.levels[0],)), RATES, across("dropout", 0.9, 0.0))
    ledger, _ = searched.searched(ablation, tmp_path, 24)
    found = tuning.found(ablation, ledger.recorded(), 24)
    assert found is not None and dict(found[0].best)["dropout"] == "0"
    assert abs(math.log10(float(dict(found[0].best)["lr"])) - BEST["affine"]) < 0.5


def test_a_search_stops_at_what_failed_and_goes_on_from_there(tmp_path: Path) -> None:
    ablation = searched.design()
    ledger = Ledger(tmp_path / "searched.jsonl")

    def crash(job: Job, report: Any) -> Result:
        if job.pack.trials[0].arm.recipe.norm == "none":
            raise RuntimeError("no memory")
        return searched.train(job, report)

    def train(made: Any, said: dict[str, Any]) -> schedule.Tally:
        run = schedule.Run(made, ledger, search.scratch(), InProcess(crash), provenance={"search": said})
        return run.execute()

    tally = search.run(ablation, ledger, 16, train)
    assert len(tally.failed) == 16 and tally.recorded == 32  # of the first round: one arm of three
    assert tuning.found(ablation, ledger.recorded(), 16) is None
    again, _ = searched.searched(ablation, tmp_path)
    whole, _ = searched.searched(ablation, tmp_path / "whole")
    finished = [(trial, outcome) for trial, outcome in seen(again) if outcome.finished]
    assert finished == seen(whole)


def test_test_numbers_decide_nothing(tmp_path: Path) -> None:
    """The fake's test accuracies are best where validation is worst; without them nothing changes."""
    ablation = searched.design()
    ledger, _ = searched.searched(ablation, tmp_path)
    records = ledger.recorded()
    hidden = {
        trial: dataclasses.replace(
            record,
            outcome=dataclasses.replace(
                record.outcome, test_accuracy=None, precise_test_accuracy=None, batch_test_accuracy=None
            ),
        )
        for trial, record in records.items()
    }
    assert tuning.found(ablation, hidden, 16) == tuning.found(ablation, records, 16)


def test_a_search_is_shown_in_a_storage_by_its_own_scores(tmp_path: Path) -> None:
    ablation = searched.design()
    ledger, _ = searched.searched(ablation, tmp_path, 8)
    storage = search.scratch()
    for _ in range(2):  # made anew each time
        search.publish(ablation, ledger, storage)
    shown = {study.study_name: study for study in storage.get_all_studies()}
    assert sorted(shown) == [f"searched tune {arm}" for arm in sorted(NAMES)]
    trials = storage.get_all_trials(shown["searched tune norm=bn"]._study_id)
    scores = [each.score for each in tuning.tried(ablation, ledger.recorded())["norm=bn"]]
    assert [trial.value for trial in trials] == scores
