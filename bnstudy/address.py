"""The address of a team's storage, and its password out of everyone's sight."""

import re
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from bnstudy.errors import BnstudyError

FORM = "postgresql://USER@HOST/DATABASE"

_DRIVERS = ("postgresql", "postgres", "postgresql+psycopg")
_SQLITE = (
    "SQLite cannot be the storage: when two processes claim a queued trial at the same moment, both may get "
    "it (Optuna's own tests leave it out)."
)
_OTHER = "The storage must be a PostgreSQL database: no other was tested with bnstudy."
_INSTEAD = f"Leave --storage out for a journal beside the ledgers, or give a team's PostgreSQL: {FORM}."


@dataclass(frozen=True)
class Address:
    """Where a PostgreSQL database is. As text it shows `***` in place of the password."""

    secret: str = field(repr=False)
    """The whole address, for PostgreSQL's client alone."""
    shown: str

    def __str__(self) -> str:
        return self.shown


def parse(text: str) -> Address:
    """Return the address that a text is.

    Raises `BnstudyError`, which quotes nothing of the text: a slip of the pen puts the password anywhere.
    """
    kind, slashes, rest = text.strip().partition("://")
    if not slashes:
        raise BnstudyError(f"The storage's address has no ://. {_INSTEAD}")
    if kind not in _DRIVERS:
        why = _SQLITE if kind.startswith("sqlite") else _OTHER
        raise BnstudyError(f"{why} {_INSTEAD}")
    user, at, place = rest.rpartition("@")
    if re.search(r"[\s@/?#\[\]]", user):
        raise BnstudyError(
            "In the storage's address the user and the password need their special characters encoded: %40 "
            f"for @, %2F for /, %3A for :, %3F for ?, %23 for #. {FORM}, and the password best in ~/.pgpass."
        )
    try:
        parts = urlsplit(f"//{place}")
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        raise BnstudyError(
            f"The storage's address has a host or port that cannot be read. {_INSTEAD}"
        ) from None
    name, colon, _ = user.partition(":")
    host = parts.hostname or ""
    where = f"[{host}]" if ":" in host else host
    shown = f"postgresql://{name}{':***' if colon else ''}{at}{where}{port}{parts.path}"
    return Address(f"postgresql://{rest}", shown)
