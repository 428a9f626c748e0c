"""Packs on the machines of a Ray cluster: an actor on each core or GPU trains one pack after the other.

Ray finds places, carries jobs, images and results, and tells who died; the coordinator alone retries.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
import numpy.typing as npt

from bnstudy.books import provenance
from bnstudy.books.executors import STARTS, Done, Event, Failed, Progress, Run, attempt, in_short, is_lost
from bnstudy.books.joining import address_of, joined, unreachable
from bnstudy.errors import BnstudyError, unknown
from bnstudy.packs import Job, Pack

Content = npt.NDArray[np.uint8]
Keep = Callable[[Content], Path]
"""Makes a checked file of images that were sent; importable by name, like what trains a pack."""

NO_NODE_SECONDS = 600
"""How long a run waits for a node after its last one is gone; a preempted one is back within minutes."""

NO_HEAD_SECONDS = 30
"""How long a run waits for a head that does not answer; after 60, Ray ends this process without a word."""

RESOURCES = {"cpu": "CPU", "cuda": "GPU"}
"""What Ray calls a place for one worker on each kind of device."""


class Trainer:
    """An actor: trains packs on its node."""

    def __init__(self, run: Run, keep: Keep) -> None:
        self.run, self.keep = run, keep
        self.images: Path | None = None

    def about(self) -> dict[str, Any]:
        """Return which node this is, which code it has, and what machine it is."""
        import ray

        node = ray.get_runtime_context().get_node_id()
        return {"node": node, "code": provenance.code(), "host": provenance.host()}

    def train(self, job: Job, content: Content | None) -> Iterator[int | Done | Failed]:
        """Yield images trained, now and then, and how the pack ended."""
        told: SimpleQueue[int | Done | Failed] = SimpleQueue()

        def run(job: Job, report: Callable[[int], None]) -> Any:
            if content is not None:
                self.images = self.images or self.keep(content)
            return self.run(replace(job, images=self.images if content is not None else None), report)

        threading.Thread(target=lambda: told.put(attempt(run, job, told.put)), daemon=True).start()
        while True:
            message = told.get()
            yield message
            if not isinstance(message, int):
                return


@dataclass(eq=False)
class Worker:
    """An actor, what is awaited of it, and once it has a place, its node and the host facts of that."""

    actor: Any
    awaited: Any
    """The answer to `about`, then each time a pack's messages; None while it waits for a pack."""
    node: str = ""
    host: dict[str, Any] | None = None
    pack: Pack | None = None

    @property
    def free(self) -> bool:
        """Whether it waits for a pack."""
        return self.awaited is None


