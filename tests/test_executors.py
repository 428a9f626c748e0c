"""Workers die, hang and raise; the pool tells what happened to each pack and goes on."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fakes
import psutil
import pytest

from bnstudy.books import executors
from bnstudy.books.executors import Done, Event, Failed, InProcess, Pool, Progress
from bnstudy.errors import BnstudyError
from bnstudy.packs import Job, Pack, plan

PACKS = plan(fakes.design(seeds=4))[::2]
"""One pack for each seed."""

STARTED: list[Pool] = []


@pytest.fixture
def pool() -> Iterator[Callable[..., Pool]]:
    """Start pools that end with the test."""

    def start(workers: int = 1, run: executors.Run = fakes.act) -> Pool:
        STARTED.append(Pool(run, ["cpu"] * workers))
        return STARTED[-1]

    yield start
    while STARTED:
        STARTED.pop().close()


def until(pool: Pool, enough: Callable[[list[Event]], object], seconds: float = 60) -> list[Event]:
    """Collect events until there are enough."""
    seen: list[Event] = []
    fakes.eventually(lambda: enough(seen) or seen.extend(pool.events(0.1)), seconds)
    return seen


def ready(pool: Pool) -> None:
    until(pool, lambda seen: all(worker.free for worker in pool.pool))


def ends(seen: list[Event]) -> list[Event]:
    return [event for event in seen if not isinstance(event, Progress)]


def script(folder: Path, pack: Pack, text: str) -> Path:
    path = folder / f"{pack.trials[0].seed}.script"
    path.write_text(text)
    return path


def pid(folder: Path, pack: Pack) -> int:
    """The process that trains a pack, once it does."""
    path = folder / f"{pack.trials[0].seed}.pid"
    fakes.eventually(path.exists)
    return int(path.read_text())


# Packs that end


def test_a_pack_comes_back_with_its_outcomes_its_device_and_its_progress(
    pool: Callable[..., Pool], tmp_path: Path
) -> None:
    workers = pool(2)
    ready(workers)
    for pack in PACKS[:2]:
        workers.submit(Job(pack, "", tmp_path))
    assert not workers.free()
    seen = until(workers, lambda seen: len(ends(seen)) == 2)
    for pack in PACKS[:2]:
        progress, done = (event for event in seen if event.pack == pack)
        assert progress == Progress(pack, fakes.STEP)
        assert isinstance(done, Done) and done.result == fakes.train(Job(pack, "cpu", None), lambda n: None)
    assert workers.free()
    assert pid(tmp_path, PACKS[0]) != pid(tmp_path, PACKS[1])


def test_a_worker_takes_one_pack_after_the_other(pool: Callable[..., Pool], tmp_path: Path) -> None:
    workers = pool()
    ready(workers)
    for pack in PACKS:
        workers.submit(Job(pack, "", tmp_path))
        [done] = ends(until(workers, ends))
        assert isinstance(done, Done) and done.pack == pack
    assert len({pid(tmp_path, pack) for pack in PACKS}) == 1


def test_nothing_can_be_submitted_before_a_worker_is_ready(pool: Callable[..., Pool]) -> None:
    """A worker that dies while it imports must not take a pack along."""
    workers = pool()
    assert not workers.free()
    ready(workers)
    assert workers.free()


def test_waiting_for_events_takes_as_long_as_asked(pool: Callable[..., Pool]) -> None:
    workers = pool()
    ready(workers)
    start = time.monotonic()
    assert workers.events(0.2) == []
    assert 0.15 < time.monotonic() - start < 1


# Packs that fail


def test_an_error_in_a_pack_is_one_line_without_the_home_folder(
    pool: Callable[..., Pool], tmp_path: Path
) -> None:
    """Reasons are published with the ledger."""
    workers = pool()
    ready(workers)
    script(tmp_path, PACKS[0], "raise")
    workers.submit(Job(PACKS[0], "", tmp_path))
    [failed] = ends(until(workers, ends))
    assert isinstance(failed, Failed) and failed.status == "crashed"
    expected = f"FileNotFoundError: ~{os.sep}data{os.sep}images is not there (act, line "
    assert failed.reason.startswith(expected) and "\n" not in failed.reason
    assert workers.free()


def test_a_result_that_cannot_be_sent_is_a_crash(pool: Callable[..., Pool], tmp_path: Path) -> None:
    workers = pool()
    ready(workers)
    script(tmp_path, PACKS[0], "answer nonsense")
    workers.submit(Job(PACKS[0], "", tmp_path))
    [failed] = ends(until(workers, ends))
    assert isinstance(failed, Failed) and failed.status == "crashed" and "pickle" in failed.reason.lower()


def test_a_killed_worker_is_replaced_and_its_mates_go_on(pool: Callable[..., Pool], tmp_path: Path) -> None:
    workers = pool(2)
    ready(workers)
    for pack in PACKS[:2]:
        script(tmp_path, pack, "hold")
        workers.submit(Job(pack, "", tmp_path))
    victim, mate = (pid(tmp_path, pack) for pack in PACKS[:2])
    os.kill(victim, signal.SIGKILL)
    seen = until(workers, ends)
    assert seen == [Failed(PACKS[0], "lost", "its process was killed by SIGKILL")]
    (tmp_path / "1.script").unlink()
    [done] = ends(until(workers, ends))
    assert isinstance(done, Done) and done.pack == PACKS[1]
    ready(workers)
    (tmp_path / "0.script").unlink()
    workers.submit(Job(PACKS[0], "", tmp_path))
    [again] = ends(until(workers, ends))
    assert isinstance(again, Done)
    assert not psutil.pid_exists(victim) and psutil.pid_exists(mate)


def test_a_worker_that_ends_is_told_with_its_status(pool: Callable[..., Pool], tmp_path: Path) -> None:
    workers = pool()
    ready(workers)
    script(tmp_path, PACKS[0], "exit 3")
    workers.submit(Job(PACKS[0], "", tmp_path))
    assert ends(until(workers, ends)) == [Failed(PACKS[0], "lost", "its process ended with exit status 3")]


def test_a_lost_device_ends_its_worker_and_another_process_goes_on(
    pool: Callable[..., Pool], tmp_path: Path
) -> None:
    """After most of CUDA's errors a process can use no GPU any more: the next pack would fail as well."""
    workers = pool()
    ready(workers)
    lose = script(tmp_path, PACKS[0], "lose CUDA error: unspecified launch failure")
    workers.submit(Job(PACKS[0], "", tmp_path))
    [failed] = ends(until(workers, ends))
    assert isinstance(failed, Failed) and failed.status == "lost" and not workers.free()
    assert failed.reason.startswith("DeviceLost: CUDA error: unspecified launch failure")
    before = pid(tmp_path, PACKS[0])
    ready(workers)
    lose.unlink()
    workers.submit(Job(PACKS[0], "", tmp_path))
    [done] = ends(until(workers, ends))
    assert isinstance(done, Done) and pid(tmp_path, PACKS[0]) != before
    fakes.eventually(lambda: fakes.ended([before]), 5)


