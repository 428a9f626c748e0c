"""Which recorded trials are verified: a random sample that everyone can draw again."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bnstudy.commands import study
from bnstudy.commands.views import assignments
from bnstudy.design import PROFILES, Arm, Trial
from bnstudy.errors import BnstudyError, unknown
from bnstudy.recipe import REVISIONS, digest

if TYPE_CHECKING:
    from bnstudy.books.ledger import Record


@dataclass(frozen=True)
class Asked:
    """What to draw: a share (5%) or a number of the finished records of some ablations, or of all."""

    names: tuple[str, ...]
    size: str
    seed: int


@dataclass(frozen=True)
class Drawn:
    """A record to be verified, with the fields that its line holds of an outcome and the line's checksum."""

    record: Record
    held: frozenset[str]
    checksum: str

    @property
    def key(self) -> str:
        """The trial among those of all ablations, which may have it in common."""
        return f"{self.record.ablation}/{self.record.trial}"

    @property
    def trial(self) -> Trial:
        """The trial that was recorded."""
        return Trial(Arm(tuple(self.record.arm.items()), self.record.recipe), self.record.seed)

    @property
    def size(self) -> int:
        """How many trials its pack had."""
        return int(self.record.provenance.get("pack", {}).get("size", 2))

    @property
    def slot(self) -> int:
        """Its place in that pack."""
        return int(self.record.provenance.get("pack", {}).get("slot", 0))

    @property
    def shares_images(self) -> bool:
        """Whether one batch served all trials of that pack."""
        return bool(self.record.provenance.get("pack", {}).get("shares_images", True))


@dataclass(frozen=True)
class Sample:
    """What was drawn of how many records; the ledgers' SHA-256 and how many of their records were left out
    as of other revisions, by ablation."""

    drawn: tuple[Drawn, ...]
    of: int
    ledgers: dict[str, str]
    stale: dict[str, int]


def draw(asked: Asked, place: study.Place) -> Sample:
    """Return the sample of a folder's records.

    Drawn are the records whose hash with the seed is smallest: the same on every machine, and a larger sample
    of a seed holds the smaller one. Raises `BnstudyError` where there is nothing to draw from.
    """
    if place.profile not in PROFILES:
        raise unknown("profile", place.profile, PROFILES)
    wanted = dict.fromkeys(asked.names or sorted(path.stem for path in place.folder.glob("*.jsonl")))
    finished = {name: _finished(name, place) for name in wanted}
    _check_any(asked.names, finished, place)
    fresh = [record for records in finished.values() for record in records if _is_fresh(record)]
    if not fresh:
        raise BnstudyError(
            f"Every record in {place.folder} is of other revisions than this code's, whose numbers differ on "
            f"purpose ({assignments(REVISIONS)}). Verify it with the code that made it, or record it anew."
        )
    texts = {name: (place.folder / f"{name}.jsonl").read_bytes() for name in wanted if finished[name]}
    chosen = sorted(fresh, key=lambda record: digest(f"{asked.seed}/{record.ablation}/{record.trial}", 64))
    stale = {name: sum(not _is_fresh(record) for record in held) for name, held in finished.items()}
    return Sample(
        tuple(Drawn(r, r.held, r.checksum) for r in chosen[: count(asked.size, len(fresh))]),
        of=len(fresh),
        ledgers={name: hashlib.sha256(text).hexdigest() for name, text in texts.items()},
        stale={name: n for name, n in stale.items() if n},
    )


def count(size: str, of: int) -> int:
    """Return how many of the records a share or a number means: at least one, at most all."""
    try:
        number = float(size[:-1]) * of / 100 if size.endswith("%") else int(size)
    except ValueError:
        number = 0
    if not 0 < number < math.inf or (size.endswith("%") and number > of):
        raise BnstudyError(f"--sample {size}: give a share of the finished trials (5%) or their number (20).")
    return min(of, max(1, round(number)))


def _finished(name: str, place: study.Place) -> list[Record]:
    return [record for record in place.ledger(name).recorded().values() if record.outcome.finished]


def _is_fresh(record: Record) -> bool:
    return dict(record.recipe.revisions) == REVISIONS


def _check_any(names: Sequence[str], finished: Mapping[str, list[Record]], place: study.Place) -> None:
    """Raise where nothing is recorded, or nothing of an ablation that was named."""
    for name in names:
        if not finished[name]:
            raise BnstudyError(
                f"Nothing is recorded of {name} in {place.folder}; `bnstudy run {name}{place.options}`."
            )
    if not any(finished.values()):
        raise BnstudyError(
            f"Nothing is recorded in {place.folder}; `bnstudy run lr-sweep{place.options}` records something."
        )
