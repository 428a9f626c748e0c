"""An executor under watch: packs that hang are given up."""

from collections import Counter, deque
from collections.abc import Iterable
from statistics import median

from bnstudy.books.clocks import Awake
from bnstudy.books.executors import Done, Event, Executor, Progress
from bnstudy.books.record import Record
from bnstudy.packs import Job, Pack, images_of

FACTOR = 10
"""A pack may be silent for ten times as long as a whole one of its size takes at the median speed. It tells
of its steps a few times a second and is silent while it measures: at the longest 11% of its time in a quick
pack, 15% in a smoke one. The slowest arms, which take twenty times as long as the median, need a third of
this."""

LEAST_SECONDS, FIRST_SECONDS = 60.0, 300.0
"""Not less than that, since a machine that swaps stands still for long; the second until a pack's first sign
of life, before which a worker reads the images and compiles."""


class Watched:
    """An executor that kills the worker of a pack without a sign of life past its deadline.

    The pack is then `lost`. Each further start of a pack may take twice as long as the one before. `records`
    are of earlier trainings, whose speed counts until packs have ended here.
    """

    def __init__(self, executor: Executor, records: Iterable[Record] = ()) -> None:
        """Watch an executor that has no pack yet."""
        self.executor, self.clock = executor, Awake()
        earlier = [speed for record in records if (speed := _speed(record))]
        self.earlier = median(earlier) if earlier else None
        self.speeds = deque[float](maxlen=25)
        self.begun: dict[Pack, float] = {}
        self.heard: dict[Pack, float] = {}
        self.images, self.starts = Counter[Pack](), Counter[Pack]()

    @property
    def workers(self) -> int:
        """How many packs run at a time."""
        return self.executor.workers

    def free(self) -> bool:
        """Return whether another pack can start now."""
        return self.executor.free()

    def submit(self, job: Job) -> None:
        """Start a pack; only when `free`."""
        self.executor.submit(job)
        self.begun[job.pack] = self.heard[job.pack] = self.clock.now()
        self.starts[job.pack] += 1
        self.images[job.pack] = 0

    def events(self, seconds: float) -> list[Event]:
        """Return what happened, waiting at most this long; packs that hang fail at the next call."""
        found = self.executor.events(seconds)
        for event in found:
            self._hear(event)
        now = self.clock.now()
        for pack, heard in list(self.heard.items()):
            if now - heard > self.deadline(pack):
                del self.heard[pack]
                self.executor.abandon(pack, f"it gave no sign of life for {now - heard:.0f} seconds")
        return found

    def abandon(self, pack: Pack, reason: str) -> None:
        """Kill what trains a pack."""
        self.executor.abandon(pack, reason)

    def close(self) -> None:
        """Stop at once; packs that have not ended are given up."""
        self.executor.close()

    def deadline(self, pack: Pack) -> float:
        """Return for how many seconds a pack that runs may be silent."""
        least = LEAST_SECONDS if self.images[pack] else FIRST_SECONDS
        speed = median(self.speeds) if self.speeds else self.earlier or self._own(pack)
        whole = images_of(pack) / speed if speed else 0.0
        return float(max(least, FACTOR * whole) * 2 ** (self.starts[pack] - 1))

    def _own(self, pack: Pack) -> float:
        """Return the speed of a pack up to its last sign of life, or 0."""
        seconds = self.heard[pack] - self.begun[pack]
        return self.images[pack] / seconds if seconds > 0 else 0.0

    def _hear(self, event: Event) -> None:
        now = self.clock.now()
        if isinstance(event, Progress):
            self.heard[event.pack] = now
            self.images[event.pack] += event.images
            return
        self.heard.pop(event.pack, None)
        begun = self.begun.pop(event.pack)
        if isinstance(event, Done) and now > begun:
            self.speeds.append(images_of(event.pack) / (now - begun))


def _speed(record: Record) -> float | None:
    """Return the images a second that the pack of a record trained, where the record says it."""
    seconds, size = record.provenance.get("wall_seconds"), record.provenance.get("pack", {}).get("size")
    return record.recipe.train_images * record.recipe.epochs * size / seconds if seconds and size else None