def test_a_signal_without_a_name_is_told_by_its_number(pool: Callable[..., Pool], tmp_path: Path) -> None:
    workers = pool()
    ready(workers)
    script(tmp_path, PACKS[0], "hold")
    workers.submit(Job(PACKS[0], "", tmp_path))
    os.kill(pid(tmp_path, PACKS[0]), signal.SIGRTMIN + 1)
    [failed] = ends(until(workers, ends))
    assert isinstance(failed, Failed)
    assert failed.reason == f"its process was killed by signal {signal.SIGRTMIN + 1}"


def test_a_worker_killed_while_idle_is_replaced(pool: Callable[..., Pool], tmp_path: Path) -> None:
    workers = pool()
    ready(workers)
    before = workers.pool[0].process
    before.kill()
    before.join()
    seen = until(workers, lambda seen: workers.pool[0].process is not before and workers.free())
    assert seen == []


def test_a_pack_for_a_worker_that_just_died_is_lost_and_not_an_error(
    pool: Callable[..., Pool], tmp_path: Path
) -> None:
    workers = pool()
    ready(workers)
    workers.pool[0].process.kill()
    workers.pool[0].process.join()
    workers.submit(Job(PACKS[0], "", tmp_path))
    [failed] = ends(until(workers, ends))
    assert isinstance(failed, Failed) and failed.status == "lost"


