"""`bnstudy run --refine`: rounds of bisection to a known threshold, resumed anywhere, and once for real."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import refined
from fakes import seen
from refined import TRUTH
from typer.testing import CliRunner

from bnstudy.books import schedule, search
from bnstudy.books.executors import InProcess
from bnstudy.books.ledger import Ledger
from bnstudy.cli import app
from bnstudy.commands import refine, study
from bnstudy.commands.refine import Asked
from bnstudy.commands.study import Machinery, Place
from bnstudy.design import Ablation
from bnstudy.errors import BnstudyError
from bnstudy.judgement import refinement
from bnstudy.packs import Job, Result


class Trainers:
    """Stands for workers: trains in this process, and stops at the pack `fails_at`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.started, self.fails_at = 0, -1
        self.packs: list[Job] = []
        self.rounds: list[dict[str, Any]] = []
        monkeypatch.setattr(study, "training", self.training)

    @contextmanager
    def training(self, *given: object) -> Iterator["Trainers"]:
        self.started += 1
        yield self

    def train(self, made: Ablation, ledger: Ledger, title: str, **facts: Any) -> schedule.Tally:
        self.rounds.append(facts["refine"])
        here = InProcess(self.pack)
        return schedule.Run(made, ledger, search.scratch(), here, provenance=facts).execute()

    def pack(self, job: Job, report: Any) -> Result:
        if len(self.packs) == self.fails_at:
            raise KeyboardInterrupt
        self.packs.append(job)
        return refined.train_pack(job, report)


@pytest.fixture
def trainers(monkeypatch: pytest.MonkeyPatch) -> Trainers:
    return Trainers(monkeypatch)


def swept(folder: Path, seeds: int = 5) -> tuple[Ablation, Place]:
    """Return a sweep whose declared rates are recorded."""
    ablation, place = refined.design(seeds=seeds), Place(folder, "paper", lambda text: None)
    refined.train(ablation, place.ledger(ablation.name))
    return ablation, place


def run(ablation: Ablation, place: Place, **asked: Any) -> refinement.Held:
    refine.run([ablation], place, Machinery(), lambda name: None, Asked(**asked))
    return refinement.held(ablation, place)


def test_rounds_go_on_until_the_intervals_are_narrow(trainers: Trainers, tmp_path: Path) -> None:
    ablation, place = swept(tmp_path)
    before = place.ledger(ablation.name).path.read_bytes()
    held = run(ablation, place, width=1.2)
    for each in refinement.located(held):
        truth = TRUTH["batch_norm" if each.arm == "norm=bn" else "affine"]
        assert each.estimate.low <= truth <= each.estimate.high and each.ratio < 1.2
    assert refine.remarks(held, Asked(width=1.2)) == []
    assert [each["round"] for each in trainers.rounds] == list(range(len(trainers.rounds)))
    assert trainers.started == 1 and place.ledger(ablation.name).path.read_bytes() == before
    # Four rates of a seed share its images; of one rate and of two, the five seeds train together.
    assert {len(job.pack.trials) for job in trainers.packs} == {4, 5}
    assert [row["seeds"] for row in refine.rows(held)] == [5, 5]
    assert run(ablation, place, width=1.2).rates == held.rates and trainers.started == 1


@pytest.mark.parametrize("done", [0, 1, 2, 3, 5])
def test_an_interrupted_refinement_goes_on_as_if_it_had_not_been(
    trainers: Trainers, tmp_path: Path, done: int
) -> None:
    whole = run(*swept(tmp_path / "whole"), width=1.2)
    packs, trainers.packs, trainers.fails_at = len(trainers.packs), [], done
    ablation, place = swept(tmp_path / "cut")
    with pytest.raises(KeyboardInterrupt):
        run(ablation, place, width=1.2)
    trainers.packs, trainers.fails_at = [], -1
    held = run(ablation, place, width=1.2)
    assert len(trainers.packs) == packs - done and held.rates == whole.rates
    ledgers = [
        Place(tmp_path / each, "paper", pytest.fail).ledger("swept", "refine") for each in ("cut", "whole")
    ]
    assert seen(ledgers[0]) == seen(ledgers[1])


def test_rounds_are_counted_and_more_go_on(trainers: Trainers, tmp_path: Path) -> None:
    ablation, place = swept(tmp_path)
    held = run(ablation, place, width=1.1, rounds=1)
    assert len(trainers.rounds) == 1
    told = refine.remarks(held, Asked(width=1.1, rounds=1))
    assert len(told) == 2 and re.search(r"swept, norm=bn: the interval is \S+ wide.*more --rounds", told[1])
    run(ablation, place, width=1.1, rounds=2)
    assert len(trainers.rounds) == 2


