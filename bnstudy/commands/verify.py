"""Trains drawn records again and holds what comes out against them, by the rules of `certify`.

What trains beside a trial says nothing about it, so a sample is packed anew; whether a pack shares its images
stays as recorded.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnstudy.books.executors import Done, Executor, Failed, Progress
from bnstudy.books.watched import Watched
from bnstudy.commands import study
from bnstudy.commands.sampling import Drawn
from bnstudy.design import Arm, Trial
from bnstudy.judgement import certify
from bnstudy.judgement.certify import NEUTRAL, PACK_SIZE
from bnstudy.packs import Job, Pack, Result, images_of, shape
from bnstudy.words import counted

if TYPE_CHECKING:
    from bnstudy.books.schedule import Tally

Shown = Callable[[str], Any]
Trained = Mapping[Pack, Result | Failed]


@dataclass(frozen=True)
class Rerun:
    """A drawn record and its trial trained again: the outcome, or why there is none, and the environment."""

    drawn: Drawn
    outcome: Mapping[str, Any] | None
    reason: str
    here: Mapping[str, Any]

    @cached_property
    def recorded(self) -> Mapping[str, Any]:
        """The outcome of the record."""
        return certify.plain(self.drawn.record.outcome)

    @cached_property
    def apart(self) -> Mapping[str, float]:
        """The relative difference of each number that differs."""
        return certify.differences(self.recorded, self.outcome or {}, self.drawn.held)

    @cached_property
    def differs(self) -> Mapping[str, tuple[Any, Any]]:
        """The facts of the environment that differ, as recorded and here."""
        return certify.differing(self.drawn.record.provenance | {PACK_SIZE: self.drawn.size}, self.here)

    @property
    def elsewhere(self) -> bool:
        """Whether a fact differs that may change bits."""
        return not self.differs.keys() <= NEUTRAL

    @property
    def steps(self) -> certify.FirstSteps | None:
        """How far apart the first steps are."""
        again = (self.outcome or {}).get("first_losses", ())
        return certify.first_steps(self.recorded.get("first_losses", ()), again)

    def judged(self, excuse: float = 0.0) -> certify.Judged:
        """Return the level that it reached; `excuse` is how far rounding alone parts its first steps."""
        if self.outcome is None:
            return certify.Judged("not verified", self.reason)
        return certify.judge(self.apart, self.steps, elsewhere=self.elsewhere, excuse=excuse)


class Rig:
    """Trains packs through an executor: `facts` are the environment's, `shown` displays the progress."""

    def __init__(
        self, executor: Executor, images: Path | None, facts: Mapping[str, Any], shown: Shown
    ) -> None:
        self.executor, self.images, self.facts, self.shown = Watched(executor), images, facts, shown

    def train(self, wanted: Sequence[Pack], what: str) -> Trained:
        """Return what came of each pack; the trials of one that failed are trained again, one by one."""
        from bnstudy.books.schedule import Tally

        todo, running, found = deque(dict.fromkeys(wanted)), 0, {}
        tally = Tally(sum(len(p.trials) for p in todo), 0, images_planned=sum(map(images_of, todo)))
        trained = Counter[Pack]()
        with self.shown(what) as notify:
            notify(tally)
            while todo or running:
                while todo and self.executor.free():
                    self._submit(todo.popleft())
                    running += 1
                for pack, came in self._ended(tally, trained):
                    running -= 1
                    found[pack] = came
                    todo.extend(_apart(pack, came, tally))
                notify(tally)
        return found

    def _submit(self, pack: Pack) -> None:
        sample = pack.trials[0].arm.recipe.data == "sample"
        self.executor.submit(Job(pack, "", None if sample else self.images))

    def _ended(self, tally: Tally, trained: Counter[Pack]) -> Iterator[tuple[Pack, Result | Failed]]:
        """Yield the packs that came to their end; count the images of all."""
        for event in self.executor.events(0.5):
            match event:
                case Progress(pack, images):
                    trained[pack] += images
                    tally.images += images
                case Done(pack, result):
                    tally.images += images_of(pack) - trained[pack]
                    tally.recorded += len(pack.trials)
                    yield pack, result
                case Failed(pack):
                    tally.images -= trained[pack]
                    yield pack, event


def _apart(pack: Pack, came: Result | Failed, tally: Tally) -> list[Pack]:
    """Return each trial of a pack that failed on its own, if it was not; count what failed for good."""
    if isinstance(came, Result):
        return []
    trials = list(dict.fromkeys(pack.trials))
    if len(trials) > 1:
        tally.retried.append(came.reason)
        alone = [Pack((trial,), pack.shares_images) for trial in trials]
        tally.images_planned += sum(map(images_of, alone)) - images_of(pack)
        return alone
    tally.failed[trials[0].id] = came.reason
    return []


