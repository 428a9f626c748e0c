"""Which trials a run takes up: those without a record, and failed ones within a limit, or as asked for."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from bnstudy import packs
from bnstudy.design import Ablation, Trial
from bnstudy.errors import BnstudyError
from bnstudy.outcome import UNFINISHED
from bnstudy.packs import Pack
from bnstudy.words import counted

if TYPE_CHECKING:
    from bnstudy.books.record import Record

LIMIT = 9
"""Starts of a trial after which `run` leaves it alone: three runs that each start it three times. What failed
so often fails for a reason, and each further run would spend the time of three packs on it."""

Recorded = Mapping[str, "Record"]


def attempts(record: Record | None) -> int:
    """Return how often a trial without an outcome was started, in all runs."""
    return record.provenance.get("attempts", 1) if record and not record.outcome.finished else 0


def reasons(record: Record | None) -> list[str]:
    """Return why each start of a trial without an outcome failed, as far as it was kept."""
    if record is None or record.outcome.finished:
        return []
    return list(record.provenance.get("failures") or [record.outcome.reason or record.outcome.status])


def todo(ablation: Ablation, recorded: Recorded, again: Collection[str] = ()) -> tuple[Pack, ...]:
    """Return the packs of the trials that want a record.

    With statuses to run `again`: the failed trials of these alone, however often they failed.
    """

    def settled(trial: Trial) -> bool:
        record = recorded.get(trial.id)
        if record is None or record.outcome.finished:
            return record is not None or bool(again)
        return record.outcome.status not in again if again else attempts(record) >= LIMIT

    return packs.plan(ablation, {trial.id for trial in ablation.trials if settled(trial)})


def left_alone(ablation: Ablation, recorded: Recorded) -> dict[str, str]:
    """Return why the trials failed that `run` no longer takes up, by their ids."""
    held = {trial.id: recorded[trial.id] for trial in ablation.trials if trial.id in recorded}
    return {
        trial: f"{reasons(record)[-1]}, {attempts(record)} times"
        for trial, record in held.items()
        if attempts(record) >= LIMIT
    }


def statuses(text: str) -> tuple[str, ...]:
    """Return the statuses of a list with commas."""
    names = tuple(filter(None, (name.strip() for name in text.split(","))))
    wrong = [name for name in names if name not in UNFINISHED]
    if wrong or not names:
        raise BnstudyError(
            f"--status {text!r}: only {', '.join(UNFINISHED)} can run again, as in --status crashed,lost; "
            "what ran to its end keeps its outcome."
        )
    return names


def refuse(left: Mapping[str, str], path: Path) -> None:
    """Raise `BnstudyError` where trials failed too often to be taken up, without which nothing goes on."""
    if left:
        raise BnstudyError(
            f"{counted(len(left), 'trial')} failed too often to be run again ({next(iter(left.values()))}), "
            "and what comes next follows from what they measure. Mend the cause, then move the lines of "
            f"{', '.join(left)} out of {path}."
        )
