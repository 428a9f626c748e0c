"""The works that the study cites: from `paper/references.yml`, found in texts as they are named there."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bnstudy.errors import BnstudyError

EN_DASH = "\u2013"


@dataclass(frozen=True)
class Reference:
    """A work: authors as `Family, Given`, in order; `checked` says how far it was looked up."""

    key: str
    authors: tuple[str, ...]
    year: int
    title: str
    venue: str
    url: str
    checked: str

    @property
    def names(self) -> tuple[str, ...]:
        """How a text may name it, without the year; the first is the usual one."""
        families = [author.partition(",")[0] for author in self.authors]
        if len(families) < 3:
            return (" & ".join(families),)
        return (f"{families[0]} et al.", f"{', '.join(families[:-1])} & {families[-1]}")

    @property
    def label(self) -> str:
        """Return `Ioffe & Szegedy 2015`."""
        return f"{self.names[0]} {self.year}"

    @property
    def entry(self) -> str:
        """Return the work as a list of references names it: authors, year, title and venue."""
        authors = [_initials(author) for author in self.authors]
        told = " & ".join([", ".join(authors[:-1]), authors[-1]]) if authors[1:] else authors[0]
        stop = "" if self.title.endswith("?") else "."
        return f"{told} ({self.year}). {self.title}{stop} {self.venue}."

    @property
    def check(self) -> str:
        """Return how far it was checked, as a sentence: `Checked: abstract.`"""
        told = self.checked if self.checked.startswith("not") else f"checked: {self.checked}"
        return f"{told[0].upper()}{told[1:]}."


@dataclass(frozen=True)
class Citation:
    """A place in a text that names a work, in the words of the text."""

    text: str
    key: str


Pieces = tuple[str | Citation, ...]
"""A text, taken apart where it names a work."""


def load(path: Path) -> dict[str, Reference]:
    """Return the works by key; raises `BnstudyError` for a file that cannot be read or lacks a field."""
    import yaml

    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))
        return {key: _reference(key, entry) for key, entry in entries.items()}
    except (OSError, yaml.YAMLError, AttributeError, TypeError) as error:
        what = " ".join(str(error).split())
        raise BnstudyError(f"Cannot read the references {path}: {what}; mend the file.") from error
    except KeyError as error:
        raise BnstudyError(f"A work in {path} has no {error}; every one needs it.") from error


def cited(text: str, references: Mapping[str, Reference]) -> Pieces:
    """Return the text, taken apart where it names one of the works, also over the end of a line:
    `Yang et al. 2019` or `Yang et al. (2019`."""
    keys = {f"{name} {work.year}": work.key for work in references.values() for name in work.names}
    if not keys:
        return (text,)
    longest_first = sorted(keys, key=len, reverse=True)
    named = "|".join(
        r"\s+".join(map(re.escape, k[:-5].split())) + rf"\s+\(?{k[-4:]}\b" for k in longest_first
    )
    pieces: list[str | Citation] = []
    end = 0
    for found in re.finditer(rf"(?<!\w)(?:{named})", text):
        pieces.append(text[end : found.start()])
        said = found.group()
        pieces.append(Citation(said, keys[" ".join(said.replace("(", "").split())]))
        end = found.end()
    return tuple(piece for piece in (*pieces, text[end:]) if piece)


def used(pieces: Sequence[Pieces]) -> set[str]:
    """Return the keys of the works that texts name."""
    return {piece.key for text in pieces for piece in text if isinstance(piece, Citation)}


def _initials(author: str) -> str:
    family, _, given = author.partition(", ")
    initials = " ".join(f"{'-'.join(p[0] for p in name.split('-'))}." for name in given.split())
    return f"{family}, {initials}" if given else family


def _reference(key: str, entry: Mapping[str, Any]) -> Reference:
    serial = entry.get("serial-number", {})
    url = entry.get("url", "")
    if "arxiv" in serial:
        url = f"https://arxiv.org/abs/{serial['arxiv']}"
    if "doi" in serial:
        url = f"https://doi.org/{serial['doi']}"
    return Reference(
        key,
        tuple(entry["author"]),
        int(entry["date"]),
        entry["title"],
        _venue(entry, url),
        url,
        entry["note"],
    )


def _venue(entry: Mapping[str, Any], url: str) -> str:
    """Return where it appeared: `Biometrika 87(4), 954-959`, or a book's publisher."""
    parent = entry.get("parent")
    if parent is None:
        return str(entry.get("publisher", url))
    volume = f" {parent['volume']}" if "volume" in parent else ""
    issue = f"({parent['issue']})" if "issue" in parent else ""
    pages = f", {entry['page-range'].replace('-', EN_DASH)}" if "page-range" in entry else ""
    return f"{parent['title']}{volume}{issue}{pages}"
