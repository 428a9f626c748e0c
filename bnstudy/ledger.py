"""The ledger: the append-only file of one ablation's records, and the truth about what was measured.

One record is one line of JSON. Its last field, in all schemas to come, is a checksum: 16 hexadecimal digits
of the SHA-256 of the line as it would be without that field. So a changed digit is noticed, by any program
that can read bytes. A last line that was cut off in the middle of a write is expected and its trials run
again; any other damage is an error that names the line.
"""

import dataclasses
import hashlib
import json
import os
import reprlib
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, with_config
from pydantic_core import from_json

from bnstudy.design import Ablation, Trial, trial_id
from bnstudy.errors import BnstudyError
from bnstudy.outcome import FINISHED, UNFINISHED, Outcome
from bnstudy.recipe import FIELDS, Recipe, canonical_json

if TYPE_CHECKING:
    import pandas as pd

SCHEMA = 1
"""Rises when old readers would misread new lines; a field that is added does not raise it."""

_RESTORE = (
    "Restore the file from git or a backup, or move that line out of the file: its trials then run again."
)


@dataclass(frozen=True)
class Record:
    """A trial, what it measured and what made it: one line of a ledger."""

    ablation: str
    trial: str
    arm: dict[str, str]
    seed: int
    recipe: Recipe
    outcome: Outcome
    provenance: dict[str, Any]

    @staticmethod
    def of(ablation: str, trial: Trial, outcome: Outcome, provenance: Mapping[str, Any]) -> "Record":
        """Return the record of a trial of the ablation of that name."""
        arm = trial.arm
        return Record(ablation, trial.id, dict(arm.levels), trial.seed, arm.recipe, outcome, dict(provenance))

    def line(self) -> str:
        """Return the line of the file, without its newline; numbers that are not finite become null."""
        parts = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        parts |= {"recipe": self.recipe.as_dict(), "outcome": dataclasses.asdict(self.outcome)}
        return _sealed(
            json.dumps(_plain({"schema": SCHEMA} | parts), separators=(",", ":")).encode()
        ).decode()


class Ledger:
    """The file `<ablation>.jsonl`, which may not exist yet; a `BnstudyError` tells what is wrong with it.

    Everyone may read. Only the coordinator of a run, one at a time, calls `append` and
    `set_aside_torn_line`. `notify` is told of a line that was cut off.
    """

    def __init__(self, path: Path, notify: Callable[[str], None] = warnings.warn) -> None:
        """The name of the file names the ablation; lines of another ablation are an error."""
        self.path = path
        self.torn_path = path.with_name(f"{path.name}.torn")
        self._notify = notify

    def records(self) -> list[Record]:
        """Return every record, in the order of the file; a torn last line is skipped, with a warning."""
        found = []
        with _telling(f"Cannot read {self.path}"):
            for number, line in self._lines():
                if not line.endswith(b"\n") and _is_torn(line):
                    self._notify(
                        f"{self.path}, line {number}: the last line was cut off in the middle of a write and "
                        "is skipped; `bnstudy run` sets it aside and runs its trials again."
                    )
                    break
                found.append(self._record(number, line))
        return found

    def recorded(self) -> dict[str, Record]:
        """Return one record for each trial id: its first finished one, or else its last unfinished one."""
        chosen: dict[str, Record] = {}
        for record in self.records():
            held = chosen.get(record.trial)
            if held is None or not held.outcome.finished:
                chosen[record.trial] = record
        return chosen

    def append(self, records: Sequence[Record]) -> None:
        """Write all records in one write and flush them to disk; when that fails, none of them is kept."""
        lines = [self._checked(record) for record in records]
        if not lines:
            return
        self.set_aside_torn_line()
        with _telling(f"Cannot write to {self.path}, so {len(lines)} trained trials were not recorded"):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            start = b"\n" if _tail(self.path) else b""
            _append(self.path, start + b"".join(lines))

    def set_aside_torn_line(self) -> bool:
        """Move a torn last line to `<ablation>.jsonl.torn`, with a warning; return whether there was one."""
        with _telling(f"Cannot set aside the torn last line of {self.path}"):
            tail = _tail(self.path)
            if not tail.strip() or not _is_torn(tail):
                return False
            _append(self.torn_path, tail + b"\n")
            os.truncate(self.path, self.path.stat().st_size - len(tail))
        self._notify(
            f"{self.path}: the last line was cut off in the middle of a write and was moved to "
            f"{self.torn_path.name}; its trials run again."
        )
        return True

    def frame(self, ablation: Ablation | None = None) -> "pd.DataFrame":
        """Return a table with one row for each recorded trial.

        Columns: ablation, trial, seed, one for each factor with the names of its levels, every field of
        `Outcome` (numbers as float64, NaN where there is none; lists as tuples), fingerprint, and
        `recipe.<field>`. With an ablation: its trials only, in its order, levels as ordered categories.
        """
        import pandas as pd

        rows = list(_rows(self.recorded(), ablation))
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
            return _parse(line, self.path.stem)
        except ValueError as error:
            raise BnstudyError(f"{self.path}, line {number}: {error}. {_RESTORE}") from None
        except BnstudyError as error:
            raise BnstudyError(f"{self.path}, line {number}: {error}") from None

    def _checked(self, record: Record) -> bytes:
        """Return a record's line, or raise `ValueError` for one that would not read back."""
        line = record.line().encode()
        try:
            _parse(line, self.path.stem)
        except (ValueError, BnstudyError) as error:
            raise ValueError(f"the record of trial {record.trial} would not read back: {error}") from error
        return line + b"\n"