def test_seeds_that_are_added_are_trained_at_the_rates_there_are(trainers: Trainers, tmp_path: Path) -> None:
    ablation, place = swept(tmp_path, seeds=5)
    rates = run(ablation, place).rates
    more = refined.design(seeds=7)
    refined.train(more, place.ledger(more.name))
    held = run(more, place)
    assert {arm: set(each) for arm, each in rates.items()}.items() <= {
        arm: set(each) & set(rates[arm]) for arm, each in held.rates.items()
    }.items()
    assert held.trials == 7 * sum(map(len, held.rates.values()))


@pytest.mark.parametrize("width", [1.0, 0.5, float("nan")])
def test_a_width_that_no_rates_reach_is_refused(width: float) -> None:
    with pytest.raises(BnstudyError, match=r"at least 1\.05"):
        Asked(width=width)


def test_what_fails_too_often_ends_it_with_a_sentence(trainers: Trainers, tmp_path: Path) -> None:
    ablation, place = swept(tmp_path)

    def crash(job: Job, report: Any) -> Result:
        raise RuntimeError("no memory")

    trainers.pack = crash  # type: ignore[method-assign]
    for _ in range(3):
        tallies = refine.run([ablation], place, Machinery(), lambda name: None, Asked())
        assert len(tallies["swept"].failed) == 10
    with pytest.raises(BnstudyError, match=r"10 trials failed too often.*no memory.*refine/swept\.jsonl"):
        run(ablation, place)


# For real

SWEEP = """
from bnstudy.claims import Claim, largest_workable, ratio_at_least
from bnstudy.design import Ablation, Profile, across
from bnstudy.levels import NORM

ablation = Ablation(
    question="How large can the rate get?",
    source="my own",
    factors=(NORM, across("lr", 0.1, 1e4)),
    seeds=range(3),
    claims=(
        Claim("L.", factor="norm", outcome=largest_workable("lr", threshold=0.3), effect=ratio_at_least(5)),
    ),
    smoke=Profile(
        base={"data": "sample", "train_images": 512, "validation_images": 64, "batch_size": 32, "epochs": 2}
    ),
    figure="learning rates",
)
"""


def bnstudy(*words: str) -> Any:
    options = ["--ablations", "ablations", "--profile", "smoke"]
    return CliRunner().invoke(app, [*words, *options], env={"COLUMNS": "100"})


def test_run_refines_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Real trainings; three steps train nothing, so that a rate works where anything is predicted at all."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ablations").mkdir()
    (tmp_path / "ablations" / "sweep.py").write_text(SWEEP)
    for words, message in {
        ("run", "sweep", "--width", "2"): "add --refine",
        ("run", "placebo", "--refine"): "placebo has no learning rates to refine",
        ("run", "sweep", "--refine", "--width", "1"): "at least 1.05",
    }.items():
        told = bnstudy(*words)
        assert told.exit_code == 1 and message in str(told.exception)
    assert not Path("results").exists()

    ran = bnstudy("run", "sweep", "--refine", "--rounds", "1", "--workers", "1", "--json")
    assert ran.exit_code == 0, ran.output
    [judged] = json.loads(ran.stdout)
    [row] = judged["refined"]
    assert (row["arm"], row["rates"]) == ("norm=bn", [31.6]) and "Further rates (3 trials" in judged["answer"]
    assert "sweep, norm=affine: no rate between two can bound it" in ran.stderr
    assert "sweep, norm=bn: the interval is" in ran.stderr and "more --rounds go on" in ran.stderr
    ledger = Ledger(Path("results/smoke/refine/sweep.jsonl"))
    assert {record.recipe.lr for record in ledger.records()} == {31.6} and len(ledger.records()) == 3
    assert len(Ledger(Path("results/smoke/sweep.jsonl")).records()) == 12
    beside = json.loads(Path("results/smoke/figures/sweep.json").read_text())
    assert len(beside["trials"]) == 15
    assert "refining" not in bnstudy("run", "sweep", "--refine", "--rounds", "1").stderr
    [state] = [row for row in json.loads(bnstudy("status", "--json").stdout) if row["name"] == "sweep"]
    assert state["figure"] == "of these records" and state["done"] == 12
