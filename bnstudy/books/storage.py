"""Opens Optuna's storages, and holds the lease that keeps a second coordinator from writing.

By default both are files beside the ledgers: a journal, and a lock that the system releases. A team's
PostgreSQL database holds the queue of many results folders, and the lease is held there as well, since a
folder that two machines share may not know of each other's locks. What a storage holds is never the truth:
it is rebuilt from the ledger.
"""

import hashlib
import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
from filelock import FileLock, Timeout
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend

from bnstudy.address import Address
from bnstudy.books.journal import open_journal
from bnstudy.errors import BnstudyError

if TYPE_CHECKING:
    from psycopg import Connection

Held = Callable[[], None]
"""Raises `BnstudyError` once the lease is lost."""

_PATIENCE: dict[str, Any] = {
    "application_name": "bnstudy",
    "connect_timeout": 10,
    "keepalives_idle": 20,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
"""Seconds, the last in milliseconds: a network that is gone is noticed within a minute."""

_SESSION = """
    select set_config(name, value, false) from (values
        ('idle_session_timeout', '0'),
        ('tcp_keepalives_idle', '20'), ('tcp_keepalives_interval', '10'), ('tcp_keepalives_count', '3')
    ) as wanted (name, value) where name in (select name from pg_settings)
"""
"""A pack may train for hours between two questions; a machine that is gone frees its lock in a minute."""

_STILL_HELD = """
    select true from pg_locks where locktype = 'advisory' and pid = pg_backend_pid() and granted
"""


class Taken(BnstudyError):
    """Another coordinator holds the lease."""


@contextmanager
def lease(folder: Path, address: Address | None = None) -> Iterator[Held]:
    """Hold a results folder against other coordinators; yield what raises once the lease is lost.

    The system, or the database, releases it when the process dies. Raises `Taken`.
    """
    with ExitStack() as stack:
        checks = [stack.enter_context(_file_lease(folder))]
        if address is not None:
            checks.append(stack.enter_context(_database_lease(folder, address)))

        def held() -> None:
            for check in checks:
                check()

        yield held


@contextmanager
def _file_lease(folder: Path) -> Iterator[Held]:
    path = folder / ".lock"
    lock = FileLock(path)
    try:
        with _writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=0)
            mine = path.stat().st_ino
    except Timeout:
        raise Taken(
            f"Another bnstudy is running on {folder}. Wait for it to end, or choose another folder "
            "with --results."
        ) from None

    def held() -> None:
        if not path.exists() or path.stat().st_ino != mine:
            raise _lost(folder, f"{path} was removed")

    try:
        yield held
    finally:
        lock.release()


@contextmanager
def _database_lease(folder: Path, address: Address) -> Iterator[Held]:
    """Hold an advisory lock, which lasts as long as the connection of its own that it was taken on."""
    with _asking(address):
        connection = _connect(address, autocommit=True)
    with closing(connection):
        with _asking(address):
            connection.execute(_SESSION)
            question = "select pg_try_advisory_lock(%s)"
            taken = connection.execute(question, [_key(identity(folder))]).fetchone()
        if taken != (True,):
            raise Taken(
                f"Another bnstudy, perhaps on another machine, is running on {folder} with {address}. Wait "
                f"for it to end. If {folder} is a copy of another results folder, delete {_identity(folder)}."
            )
        try:
            yield partial(_still_held, connection, folder, address)
        finally:
            with suppress(Exception):  # a dropped connection has released it already
                connection.execute("select pg_advisory_unlock_all()")


def _still_held(connection: "Connection[Any]", folder: Path, address: Address) -> None:
    import psycopg

    try:
        if connection.execute(_STILL_HELD).fetchone():
            return
        why = "the lock is gone"
    except psycopg.Error as error:
        why = in_short(error)
    raise _lost(folder, f"{address}: {why}")


def _lost(folder: Path, why: str) -> BnstudyError:
    return BnstudyError(
        f"The lease on {folder} was lost ({why}), so that another bnstudy may be running there: this one "
        "records nothing more. What is recorded is safe; the same command goes on from there."
    )


def identity(folder: Path) -> str:
    """Return what tells a results folder from all others, on every machine that sees it; made once."""
    path = _identity(folder)
    with _writing(path):
        folder.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError), path.open("x") as file:
            file.write(uuid.uuid4().hex[:12])
        text = path.read_text(errors="replace")
    if not re.fullmatch("[0-9a-f]{12}", text):
        raise BnstudyError(f"{path} should hold twelve hexadecimal digits; delete it to get new ones.")
    return text


def _identity(folder: Path) -> Path:
    return folder / ".identity"


def _key(text: str) -> int:
    """Return a PostgreSQL bigint that stands for a text."""
    digest = hashlib.sha256(f"bnstudy {text}".encode()).digest()
    return int.from_bytes(digest[:8], signed=True)


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


def open_storage(folder: Path, notify: Callable[[str], None], address: Address | None = None) -> BaseStorage:
    """Return the storage at an address, or the journal in a results folder. The caller holds the lease.

    A damaged journal is set aside, for the ledger has it all.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if address is not None:
        return _database(address)
    path = _journal(folder)
    with _writing(path):
        return open_journal(path, notify)


def read_storage(folder: Path, address: Address | None = None) -> BaseStorage:
    """Return the storage for one who only reads, which touches no lock of a run that goes on."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if address is not None:
        _database(address)  # makes the tables
        return _database(address, reading=True)
    path = _journal(folder)
    with _writing(path):
        return JournalStorage(JournalFileBackend(str(path)))


def _journal(folder: Path) -> Path:
    return folder / "optuna.journal"


def _database(address: Address, reading: bool = False) -> BaseStorage:
    """Open Optuna's tables, which the first to come makes while the others wait.

    Optuna and SQLAlchemy are handed connections and never see the address. A connection that a firewall
    dropped while packs were training is replaced.
    """
    options = {"creator": partial(_connect, address, reading=reading), "pool_pre_ping": True}
    with _asking(address), _connect(address, autocommit=True) as connection:
        connection.execute("select pg_advisory_lock(%s)", [_key("tables")])
        return RDBStorage("postgresql+psycopg://", engine_kwargs=options)


def _connect(address: Address, *, autocommit: bool = False, reading: bool = False) -> "Connection[Any]":
    """Return a connection; what the address says of it goes before what is set here."""
    import psycopg
    from psycopg.conninfo import conninfo_to_dict, make_conninfo

    try:
        wanted = make_conninfo(**_PATIENCE | conninfo_to_dict(address.secret))
    except psycopg.Error:  # it quotes the address
        raise BnstudyError(f"PostgreSQL's client cannot read the options of {address}.") from None
    connection = psycopg.connect(wanted, autocommit=autocommit)
    connection.read_only = reading
    return connection


@contextmanager
def _asking(address: Address) -> Iterator[None]:
    """Turn what a database refuses into a sentence."""
    try:
        yield
    except BnstudyError:
        raise
    except ModuleNotFoundError as error:
        raise BnstudyError(
            f"{address} needs one more package ({error.name}): pip install 'bnstudy[postgresql]'."
        ) from None
    except Exception as error:  # psycopg's, SQLAlchemy's and Optuna's have no base in common
        raise BnstudyError(
            f"Cannot use the storage {address}: {in_short(error)}. A password belongs into ~/.pgpass or into "
            "the address in the environment variable BNSTUDY_STORAGE. What is recorded is safe."
        ) from None


def in_short(error: Exception) -> str:
    """Return the first line of a message: the others hold statements and addresses of web pages."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].rstrip(".")
