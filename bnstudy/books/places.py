"""Places: a folder of results at one profile, and what is said where that is not the study of record."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bnstudy.books.language import tell
from bnstudy.design import Ablation
from bnstudy.errors import BnstudyError

if TYPE_CHECKING:
    from bnstudy.address import Address
    from bnstudy.books.ledger import Ledger

Say = Callable[[str], None]

RESULTS, PROFILE = Path("results"), "quick"
"""Where and how much, unless the user says otherwise."""

_PACKAGE = Path(__file__).resolve().parents[1]
PAPER = folder if (folder := _PACKAGE / "paper").is_dir() else _PACKAGE.parent / "paper"
"""Templates, works and texts of the report: the wheel carries them inside the package."""


def publish(path: Path, content: bytes, advice: str) -> Path:
    """Write a file that others see either whole or not at all; return its path.

    Raises `BnstudyError` where it cannot be written: "... Free the disk or mend the permission, {advice}."
    """
    unfinished = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_bytes(content)
        unfinished.replace(path)
    except OSError as error:
        raise unwritable(path, error, advice) from error
    return path


def unwritable(path: Path, error: OSError, advice: str) -> BnstudyError:
    """Return the sentence on what cannot be written."""
    return BnstudyError(
        f"Cannot write {path}: {error.strerror or error}. Free the disk or mend the permission, {advice}."
    )


@dataclass(frozen=True)
class Place:
    """A results folder at one profile, how its warnings are told, and a team's storage of its queue.

    `held` raises where the lease on the folder was lost: its ledgers then take nothing more.
    """

    results: Path
    profile: str
    say: Say
    storage: Address | None = None
    held: Callable[[], None] = lambda: None

    @property
    def folder(self) -> Path:
        """The folder of the profile's ledgers."""
        return self.results / self.profile

    @property
    def options(self) -> str:
        """The options that name this place on the command line, where they are not the defaults."""
        profile = "" if self.profile == PROFILE else f" --profile {self.profile}"
        results = "" if self.results == RESULTS else f" --results {shlex.quote(str(self.results))}"
        return profile + results

    def ledger(self, name: str, part: str = "") -> Ledger:
        """Return the ledger of an ablation, or of a part beside it (`tune`: its search); its file may not
        exist."""
        from bnstudy.books.ledger import Ledger

        return Ledger(self.folder / part / f"{name}.jsonl", self.say, self.held)

    def at_tuned(self, ablation: Ablation) -> Ablation:
        """Return the ablation with what the search of its tuned factors found, once that is recorded."""
        if not any(factor.search for factor in ablation.factors):
            return ablation
        from bnstudy.books import tuning

        return tuning.at_tuned(ablation, self.ledger(ablation.name, tuning.PART).recorded())

    def preview(self, ablation: Ablation, recorded: int) -> str:
        """Return what to print beside a verdict that is not the study of record's, or nothing."""
        if self.profile != "paper":
            return tell("preview: {profile} profile", profile=self.profile)
        declared = len(ablation.whole.trials)
        if recorded == declared:
            return ""
        return tell("preview: {finished} of {declared} trials", finished=recorded, declared=declared)
