"""Random kills of coordinators and workers: the ledger ends as that of a run that nothing happened to.

40 of them in the suite; as many as wanted by `BNSTUDY_KILLS=200 pytest tests/test_kills.py`. Packs are fakes
and processes are forked, so that a start takes milliseconds: `test_failures.py` kills real trainings.
"""

import multiprocessing
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import fakes
import psutil
import pytest

from bnstudy.books import executors
from bnstudy.books.executors import Pool
from bnstudy.books.ledger import Ledger
from bnstudy.books.schedule import Run
from bnstudy.books.storage import lease, open_storage
from bnstudy.packs import Job, Result

KILLS = int(os.environ.get("BNSTUDY_KILLS", "40"))
ABLATION = fakes.design(seeds=30)


def slow(job: Job, report: Callable[[int], None]) -> Result:
    """Train a pack for some milliseconds, with a sign of life in the middle."""
    time.sleep(0.004)
    report(1)
    time.sleep(0.004)
    return fakes.train(job, report)


def ledger_in(folder: Path) -> Ledger:
    return Ledger(folder / "lr-sweep.jsonl", lambda text: None)


def coordinate(folder: Path) -> None:
    """Do what `bnstudy run` does, in a process of its own."""
    with lease(folder):
        ledger_in(folder).set_aside_torn_line()
        pool = Pool(slow, ["cpu"] * 3)
        try:
            Run(ABLATION, ledger_in(folder), open_storage(folder, lambda text: None), pool).execute()
        finally:
            pool.close()


def begun(folder: Path) -> int:
    """Start a coordinator; return its process id."""
    child = os.fork()
    if child == 0:
        status = 1
        with suppress(BaseException):
            coordinate(folder)
            status = 0
        os._exit(status)
    return child


def ended(child: int, wait: bool = False) -> int | None:
    """Return the exit status of a coordinator that has ended."""
    pid, status = os.waitpid(child, 0 if wait else os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if pid else None


def workers_of(child: int) -> list[int]:
    with suppress(psutil.NoSuchProcess):
        return [each.pid for each in psutil.Process(child).children()]
    return []


@pytest.mark.slow
@pytest.mark.timeout(60 + 2 * KILLS)
def test_random_kills_leave_the_ledger_of_an_undisturbed_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda file: None)
    context = multiprocessing.get_context("fork")
    monkeypatch.setattr(executors.multiprocessing, "get_context", lambda method: context)
    seed = random.randrange(10**6)
    chance, kills, runs = random.Random(seed), Counter[str](), 0
    while kills.total() < KILLS:
        folder = tmp_path / str(runs)
        child = begun(folder)
        while kills.total() < KILLS and ended(child) is None:
            time.sleep(chance.uniform(0, 0.15))
            victims = {"worker": workers_of(child), "coordinator": [child]}
            who = chance.choice(["worker", "coordinator"])
            if not victims[who] or is_over(child):
                break
            with suppress(ProcessLookupError):
                os.kill(chance.choice(victims[who]), signal.SIGKILL)
                kills[who] += 1
            if who == "coordinator":
                ended(child, wait=True)
                child = begun(folder)
        finish(folder, child)
        assert outcomes(folder) == expected(), f"seed {seed}"
        runs += 1
    print(f"{dict(kills)} kills in {runs} runs")
    assert min(kills.values()) >= KILLS // 5


def is_over(child: int) -> bool:
    return psutil.Process(child).status() == psutil.STATUS_ZOMBIE


def finish(folder: Path, child: int) -> None:
    """Let a coordinator that was started come to its end, and start it again until nothing is missing."""
    with suppress(ChildProcessError):
        ended(child, wait=True)
    for _ in range(5):
        again = begun(folder)
        assert ended(again, wait=True) == 0
        if len(outcomes(folder)) == len(ABLATION.trials):
            return


def outcomes(folder: Path) -> dict[str, object]:
    """Return each trial's finished outcome: a pack whose worker was killed three times is run again."""
    recorded = ledger_in(folder).recorded()
    return {trial: record.outcome for trial, record in recorded.items() if record.outcome.finished}


def expected() -> dict[str, object]:
    return {trial.id: fakes.outcome(trial) for trial in ABLATION.trials}


@pytest.mark.parametrize("workers", [1, 8])
def test_any_number_of_workers_gives_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    """Of fakes; real trainings by one worker and by two are compared in `test_failures.py`."""
    context = multiprocessing.get_context("fork")
    monkeypatch.setattr(executors.multiprocessing, "get_context", lambda method: context)
    pool = Pool(slow, ["cpu"] * workers)
    try:
        Run(ABLATION, ledger_in(tmp_path), open_storage(tmp_path, pytest.fail), pool).execute()
    finally:
        pool.close()
    assert len(ledger_in(tmp_path).records()) == len(ABLATION.trials)
    assert outcomes(tmp_path) == expected()
