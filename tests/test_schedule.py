"""What runs, in which order, and what remains when anything breaks at any moment: the same ledger."""

import ast
import errno
import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import FileIO
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

import fakes
import optuna
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from optuna.trial import TrialState

from bnstudy.books import appending, executors, schedule, storage
from bnstudy.books import journal as journal_module
from bnstudy.books import ledger as ledger_module
from bnstudy.books.executors import Done, Event, Failed, InProcess, Progress
from bnstudy.books.ledger import Ledger, Record
from bnstudy.books.schedule import ATTEMPTS, Queue, Run, Tally
from bnstudy.books.storage import open_storage
from bnstudy.design import Ablation, Factor, Level, across
from bnstudy.errors import BnstudyError
from bnstudy.outcome import Outcome
from bnstudy.packs import Job, Pack, Result, images_of, plan

ABLATION = fakes.design()
TRIALS = ABLATION.trials
OK = Outcome(status="ok", precise_test_accuracy=0.5)


@pytest.fixture(autouse=True)
def unflushed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flushing guards against a loss of power, which no test makes, and waits for everyone's disk."""
    monkeypatch.setattr(os, "fsync", lambda file: None)


def ledger_in(folder: Path) -> Ledger:
    return Ledger(folder / "lr-sweep.jsonl", lambda text: None)


def storage_in(folder: Path) -> optuna.storages.BaseStorage:
    return open_storage(folder, pytest.fail)


def execute(folder: Path, run: Any = fakes.train, ablation: Ablation = ABLATION, **options: Any) -> Tally:
    """Run what is missing in this process, as `bnstudy run` does."""
    opened = open_storage(folder, lambda text: None)
    return Run(ablation, ledger_in(folder), opened, InProcess(run), **options).execute()


def undisturbed(ablation: Ablation = ABLATION) -> list[tuple[str, Outcome]]:
    return sorted(((t.id, fakes.outcome(t)) for t in ablation.trials), key=lambda pair: pair[0])


def held(folder: Path, ablation: Ablation = ABLATION) -> list[optuna.trial.FrozenTrial]:
    """All trials that Optuna's storage holds, read afresh."""
    return Queue(storage_in(folder), ablation).study.get_trials()


def states(folder: Path) -> Counter[TrialState]:
    return Counter(trial.state for trial in held(folder))


def assert_mirrored(folder: Path, ablation: Ablation = ABLATION) -> None:
    """Optuna's complete trials are the ledger's, each once, with finite values."""
    complete = [t for t in held(folder, ablation) if t.state == TrialState.COMPLETE]
    told = {t.user_attrs["trial"]: (t.params, t.user_attrs["seed"], t.value) for t in complete}
    assert len(told) == len(complete)
    assert told == {
        t.id: (dict(t.arm.levels), t.seed, fakes.outcome(t).precise_test_accuracy or 0.0)
        for t in ablation.trials
        if t.id in ledger_in(folder).recorded()
    }


# The queue


def test_the_queue_gives_exactly_what_was_put_in(tmp_path: Path) -> None:
    queue = Queue(storage_in(tmp_path), ABLATION)
    for trials in (TRIALS[4:6], TRIALS[:3]):
        queue.claim(trials)
        claimed = queue.study.get_trials()[-len(trials) :]
        assert [t.params for t in claimed] == [dict(t.arm.levels) for t in trials]
        assert [t.user_attrs for t in claimed] == [{"trial": t.id, "seed": t.seed} for t in trials]
    assert states(tmp_path) == {TrialState.RUNNING: 5}


def test_trials_without_a_level_of_a_nested_factor_are_queued_and_rebuilt(tmp_path: Path) -> None:
    """Each trial has the parameters of its own factors alone."""
    dropout = across("dropout", 0, 0.5)
    site = Factor(
        "site",
        levels=(Level("before"), Level("after", dropout_at="after_norms")),
        varies=("dropout_at",),
        where={"dropout": ("0.5",)},
    )
    nested = replace(ABLATION, factors=(dropout, site), claims=())
    execute(tmp_path, ablation=nested)
    assert_mirrored(tmp_path, nested)
    for path in tmp_path.glob("optuna*"):
        path.unlink()
    Queue(storage_in(tmp_path), nested).recover(nested, ledger_in(tmp_path).recorded())
    assert_mirrored(tmp_path, nested)