def _parse(line: bytes, ablation: str) -> Record:
    """Return the record of a line. Raise `ValueError` for damage, `BnstudyError` for another version's."""
    line = line.strip()
    if line != _sealed(line.rpartition(b',"checksum":')[0] + b"}"):
        raise ValueError(_damage(line))
    parts = _validated(line)
    if parts.ablation != ablation:
        raise ValueError(f"it is a record of {parts.ablation!r} in the ledger of {ablation!r}")
    recipe = _recipe(canonical_json(parts.recipe))
    if parts.trial != trial_id(recipe, parts.seed):
        raise ValueError(f"its recipe and seed make trial {trial_id(recipe, parts.seed)}, not {parts.trial}")
    if parts.outcome.status not in FINISHED + UNFINISHED:
        raise _newer("outcome.status", parts.outcome.status)
    return Record(ablation, parts.trial, parts.arm, parts.seed, recipe, parts.outcome, parts.provenance)


def _sealed(line: bytes) -> bytes:
    """Return the JSON of an object with its checksum as its last field."""
    return line[:-1] + b',"checksum":"%s"}' % hashlib.sha256(line).hexdigest()[:16].encode()


def _damage(line: bytes) -> str:
    """Return what is wrong with a line that does not fit its checksum."""
    try:
        from_json(line, allow_inf_nan=False)
    except ValueError as error:
        return f"it is not JSON ({str(error).replace('line 1 column', 'byte')})"
    return "its content does not fit its checksum, so something in it was changed"


def _is_torn(line: bytes) -> bool:
    """Return whether a last line without its newline is only the beginning of one.

    The zeros are what some file systems leave at the end after a loss of power.
    """
    try:
        from_json(line.rstrip(b"\0"))
    except ValueError as error:
        return str(error).startswith("EOF")
    return False


@with_config(ConfigDict(strict=True, extra="forbid", allow_inf_nan=False))
@dataclass(frozen=True)
class _Line:
    """The types of a line's parts. The recipe is checked on its own, once for all trials that share it."""

    schema: Annotated[int, Field(ge=1, le=SCHEMA)]
    ablation: str
    trial: str
    arm: dict[str, str]
    seed: int
    recipe: dict[str, Any]
    outcome: Outcome
    provenance: dict[str, Any]
    checksum: str


_LINE = TypeAdapter(_Line)
_REVISIONS = TypeAdapter(dict[str, int])


def _validated(line: bytes) -> _Line:
    """Return the typed parts of a line; fields that may be missing take their defaults."""
    try:
        return _LINE.validate_json(line)
    except ValidationError as error:
        wrong = error.errors(include_url=False)
    places = [".".join(map(str, each["loc"])) for each in wrong]
    for each, place in zip(wrong, places, strict=True):
        if each["type"] in ("unexpected_keyword_argument", "less_than_equal"):
            raise _newer(place, each["input"])
    raise ValueError(f"{places[0]} is wrong ({wrong[0]['msg'].lower()})")


@lru_cache(maxsize=4096)
def _recipe(text: str) -> Recipe:
    """Return the recipe of a canonical JSON; cached, since all seeds of an arm share theirs."""
    values = json.loads(text)
    for name in values:
        if name not in FIELDS:
            raise _newer(f"recipe.{name}", values[name])
    try:
        _REVISIONS.validate_python(values.get("revisions", {}), strict=True)
        return Recipe.from_dict(values)
    except ValidationError:
        raise ValueError(f"recipe.revisions is wrong ({values['revisions']!r})") from None
    except BnstudyError as error:
        raise BnstudyError(
            f"its recipe does not fit this version: {error} If a newer bnstudy wrote it, upgrade; else move "
            "that line out of the file."
        ) from None


def _newer(place: str, value: object) -> BnstudyError:
    return BnstudyError(
        f"it has {place} = {reprlib.repr(value)}, which this version does not know: a newer bnstudy wrote "
        "it. Upgrade to read it."
    )


def _plain(content: dict[str, Any]) -> dict[str, Any]:
    """Return the content with None for what is not finite and `?` for what is no Unicode.

    Half of a surrogate pair stands in the error messages of files with odd names.
    """
    text = json.dumps(content, ensure_ascii=False).encode(errors="replace").decode()
    plain: dict[str, Any] = json.loads(text, parse_constant=lambda _: None)
    return plain


def _tail(path: Path) -> bytes:
    """Return what follows the last newline of a file: nothing, a whole line or a torn one."""
    with suppress(FileNotFoundError), path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        length = 1
        while True:
            file.seek(max(0, size - length))
            _, newline, tail = file.read().rpartition(b"\n")
            if newline or length >= size:
                return tail
            length *= 1024
    return b""


def _append(path: Path, data: bytes) -> None:
    """Write at the end of a file and flush to disk; after an `OSError` the file is as it was."""
    with path.open("ab", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        rest = memoryview(data)
        try:
            while rest:  # one write; after a short one the next makes the system say why
                rest = rest[file.write(rest) :]
            os.fsync(file.fileno())
        except OSError:
            with suppress(OSError):  # at worst a torn line stays, which the next append sets aside
                file.truncate(size)
            raise


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
    """Yield the arm and the other columns of each trial; with an ablation its names win over the record's."""
    if ablation is None:
        chosen = [(record.arm, record) for record in held.values()]
    else:
        chosen = [(dict(t.arm.levels), held[t.id]) for t in ablation.trials if t.id in held]
    for arm, record in chosen:
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
