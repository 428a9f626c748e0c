"""Where the records come from: commits, machines, versions, images, hashes and time."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bnstudy.books import provenance
from bnstudy.books.language import tell
from bnstudy.books.ledger import Record
from bnstudy.books.places import Place
from bnstudy.judgement.phrases import counted, listed

UNKNOWN = "not known"

Tally = tuple[tuple[str, int], ...]
"""Values and how many records have each, the most frequent first."""

MACHINE = {
    "host_cpu": "processor",
    "cores": "cores",
    "memory_bytes": "memory",
    "os": "system",
    "device": "device",
}
VERSIONS = ("python", *provenance.LIBRARIES, "version")


@dataclass(frozen=True)
class LedgerFile:
    """A ledger as it lies on disk."""

    name: str
    """Of the ablation."""
    sha256: str
    records: int
    """Of the design's trials, finished or not."""


@dataclass(frozen=True)
class Commit:
    """A commit of the code that made records; the date is nothing where git does not know it here."""

    name: str
    date: str
    clean: bool
    """Whether the code was as committed, for all of its records."""
    records: int


@dataclass(frozen=True)
class Origins:
    """What made the records of a report."""

    records: int
    commits: tuple[Commit, ...]
    machines: Tally
    versions: tuple[tuple[str, Tally], ...]
    """By library, in the order of `VERSIONS`; `version` is bnstudy's own."""
    images: Tally
    """SHA-256 of the images that the trainings read."""
    ledgers: tuple[LedgerFile, ...]
    core_hours: float
    """Of one process: the time of each pack, shared among its trials."""
    largest_memory: int
    """Bytes that a worker took at most."""


def gather(records: Mapping[str, Mapping[str, Record]], place: Place) -> Origins:
    """Return what made the records, by ablation and trial."""
    every = [record for held in records.values() for record in held.values()]
    known = [record.provenance for record in every]
    return Origins(
        records=len(every),
        commits=_commits(known),
        machines=_tally(map(_machine, known)),
        versions=tuple(
            (name, _tally(str(each.get(name) or tell(UNKNOWN)) for each in known)) for name in VERSIONS
        ),
        images=_tally(str(each["data_sha256"]) for each in known if each.get("data_sha256")),
        ledgers=tuple(_ledger(name, len(held), place) for name, held in records.items() if held),
        core_hours=sum(map(_seconds, known)) / 3600,
        largest_memory=max((each.get("peak_memory_bytes") or 0 for each in known), default=0),
    )


def _tally(values: Iterable[str]) -> Tally:
    return tuple(Counter(values).most_common())


def _commits(known: Sequence[Mapping[str, object]]) -> tuple[Commit, ...]:
    counts = _tally(str(each.get("commit") or tell(UNKNOWN)) for each in known)
    unclean = {str(each.get("commit") or tell(UNKNOWN)) for each in known if not each.get("clean")}
    return tuple(
        Commit(name, provenance.commit_date(name), name not in unclean, count) for name, count in counts
    )


def _machine(known: Mapping[str, object]) -> str:
    """Return a machine in words, without a name of it."""
    held = {name: known.get(name) for name in MACHINE}
    memory = held["memory_bytes"]
    told = [
        str(held["host_cpu"] or tell("processor not known")),
        counted(held["cores"], "core") if isinstance(held["cores"], int) else "",
        f"{memory / 2**30:.0f} GiB" if isinstance(memory, int) else "",
        str(held["os"] or ""),
        str(held["device"] or ""),
    ]
    return listed(filter(None, told))


def _seconds(known: Mapping[str, object]) -> float:
    """Return a trial's share of the time of its pack."""
    wall, pack = known.get("wall_seconds"), known.get("pack")
    size = pack.get("size") if isinstance(pack, dict) else None
    return float(wall) / (size or 1) if isinstance(wall, int | float) else 0.0


def _ledger(name: str, records: int, place: Place) -> LedgerFile:
    return LedgerFile(name, file_hash(place, name), records)


def file_hash(place: Place, name: str, part: str = "") -> str:
    """Return the SHA-256 of an ablation's ledger, or of a part beside it; nothing where there is no file."""
    path = place.folder / part / f"{name}.jsonl"
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else ""
