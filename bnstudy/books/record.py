"""A record: one line of a ledger, with a checksum, and the reader that never takes a damaged one for it.

The line is JSON. Its last field, in all schemas to come, is a checksum: 16 hexadecimal digits of the SHA-256
of the line as it would be without that field. So a changed digit is noticed, by any program that can read
bytes.
"""

import dataclasses
import hashlib
import json
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Annotated, Any

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError, with_config
from pydantic_core import from_json, to_json
from typing_extensions import TypedDict  # pydantic takes that of the standard library from 3.12 on

from bnstudy.design import Trial, trial_id
from bnstudy.errors import BnstudyError
from bnstudy.outcome import FINISHED, UNFINISHED, Outcome
from bnstudy.recipe import FIELDS, Recipe

SCHEMA = 1
"""Rises when old readers would misread new lines; a field that is added does not raise it."""

LARGEST = 2**63
"""Beyond, a table has no place for an integer."""


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
    source: bytes = field(default=b"", compare=False, repr=False)
    """The line it was read from."""

    @staticmethod
    def of(ablation: str, trial: Trial, outcome: Outcome, provenance: Mapping[str, Any]) -> "Record":
        """Return the record of a trial of the ablation of that name."""
        arm = trial.arm
        return Record(ablation, trial.id, dict(arm.levels), trial.seed, arm.recipe, outcome, dict(provenance))

    def line(self) -> str:
        """Return the line of the file, without its newline; numbers that are not finite become null."""
        parts = {name: getattr(self, name) for name in _PARTS}
        parts |= {"recipe": self.recipe.as_dict(), "outcome": dataclasses.asdict(self.outcome)}
        return _sealed(_json({"schema": SCHEMA} | parts).encode()).decode()

    @property
    def checksum(self) -> str:
        """The last field of its line."""
        return (self.source.decode() or self.line())[-18:-2]

    @property
    def held(self) -> frozenset[str]:
        """The fields of an outcome that its line holds: others are younger than the line."""
        return frozenset(json.loads(self.source or self.line())["outcome"])


_PARTS = ("ablation", "trial", "arm", "seed", "recipe", "outcome", "provenance")


def parse(line: bytes, ablation: str) -> Record:
    """Return the record of a line. Raise `ValueError` for damage, `BnstudyError` for another version's."""
    line = line.strip()
    if line != _sealed(line.rpartition(b',"checksum":')[0] + b"}"):
        raise ValueError(_damage(line))
    parts = _validated(line)
    if parts.ablation != ablation:
        raise ValueError(f"it is a record of {parts.ablation!r} in the ledger of {ablation!r}")
    recipe = _recipe(to_json(parts.recipe, inf_nan_mode="constants"))
    if parts.trial != trial_id(recipe, parts.seed):
        raise ValueError(f"its recipe and seed make trial {trial_id(recipe, parts.seed)}, not {parts.trial}")
    if parts.outcome.status not in FINISHED + UNFINISHED:
        raise _newer("outcome.status", parts.outcome.status)
    provenance = dict(parts.provenance)
    return Record(ablation, parts.trial, parts.arm, parts.seed, recipe, parts.outcome, provenance, line)


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


def is_torn(line: bytes) -> bool:
    """Return whether a last line without its newline is only the beginning of one.

    The zeros are what some file systems leave at the end after a loss of power.
    """
    try:
        from_json(line.rstrip(b"\0"))
    except ValueError as error:
        return str(error).startswith("EOF")
    return False


def _fitting(pack: "_Pack") -> "_Pack":
    """Raise `ValueError` for a slot that the pack does not have; no pack is as large as the bound."""
    if not 0 <= pack.get("slot", 0) < pack.get("size", 1) < 10_000:
        raise ValueError("its slot or size cannot be")
    return pack


def _bounded(outcome: Outcome) -> Outcome:
    """Raise `ValueError` for a count that no table can hold."""
    if max(abs(outcome.diverged_at or 0), abs(outcome.epochs_to_85 or 0)) >= LARGEST:
        raise ValueError("a number of steps or epochs is too large")
    return outcome


@with_config(ConfigDict(strict=True, extra="allow"))
class _Pack(TypedDict, total=False):
    """How a trial was packed."""

    size: int
    slot: int
    shares_images: bool


@with_config(ConfigDict(strict=True, extra="allow"))
class _Search(TypedDict):
    """Where a trial stands in a search."""

    round: Annotated[int, Field(ge=0, lt=LARGEST)]
    budget: Annotated[int, Field(ge=1, lt=LARGEST)]


@with_config(ConfigDict(strict=True, extra="allow", allow_inf_nan=False))
class _Refine(TypedDict):
    """The round of further rates that a trial belongs to."""

    round: Annotated[int, Field(ge=0, lt=LARGEST)]
    rates: dict[str, list[Annotated[float, Field(gt=0)]]]


@with_config(ConfigDict(strict=True, extra="allow"))
class _Provenance(TypedDict, total=False):
    """What commands calculate with; all else that made a record is only shown."""

    pack: Annotated[_Pack, AfterValidator(_fitting)]
    search: _Search
    refine: _Refine
    wall_seconds: Annotated[float, Field(ge=0)]
    attempts: Annotated[int, Field(ge=0)]
    failures: list[str]
    recorded: str


@with_config(ConfigDict(strict=True, extra="forbid", allow_inf_nan=False))
@dataclass(frozen=True)
class _Line:
    """The types of a line's parts. The recipe is checked on its own, once for all trials that share it."""

    schema: Annotated[int, Field(ge=1, le=SCHEMA)]
    ablation: str
    trial: str
    arm: dict[str, str]
    seed: Annotated[int, Field(gt=-LARGEST, lt=LARGEST)]
    recipe: dict[str, Any]
    outcome: Annotated[Outcome, AfterValidator(_bounded)]
    provenance: _Provenance
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
def _recipe(text: bytes) -> Recipe:
    """Return the recipe of a JSON object; cached, since all seeds of an arm share theirs."""
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


def _json(content: dict[str, Any]) -> str:
    """Return the JSON of content, with null for what is not finite and `?` for what is no Unicode.

    Half of a surrogate pair stands in the error messages of files with odd names.
    """
    try:
        text = json.dumps(content, separators=(",", ":"), allow_nan=False)
        if "\\ud" not in text:
            return text
    except ValueError:  # a number that is not finite
        pass
    text = json.dumps(content, ensure_ascii=False).encode(errors="replace").decode()
    return json.dumps(json.loads(text, parse_constant=lambda _: None), separators=(",", ":"))
