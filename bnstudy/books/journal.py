"""Optuna's journal: a file that the holder of the lease writes, rebuilt from the ledger if it is damaged."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend
from pydantic_core import from_json

from bnstudy.books.appending import reading, tail, write


class Backend(BaseJournalBackend):
    """The file of a journal, in Optuna's own format, so that its dashboard reads it.

    Without Optuna's lock, for the lease is one, and without its flush to the disk after each of the lines
    of a trial, for the ledger has it all: on a slow disk that flush took 36 of a trial's 40 milliseconds.
    """

    def __init__(self, path: Path) -> None:
        """Open the file, which is made if need be."""
        self._file = path.open("ab+", buffering=0)
        self._number = self._offset = 0

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        """Yield the lines from a number on: of the beginning, or of the first that was not read yet."""
        if log_number_from != self._number:
            self._number = self._offset = 0
        self._file.seek(self._offset)
        for line in (self._file.readall() or b"").splitlines(keepends=True):
            self._offset += len(line)
            self._number += 1
            if self._number > log_number_from:
                yield from_json(line)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Write lines at the end."""
        lines = (json.dumps(log, separators=(",", ":")) + "\n" for log in logs)
        write(self._file, "".join(lines).encode(), flush=False)


def open_journal(path: Path, notify: Callable[[str], None]) -> JournalStorage:
    """Return the storage in a file; a damaged one is set aside, and the queue is rebuilt from the ledger."""
    try:
        _check_end(path)
        with reading():
            journal = JournalStorage(Backend(path))
            _check(journal)
        return journal
    except OSError:
        raise
    except Exception:  # whatever a journal's damage makes of its reader
        path.replace(path.with_suffix(".journal.damaged"))
    notify(f"{path} is damaged and was set aside; the queue is rebuilt from the ledger.")
    return JournalStorage(Backend(path))


def _check_end(path: Path) -> None:
    """Raise `ValueError` for a cut last line: the next one would be written behind it."""
    if tail(path):
        raise ValueError("the last line has no end")


def _check(journal: JournalStorage) -> None:
    """Raise `ValueError` for a study in which a parameter has two distributions: no trial could be added."""
    for name in optuna.get_all_study_names(journal):
        seen: dict[str, object] = {}
        for trial in optuna.load_study(study_name=name, storage=journal).get_trials(deepcopy=False):
            for parameter, distribution in trial.distributions.items():
                what = (
                    type(distribution),
                    vars(distribution),
                )  # Optuna's own comparison takes 50 times as long
                if seen.setdefault(parameter, what) != what:
                    raise ValueError(f"{parameter} has two distributions")
