"""Opens Optuna's storages, and the lease that keeps a second coordinator from writing.

What a storage holds is never the truth: it is rebuilt from the ledger.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
from filelock import FileLock, Timeout
from optuna.storages import BaseStorage

from bnstudy.errors import BnstudyError
from bnstudy.journal import open_journal


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
        return open_journal(path, notify)