def test_workers_that_never_come_to_train_are_an_error_and_no_endless_loop(
    pool: Callable[..., Pool], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A package that was upgraded meanwhile, no memory for the imports: that is no pack's fault."""
    monkeypatch.setattr(fakes.absent, "__module__", "fakes_that_are_gone")
    monkeypatch.setitem(sys.modules, "fakes_that_are_gone", fakes)  # for this process alone
    workers = pool(2, fakes.absent)
    with pytest.raises(BnstudyError, match=r"did not come to train, 3 times in a row.*exit status 1.*doctor"):
        until(workers, lambda seen: False)
    assert len(STARTED[0].pool) == 2
    capfd.readouterr()  # the workers' own complaints


def test_a_worker_that_hangs_while_it_starts_is_an_error_and_no_endless_loop(
    pool: Callable[..., Pool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its home may be on a network disk that is gone. It is stopped, and so cannot even be interrupted."""
    monkeypatch.setattr(executors, "START_SECONDS", 0.1)
    start = executors._start

    def stopped(*args: Any) -> executors.Worker:
        worker = start(*args)
        assert worker.process.pid is not None
        os.kill(worker.process.pid, signal.SIGSTOP)
        return worker

    monkeypatch.setattr(executors, "_start", stopped)
    workers = pool()
    with pytest.raises(BnstudyError, match=r"3 times in a row: it was not ready after 0 seconds"):
        until(workers, lambda seen: False)


def test_an_abandoned_pack_is_lost_and_its_worker_replaced(pool: Callable[..., Pool], tmp_path: Path) -> None:
    """Also where the worker is stopped, and does nothing about any other signal."""
    workers = pool(2)
    ready(workers)
    for pack in PACKS[:2]:
        script(tmp_path, pack, "hold")
        workers.submit(Job(pack, "", tmp_path))
    victim, mate = (pid(tmp_path, pack) for pack in PACKS[:2])
    os.kill(victim, signal.SIGSTOP)
    workers.abandon(PACKS[0], "it was silent")
    assert ends(until(workers, ends)) == [Failed(PACKS[0], "lost", "it was silent")]
    (tmp_path / "1.script").unlink()
    [done] = ends(until(workers, ends))
    assert isinstance(done, Done) and done.pack == PACKS[1]
    ready(workers)
    assert fakes.ended([victim]) and psutil.pid_exists(mate)


def test_a_worker_that_cannot_be_started_is_an_error_and_leaves_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start, started = executors._start, []

    def refuse(*args: Any) -> executors.Worker:
        if started:
            raise BnstudyError("Cannot start a worker")
        started.append(start(*args))
        return started[0]

    monkeypatch.setattr(executors, "_start", refuse)
    with pytest.raises(BnstudyError, match="Cannot start a worker"):
        Pool(fakes.train, ["cpu", "cpu"])
    assert not started[0].process.is_alive()


def test_no_more_processes_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Any) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr("multiprocessing.process.BaseProcess.start", refuse)
    with pytest.raises(BnstudyError, match=r"Resource temporarily unavailable\. Use fewer --workers"):
        Pool(fakes.train, ["cpu"])


# The end of the pool


def test_closing_is_quick_in_the_middle_of_packs(pool: Callable[..., Pool], tmp_path: Path) -> None:
    workers = pool(2)
    ready(workers)
    for pack in PACKS[:2]:
        script(tmp_path, pack, "hold")
        workers.submit(Job(pack, "", tmp_path))
    pids = [pid(tmp_path, pack) for pack in PACKS[:2]]
    start = time.monotonic()
    workers.close()
    assert time.monotonic() - start < 2
    assert not any(map(psutil.pid_exists, pids)), "no zombies either"
    workers.close()


def large(job: Job, report: Callable[[int], None]) -> Any:
    """Answer with more than any pipe takes at once."""
    result = fakes.train(job, report)
    result.provenance["large"] = "x" * 10_000_000
    return result


def test_large_results_come_through_and_do_not_keep_the_pool_from_closing(
    pool: Callable[..., Pool], tmp_path: Path
) -> None:
    workers = pool(2, large)
    ready(workers)
    for pack in PACKS[:2]:
        workers.submit(Job(pack, "", tmp_path))
    [done] = ends(until(workers, ends))[:1]
    assert isinstance(done, Done) and len(done.result.provenance["large"]) == 10_000_000
    ready(workers)
    for pack in PACKS[2:4]:
        workers.submit(Job(pack, "", tmp_path))
    time.sleep(0.2)  # they are blocked in sending now
    start = time.monotonic()
    workers.close()
    assert time.monotonic() - start < 2


COORDINATOR = """
import sys, time
from pathlib import Path
import fakes
from bnstudy.books.executors import Pool
from bnstudy.packs import Job, plan

stage = Path(sys.argv[1])
workers = Pool(fakes.act, ["cpu", "cpu", "cpu"])
packs = plan(fakes.design(seeds=2))[::2]
while not all(worker.free for worker in workers.pool):
    workers.events(0.1)
fakes.write_whole(stage / "idle.pid", str(workers.pool[2].process.pid))
for pack in packs:
    workers.submit(Job(pack, "", stage))
while True:
    workers.events(1)
"""


@pytest.fixture
def coordinator(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process of its own with three workers: two in the middle of packs, one idle."""
    for seed in range(2):
        (tmp_path / f"{seed}.script").write_text("hold")
    process = subprocess.Popen(
        [sys.executable, "-c", COORDINATOR, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parent)},
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    yield process
    process.kill()
    process.communicate()


def workers_of(folder: Path) -> list[int]:
    paths = [folder / f"{name}.pid" for name in ("0", "1", "idle")]
    fakes.eventually(lambda: all(path.exists() for path in paths))
    return [int(path.read_text()) for path in paths]


def test_workers_end_by_themselves_when_the_coordinator_is_killed(
    coordinator: subprocess.Popen[str], tmp_path: Path
) -> None:
    """Also in the middle of a pack that sends nothing: an orphan would eat a core for hours."""
    pids = workers_of(tmp_path)
    coordinator.kill()
    coordinator.wait()
    fakes.eventually(lambda: fakes.ended(pids), 5)


def test_ctrl_c_goes_to_the_coordinator_and_leaves_no_traceback_of_workers(
    coordinator: subprocess.Popen[str], tmp_path: Path
) -> None:
    """A terminal sends it to every process of the group."""
    pids = workers_of(tmp_path)
    os.killpg(coordinator.pid, signal.SIGINT)
    _, told = coordinator.communicate(timeout=10)
    assert told.count("Traceback") == 1 and told.count("KeyboardInterrupt") == 1, told
    assert coordinator.returncode == -signal.SIGINT
    fakes.eventually(lambda: fakes.ended(pids), 5)


INTERRUPTED_WHILE_STARTING = """
import os, signal, subprocess, sys, threading, time
from bnstudy.books.interrupts import holding_interrupts

other = threading.Thread(target=time.sleep, args=(60,), daemon=True)
other.start()  # it began without the block, and takes signals that its process is sent
try:
    with holding_interrupts():
        THE_SIGNAL
        kill = "import os, signal; os.kill(os.getpid(), signal.SIGINT)"
        child = subprocess.run([sys.executable, "-c", kill])
        print("inside", flush=True)
    print("after")
except KeyboardInterrupt:
    print("interrupted")
print(child.returncode)
"""


@pytest.mark.parametrize(
    "the_signal",
    [
        "os.kill(os.getpid(), signal.SIGINT)",
        "signal.pthread_kill(other.ident, signal.SIGINT)",
        "signal.pthread_kill(threading.get_ident(), signal.SIGINT)",
    ],
)
def test_ctrl_c_while_a_worker_starts_is_kept_for_afterwards(the_signal: str) -> None:
    """It was lost while the signal was ignored; and it must reach no worker while that imports.

    Libraries start threads, and any of them may take a signal: a worker that was half made then printed
    a traceback.
    """
    script = INTERRUPTED_WHILE_STARTING.replace("THE_SIGNAL", the_signal)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["inside", "interrupted", "0"]


def test_a_polite_kill_while_a_worker_starts_is_kept_for_afterwards() -> None:
    script = INTERRUPTED_WHILE_STARTING.replace("THE_SIGNAL", "os.kill(os.getpid(), signal.SIGTERM)")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (-signal.SIGTERM, "inside\n")


def test_workers_can_be_started_outside_of_the_main_thread(tmp_path: Path) -> None:
    """A notebook or a server may do so."""
    seen: list[Event] = []

    def work() -> None:
        workers = Pool(fakes.act, ["cpu"])
        ready(workers)
        workers.submit(Job(PACKS[0], "", tmp_path))
        seen.extend(ends(until(workers, ends)))
        workers.close()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(60)
    assert [type(event) for event in seen] == [Done]


# In this very process


def test_in_process_a_pack_runs_when_its_events_are_asked_for() -> None:
    here = InProcess(fakes.train)
    assert here.free() and here.events(1) == []
    here.submit(Job(PACKS[0], "", None))
    assert not here.free()
    progress, done = here.events(1)
    assert progress == Progress(PACKS[0], fakes.STEP) and isinstance(done, Done)
    assert done.result.provenance == {"device": "cpu"} and here.free()


def test_in_process_an_error_is_a_failure_and_an_interrupt_is_not() -> None:
    def interrupted(job: Job, report: Callable[[int], None]) -> Any:
        raise KeyboardInterrupt if job.pack == PACKS[1] else ValueError("no")

    here = InProcess(interrupted)
    here.submit(Job(PACKS[0], "", None))
    [failed] = here.events(1)
    assert isinstance(failed, Failed) and failed.status == "crashed" and "ValueError: no" in failed.reason
    here.submit(Job(PACKS[1], "", None))
    with pytest.raises(KeyboardInterrupt):
        here.events(1)


def test_closing_in_process_forgets_what_waits() -> None:
    here = InProcess(fakes.train)
    here.submit(Job(PACKS[0], "", None))
    here.close()
    assert here.free() and here.events(1) == []
