"""Where packs run: processes of this machine, one for each device or core, or this very process."""

import multiprocessing
import signal
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Protocol

from bnstudy.packs import Job, Pack, Result

Run = Callable[[Job, Callable[[int], None]], Result]
"""Trains a pack; importable by name, since workers are started afresh."""


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


class Executor(Protocol):
    """Takes packs and gives events."""

    workers: int

    def free(self) -> bool:
        """Return whether another pack can start now."""

    def submit(self, job: Job) -> None:
        """Start a pack; only when `free`."""

    def events(self, seconds: float) -> list[Event]:
        """Return what happened, waiting at most this long for something to happen."""

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
        try:
            result = self.run(job, lambda images: seen.append(Progress(job.pack, images)))
        except Exception as error:
            return [*seen, Failed(job.pack, "crashed", _in_short(error))]
        return [*seen, Done(job.pack, result)]

    def close(self) -> None:
        """Forget the pack that waits."""
        self.waiting.clear()


@dataclass
class Worker:
    """A process of the pool, its end of the pipe, and the pack it has."""

    device: str
    process: BaseProcess
    pipe: Connection
    pack: Pack | None = None


class Pool:
    """A process for each entry of `devices`, each started afresh and training one pack at a time.

    A worker that dies is replaced and harms no other. Workers end by themselves when this process dies:
    their pipe closes.
    """

    def __init__(self, run: Run, devices: Sequence[str]) -> None:
        self.run, self.workers = run, len(devices)
        self.pool = [_start(run, device) for device in devices]

    def free(self) -> bool:
        """Return whether another pack can start now."""
        return any(worker.pack is None for worker in self.pool)

    def submit(self, job: Job) -> None:
        """Hand a pack to a free worker."""
        worker = next(worker for worker in self.pool if worker.pack is None)
        worker.pack = job.pack
        with suppress(BrokenPipeError, ConnectionResetError):  # it died while idle: `events` will see it
            worker.pipe.send(replace(job, device=worker.device))

    def events(self, seconds: float) -> list[Event]:
        """Return what happened, waiting at most this long for something to happen."""
        ready = wait([end for w in self.pool for end in (w.pipe, w.process.sentinel)], seconds)
        seen: list[Event] = []
        for place, worker in enumerate(self.pool):
            if worker.pipe in ready or worker.process.sentinel in ready:
                seen.extend(_read(worker))
            if not worker.process.is_alive():
                seen.extend(_read(worker))
                if worker.pack is not None:
                    seen.append(Failed(worker.pack, "lost", _death(worker.process)))
                worker.pipe.close()
                self.pool[place] = _start(self.run, worker.device)
        return seen

    def close(self) -> None:
        """Kill the workers; they hold nothing that is not made again."""
        for worker in self.pool:
            worker.process.kill()
        for worker in self.pool:
            worker.process.join()
            worker.pipe.close()


def _read(worker: Worker) -> Iterator[Event]:
    """Yield what a worker has sent; a finished pack frees it."""
    with suppress(EOFError, OSError):
        while worker.pack is not None and worker.pipe.poll():
            message = worker.pipe.recv()
            if isinstance(message, int):
                yield Progress(worker.pack, message)
                continue
            pack, worker.pack = worker.pack, None
            yield Done(pack, message) if isinstance(message, Result) else Failed(pack, "crashed", message)


def _death(process: BaseProcess) -> str:
    code = process.exitcode
    if code is not None and code < 0:
        return f"its worker was killed by {signal.Signals(-code).name}"
    return f"its worker ended with exit status {code}"


def _start(run: Run, device: str) -> Worker:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=serve, args=(there, run), daemon=True)
    with _ignoring_interrupts():
        process.start()
    there.close()
    return Worker(device, process, here)


@contextmanager
def _ignoring_interrupts() -> Iterator[None]:
    """Let a process that starts inside ignore Ctrl-C, which is the coordinator's to handle."""
    try:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    except ValueError:  # not the main thread, which alone may set handlers
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def serve(pipe: Connection, run: Run) -> None:
    """Be a worker: train one pack after the other until the pipe closes."""
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            job = pipe.recv()
            try:
                answer: Result | str = run(job, pipe.send)
            except (BrokenPipeError, ConnectionResetError):
                raise
            except Exception as error:
                answer = _in_short(error)
            pipe.send(answer)


def _in_short(error: Exception) -> str:
    """Return an error as one line: what it says, and where in the code it was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({frames[-1].name}, line {frames[-1].lineno})" if frames else ""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}{place}"
