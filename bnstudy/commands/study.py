"""What the commands do, without their words: from an ablation's name to records, verdicts and figures."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from bnstudy import packs
from bnstudy.books.places import PROFILE as PROFILE
from bnstudy.books.places import RESULTS as RESULTS
from bnstudy.books.places import Place as Place
from bnstudy.books.places import Say as Say
from bnstudy.design import Ablation
from bnstudy.errors import BnstudyError, unknown
from bnstudy.packs import Pack
from bnstudy.words import counted

if TYPE_CHECKING:
    from bnstudy.books.executors import Executor
    from bnstudy.books.ledger import Ledger, Record
    from bnstudy.books.schedule import Tally
    from bnstudy.reporting.judging import Judged as Judged

EXECUTORS = ("local", "ray")


@dataclass(frozen=True)
class Machinery:
    """Where packs run: `device` as the user wrote it, how many workers (`None`: as many as fit), on this
    machine (`local`) or on a Ray cluster (`ray`)."""

    device: str = "auto"
    workers: int | None = None
    data_dir: Path | None = None
    executor: str = "local"
    ray_address: str | None = None

    def __post_init__(self) -> None:
        """Raise `BnstudyError` for what no machine can do."""
        if self.workers is not None and self.workers < 1:
            raise BnstudyError(
                f"--workers {self.workers}: at least one worker is needed; leave it out for all."
            )
        if self.executor not in EXECUTORS:
            raise unknown("executor", self.executor, EXECUTORS)
        if self.ray_address and self.executor != "ray":
            raise BnstudyError(
                f"--ray-address {self.ray_address} is for --executor ray alone; say that, too."
            )


@contextmanager
def holding(place: Place) -> Iterator[Place]:
    """Hold the lease of a place; what is appended to the ledgers of the place yielded asks for it first."""
    from bnstudy.books.storage import lease

    with lease(place.folder, place.storage) as held:
        yield replace(place, held=held)


def missing(ablation: Ablation, ledger: Ledger) -> tuple[Pack, ...]:
    """Return the packs of the trials without a finished record, without loading Optuna."""
    records = ledger.recorded()
    return packs.plan(ablation, {trial for trial, record in records.items() if record.outcome.finished})


def run(
    ablations: Sequence[Ablation],
    place: Place,
    machinery: Machinery,
    shown: Callable[[str], Any],
    again: Collection[str] = (),
) -> dict[str, Tally]:
    """Train what is missing of each ablation; return how far each is. Holds the lease of the folder.

    `shown` gives the context in which an ablation's progress is displayed. With statuses to run `again`:
    only failed trials of these.
    """
    with terminable():
        from bnstudy.books import retries, schedule

        with holding(place) as place:
            for ablation in ablations:
                place.ledger(ablation.name).set_aside_torn_line()
            ablations = [place.at_tuned(ablation) for ablation in ablations]
            held = {a.name: place.ledger(a.name).recorded() for a in ablations}
            left = {a.name: retries.todo(a, held[a.name], again) for a in ablations}
            tallies = {a.name: schedule.tally_of(a, held[a.name], left[a.name], again) for a in ablations}
            waiting = [a for a in ablations if left[a.name]]
            if waiting:
                most = max(sum(map(packs.parts, todo)) for todo in left.values())
                with training(waiting, most, place, machinery, shown) as trainer:
                    tallies |= {a.name: _train(a, place, trainer, again) for a in waiting}
            return tallies


def _train(ablation: Ablation, place: Place, trainer: Trainer, again: Collection[str]) -> Tally:
    """Train what an ablation misses, tuned first where it has to be; nothing of it where that failed."""
    from bnstudy.commands import tune

    if any(arm.untuned for arm in ablation.arms):
        tally = tune.search(ablation, place, trainer)
        if tally.failed:
            return tally
        for warning in tune.warnings(ablation, place):
            place.say(warning)
        ablation = place.at_tuned(ablation)
    return trainer.train(ablation, place.ledger(ablation.name), again=again)


@dataclass(frozen=True)
class Trainer:
    """Workers that are ready, and what all that they train has in common."""

    pool: Executor
    storage: Any
    images: Path | None
    facts: Mapping[str, Any]
    shown: Callable[[str], Any]
    where: str = ""
    """What names this results folder in a team's storage."""

    def train(
        self,
        ablation: Ablation,
        ledger: Ledger,
        *,
        title: str = "",
        storage: Any = None,
        again: Collection[str] = (),
        **facts: Any,
    ) -> Tally:
        """Train what the ledger misses of an ablation, queued in another storage of Optuna's if there is one;
        `facts` are added to the provenance of records."""
        from bnstudy.books import schedule

        with self.shown(title or ablation.name) as notify:
            return schedule.Run(
                ablation,
                ledger,
                storage or self.storage,
                self.pool,
                images=self.images if _needs_images(ablation) else None,
                provenance={**self.facts, **facts},
                where=self.where,
                again=again,
                notify=notify,
            ).execute()


