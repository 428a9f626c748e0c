"""What the commands do, without their words: from an ablation's name to records, verdicts and figures."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from bnstudy.design import Ablation, Trial
from bnstudy.errors import BnstudyError
from bnstudy.packs import Pack

if TYPE_CHECKING:
    import pandas as pd

    from bnstudy.ledger import Ledger, Record
    from bnstudy.schedule import Run, Tally
    from bnstudy.verdicts import Verdict

Say = Callable[[str], None]


@dataclass(frozen=True)
class Place:
    """A results folder at one profile, and how its warnings are told."""

    results: Path
    profile: str
    say: Say

    @property
    def folder(self) -> Path:
        """The folder of the profile's ledgers."""
        return self.results / self.profile

    def ledger(self, name: str) -> Ledger:
        """Return the ledger of an ablation; its file may not exist."""
        from bnstudy.ledger import Ledger

        return Ledger(self.folder / f"{name}.jsonl", self.say)

    def preview(self, ablation: Ablation, recorded: int) -> str:
        """Return what to print beside a verdict that is not the study of record's, or nothing."""
        if self.profile != "paper":
            return f"preview: {self.profile} profile"
        whole = recorded == len(ablation.trials)
        return "" if whole else f"preview: {recorded} of {len(ablation.trials)} trials"


@dataclass(frozen=True)
class Machinery:
    """Where packs run: `device` as the user wrote it, how many workers (`None`: as many as fit)."""

    device: str = "auto"
    workers: int | None = None
    data_dir: Path | None = None


@dataclass(frozen=True)
class Judged:
    """An ablation with its records, its verdicts and the answer to its question."""

    ablation: Ablation
    frame: pd.DataFrame
    verdicts: list[Verdict]
    answer: str
    preview: str

    @property
    def finished(self) -> pd.DataFrame:
        """The rows of trainings that ran to their end, diverged or not."""
        from bnstudy import verdicts

        return verdicts.finished(self.frame)


def missing(ablation: Ablation, ledger: Ledger) -> list[tuple[Pack, list[Trial]]]:
    """Return the packs that miss a finished record, each with those trials, without loading Optuna."""
    from bnstudy.packs import plan

    recorded = ledger.recorded()
    done = {trial for trial, record in recorded.items() if record.outcome.finished}
    packs = [(pack, [trial for trial in pack.trials if trial.id not in done]) for pack in plan(ablation)]
    return [(pack, trials) for pack, trials in packs if trials]


def run(
    ablations: Sequence[Ablation],
    place: Place,
    machinery: Machinery,
    shown: Callable[[str], Any],
) -> dict[str, Tally]:
    """Train what is missing of each ablation; return how far each is. Holds the lease of the folder.

    `shown` gives the context in which an ablation's progress is displayed.
    """
    from bnstudy import schedule

    with schedule.lease(place.folder), _terminable():
        waiting = {a.name: len(missing(a, place.ledger(a.name))) for a in ablations}
        if not any(waiting.values()):
            return {a.name: _nothing_to_do(a) for a in ablations}
        pool = _pool(machinery, max(waiting.values()), place.say)
        try:
            storage = schedule.open_storage(place.folder, place.say)
            return {a.name: _run_one(a, place, machinery, pool, storage, shown) for a in ablations}
        finally:
            pool.close()


def _nothing_to_do(ablation: Ablation) -> Tally:
    from bnstudy.schedule import Tally

    return Tally(total=len(ablation.trials), recorded=len(ablation.trials), missing=0, images_planned=0)


def _run_one(
    ablation: Ablation,
    place: Place,
    machinery: Machinery,
    pool: Any,
    storage: Any,
    shown: Callable[[str], Any],
) -> Tally:
    from bnstudy import data, provenance, schedule

    real = any(arm.recipe.data != "sample" for arm in ablation.arms)
    with shown(ablation.name) as notify:
        prepared: Run = schedule.Run(
            ablation,
            place.ledger(ablation.name),
            storage,
            pool,
            images=data.fetch(machinery.data_dir, place.say) if real else None,
            provenance={**provenance.code(), **provenance.host()},
            notify=notify,
        )
        return prepared.execute()


def _pool(machinery: Machinery, packs: int, say: Say) -> Any:
    """Return the workers: one for each GPU, or one for each core, but no more than there are packs."""
    from bnstudy import executors, machine, work

    if machinery.workers is not None and machinery.workers < 1:
        raise BnstudyError(
            f"--workers {machinery.workers}: at least one worker is needed; leave it out for all."
        )
    devices = machine.devices(machinery.device)
    workers = machinery.workers or (cores() if devices == ["cpu"] else len(devices))
    workers = min(workers, packs)
    say(f"{workers} worker{'s' if workers > 1 else ''} on {', '.join(devices[:workers])}")
    return executors.Pool(work.run_pack, [devices[i % len(devices)] for i in range(workers)])


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _terminable() -> Iterator[None]:
    """Let a polite kill (SIGTERM, as batch systems send) end a run like Ctrl-C."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def judge(ablation: Ablation, place: Place) -> Judged:
    """Return the verdicts on an ablation's records and its answer."""
    from bnstudy import verdicts

    frame = place.ledger(ablation.name).frame(ablation)
    finished = len(verdicts.finished(frame))
    preview = place.preview(ablation, finished)
    judged = verdicts.judge(ablation, frame, bool(preview))
    answer = verdicts.answer(ablation, frame, judged[0]) if judged and finished else ""
    return Judged(ablation, frame, judged, answer, preview)


def draw(judged: Judged, place: Place) -> list[Path]:
    """Draw an ablation's figure with its sidecar; return the paths written."""
    from bnstudy import figures, provenance

    name = judged.ablation.name
    figure = figures.draw(figures.Drawing(judged.ablation, judged.finished, judged.preview))
    records = place.ledger(name).recorded()
    sidecar = figures.sidecar(judged.ablation, records, place.profile, provenance.code()["commit"])
    return figures.save(figure, place.folder / "figures", name, sidecar)


def stale_figure(ablation: Ablation, place: Place, records: dict[str, Record]) -> str:
    """Return why the ablation's figure is not of its present records, or nothing."""
    import json

    from bnstudy.figures import data_hash

    path = place.folder / "figures" / f"{ablation.name}.json"
    held = {trial.id: records[trial.id] for trial in ablation.trials if trial.id in records}
    try:
        sidecar = json.loads(path.read_text())
        drawn = set(sidecar["trials"])
    except FileNotFoundError:
        return "not drawn yet"
    except (OSError, ValueError, KeyError, TypeError):
        return f"its sidecar {path} cannot be read"
    if drawn != set(held):
        return f"drawn from {len(drawn)} trials, {len(held)} are recorded"
    return "" if sidecar.get("data_hash") == data_hash(held) else "its records have changed"