def verify(drawn: Sequence[Drawn], rig: Rig) -> list[tuple[Rerun, certify.Judged]]:
    """Train records again; return each with the level that it reached.

    Where bits differ in the environment of the record but for the size of the pack, a trial is trained once
    more in a pack as large; where first steps are apart elsewhere, also with rounding errors in its recipe.
    """
    came = _by_trial(rig.train(packed(drawn), "trained again"))
    reruns = {one.key: _rerun(one, *came[one.trial.id, one.shares_images], rig) for one in drawn}
    reruns |= _as_large(list(reruns.values()), rig)
    excuses = _excuses(list(reruns.values()), rig)
    return [(rerun, rerun.judged(excuses.get(key, 0.0))) for key, rerun in reruns.items()]


def packed(drawn: Sequence[Drawn]) -> list[Pack]:
    """Return the packs in which a sample trains: as many trials together as can be and were when recorded."""
    groups: dict[tuple[Any, ...], dict[str, Trial]] = {}
    for one in drawn:
        seed = one.record.seed if one.shares_images else None
        key = shape(one.record.recipe), seed, one.shares_images, one.size
        groups.setdefault(key, {})[one.trial.id] = one.trial
    return [
        Pack(tuple(trials.values())[start : start + size], shares_images)
        for (_, _, shares_images, size), trials in groups.items()
        for start in range(0, len(trials), size)
    ]


Came = tuple[Pack, Result | Failed, int]


def _by_trial(trained: Trained) -> dict[tuple[str, bool], Came]:
    """Return the pack in which each trial came to its end, how it ended, and the trial's slot in it."""
    return {
        (trial.id, pack.shares_images): (pack, came, slot)
        for pack, came in trained.items()  # a trial on its own comes after the pack that failed
        for slot, trial in enumerate(pack.trials)
    }


def _rerun(one: Drawn, pack: Pack, came: Result | Failed, slot: int, rig: Rig) -> Rerun:
    if not isinstance(came, Result):
        return Rerun(one, None, f"{came.status}: {came.reason}", rig.facts)
    outcome = came.outcomes[slot]
    here = {**rig.facts, **came.provenance, PACK_SIZE: len(pack.slots)}
    if not outcome.finished:
        return Rerun(one, None, f"{outcome.status}: {outcome.reason}", here)
    return Rerun(one, certify.plain(outcome), "", here)


def _as_large(reruns: Sequence[Rerun], rig: Rig) -> dict[str, Rerun]:
    """Return those of which nothing but the size of the pack explains a difference, trained as recorded."""
    chosen = [r for r in reruns if r.outcome and r.apart and r.differs.keys() - NEUTRAL == {PACK_SIZE}]
    if not chosen:
        return {}
    wanted = {r.drawn.key: Pack((r.drawn.trial,) * r.drawn.size, r.drawn.shares_images) for r in chosen}
    came = rig.train(list(wanted.values()), "in packs as large as recorded")
    return {
        r.drawn.key: _rerun(r.drawn, pack, came[pack], r.drawn.slot, rig)
        for r, pack in zip(chosen, wanted.values(), strict=True)
    }


def _excuses(reruns: Sequence[Rerun], rig: Rig) -> dict[str, float]:
    """Return how far rounding alone parts the first steps of those that are apart after the very first."""
    chosen = [r for r in reruns if r.outcome and r.elsewhere and r.steps and r.steps.apart]
    if not chosen:
        return {}
    came = rig.train([pack for r in chosen for pack in rounded(r.drawn)], "rounded otherwise")
    return {r.drawn.key: _parted(r, [came[pack] for pack in rounded(r.drawn)]) for r in chosen}


def rounded(one: Drawn) -> list[Pack]:
    """Return the trial with rounding errors in its recipe; another epsilon needs a pack of its own."""
    levels, seed = one.trial.arm.levels, one.record.seed
    rows = certify.rounded(one.record.recipe)
    return [Pack(tuple(Trial(Arm(levels, r), seed) for r in row), one.shares_images) for row in rows]


def _parted(rerun: Rerun, came: Sequence[Result | Failed]) -> float:
    """Return how far trainings that round otherwise are from the rerun where it is first apart."""
    if not (rerun.outcome and rerun.steps and rerun.steps.apart):
        return 0.0
    outcomes = [outcome for each in came if isinstance(each, Result) for outcome in each.outcomes]
    losses = [certify.plain(outcome)["first_losses"] for outcome in outcomes if outcome.finished]
    return certify.rounding(rerun.outcome["first_losses"], losses, rerun.steps.apart)


@contextmanager
def rigged(
    drawn: Sequence[Drawn], place: study.Place, machinery: study.Machinery, shown: Shown
) -> Iterator[Rig]:
    """Yield what trains a sample: a worker for each device or core, but no more than packs."""
    from bnstudy.books import executors, provenance
    from bnstudy.training import data, work

    with study.terminable():
        devices = study.worker_devices(machinery, len(packed(drawn)))
        real = any(one.record.recipe.data != "sample" for one in drawn)
        images = data.fetch(machinery.data_dir, place.say) if real else None
        facts = {**provenance.code(), **provenance.host()}
        place.say(f"{counted(len(devices), 'worker')} on {', '.join(sorted(set(devices)))}")
        pool = executors.Pool(work.run_pack, devices)
        try:
            yield Rig(pool, images, facts, shown)
        finally:
            pool.close()