def test_outcomes_are_told_with_their_status(tmp_path: Path) -> None:
    queue = Queue(storage_in(tmp_path), ABLATION)
    told = [
        OK,
        Outcome(status="diverged"),
        Outcome(status="diverged", precise_test_accuracy=float("nan")),
        Outcome(status="lost", reason="killed"),
    ]
    for claimed, outcome in zip(queue.claim(TRIALS[:4]), told, strict=True):
        queue.tell(claimed, outcome)
    assert [(t.state, t.value, t.user_attrs["status"]) for t in held(tmp_path)] == [
        (TrialState.COMPLETE, 0.5, "ok"),
        (TrialState.COMPLETE, 0.0, "diverged"),
        (TrialState.COMPLETE, 0.0, "diverged"),
        (TrialState.FAIL, None, "lost"),
    ]


def test_what_a_dead_coordinator_left_is_failed(tmp_path: Path) -> None:
    queue = Queue(storage_in(tmp_path), ABLATION)
    queue.claim(TRIALS[:2])
    Queue(storage_in(tmp_path), ABLATION).recover(ABLATION, {})
    assert states(tmp_path) == {TrialState.FAIL: 2}


def test_what_only_the_ledger_knows_is_added_once(tmp_path: Path) -> None:
    records = [Record.of("lr-sweep", t, fakes.outcome(t), {}) for t in TRIALS[:3]]
    records.append(Record.of("lr-sweep", TRIALS[3], Outcome(status="lost"), {}))
    for _ in range(2):
        Queue(storage_in(tmp_path), ABLATION).recover(ABLATION, {r.trial: r for r in records})
    ledger_in(tmp_path).append(records[:3])
    assert_mirrored(tmp_path)
    assert states(tmp_path) == {TrialState.COMPLETE: 3}
    assert [t.user_attrs["status"] for t in held(tmp_path)] == ["ok", "ok", "diverged"]


@pytest.mark.parametrize(
    "changed",
    [
        replace(ABLATION, base=ABLATION.base.replace(epochs=4)),
        replace(ABLATION, factors=(*ABLATION.factors[:1], across("lr", 300, 3, 0.3))),
        replace(ABLATION, factors=(*ABLATION.factors[:1], across("lr", 0.3, 3, 300, 1000))),
    ],
)
def test_a_changed_design_gets_a_study_of_its_own(tmp_path: Path, changed: Ablation) -> None:
    """Its trials mean something else, and Optuna refuses other categories in one study."""
    execute(tmp_path)
    other = Queue(storage_in(tmp_path), changed)
    assert other.study.get_trials() == []
    assert len(other.claim(changed.trials[:4])) == 4


def test_more_seeds_stay_in_the_same_study(tmp_path: Path) -> None:
    execute(tmp_path)
    execute(tmp_path, ablation=fakes.design(seeds=3))
    assert_mirrored(tmp_path, fakes.design(seeds=3))