@contextmanager
def training(
    ablations: Sequence[Ablation],
    most: int,
    place: Place,
    machinery: Machinery,
    shown: Callable[[str], Any],
) -> Iterator[Trainer]:
    """Yield what trains ablations that miss packs, `most` of them or of their parts at a time at the most."""
    from bnstudy.books.storage import identity, open_storage
    from bnstudy.training import data

    pool, facts = start(machinery, most, place.say)
    try:
        images = data.fetch(machinery.data_dir, place.say) if any(map(_needs_images, ablations)) else None
        storage = open_storage(place.folder, place.say, place.storage)
        where = identity(place.folder) if place.storage else ""
        yield Trainer(pool, storage, images, facts, shown, where)
    finally:
        pool.close()


def _needs_images(ablation: Ablation) -> bool:
    return any(arm.recipe.data != "sample" for arm in ablation.arms)


def start(machinery: Machinery, most: int, say: Say) -> tuple[Executor, dict[str, Any]]:
    """Start workers, no more than `most`; return them, and the part of provenance that all records share: a
    worker on another machine tells itself what that is."""
    from bnstudy.books import executors, provenance
    from bnstudy.training import work

    if machinery.executor == "ray":
        from bnstudy.books import cluster
        from bnstudy.training import data

        limit = min(machinery.workers or most, most)
        there = cluster.Cluster(
            work.run_pack, data.receive, address=machinery.ray_address, device=machinery.device, limit=limit
        )
        say(f"{counted(there.workers, 'worker')} on {there.device.partition(':')[0]} of the Ray cluster")
        return there, provenance.code()
    devices = worker_devices(machinery, most)
    say(f"{counted(len(devices), 'worker')} on {', '.join(sorted(set(devices)))}")
    return executors.Pool(work.run_pack, devices), {**provenance.code(), **provenance.host()}


def worker_devices(machinery: Machinery, most: int) -> list[str]:
    """Return each worker's device: one for each GPU, or one for each core, but no more than `most`."""
    from bnstudy.training import machine

    devices = machine.devices(machinery.device)
    workers = machinery.workers or (cores() if devices == ["cpu"] else len(devices))
    return [devices[i % len(devices)] for i in range(min(workers, most))]


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def terminable() -> Iterator[None]:
    """Let a polite kill (SIGTERM, as batch systems send) end a run like Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():  # only there can a handler be set
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def judge(ablation: Ablation, place: Place) -> Judged:
    """Return the verdicts on an ablation's records and its answer."""
    from bnstudy.reporting import judging

    return judging.judge(ablation, place)


def draw(judged: Judged, place: Place) -> list[Path]:
    """Draw an ablation's figure with its sidecar, in the language spoken; return the paths written."""
    from bnstudy.books import language, provenance
    from bnstudy.plots import figures, sidecar

    name, drawing = judged.ablation.name, judged.drawing
    records = judged.refined.records if judged.refined else place.ledger(name).recorded()
    beside = sidecar.content(drawing.ablation, records, place.profile, provenance.code()["commit"])
    return figures.save(figures.draw(drawing), place.folder / "figures", f"{name}{language.suffix()}", beside)


def stale_figure(ablation: Ablation, place: Place, records: Mapping[str, Record]) -> str:
    """Return why the ablation's figure is not of its present records, or nothing."""
    from bnstudy.plots import sidecar

    if place.ledger(ablation.name, "refine").path.exists():
        judged = judge(ablation, place)
        if judged.refined:
            ablation, records = judged.drawing.ablation, judged.refined.records
    return sidecar.why_stale(place.folder / "figures" / f"{ablation.name}.json", ablation, records)