class Cluster:
    """A worker for each core, or each GPU, of a Ray cluster as it is at the time, `limit` at most.

    device: `cuda` for the GPUs, `cpu` for the cores, `auto` for the GPUs if there are any. Raises
    `BnstudyError` where there is no Ray, no cluster, no such place in it, or another bnstudy on a node.
    """

    def __init__(
        self, run: Run, keep: Keep, *, address: str | None = None, device: str = "auto", limit: int
    ) -> None:
        self.run, self.keep, self.limit, self.refused = run, keep, limit, 0
        self.pool: list[Worker] = []
        self.images: dict[Path, Any] = {}
        self.places: dict[str, int] = {}
        self.abandoned: list[Event] = []
        if device not in ("auto", *RESOURCES):
            raise unknown("device of a Ray cluster", device, ("auto", *RESOURCES), "Ray chooses the GPU.")
        self.address = address_of(address)
        self.opened = ExitStack()
        try:
            self.ray = self.opened.enter_context(joined(self.address))
            self.device = self._device(device)
            self.looked, self.seen = 0.0, time.monotonic()
            self._look()
        except BaseException:
            self.close()
            raise

    @property
    def workers(self) -> int:
        """How many workers there are, those included that wait for a place."""
        return len(self.pool)

    def free(self) -> bool:
        """Return whether another pack can start now."""
        return any(worker.free for worker in self.pool)

    def submit(self, job: Job) -> None:
        """Hand a pack to a free worker."""
        worker = next(worker for worker in self.pool if worker.free)
        worker.pack = job.pack
        job, content = replace(job, device=self.device, images=None), self._sent(job.images)
        worker.awaited = worker.actor.train.options(num_returns="streaming").remote(job, content)

    def events(self, seconds: float) -> list[Event]:
        """Return what happened, waiting at most this long for something to happen."""
        self._look()
        if self.abandoned:
            told, self.abandoned = self.abandoned, []
            return told
        awaited = [worker.awaited for worker in self.pool if worker.awaited is not None]
        if not awaited:  # the last worker died, and the next look is some way off
            time.sleep(seconds)
            return []
        if not self.ray.wait(awaited, timeout=seconds)[0]:  # it waits for the first alone
            return []
        ready, _ = self.ray.wait(awaited, num_returns=len(awaited), timeout=0)
        heard = [worker for worker in self.pool if worker.awaited in ready]
        return [event for worker in heard for event in self._news(worker)]

    def abandon(self, pack: Pack, reason: str) -> None:
        """Kill what trains a pack: it is told as `lost`, for this reason."""
        self._dismiss(next(worker for worker in self.pool if worker.pack == pack))
        self.abandoned.append(Failed(pack, "lost", reason))

    def close(self) -> None:
        """Kill the workers and leave the cluster; packs that have not ended are given up."""
        while self.pool:
            self._dismiss(self.pool[0])
        self.opened.close()

    def _device(self, asked: str) -> str:
        """Return the device as a worker sees it: Ray shows it one GPU alone."""
        places = {device: sum(self._places(device).values()) for device in RESOURCES}
        kind = asked if asked != "auto" else "cuda" if places["cuda"] else "cpu"
        if not places[kind]:
            raise BnstudyError(
                f"The Ray cluster has no {RESOURCES[kind]}: start a node that has one (`ray start "
                "--address=...`), or choose another --device."
            )
        return "cuda:0" if kind == "cuda" else "cpu"

    def _places(self, device: str) -> dict[str, int]:
        """Return how many workers each living node has room for, by its id."""
        resource = RESOURCES[device.partition(":")[0]]
        return {n["NodeID"]: int(n["Resources"].get(resource, 0)) for n in self.ray.nodes() if n["Alive"]}

    def _look(self) -> None:
        """Once a second let idle workers of dead nodes go, and start one for each new place."""
        now = time.monotonic()
        if now - self.looked < 1:
            return
        self.looked = now
        if unreachable(self.address):
            if now - self.seen > NO_HEAD_SECONDS:
                raise _gone(f"does not answer at {self.address} any more")
            return
        self.places = self._places(self.device)
        for worker in [w for w in self.pool if w.free and w.node not in self.places]:
            self._dismiss(worker)
        count = sum(self.places.values())
        self.seen = now if count else self.seen
        if now - self.seen > NO_NODE_SECONDS:
            raise _gone(f"has had no node to train on for {NO_NODE_SECONDS // 60} minutes")
        while len(self.pool) < min(self.limit, max(1, count)):
            self.pool.append(self._started())

    def _started(self) -> Worker:
        """Return a worker that Ray will find a place for; Ray itself restarts and retries nothing."""
        gpus = int(self.device != "cpu")
        options = {"num_cpus": 1 - gpus, "num_gpus": gpus, "max_restarts": 0, "max_task_retries": 0}
        actor = self.ray.remote(Trainer).options(**options).remote(self.run, self.keep)
        return Worker(actor, actor.about.remote())

    def _sent(self, path: Path | None) -> Any:
        """Return images in the cluster's memory, put there once: a node need not see this one's disks."""
        if path is None:
            return None
        if path not in self.images:
            self.images[path] = self.ray.put(np.fromfile(path, dtype=np.uint8))
        return self.images[path]

    def _news(self, worker: Worker) -> list[Event]:
        """Return what a worker has to tell, for it has; a dead one is let go."""
        try:
            if worker.pack is None:
                self._welcome(worker, self.ray.get(worker.awaited))
                return []
            message = self.ray.get(next(worker.awaited))
        except self.ray.exceptions.RayError as error:
            return self._failed(worker, error)
        pack = worker.pack
        if isinstance(message, int):
            return [Progress(pack, message)]
        worker.pack = worker.awaited = None
        if is_lost(message):
            self._dismiss(worker)
        return [_with_host(message, worker)]

    def _welcome(self, worker: Worker, about: dict[str, Any]) -> None:
        """Let a worker train, if its code is this one's; its machine is part of what it makes."""
        here, there = provenance.code(), about["code"]
        if here["sources"] != there["sources"]:
            raise BnstudyError(
                f"A node of the Ray cluster has another bnstudy ({_named(there)}) than this machine "
                f"({_named(here)}): install the same on all, then run the command again."
            )
        self.refused = 0
        worker.awaited, worker.node, worker.host = None, about["node"], about["host"]

    def _failed(self, worker: Worker, error: Exception) -> list[Event]:
        """Return what became of the pack of a worker that died, or could not send its result."""
        self._dismiss(worker)
        if worker.pack is None:
            self.refused += 1
            if self.refused < STARTS:
                return []
            raise BnstudyError(
                f"Workers on the Ray cluster did not come to train, {STARTS} times in a row "
                f"({str(error).splitlines()[-1].strip()}). Install the same bnstudy on every node."
            ) from error
        if isinstance(error, self.ray.exceptions.RayTaskError):
            return [Failed(worker.pack, "crashed", in_short(error.cause))]
        gone = "process" if worker.node in self.places else "node"
        return [Failed(worker.pack, "lost", f"its Ray {gone} died ({type(error).__name__})")]

    def _dismiss(self, worker: Worker) -> None:
        self.pool.remove(worker)
        with suppress(Exception):  # it is dead, or the cluster is
            self.ray.kill(worker.actor)


def _gone(what: str) -> BnstudyError:
    return BnstudyError(
        f"The Ray cluster {what}. What is recorded is safe: start Ray again, then run the command again."
    )


def _with_host(end: Done | Failed, worker: Worker) -> Done | Failed:
    """Return a pack's end with the facts of the machine that trained it."""
    if isinstance(end, Failed):
        return end
    made = {**(worker.host or {}), **end.result.provenance}
    return Done(end.pack, replace(end.result, provenance=made))


def _named(code: dict[str, Any]) -> str:
    """Return which code this is, as a person tells it from another."""
    return f"version {code['version']}, commit {str(code['commit'])[:9]}, sources {code['sources'][:9]}"
