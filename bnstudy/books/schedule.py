"""Brings an ablation's missing packs to an executor and their records to the ledger; the queue is Optuna's.

The ledger is the truth. Optuna's storage holds the queue and what the dashboard shows, and is rebuilt from
the ledger when it is missing or damaged.
"""

import math
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.storages import BaseStorage
from optuna.trial import TrialState, create_trial

from bnstudy.books import retries
from bnstudy.books.appending import reading
from bnstudy.books.executors import Done, Executor, Failed, Progress
from bnstudy.books.ledger import Ledger, Record
from bnstudy.books.storage import in_short
from bnstudy.books.watched import Watched
from bnstudy.design import Ablation, Trial
from bnstudy.errors import BnstudyError
from bnstudy.outcome import Outcome
from bnstudy.packs import Job, Pack, Result, halves, images_of, parts
from bnstudy.recipe import canonical_json, digest

ATTEMPTS = 3
"""How often one `run` starts a pack whose training raises an error or whose worker dies."""

LONG = 1.5
"""A pack that is longer than this many times what is left for each worker is cut in two: at the end of a run,
and in a run of few packs, all workers have something to do. Eight trials of three epochs, one pack, took 54
seconds on two cores where one of them took 79."""

Params = dict[str, Any]


@contextmanager
def _working() -> Iterator[None]:
    """Turn what breaks in Optuna's storage into a sentence."""
    try:
        yield
    except OSError as error:
        raise BnstudyError(
            f"Cannot write to Optuna's journal: {error.strerror or error}. What is recorded is safe: free "
            "the disk or mend the permission, then run the command again."
        ) from error
    except Exception as error:
        raise BnstudyError(
            f"Optuna's journal or database broke during the run ({type(error).__name__}: "
            f"{in_short(error)}). What is recorded is safe: run the command again; if that "
            "does not help, delete optuna.journal beside the ledger."
        ) from error


class Queue:
    """The ablation's Optuna study. Only the holder of the lease uses it.

    Levels are categories of a study that is named after the arms and their recipes: a changed design gets
    a new one, and so does each results folder of a team's database, which `where` names. Raises
    `BnstudyError` where the storage cannot be used.
    """

    @_working()
    def __init__(self, storage: BaseStorage, ablation: Ablation, where: str = "") -> None:
        self.distributions: dict[str, BaseDistribution] = {
            f.name: CategoricalDistribution([level.name for level in f.levels]) for f in ablation.factors
        }
        arms = [[arm.name, arm.recipe.fingerprint] for arm in ablation.arms]
        name = "-".join([ablation.name, digest(canonical_json(arms), 8), *([where] if where else [])])
        self.study = optuna.create_study(
            study_name=name, storage=storage, direction="maximize", load_if_exists=True
        )
        self.storage, self.id = storage, storage.get_study_id_from_name(name)
        if not self.study.user_attrs:  # for those who read the dashboard
            self.study.set_user_attr("question", ablation.question)
            self.study.set_user_attr("value", "precise test accuracy; 0 where it is not finite")

    @_working()
    def recover(self, ablation: Ablation, recorded: Mapping[str, Record]) -> None:
        """Fail what a dead coordinator left running, and add what only the ledger knows."""
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            self.study.tell(trial.number, state=TrialState.FAIL)
        done = self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        known = {trial.user_attrs.get("trial") for trial in done}
        self.study.add_trials(
            create_trial(
                params=dict(trial.arm.levels),
                distributions=self._of(trial),
                value=_value(recorded[trial.id].outcome),
                user_attrs=_attributes(trial) | {"status": recorded[trial.id].outcome.status},
            )
            for trial in ablation.trials
            if trial.id in recorded and recorded[trial.id].outcome.finished and trial.id not in known
        )

    @_working()
    def claim(self, trials: Sequence[Trial]) -> list[int]:
        """Return the numbers by which a storage knows trials that are running from now on.

        One write a trial: `enqueue_trial` and `ask` take four, and look for the trial among all others.
        """
        return [
            self.storage.create_new_trial(
                self.id,
                create_trial(
                    state=TrialState.RUNNING,
                    params=dict(trial.arm.levels),
                    distributions=self._of(trial),
                    user_attrs=_attributes(trial),
                ),
            )
            for trial in trials
        ]

    def _of(self, trial: Trial) -> dict[str, BaseDistribution]:
        """Return the distributions of the factors that a trial has a level of: nested ones may be missing."""
        return {name: self.distributions[name] for name, _ in trial.arm.levels}

    @_working()
    def tell(self, claimed: int, outcome: Outcome) -> None:
        """End a claimed trial: with its accuracy, whether it diverged or not, or as failed."""
        self.storage.set_trial_user_attr(claimed, "status", outcome.status)
        if outcome.finished:
            self.storage.set_trial_state_values(claimed, TrialState.COMPLETE, [_value(outcome)])
        else:
            self.give_up([claimed])

    @_working()
    def give_up(self, claimed: Sequence[int]) -> None:
        """End claimed trials that will not be told an outcome."""
        for trial in claimed:
            self.storage.set_trial_state_values(trial, TrialState.FAIL)


def _attributes(trial: Trial) -> Params:
    return {"trial": trial.id, "seed": trial.seed}


def _value(outcome: Outcome) -> float:
    """Return the accuracy: finite for a diverged trial too, which is a result and no failure."""
    value = outcome.precise_test_accuracy
    return value if value is not None and math.isfinite(value) else 0.0


@dataclass
class Tally:
    """How far a run is: trials of the design, those recorded, those that failed, images trained."""

    total: int
    recorded: int
    missing: int = 0
    images_planned: int = 0
    images: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    """Why a trial has no finished record, by trial id."""
    retried: list[str] = field(default_factory=list)
    """Why packs were started again."""
    left_alone: dict[str, str] = field(default_factory=dict)
    """Why trials failed that failed too often to be started again, by trial id."""


