"""The ledger: the append-only file of one ablation's records, and the truth about what was measured.

A last line that was cut off in the middle of a write is expected and its trials run again; any other damage
is an error that names the line. Lines may stand in any order, as in a ledger merged from two machines.
"""

import dataclasses
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

from bnstudy.books.appending import append, reading, tail
from bnstudy.books.record import Record, is_torn, parse
from bnstudy.design import Ablation
from bnstudy.errors import BnstudyError
from bnstudy.outcome import Outcome
from bnstudy.recipe import FIELDS

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Ledger", "Record", "chosen", "repeated"]

_RESTORE = (
    "Restore the file from git or a backup, or move that line out of the file: its trials then run again."
)


class Ledger:
    """The file `<ablation>.jsonl`, which may not exist yet; a `BnstudyError` tells what is wrong with it.

    Everyone may read. Only the coordinator of a run, one at a time, calls `append` and
    `set_aside_torn_line`. `notify` is told of a line that was cut off; `held` raises where the coordinator
    has lost its lease, and is asked before every append.
    """

    def __init__(
        self,
        path: Path,
        notify: Callable[[str], None] = warnings.warn,
        held: Callable[[], None] = lambda: None,
    ) -> None:
        """The name of the file names the ablation; lines of another ablation are an error."""
        self.path = path
        self.torn_path = path.with_name(f"{path.name}.torn")
        self._notify, self._held = notify, held

    def records(self) -> list[Record]:
        """Return every record, in the order of the file; a torn last line is skipped, with a warning."""
        found = []
        with _telling(f"Cannot read {self.path}"), reading():
            for number, line in self._lines():
                if not line.endswith(b"\n") and is_torn(line):
                    self._notify(
                        f"{self.path}, line {number}: the last line was cut off in the middle of a write and "
                        "is skipped; `bnstudy run` sets it aside and runs its trials again."
                    )
                    break
                found.append(self._record(number, line))
        return found

    def recorded(self) -> dict[str, Record]:
        """Return one record for each trial id: the `chosen` one."""
        return chosen(self.records())

    def append(self, records: Sequence[Record]) -> None:
        """Write all records in one write and flush them to disk; when that fails, none of them is kept."""
        lines = [self._checked(record) for record in records]
        if not lines:
            return
        self._held()
        self.set_aside_torn_line()
        with _telling(f"Cannot write to {self.path}, so {len(lines)} trained trials were not recorded"):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            start = b"\n" if tail(self.path) else b""
            append(self.path, start + b"".join(lines))

    def set_aside_torn_line(self) -> bool:
        """Move a torn last line to `<ablation>.jsonl.torn`, with a warning; return whether there was one."""
        with _telling(f"Cannot set aside the torn last line of {self.path}"):
            last = tail(self.path)
            if not last.strip() or not is_torn(last):
                return False
            append(self.torn_path, last + b"\n")
            os.truncate(self.path, self.path.stat().st_size - len(last))
        self._notify(
            f"{self.path}: the last line was cut off in the middle of a write and was moved to "
            f"{self.torn_path.name}; its trials run again."
        )
        return True

    def frame(
        self, ablation: Ablation | None = None, recorded: Mapping[str, Record] | None = None
    ) -> "pd.DataFrame":
        """Return a table with one row for each recorded trial; `recorded` is what was read already.

        Columns: ablation, trial, seed, one for each factor with the names of its levels, every field of
        `Outcome` (numbers as float64, NaN where there is none; lists as tuples), fingerprint, and
        `recipe.<field>`. With an ablation: its trials only, in its order, levels as ordered categories.
        """
        import pandas as pd

        rows = list(_rows(self.recorded() if recorded is None else recorded, ablation))
        factors = _factors(rows, ablation)
        frame = pd.DataFrame([row for _, row in rows], columns=_columns(factors)).astype(_DTYPES)
        for name in factors:
            frame[name] = [arm.get(name) for arm, _ in rows]
        for factor in ablation.factors if ablation else ():
            names = [level.name for level in factor.levels]
            frame[factor.name] = pd.Categorical(frame[factor.name], categories=names, ordered=True)
        return frame

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        """Yield the lines that are not blank, with their numbers from 1; none without a file."""
        with suppress(FileNotFoundError), self.path.open("rb") as file:
            yield from ((number, line) for number, line in enumerate(file, 1) if line.strip())

    def _record(self, number: int, line: bytes) -> Record:
        try:
            return parse(line, self.path.stem)
        except ValueError as error:
            raise BnstudyError(f"{self.path}, line {number}: {error}. {_RESTORE}") from None
        except BnstudyError as error:
            raise BnstudyError(f"{self.path}, line {number}: {error}") from None

    def _checked(self, record: Record) -> bytes:
        """Return a record's line, or raise `ValueError` for one that would not read back."""
        line = record.line().encode()
        try:
            parse(line, self.path.stem)
        except (ValueError, BnstudyError) as error:
            raise ValueError(f"the record of trial {record.trial} would not read back: {error}") from error
        return line + b"\n"


