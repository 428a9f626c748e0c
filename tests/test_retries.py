"""What failed runs again: by itself within a limit, and as often as somebody asks; its history is kept."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import fakes
import pytest
from typer.testing import CliRunner

from bnstudy.books import executors
from bnstudy.books.executors import InProcess
from bnstudy.books.journal import open_journal
from bnstudy.books.ledger import Ledger
from bnstudy.books.retries import LIMIT, statuses
from bnstudy.books.schedule import ATTEMPTS, Run, Tally
from bnstudy.cli import app
from bnstudy.errors import BnstudyError
from bnstudy.outcome import Outcome
from bnstudy.packs import Job, Result, plan

ABLATION = fakes.design()
PACKS = plan(ABLATION)


def ledger_in(folder: Path) -> Ledger:
    return Ledger(folder / "lr-sweep.jsonl", pytest.fail)


class Breaking:
    """Trains packs; some raise, of some a trial does not fit into memory."""

    def __init__(self, broken: int | None = None, large: int | None = None) -> None:
        self.broken, self.large = broken, large
        self.ran = Counter[int]()

    def __call__(self, job: Job, report: Callable[[int], None]) -> Result:
        place = next(n for n, pack in enumerate(PACKS) if set(job.pack.trials) <= set(pack.trials))
        self.ran[place] += 1
        if place == self.broken:
            raise OSError(f"reason {self.ran[place]}")
        result = fakes.train(job, report)
        if place == self.large:
            failed = Outcome(status="not run", reason="does not fit")
            return replace(result, outcomes=(failed, *result.outcomes[1:]))
        return result


def execute(folder: Path, run: Any, **options: Any) -> Tally:
    journal = open_journal(folder / "optuna.journal", pytest.fail)
    return Run(ABLATION, ledger_in(folder), journal, InProcess(run), **options).execute()


def test_a_run_starts_a_failing_pack_three_times_and_three_runs_make_the_limit(tmp_path: Path) -> None:
    broken = Breaking(1)
    for n in range(1, 4):
        tally = execute(tmp_path, broken)
        assert broken.ran[1] == ATTEMPTS * n <= LIMIT
        assert (tally.recorded, tally.missing, len(tally.failed)) == (9, 3, 3)
    before = ledger_in(tmp_path).path.read_bytes()
    tally = execute(tmp_path, broken)
    assert broken.ran == Counter({0: 1, 1: LIMIT, 2: 1, 3: 1}) and (tally.missing, tally.failed) == (0, {})
    assert set(tally.left_alone) == {trial.id for trial in PACKS[1].trials}
    assert {f"{LIMIT} times" in reason for reason in tally.left_alone.values()} == {True}
    assert ledger_in(tmp_path).path.read_bytes() == before, "what failed stays, and nothing is added"


def test_the_history_of_a_trial_is_kept_with_it(tmp_path: Path) -> None:
    broken = Breaking(1)
    execute(tmp_path, broken)
    execute(tmp_path, broken)
    tally = execute(tmp_path, Breaking(), again=("crashed",))
    assert (tally.recorded, tally.failed, tally.left_alone) == (12, {}, {})
    trial = PACKS[1].trials[0]
    kept = ledger_in(tmp_path).recorded()[trial.id]
    assert kept.outcome == fakes.outcome(trial)
    assert kept.provenance["attempts"] == 2 * ATTEMPTS + 1
    assert [reason.split(" (")[0] for reason in kept.provenance["failures"]] == [
        f"OSError: reason {n}" for n in range(1, 2 * ATTEMPTS + 1)
    ]
    assert Counter(r.outcome.status for r in ledger_in(tmp_path).records()) == {
        "ok": 8,
        "diverged": 4,
        "crashed": 6,
    }, "superseded failures stay in the ledger"


def test_a_retry_runs_only_trials_with_such_a_status_however_often_they_failed(tmp_path: Path) -> None:
    broken = Breaking(1, large=2)
    for _ in range(LIMIT):
        execute(tmp_path, broken)
    with_a_hole = ledger_in(tmp_path).path.read_text().splitlines(keepends=True)[:-20]
    assert broken.ran[2] == LIMIT
    for again, place in (("crashed", 1), ("not run", 2)):
        mended = Breaking()
        tally = execute(tmp_path, mended, again=(again,))
        assert mended.ran == {place: 1} and tally.failed == tally.left_alone == {}
    mended = Breaking()
    execute(tmp_path, mended, again=("crashed", "lost", "not run"))
    assert mended.ran == {} and len(ledger_in(tmp_path).recorded()) == 12

    ledger_in(tmp_path).path.write_text("".join(with_a_hole[:1]))
    execute(tmp_path, mended, again=("crashed",))
    assert mended.ran == {}, "what was never recorded is a run's"


def test_a_retry_that_fails_is_bounded_too(tmp_path: Path) -> None:
    broken = Breaking(1)
    for n in range(1, 6):
        execute(tmp_path, broken, again=("crashed",) if n > 1 else ())
        assert broken.ran[1] == ATTEMPTS * n


@pytest.mark.parametrize("text", ["ok", "diverged", "crashed,ok", "", "crash", "crashed;lost"])
def test_only_what_failed_can_be_asked_for(text: str) -> None:
    with pytest.raises(BnstudyError, match=r"--status '.*': only crashed, lost, not run can run again"):
        statuses(text)
    assert statuses(" crashed, not run") == ("crashed", "not run")


def test_the_command_runs_failed_trials_alone_and_says_what_failed_too_often(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a folder of the user's own, with everything real but the training."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "tiny.py").write_text(TINY)
    ran = list[Job]()
    works = False

    def train(job: Job, report: Callable[[int], None]) -> Result:
        ran.append(job)
        if not works and job.pack.trials[0].arm.name == "norm=affine":
            raise OSError("no luck")
        return fakes.train(job, report)

    monkeypatch.setattr(executors, "Pool", lambda run, devices: InProcess(train))
    options = ["--ablations", "own", "--profile", "smoke", "--device", "cpu"]
    for _ in range(LIMIT // ATTEMPTS):
        shown = CliRunner().invoke(app, ["run", "tiny", *options])
        assert shown.exit_code == 3 and "The same command tries again." in shown.stderr
    ran.clear()
    shown = CliRunner().invoke(app, ["run", "tiny", *options])
    assert shown.exit_code == 3 and ran == []
    assert "2 trials failed too often and were left alone (OSError: no luck" in shown.stderr
    assert "`bnstudy retry tiny --profile smoke` tries again." in shown.stderr
    works = True
    shown = CliRunner().invoke(app, ["retry", "tiny", "--status", "crashed,lost", *options])
    assert shown.exit_code == 0, shown.stderr
    assert [job.pack.trials[0].arm.name for job in ran] == ["norm=affine"]


TINY = """
from bnstudy.design import Ablation, Factor, Level

ablation = Ablation(
    question="Does it go on?",
    source="here",
    factors=(Factor("norm", levels=(Level("bn"), Level("affine", norm="affine"))),),
    seeds=range(3),
)
"""
