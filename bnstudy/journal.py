"""Optuna's journal: a file that the holder of the lease writes, rebuilt from the ledger if it is damaged."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend
from optuna.trial import FrozenTrial, TrialState

from bnstudy.appending import tail, write


class Backend(BaseJournalBackend):
    """The file of a journal, in Optuna's own format, so that its dashboard reads it.

    Without Optuna's lock, for the lease is one, and without its flush to the disk after each of the six lines
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
                yield json.loads(line)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Write lines at the end."""
        lines = (json.dumps(log, separators=(",", ":")) + "\n" for log in logs)
        write(self._file, "".join(lines).encode(), flush=False)


class Journal(JournalStorage):
    """A journal whose queue is asked for what waits in a time that does not grow with what is done."""

    def __init__(self, backend: BaseJournalBackend) -> None:
        """Read the journal."""
        super().__init__(backend)
        self._begun: dict[int, int] = {}
        """Of each study: as many first trials wait no more."""

    def get_all_trials(self, study_id: int, deepcopy: bool = True, states: Any = None) -> list[FrozenTrial]:
        """Return the trials of a study; each `ask` wants those that wait, of ten thousand that do not."""
        if deepcopy or states != (TrialState.WAITING,):
            return super().get_all_trials(study_id, deepcopy, states)
        waiting: list[FrozenTrial] = []
        number = self._begun.get(study_id, 0)
        while True:
            try:
                trial = self.get_trial(self.get_trial_id_from_study_id_trial_number(study_id, number))
            except KeyError:
                return waiting
            number += 1
            if trial.state == TrialState.WAITING:
                waiting.append(trial)
            elif not waiting:
                self._begun[study_id] = number


def open_journal(path: Path, notify: Callable[[str], None]) -> JournalStorage:
    """Return the storage in a file; a damaged one is set aside, and the queue is rebuilt from the ledger."""
    try:
        _check_end(path)
        journal = Journal(Backend(path))
        _check(journal)
        return journal
    except OSError:
        raise
    except Exception:  # whatever a journal's damage makes of its reader
        path.replace(path.with_suffix(".journal.damaged"))
    notify(f"{path} is damaged and was set aside; the queue is rebuilt from the ledger.")
    return Journal(Backend(path))


def _check_end(path: Path) -> None:
    """Raise `ValueError` for a cut last line: the next one would be written behind it."""
    if tail(path):
        raise ValueError("the last line has no end")


def _check(journal: JournalStorage) -> None:
    """Raise `ValueError` for a study in which a parameter has two distributions: no trial could be added."""
    for name in optuna.get_all_study_names(journal):
        seen: dict[str, BaseDistribution] = {}
        for trial in optuna.load_study(study_name=name, storage=journal).get_trials(deepcopy=False):
            for parameter, distribution in trial.distributions.items():
                if seen.setdefault(parameter, distribution) != distribution:
                    raise ValueError(f"{parameter} has two distributions")
