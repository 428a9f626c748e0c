"""The journal is Optuna's own, only quicker; whatever happens to it, the ledger is what counts."""

import os
from pathlib import Path

import fakes
import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from bnstudy.books.executors import InProcess
from bnstudy.books.journal import open_journal
from bnstudy.books.ledger import Ledger
from bnstudy.books.schedule import Run


def execute(folder: Path, seeds: int, said: list[str] | None = None) -> Ledger:
    """Run what is missing of a design; return its ledger."""
    ledger = Ledger(folder / "lr-sweep.jsonl", pytest.fail)
    journal = open_journal(folder / "optuna.journal", (said if said is not None else []).append)
    Run(fakes.design(seeds), ledger, journal, InProcess(fakes.train)).execute()
    return ledger


def told(storage: JournalStorage) -> list[tuple[object, ...]]:
    [name] = optuna.get_all_study_names(storage)
    trials = optuna.load_study(study_name=name, storage=storage).get_trials()
    return [(t.number, t.state, t.params, t.value, t.user_attrs) for t in trials]


def test_optuna_s_own_reader_and_writer_share_the_file(tmp_path: Path) -> None:
    """The dashboard is such a one, beside a run that goes on."""
    execute(tmp_path, seeds=2)
    path = tmp_path / "optuna.journal"
    ours, theirs = open_journal(path, pytest.fail), JournalStorage(JournalFileBackend(str(path)))
    assert told(ours) == told(theirs) and len(told(ours)) == 12
    optuna.load_study(study_name=optuna.get_all_study_names(theirs)[0], storage=theirs).ask()
    assert len(told(ours)) == len(told(theirs)) == 13


def test_the_journal_waits_for_no_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One flush a pack, the ledger's: on a busy disk one takes 6 ms, and Optuna makes six a trial."""
    flushed: list[int] = []
    monkeypatch.setattr(os, "fsync", flushed.append)
    execute(tmp_path, seeds=2)
    assert len(flushed) == 4


def test_a_journal_damaged_at_any_byte_is_rebuilt_or_does_no_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each byte in turn would take minutes: every 61st, changed, left out, doubled, or the last one left."""
    monkeypatch.setattr(os, "fsync", lambda file: None)
    before = execute(tmp_path, seeds=1)
    lines, path = before.path.read_bytes(), tmp_path / "optuna.journal"
    whole = path.read_bytes()
    set_aside = 0
    for place in range(0, len(whole), 61):
        old = whole[place : place + 1]
        new = [bytes([old[0] ^ 1]), b"", old + old, old][place % 4]
        path.write_bytes(whole[:place] + new + (b"" if place % 4 == 3 else whole[place + 1 :]))
        before.path.write_bytes(lines)
        said: list[str] = []
        assert fakes.seen(execute(tmp_path, 2, said)) == undisturbed()
        set_aside += len(said)
        execute(tmp_path, seeds=3)
    assert set_aside > 10 and path.with_suffix(".journal.damaged").exists()


def undisturbed() -> list[tuple[str, object]]:
    return sorted(((t.id, fakes.outcome(t)) for t in fakes.design(2).trials), key=lambda pair: pair[0])
