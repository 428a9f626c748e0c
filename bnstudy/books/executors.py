"""Where packs run: processes of this machine, one for each device or core, or this very process."""

import multiprocessing
import os
import signal
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Protocol

from bnstudy.books.clocks import Awake
from bnstudy.books.interrupts import holding_interrupts
from bnstudy.errors import BnstudyError, DeviceLost
from bnstudy.packs import Job, Pack, Result

Run = Callable[[Job, Callable[[int], None]], Result]
"""Trains a pack; importable by name, since workers are started afresh."""

STARTS = 3
"""How often in a row a worker is started that ends before it is ready: the machine's fault, no pack's."""

START_SECONDS = 600.0
"""How long a worker may take to be ready: seconds here, minutes from a cold network disk."""


@dataclass(frozen=True)
class Progress:
    """A pack trained this many images since its last event, all its trials together."""

    pack: Pack
    images: int


@dataclass(frozen=True)
class Done:
    """A pack came to its end."""

    pack: Pack
    result: Result


@dataclass(frozen=True)
class Failed:
    """A pack raised an error (`crashed`) or its worker died (`lost`); nothing of it is known."""

    pack: Pack
    status: str
    reason: str


Event = Progress | Done | Failed


def attempt(run: Run, job: Job, report: Callable[[int], None]) -> Done | Failed:
    """Return how a pack ends; after `lost` this process is of no more use."""
    try:
        return Done(job.pack, run(job, report))
    except Exception as error:
        return Failed(job.pack, "lost" if isinstance(error, DeviceLost) else "crashed", in_short(error))


class Executor(Protocol):
    """Takes packs and gives events."""

    @property
    def workers(self) -> int:
        """How many packs can train at once."""

    def free(self) -> bool:
        """Return whether another pack can start now."""

    def submit(self, job: Job) -> None:
        """Start a pack; only when `free`."""

    def events(self, seconds: float) -> list[Event]:
        """Return what happened, waiting at most this long for something to happen."""

    def abandon(self, pack: Pack, reason: str) -> None:
        """Kill what trains a pack that was submitted: it is told as `lost`, for this reason."""

    def close(self) -> None:
        """Stop at once; packs that have not ended are given up."""


class InProcess:
    """Runs each pack in this process when its events are asked for: for tests and debugging."""

    workers = 1

    def __init__(self, run: Run, device: str = "cpu") -> None:
        self.run, self.device = run, device
        self.waiting: deque[Job] = deque()

    def free(self) -> bool:
        """Return whether another pack can start now."""
        return not self.waiting

    def submit(self, job: Job) -> None:
        """Keep a pack for the next call of `events`."""
        self.waiting.append(replace(job, device=self.device))

    def events(self, seconds: float) -> list[Event]:
        """Run the pack that waits."""
        if not self.waiting:
            return []
        job = self.waiting.popleft()
        seen: list[Event] = []
        end = attempt(self.run, job, lambda images: seen.append(Progress(job.pack, images)))
        return [*seen, end]

    def abandon(self, pack: Pack, reason: str) -> None:
        """Do nothing: who asks is this process, which then trains nothing."""

    def close(self) -> None:
        """Forget the pack that waits."""
        self.waiting.clear()


@dataclass
class Worker:
    """A process of the pool, its end of the pipe, and the pack it has."""

    device: str
    process: BaseProcess
    pipe: Connection
    starts: int
    """How often in a row one was started in this place, this time included, without coming to be ready."""
    since: float
    """When, by the clock of the pool."""
    ready: bool = False
    ended: bool = False
    pack: Pack | None = None

    @property
    def free(self) -> bool:
        """Whether it waits for a pack."""
        return self.ready and not self.ended and self.pack is None