@pytest.mark.parametrize("module", [schedule, storage])
def test_nothing_private_of_optuna_is_used(module: ModuleType) -> None:
    """Private names move without notice."""
    tree = ast.parse(Path(str(module.__file__)).read_text())
    names = [node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            names += [*str(node.module).split("."), *(alias.name for alias in node.names)]
    own = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    assert [name for name in names if name.startswith("_") and name not in own | {"__name__"}] == []


# The storage


def test_a_deleted_storage_is_made_again_from_the_ledger(tmp_path: Path) -> None:
    execute(tmp_path)
    (tmp_path / "optuna.journal").unlink()
    execute(tmp_path, ablation=fakes.design(seeds=3))
    assert_mirrored(tmp_path, fakes.design(seeds=3))


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: b"garbage\xff" * 100,
        lambda text: text + b'{"op_code": 4, "wor',
        lambda text: text + b'{"op_code": 4, "wor\n',
        lambda text: text + b"\0" * 4096,
        lambda text: text + b"{}\n",
        lambda text: b"[]\n" + text,
        lambda text: text.replace(b'"study_name"', b'"name"'),
    ],
    ids=["half", "garbage", "cut line", "broken line", "zeros", "empty object", "list", "field"],
)
def test_a_damaged_storage_is_set_aside_and_made_again(
    tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    """Optuna reads over a cut last line and appends to it: the damage would show one write later."""
    execute(tmp_path)
    journal = tmp_path / "optuna.journal"
    damaged = damage(journal.read_bytes())
    journal.write_bytes(damaged)
    said: list[str] = []
    opened = open_storage(tmp_path, said.append)
    more = fakes.design(seeds=3)
    Run(more, ledger_in(tmp_path), opened, InProcess(fakes.train)).execute()
    assert fakes.seen(ledger_in(tmp_path)) == undisturbed(more)
    assert_mirrored(tmp_path, more)
    assert said == [f"{journal} is damaged and was set aside; the queue is rebuilt from the ledger."]
    assert (tmp_path / "optuna.journal.damaged").read_bytes() == damaged


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A journal with recorded trials, running ones and failed ones."""
    folder = tmp_path_factory.mktemp("journal")
    queue = Queue(storage_in(folder), ABLATION)
    for trial, claimed in zip(TRIALS, queue.claim(TRIALS), strict=True):
        if trial.seed == 0:
            queue.tell(claimed, fakes.outcome(trial))
    return (folder / "optuna.journal").read_bytes()


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.floats(0, 1), junk=st.binary(max_size=8))
def test_whatever_happened_to_the_storage_the_run_goes_on(
    tmp_path_factory: pytest.TempPathFactory, journal: bytes, cut: float, junk: bytes
) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    place = round(cut * len(journal))
    (folder / "optuna.journal").write_bytes(journal[:place] + junk + journal[place + len(junk) :])
    execute(folder)
    assert fakes.seen(ledger_in(folder)) == undisturbed()


@pytest.mark.parametrize("left", [Path.touch, lambda path: path.symlink_to("nowhere")], ids=["file", "link"])
def test_nobody_waits_for_the_lock_of_a_killed_coordinator(
    tmp_path: Path, left: Callable[[Path], None]
) -> None:
    """Optuna's own default, a link, leads nowhere under a relative path: the next run waited for ever."""
    execute(tmp_path)
    left(tmp_path / "optuna.journal.lock")
    start = time.monotonic()
    execute(tmp_path, ablation=fakes.design(seeds=3))
    assert time.monotonic() - start < 2


# A run


def test_a_run_records_every_trial_and_counts(tmp_path: Path) -> None:
    tallies: list[Tally] = []
    tally = execute(tmp_path, notify=lambda tally: tallies.append(replace(tally)))
    assert fakes.seen(ledger_in(tmp_path)) == undisturbed()
    assert_mirrored(tmp_path)
    planned = sum(map(images_of, plan(ABLATION)))
    assert tally == Tally(total=12, recorded=12, missing=0, images_planned=planned, images=planned)
    assert [t.recorded for t in tallies] == [0, 3, 6, 9, 12]
    assert all(t.recorded + t.missing == 12 for t in tallies)


def test_a_record_says_how_it_was_made(tmp_path: Path) -> None:
    execute(tmp_path, provenance={"commit": "abc"})
    pack = plan(ABLATION)[0]
    made = ledger_in(tmp_path).recorded()[pack.trials[1].id]
    recorded = datetime.fromisoformat(made.provenance.pop("recorded"))
    assert abs(datetime.now(UTC) - recorded) < timedelta(minutes=1)
    assert made.provenance == {
        "commit": "abc",
        "device": "cpu",
        "pack": {"size": 3, "slot": 1, "shares_images": True},
        "attempts": 1,
    }
    assert (made.arm, made.seed) == (dict(pack.trials[1].arm.levels), 0)


def test_only_what_is_missing_runs(tmp_path: Path) -> None:
    ran: list[Job] = []

    def counting(job: Job, report: Callable[[int], None]) -> Result:
        ran.append(job)
        return fakes.train(job, report)

    execute(tmp_path)
    before = ledger_in(tmp_path).path.read_bytes()
    tally = execute(tmp_path, counting)
    assert ran == [] and ledger_in(tmp_path).path.read_bytes() == before
    assert tally == Tally(total=12, recorded=12)
    execute(tmp_path, counting, fakes.design(seeds=3), images=Path("images.npz"))
    assert [job.pack for job in ran] == list(plan(fakes.design(seeds=3))[4:])
    assert {(job.device, job.images) for job in ran} == {("cpu", Path("images.npz"))}


def test_what_is_recorded_is_not_trained_again_and_stays(tmp_path: Path) -> None:
    """A trial's bits do not depend on its mates; what is published must never change."""
    pack = plan(ABLATION)[0]
    published = Outcome(status="ok", precise_test_accuracy=0.25)
    ledger_in(tmp_path).append([Record.of("lr-sweep", pack.trials[1], published, {})])
    ran: list[Job] = []

    def counting(job: Job, report: Callable[[int], None]) -> Result:
        ran.append(job)
        return fakes.train(job, report)

    tally = execute(tmp_path, counting)
    assert ran[0].pack.trials == tuple(trial for trial in pack.trials if trial != pack.trials[1])
    assert len(ledger_in(tmp_path).records()) == 12
    assert ledger_in(tmp_path).recorded()[pack.trials[1].id].outcome == published
    assert (tally.recorded, tally.missing) == (12, 0)


class Scripted:
    """An executor whose packs fail as told: for each pack the events of its first, second... start."""

    workers = 1

    def __init__(self, *script: Sequence[str]) -> None:
        self.script, self.starts = script, Counter[int]()
        self.job: Job | None = None
        self.closed = False

    def free(self) -> bool:
        return self.job is None

    def submit(self, job: Job) -> None:
        self.job = job

    def events(self, seconds: float) -> list[Event]:
        assert self.job is not None
        job, self.job = self.job, None
        number = plan(ABLATION).index(job.pack)
        ends = self.script[number] if number < len(self.script) else ()
        start, self.starts[number] = self.starts[number], self.starts[number] + 1
        if start < len(ends):
            return [Progress(job.pack, 10), Failed(job.pack, ends[start], "the power went")]
        return [Progress(job.pack, 10), Done(job.pack, fakes.train(job, lambda images: None))]

    def close(self) -> None:
        self.closed = True


def test_a_pack_that_fails_is_started_again(tmp_path: Path) -> None:
    executor = Scripted(["lost"], ["crashed", "lost"])
    tally = Run(ABLATION, ledger_in(tmp_path), storage_in(tmp_path), executor).execute()
    assert fakes.seen(ledger_in(tmp_path)) == undisturbed()
    assert_mirrored(tmp_path)
    assert (tally.recorded, tally.missing, tally.failed) == (12, 0, {})
    assert tally.retried == ["the power went"] * 3 and tally.images == tally.images_planned
    made = {r.trial: r.provenance for r in ledger_in(tmp_path).records()}
    made = [made[pack.trials[0].id] for pack in plan(ABLATION)]
    assert [each["attempts"] for each in made] == [2, 3, 1, 1]
    assert [len(each.get("failures", [])) for each in made] == [1, 2, 0, 0]


def test_a_pack_that_keeps_failing_is_recorded_with_the_reason_and_the_next_run_tries_again(
    tmp_path: Path,
) -> None:
    pack = plan(ABLATION)[1]
    executor = Scripted([], ["crashed"] * ATTEMPTS)
    tally = Run(ABLATION, ledger_in(tmp_path), storage_in(tmp_path), executor).execute()
    assert (tally.recorded, tally.missing) == (9, 3)
    assert tally.failed == {t.id: f"the power went, {ATTEMPTS} times" for t in pack.trials}
    assert tally.images == tally.images_planned - images_of(pack)
    outcome = ledger_in(tmp_path).recorded()[pack.trials[0].id].outcome
    assert outcome == Outcome(status="crashed", reason=f"the power went, {ATTEMPTS} times")
    assert states(tmp_path) == {TrialState.COMPLETE: 9, TrialState.FAIL: 3 * ATTEMPTS}

    executor = Scripted([], ["lost"] * ATTEMPTS)
    Run(ABLATION, ledger_in(tmp_path), storage_in(tmp_path), executor).execute()
    assert ledger_in(tmp_path).recorded()[pack.trials[0].id].outcome.status == "lost"
    assert set(executor.starts) == {1}

    tally = execute(tmp_path)
    assert (tally.recorded, tally.missing, tally.failed) == (12, 0, {})
    recorded = ledger_in(tmp_path).recorded()
    assert {t.id: recorded[t.id].outcome for t in TRIALS} == dict(undisturbed())
    assert_mirrored(tmp_path)


def test_a_trial_that_does_not_fit_into_memory_is_recorded_and_not_started_again(tmp_path: Path) -> None:
    def narrow(job: Job, report: Callable[[int], None]) -> Result:
        result = fakes.train(job, report)
        outcomes = (Outcome(status="not run", reason="does not fit"), *result.outcomes[1:])
        return replace(result, outcomes=outcomes)

    tally = execute(tmp_path, narrow)
    assert (tally.recorded, tally.missing, tally.retried) == (8, 4, [])
    assert set(tally.failed.values()) == {"does not fit"}
    assert execute(tmp_path).missing == 0


# What stops a run


class Timed:
    """An executor in which a pack takes a second for each of its slots."""

    def __init__(self, workers: int) -> None:
        self.workers, self.clock = workers, 0.0
        self.running: list[tuple[float, Job]] = []
        self.sizes: list[int] = []

    def free(self) -> bool:
        return len(self.running) < self.workers

    def submit(self, job: Job) -> None:
        assert self.free()
        self.running.append((self.clock + len(job.pack.slots), job))
        self.sizes.append(len(job.pack.trials))

    def events(self, seconds: float) -> list[Event]:
        before, (self.clock, job) = self.clock, min(self.running, key=lambda pair: pair[0])
        self.running.remove((self.clock, job))
        passed = self.clock - before
        trained = [
            (other, images_of(other.pack) * passed / len(other.pack.slots)) for _, other in self.running
        ]
        told = [Progress(other.pack, int(images)) for other, images in trained]
        return [*told, Done(job.pack, fakes.train(job, lambda images: None))]

    def abandon(self, pack: Pack, reason: str) -> None:
        pytest.fail(reason)

    def close(self) -> None:
        self.running.clear()


@pytest.mark.parametrize(
    ("trials", "workers", "sizes", "seconds"),
    [
        (8, 1, [8], 8),
        (8, 2, [4, 4], 4),
        (8, 4, [2, 2, 2, 2], 2),
        (8, 64, [2, 2, 2, 2], 2),
        (3, 2, [3], 3),
        (16, 2, [8, 8], 8),
        (24, 2, [8, 8, 4, 4], 12),
        (10, 2, [4, 4, 2], 6),
        (80, 2, [8] * 10, 40),
    ],
)
def test_packs_are_cut_where_workers_would_wait(
    tmp_path: Path, trials: int, workers: int, sizes: list[int], seconds: float
) -> None:
    rates = across("lr", *range(1, trials + 1))
    design = replace(ABLATION, factors=(rates,), seeds=range(1), claims=())
    executor = Timed(workers)
    tally = Run(design, ledger_in(tmp_path), storage_in(tmp_path), executor).execute()
    assert (executor.sizes, executor.clock) == (sizes, seconds)
    assert fakes.seen(ledger_in(tmp_path)) == undisturbed(design)
    assert (tally.recorded, tally.missing, tally.images) == (trials, 0, tally.images_planned)


def test_a_pack_that_failed_is_started_again_as_it_was(tmp_path: Path) -> None:
    """What it failed as is counted; its halves would count anew."""
    failed: list[Pack] = []

    class Failing(Timed):
        def events(self, seconds: float) -> list[Event]:
            (*_, done) = super().events(seconds)
            if len(failed) < 2:
                failed.append(done.pack)
                return [Failed(done.pack, "crashed", "the power went")]
            return [done]

    design = replace(ABLATION, factors=(across("lr", *range(1, 13)),), seeds=range(1), claims=())
    executor = Failing(2)
    Run(design, ledger_in(tmp_path), storage_in(tmp_path), executor).execute()
    assert executor.sizes.count(8) == executor.sizes.count(4) == 2
    assert fakes.seen(ledger_in(tmp_path)) == undisturbed(design)


class Full(Ledger):
    """A ledger on a disk that is full after some writes."""

    writes = 2

    def append(self, records: Sequence[Record]) -> None:
        self.writes -= 1
        if self.writes < 0:
            raise BnstudyError("Cannot write: No space left on device.")
        super().append(records)


def test_a_full_disk_stops_the_run_and_its_workers_and_loses_nothing(tmp_path: Path) -> None:
    executor = Scripted()
    ledger = Full(tmp_path / "lr-sweep.jsonl", pytest.fail)
    with pytest.raises(BnstudyError, match="No space left"):
        Run(ABLATION, ledger, storage_in(tmp_path), executor).execute()
    assert executor.closed and len(ledger.recorded()) == 6
    assert states(tmp_path) == {TrialState.COMPLETE: 6, TrialState.FAIL: 3}
    execute(tmp_path)
    assert fakes.seen(ledger_in(tmp_path)) == undisturbed()
    assert_mirrored(tmp_path)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyError("study")])