def chosen(records: Iterable[Record]) -> dict[str, Record]:
    """Return one record for each trial id: the finished one that was recorded first, or else the last one.

    So running a trial again lets nobody choose among outcomes, and neither does the order of the lines.
    """
    found: dict[str, Record] = {}
    for record in records:
        held = found.setdefault(record.trial, record)
        if held is not record:
            pair = sorted((held, record), key=_moment)
            found[record.trial] = next((each for each in pair if each.outcome.finished), pair[-1])
    return found


def repeated(records: Iterable[Record]) -> dict[str, list[Record]]:
    """Return the finished records of each trial that has several, the one that counts first."""
    finished: dict[str, list[Record]] = {}
    for record in records:
        if record.outcome.finished:
            finished.setdefault(record.trial, []).append(record)
    return {trial: sorted(held, key=_moment) for trial, held in finished.items() if len(held) > 1}


def _moment(record: Record) -> tuple[str, bytes]:
    """Return when a record was made; the first versions did not say, and then its line's text decides."""
    return record.provenance.get("recorded", ""), record.source


@contextmanager
def _telling(what: str) -> Iterator[None]:
    """Turn what the system refuses into a sentence."""
    try:
        yield
    except OSError as error:
        raise BnstudyError(
            f"{what}: {error.strerror or error}. Free the disk or mend the permission, or choose another "
            "folder with --results, then run the command again."
        ) from error


_DTYPES = {"seed": "int64"} | {
    name: "boolean" if hint == bool | None else "float64"
    for name, hint in get_type_hints(Outcome).items()
    if hint in (float | None, int | None, bool | None)
}
_RECIPE = {name: f"recipe.{name}" for name in FIELDS if name != "revisions"}


def _rows(
    held: Mapping[str, Record], ablation: Ablation | None
) -> Iterator[tuple[Mapping[str, str], dict[str, Any]]]:
    """Yield the arm and the other columns of each trial, in an order that the file's does not change.

    With an ablation its names win over the record's.
    """
    if ablation is None:
        ordered = sorted(held.values(), key=lambda r: (r.seed, sorted(r.arm.items()), r.trial))
        pairs = [(record.arm, record) for record in ordered]
    else:
        pairs = [(dict(t.arm.levels), held[t.id]) for t in ablation.trials if t.id in held]
    for arm, record in pairs:
        row = {"ablation": record.ablation, "trial": record.trial, "seed": record.seed}
        recipe = {column: getattr(record.recipe, name) for name, column in _RECIPE.items()}
        yield arm, row | vars(record.outcome) | {"fingerprint": record.recipe.fingerprint} | recipe


def _factors(rows: Sequence[tuple[Mapping[str, str], Any]], ablation: Ablation | None) -> list[str]:
    if ablation is not None:
        return [factor.name for factor in ablation.factors]
    return list(dict.fromkeys(name for arm, _ in rows for name in arm))


def _columns(factors: Sequence[str]) -> list[str]:
    """Return the columns of a frame; a factor must not be named like another of them."""
    outcome = [f.name for f in dataclasses.fields(Outcome)]
    others = ["ablation", "trial", "seed", *outcome, "fingerprint", *_RECIPE.values()]
    for name in factors:
        if name in others:
            raise BnstudyError(f"A factor cannot be named {name!r}: tables use that name. Rename it.")
    return [*others[:3], *factors, *others[3:]]
