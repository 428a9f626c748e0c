"""A pack that gives no sign of life is given up: not too early, whatever clocks do, and not never."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import fakes
import pytest

from bnstudy.books import clocks, watched
from bnstudy.books.executors import Done, Event, Failed, Pool, Progress
from bnstudy.books.journal import open_journal
from bnstudy.books.ledger import Ledger, Record
from bnstudy.books.schedule import Run
from bnstudy.books.watched import FACTOR, FIRST_SECONDS, LEAST_SECONDS, Watched
from bnstudy.packs import Job, Pack, Result, images_of, plan

ABLATION = fakes.design()
FIRST, SECOND, THIRD = plan(ABLATION)[:3]
IMAGES = images_of(FIRST)


class Silent:
    """An executor whose packs say what the test makes them say."""

    workers = 3

    def __init__(self) -> None:
        self.said: list[Event] = []
        self.abandoned: dict[Pack, str] = {}

    def free(self) -> bool:
        return True

    def submit(self, job: Job) -> None:
        pass

    def events(self, seconds: float) -> list[Event]:
        said, self.said = self.said, []
        return said

    def abandon(self, pack: Pack, reason: str) -> None:
        self.abandoned[pack] = reason
        self.said.append(Failed(pack, "lost", reason))

    def close(self) -> None:
        pass


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """The monotonic clock's time, for the test to set; the date is nonsense."""
    now = [1000.0]
    monkeypatch.setattr(clocks.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(clocks.time, "time", lambda: (-1) ** int(now[0]) * 1e9)
    yield now


def wait(executor: Watched, clock: list[float], seconds: float) -> list[Event]:
    """Look at an executor every second."""
    seen = []
    for _ in range(round(seconds)):
        clock[0] += 1
        seen += executor.events(0.5)
    return seen


def ended(pack: Pack) -> Done:
    return Done(pack, Result((), {}))


def test_a_pack_without_a_sign_of_life_is_given_up_and_told_as_lost(clock: list[float]) -> None:
    executor = Watched(silent := Silent())
    executor.submit(Job(FIRST, "", None))
    assert wait(executor, clock, FIRST_SECONDS) == [] and silent.abandoned == {}
    reason = f"it gave no sign of life for {FIRST_SECONDS + 1:.0f} seconds"
    assert wait(executor, clock, 2) == [Failed(FIRST, "lost", reason)]
    assert wait(executor, clock, 9999) == [] and len(silent.abandoned) == 1


def test_progress_is_a_sign_of_life(clock: list[float]) -> None:
    executor = Watched(silent := Silent())
    executor.submit(Job(FIRST, "", None))
    for _ in range(100):
        silent.said.append(Progress(FIRST, IMAGES // 10))
        wait(executor, clock, LEAST_SECONDS - 1)
    assert silent.abandoned == {}
    wait(executor, clock, executor.deadline(FIRST) + 1)
    assert list(silent.abandoned) == [FIRST]


def test_the_deadline_is_of_the_speed_that_was_measured(clock: list[float]) -> None:
    """Of the packs that ended here; until then of the records, until then of the pack itself."""
    made = Record.of(
        "lr-sweep",
        FIRST.trials[0],
        fakes.outcome(FIRST.trials[0]),
        {"wall_seconds": 50.0, "pack": {"size": 3}},
    )
    executor, unknown = Watched(silent := Silent(), [made]), Watched(other := Silent())
    for each, said in ((executor, silent), (unknown, other)):
        each.submit(Job(FIRST, "", None))
        said.said.append(Progress(FIRST, IMAGES // 10))
        wait(each, clock, 10)
        said.said.append(Progress(FIRST, IMAGES // 10))
        wait(each, clock, 1)
    assert executor.deadline(FIRST) == pytest.approx(FACTOR * 50)
    assert unknown.deadline(FIRST) == pytest.approx(FACTOR * 5 * 11, rel=0.2)
    silent.said.append(ended(FIRST))
    wait(executor, clock, 20)
    executor.submit(Job(SECOND, "", None))
    assert executor.deadline(SECOND) == FIRST_SECONDS  # it has yet to compile
    silent.said.append(Progress(SECOND, 1))
    wait(executor, clock, 1)
    assert executor.deadline(SECOND) == pytest.approx(FACTOR * 21)  # at most 10 between two looks


def test_each_further_start_may_take_twice_as_long(clock: list[float]) -> None:
    """What was given up may have been slow, and must not be given up for ever."""
    executor = Watched(Silent())
    for n in range(3):
        executor.submit(Job(FIRST, "", None))
        assert executor.deadline(FIRST) == FIRST_SECONDS * 2**n
        assert [type(e) for e in wait(executor, clock, FIRST_SECONDS * 2**n + 2)] == [Failed]


def test_what_the_coordinator_slept_through_does_not_count(clock: list[float]) -> None:
    """After Ctrl-Z, or a laptop's night, workers have not had a moment to give a sign of life."""
    executor = Watched(silent := Silent())
    executor.submit(Job(FIRST, "", None))
    clock[0] += 8 * 3600
    executor.events(0.5)
    wait(executor, clock, FIRST_SECONDS / 2)
    assert silent.abandoned == {}


# Real processes


@pytest.mark.parametrize("jump", [-1e6, 1e6])
def test_a_stopped_worker_is_replaced_and_its_trials_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    """In the middle of a run, in which somebody also sets the date."""
    monkeypatch.setattr(watched, "FIRST_SECONDS", 0.5)
    monkeypatch.setattr(watched, "LEAST_SECONDS", 0.5)
    right = time.time
    (tmp_path / "0.script").write_text("hold")

    def stop() -> None:
        fakes.eventually((tmp_path / "0.pid").exists)
        os.kill(int((tmp_path / "0.pid").read_text()), signal.SIGSTOP)
        (tmp_path / "0.script").unlink()
        monkeypatch.setattr(time, "time", lambda: right() + jump)

    ledger = Ledger(tmp_path / "lr-sweep.jsonl", pytest.fail)
    pool = Pool(fakes.act, ["cpu", "cpu"])
    thread = threading.Thread(target=stop)
    thread.start()
    try:
        journal = open_journal(tmp_path / "optuna.journal", pytest.fail)
        tally = Run(replace(ABLATION, seeds=range(2)), ledger, journal, pool, images=tmp_path).execute()
    finally:
        thread.join()
        pool.close()
    assert (tally.missing, tally.failed) == (0, {})
    assert any("no sign of life" in reason for reason in tally.retried)
    expected = sorted(((t.id, fakes.outcome(t)) for t in ABLATION.trials), key=lambda pair: pair[0])
    assert fakes.seen(ledger) == expected