def test_a_storage_that_breaks_during_the_run_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    journal, told = optuna.storages.JournalStorage, []
    tell = journal.set_trial_state_values

    def broken(self: optuna.storages.JournalStorage, *args: Any, **options: Any) -> Any:
        told.append(args)
        if len(told) > 4:
            raise error
        return tell(self, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(journal, "set_trial_state_values", broken)
        with pytest.raises(BnstudyError, match=r"Optuna's journal.*What is recorded is safe.*again"):
            execute(tmp_path)
    assert len(ledger_in(tmp_path).recorded()) == 6, "the ledger comes first"
    execute(tmp_path)
    assert fakes.seen(ledger_in(tmp_path)) == undisturbed()
    assert_mirrored(tmp_path)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO])
def test_a_disk_that_refuses_from_any_write_on_is_a_sentence_and_loses_nothing(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Full, turned read-only, or broken: half of the data is written, and nothing can be undone."""
    real = appending.write
    for last in range(0, 42, 3):
        folder, left = tmp_path_factory.mktemp("refusing"), [last]

        def refuse(file: FileIO, data: bytes, *, flush: bool, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] >= 0:
                real(file, data, flush=flush)
                return
            if left[0] == -1:
                file.write(data[: len(data) // 2])
            raise OSError(number, os.strerror(number))

        with monkeypatch.context() as patch:
            patch.setattr(appending, "write", refuse)
            patch.setattr(journal_module, "write", refuse)
            with pytest.raises(BnstudyError, match=os.strerror(number)) as caught:
                execute(folder)
        assert "\n" not in str(caught.value) and "again" in str(caught.value)
        kept = ledger_in(folder).recorded()
        assert all(fakes.outcome(t) == kept[t.id].outcome for t in TRIALS if t.id in kept)
        ledger_in(folder).set_aside_torn_line()
        execute(folder)
        assert fakes.seen(ledger_in(folder)) == undisturbed()


def test_a_storage_deleted_in_the_middle_of_a_run_loses_nothing(tmp_path: Path) -> None:
    def deleting(job: Job, report: Callable[[int], None]) -> Result:
        (tmp_path / "optuna.journal").unlink(missing_ok=True)
        return fakes.train(job, report)

    assert execute(tmp_path, deleting).missing == 0
    more = fakes.design(seeds=3)
    execute(tmp_path, ablation=more)
    assert fakes.seen(ledger_in(tmp_path)) == undisturbed(more)
    assert_mirrored(tmp_path, more)


@contextmanager
def at_line(number: int, act: Callable[[], None]) -> Iterator[list[int]]:
    """Act when line `number` of bnstudy's books is about to run; yield a list that grows by each line."""
    modules = (schedule, storage, executors, ledger_module, appending)
    files, passed = {module.__file__ for module in modules}, []

    def local(frame: FrameType, event: str, argument: object) -> Any:
        if event == "line":
            passed.append(frame.f_lineno)
            if len(passed) == number:
                act()
        return local

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        return local if frame.f_code.co_filename in files else None

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield passed
    finally:
        sys.settrace(before)


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> int:
    """How many lines of the books one whole run passes, the first aside: it fills caches."""
    execute(tmp_path_factory.mktemp("first"))
    with at_line(-1, lambda: None) as passed:
        execute(tmp_path_factory.mktemp("whole"))
    return len(passed)


def assert_goes_on(folder: Path) -> None:
    """The same command makes the ledger whole, and the next one the storage."""
    execute(folder)
    assert fakes.seen(ledger_in(folder)) == undisturbed()
    execute(folder, ablation=fakes.design(seeds=3))
    assert_mirrored(folder, fakes.design(seeds=3))


@pytest.mark.slow
def test_an_interrupt_at_any_line_loses_nothing(tmp_path_factory: pytest.TempPathFactory, lines: int) -> None:
    """Also in the middle of an append, or of telling Optuna."""

    def interrupt() -> None:
        raise KeyboardInterrupt

    for number in range(1, lines, lines // 40):
        folder = tmp_path_factory.mktemp("interrupted")
        with pytest.raises(KeyboardInterrupt), at_line(number, interrupt):
            execute(folder)
        assert_goes_on(folder)


@pytest.mark.slow
def test_a_kill_at_any_line_loses_nothing(tmp_path_factory: pytest.TempPathFactory, lines: int) -> None:
    """Like the interrupt, but no `finally` runs: what is on the disk is all there is."""
    for number in range(1, lines, lines // 30):
        folder = tmp_path_factory.mktemp("killed")
        child = os.fork()
        if child == 0:
            with at_line(number, lambda: os.kill(os.getpid(), signal.SIGKILL)):
                execute(folder)
            os._exit(0)
        assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
        assert_goes_on(folder)


def test_a_record_that_was_cut_off_in_the_middle_is_trained_again(tmp_path: Path) -> None:
    execute(tmp_path)
    path = ledger_in(tmp_path).path
    path.write_bytes(path.read_bytes()[:-300])
    execute(tmp_path)
    assert fakes.seen(ledger_in(tmp_path)) == undisturbed()


# Size


def test_a_thousand_trials_are_scheduled_in_milliseconds_each(tmp_path: Path) -> None:
    """A pack of quick trainings takes a second; the queue must not be what one waits for."""
    many = fakes.design(seeds=168)
    start = time.perf_counter()
    tally = execute(tmp_path, ablation=many)
    took = (time.perf_counter() - start) / len(many.trials) * 1000
    start = time.perf_counter()
    Run(many, ledger_in(tmp_path), storage_in(tmp_path), InProcess(fakes.train))
    again = time.perf_counter() - start
    print(f"{len(many.trials)} trials: {took:.1f} ms each; {again:.2f} s to find that nothing is missing")
    assert tally.recorded == len(many.trials) > 1000
    assert took < 30 and again < 5
    (tmp_path / "optuna.journal").unlink()
    start = time.perf_counter()
    more = replace(many, seeds=range(169))
    Run(more, ledger_in(tmp_path), storage_in(tmp_path), InProcess(fakes.train))
    print(f"{time.perf_counter() - start:.2f} s to rebuild the storage from the ledger")


def test_json_of_the_journal_has_no_numbers_that_are_not_numbers(tmp_path: Path) -> None:
    execute(tmp_path)
    for line in (tmp_path / "optuna.journal").read_text().splitlines():
        json.loads(line, parse_constant=pytest.fail)
