"""Opens Optuna's storages, and the lease that keeps a second coordinator from writing.

What a storage holds is never the truth: it is rebuilt from the ledger.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import optuna
from filelock import FileLock, Timeout
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

from bnstudy.errors import BnstudyError


@contextmanager
def lease(folder: Path) -> Iterator[None]:
    """Hold a results folder against other coordinators; the system releases it when the process dies."""
    lock = FileLock(folder / ".lock")
    try:
        with _writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=0)
    except Timeout:
        raise BnstudyError(
            f"Another bnstudy is running on {folder}. Wait for it to end, or choose another folder "
            "with --results."
        ) from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Turn what the system refuses into a sentence."""
    try:
        yield
    except Timeout:  # one of filelock's, and an OSError
        raise
    except OSError as error:
        raise BnstudyError(
            f"Cannot write to {path}: {error.strerror or error}. Choose another folder with --results."
        ) from error


def open_storage(folder: Path, notify: Callable[[str], None]) -> BaseStorage:
    """Return the storage in a results folder; a damaged journal is set aside, for the ledger has it all."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    path = folder / "optuna.journal"
    with _writing(path):
        try:
            _check_last_line(path)
            return _journal(path)
        except OSError:
            raise
        except Exception:  # whatever a journal's damage makes of its reader
            path.replace(path.with_suffix(".journal.damaged"))
        notify(f"{path} is damaged and was set aside; the queue is rebuilt from the ledger.")
        return _journal(path)


def _journal(path: Path) -> BaseStorage:
    """Open a journal, without the lock that a killed coordinator may have left: the lease says it is dead.

    Optuna's default lock waits for such a one for 30 seconds, and for ever where the path is relative.
    """
    lock = JournalFileOpenLock(str(path), grace_period=3)  # seconds; a write takes milliseconds
    with suppress(RuntimeError):  # there is none
        lock.release()
    return JournalStorage(JournalFileBackend(str(path), lock))


def _check_last_line(path: Path) -> None:
    """Raise `ValueError` for a cut last line: Optuna reads over it and writes the next one behind it."""
    text = path.read_bytes() if path.exists() else b""
    if text and not text.endswith(b"\n"):
        raise ValueError("the last line has no end")
    for line in text.splitlines()[-1:]:
        json.loads(line)