class Pool:
    """A process for each entry of `devices`, each started afresh and training one pack at a time.

    A worker that dies is replaced and harms no other. Workers end by themselves when this process dies.
    Raises `BnstudyError` where workers do not start.
    """

    def __init__(self, run: Run, devices: Sequence[str]) -> None:
        self.run, self.workers = run, len(devices)
        self.pool: list[Worker] = []
        self.abandoned: list[Event] = []
        self.clock = Awake()
        try:
            for device in devices:
                self.pool.append(_start(run, device, self.clock.now()))
        except BaseException:
            self.close()
            raise

    def free(self) -> bool:
        """Return whether another pack can start now."""
        return any(worker.free for worker in self.pool)

    def submit(self, job: Job) -> None:
        """Hand a pack to a free worker, which is reading, so that this does not wait."""
        worker = next(worker for worker in self.pool if worker.free)
        worker.pack = job.pack
        with suppress(BrokenPipeError, ConnectionResetError):  # it died while idle: `events` will see it
            worker.pipe.send(replace(job, device=worker.device))

    def events(self, seconds: float) -> list[Event]:
        """Return what happened, waiting at most this long for something to happen."""
        for place, worker in enumerate(self.pool):
            if worker.ended or self._hangs(worker):
                self.pool[place] = self._replacement(worker)
        if self.abandoned:
            told, self.abandoned = self.abandoned, []
            return told
        wait([end for w in self.pool for end in (w.pipe, w.process.sentinel)], seconds)
        return [event for worker in self.pool for event in _news(worker)]

    def abandon(self, pack: Pack, reason: str) -> None:
        """Kill the worker of a pack and start another, without waiting: even a kill may have to."""
        place = next(place for place, worker in enumerate(self.pool) if worker.pack == pack)
        self.abandoned.append(Failed(pack, "lost", reason))
        self.pool[place] = self._replacement(self.pool[place])

    def close(self) -> None:
        """Kill the workers; they hold nothing that is not made again."""
        for worker in self.pool:
            worker.process.kill()
        for worker in self.pool:
            worker.process.join()
            worker.pipe.close()

    def _replacement(self, worker: Worker) -> Worker:
        worker.process.kill()  # a lost device may keep it from ending by itself
        worker.pipe.close()
        if worker.ready:
            return _start(self.run, worker.device, self.clock.now())
        if worker.starts >= STARTS:
            raise BnstudyError(
                f"A worker on {worker.device} did not come to train, {STARTS} times in a row: "
                f"{self._end(worker)}. `bnstudy doctor` looks for the cause; fewer --workers need less "
                "memory."
            )
        return _start(self.run, worker.device, self.clock.now(), worker.starts + 1)

    def _hangs(self, worker: Worker) -> bool:
        return not worker.ready and self.clock.now() - worker.since > START_SECONDS

    def _end(self, worker: Worker) -> str:
        hung = f"it was not ready after {START_SECONDS:.0f} seconds"
        return _death(worker.process) if worker.ended else hung


def _news(worker: Worker) -> list[Event]:
    """Return what a worker has sent, and that it died."""
    worker.ended = not worker.process.is_alive()  # asked first: what it sent before its end is read below
    news = list(_sent(worker))
    if worker.ended and worker.pack is not None:
        news.append(Failed(worker.pack, "lost", _death(worker.process)))
        worker.pack = None
    return news


def _sent(worker: Worker) -> Iterator[Event]:
    """Yield what a worker has sent; a finished pack frees it."""
    with suppress(EOFError, OSError):
        while worker.pipe.poll():
            message = worker.pipe.recv()
            if message is None:
                worker.ready = True
            elif worker.pack is not None and isinstance(message, int):
                yield Progress(worker.pack, message)
            elif worker.pack is not None:
                worker.pack = None
                worker.ended = worker.ended or is_lost(message)
                yield message


def is_lost(message: Done | Failed) -> bool:
    """Return whether a worker that says so ends."""
    return isinstance(message, Failed) and message.status == "lost"


def _death(process: BaseProcess) -> str:
    code = process.exitcode
    if code is None or code >= 0:
        return f"its process ended with exit status {code}"
    with suppress(ValueError):  # a number without a name
        return f"its process was killed by {signal.Signals(-code).name}"
    return f"its process was killed by signal {-code}"


def _start(run: Run, device: str, now: float, starts: int = 1) -> Worker:
    context = multiprocessing.get_context("spawn")
    try:
        here, there = context.Pipe()
        process = context.Process(target=serve, args=(there, run), daemon=True)
        with holding_interrupts():
            process.start()
    except OSError as error:
        raise BnstudyError(
            f"Cannot start a worker: {error.strerror or error}. Use fewer --workers, or end other programs."
        ) from error
    there.close()
    return Worker(device, process, here, starts, now)


def serve(pipe: Connection, run: Run) -> None:
    """Be a worker: train one pack after the other until the pipe closes or the coordinator dies."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        pipe.send(None)
        while True:
            job = pipe.recv()
            end = attempt(run, job, pipe.send)
            try:
                pipe.send(end)
            except Exception as error:  # a result that cannot be sent; a closed pipe raises again
                pipe.send(Failed(job.pack, "crashed", in_short(error)))
            if is_lost(end):
                return


def _end_with_parent() -> None:
    """End this process when its parent has: a pack in the middle may not send anything for long."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def in_short(error: Exception) -> str:
    """Return an error as one line: what it says, and where in the code it was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({frames[-1].name}, line {frames[-1].lineno})" if frames else ""
    text = " ".join(_without_home(str(error)).split())
    return f"{type(error).__name__}: {text[:300]}{place}"


def _without_home(text: str) -> str:
    """Return a text in which the user's folder is `~`: reasons are published with the ledger."""
    home = os.path.expanduser("~").rstrip(os.sep)
    for written in (home, repr(home)[1:-1]) if home else ():  # the latter: Windows paths inside of errors
        text = text.replace(written, "~")
    return text