def tally_of(
    ablation: Ablation, recorded: Mapping[str, Record], wanted: Sequence[Pack], again: Collection[str]
) -> Tally:
    """Return how far an ablation is before the packs that are wanted run."""
    return Tally(
        total=len(ablation.trials),
        recorded=sum(t.id in recorded and recorded[t.id].outcome.finished for t in ablation.trials),
        missing=sum(len(pack.trials) for pack in wanted),
        images_planned=sum(map(images_of, wanted)),
        left_alone={} if again else retries.left_alone(ablation, recorded),
    )


class Run:
    """One ablation's missing packs on their way through an executor. The caller holds the lease.

    `again`: only failed trials with such a status run.
    """

    @reading()
    def __init__(
        self,
        ablation: Ablation,
        ledger: Ledger,
        storage: BaseStorage,
        executor: Executor,
        *,
        images: Path | None = None,
        provenance: Mapping[str, Any] | None = None,
        where: str = "",
        again: Collection[str] = (),
        notify: Callable[[Tally], None] = lambda tally: None,
    ) -> None:
        self.ablation, self.ledger, self.images = ablation, ledger, images
        self.provenance, self.notify = dict(provenance or {}), notify
        recorded = ledger.recorded()
        self.executor = Watched(executor, recorded.values())
        self.earlier = {trial: r for trial, r in recorded.items() if not r.outcome.finished}
        wanted = retries.todo(ablation, recorded, again)
        self.todo = deque(wanted)
        self.claimed: dict[Pack, list[int]] = {}
        self.attempts: Counter[Pack] = Counter()
        self.trained: Counter[Pack] = Counter()
        self.reasons: dict[Pack, list[str]] = {}
        self.tally = tally_of(ablation, recorded, wanted, again)
        if wanted:
            self.queue = Queue(storage, ablation, where)
            self.queue.recover(ablation, recorded)

    def execute(self) -> Tally:
        """Run everything that is missing; on any exception what runs is given up and the queue told."""
        try:
            self.notify(self.tally)
            while self.todo or self.claimed:
                while self.todo and self.executor.free():
                    self._submit(self._next())
                for event in self.executor.events(0.5):
                    self._take(event)
                self.notify(self.tally)
        finally:
            if self.claimed:
                self.executor.close()
                with suppress(BnstudyError):  # a full disk must not hide what is being raised
                    self.queue.give_up([trial for trials in self.claimed.values() for trial in trials])
        return self.tally

    def _next(self) -> Pack:
        """Return the pack that is to start, or part of it."""
        pack = self.todo.popleft()
        while parts(pack) > 1 and self._is_long(pack):
            pack, rest = halves(pack)
            self.todo.appendleft(rest)
        return pack

    def _is_long(self, pack: Pack) -> bool:
        """Return whether workers would wait for a pack; none that failed before, whose starts are counted."""
        left = images_of(pack) + sum(map(images_of, self.todo))
        left += sum(images_of(claimed) - self.trained[claimed] for claimed in self.claimed)
        return not self.attempts[pack] and images_of(pack) * self.executor.workers > LONG * left

    def _submit(self, pack: Pack) -> None:
        self.attempts[pack] += 1
        self.claimed[pack] = self.queue.claim(pack.trials)
        self.executor.submit(Job(pack, "", self.images))

    def _take(self, event: Progress | Done | Failed) -> None:
        match event:
            case Progress(pack, images):
                self._count(pack, images)
            case Done(pack, result):
                self._count(pack, images_of(pack) - self.trained[pack])
                self._record(pack, result)
            case Failed(pack, status, reason):
                self._count(pack, -self.trained[pack])
                self._failed(pack, status, reason)

    def _count(self, pack: Pack, images: int) -> None:
        self.trained[pack] += images
        self.tally.images += images

    def _failed(self, pack: Pack, status: str, reason: str) -> None:
        """Start a pack again, or record why it has no outcome."""
        self.reasons.setdefault(pack, []).append(reason)
        if self.attempts[pack] < ATTEMPTS:
            self.tally.retried.append(reason)
            self.queue.give_up(self.claimed.pop(pack))
            self.todo.appendleft(pack)
            return
        failure = Outcome(status=status, reason=f"{reason}, {ATTEMPTS} times")
        self._record(pack, Result((failure,) * len(pack.trials), {}))

    def _record(self, pack: Pack, result: Result) -> None:
        """Append the trials of a pack in one write, then tell the queue."""
        outcomes = list(zip(pack.trials, result.outcomes, strict=True))
        self.ledger.append([self._made(pack, trial, outcome, result) for trial, outcome in outcomes])
        for claimed, (trial, outcome) in zip(self.claimed.pop(pack), outcomes, strict=True):
            self.queue.tell(claimed, outcome)
            if outcome.finished:
                self.tally.recorded += 1
                self.tally.missing -= 1
            else:
                self.tally.failed[trial.id] = outcome.reason or outcome.status

    def _made(self, pack: Pack, trial: Trial, outcome: Outcome, result: Result) -> Record:
        place = {
            "size": len(pack.slots),
            "slot": pack.trials.index(trial),
            "shares_images": pack.shares_images,
        }
        earlier = self.earlier.get(trial.id)
        failures = [*retries.reasons(earlier), *self.reasons.get(pack, [])]
        made = {
            "pack": place,
            "attempts": retries.attempts(earlier) + self.attempts[pack],
            **({"failures": failures} if failures else {}),
            "recorded": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        return Record.of(self.ablation.name, trial, outcome, self.provenance | result.provenance | made)
