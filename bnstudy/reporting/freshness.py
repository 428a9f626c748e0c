"""Whether a report is of the present ledgers: the hashes of what it was made from, embedded in its page."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from bnstudy.books import language, tuning
from bnstudy.books.places import PAPER, Place
from bnstudy.design import Ablation
from bnstudy.errors import BnstudyError
from bnstudy.judgement.origins import file_hash
from bnstudy.recipe import digest

NOT_MADE = "not made yet"

_EMBEDDED = re.compile(r'<script type="application/json" id="inputs">(.*?)</script>', re.DOTALL)

_OF_ABLATION = ("ledger", "file", "search")

Inputs = dict[str, str]
"""Hashes by the name of what was read: `profile`, `ledger lr-sweep`, `file lr-sweep`, `paper templates/x`."""


def page_name() -> str:
    """Return the name of the page's file in the language that is spoken: `report.html`, `report.zh.html`."""
    return f"report{language.suffix()}.html"


def inputs(ablations: Sequence[Ablation], place: Place, paper: Path = PAPER) -> Inputs:
    """Return the hashes of all that a report of these ablations says: their ledgers, the files that declare
    them, the report's templates and texts, and the translations into the language spoken. Fast: no ledger
    is parsed."""
    found = {"profile": place.profile}
    for ablation in ablations:
        found[f"ledger {ablation.name}"] = file_hash(place, ablation.name)
        found[f"file {ablation.name}"] = digest(ablation.file)
        if any(factor.search for factor in ablation.factors):
            found[f"search {ablation.name}"] = file_hash(place, ablation.name, tuning.PART)
    for path in _texts(paper):
        found[f"paper {path.relative_to(paper).as_posix()}"] = digest(path.read_text(encoding="utf-8"))
    if language.current() != language.ENGLISH:
        found["translations"] = digest(language.file(language.current()).read_text(encoding="utf-8"))
    return found


def _texts(paper: Path) -> list[Path]:
    """Return the files of the report's templates, texts and works."""
    folders = (paper / name for name in ("templates", "discussion"))
    files = (path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file())
    return [*files, *paper.glob("*.yml")]


def made_from(page: Path) -> Inputs:
    """Return the hashes that a report embeds; raises `BnstudyError` for a file that is none."""
    try:
        [embedded] = _EMBEDDED.findall(page.read_text(encoding="utf-8"))
        return {str(name): str(value) for name, value in json.loads(embedded).items()}
    except (OSError, ValueError, AttributeError) as error:
        raise BnstudyError(f"{page} is no report that bnstudy made; `bnstudy report` makes one.") from error


def why_stale(page: Path, now: Mapping[str, str]) -> str:
    """Return why the report in a file is not of the present `inputs`, or nothing; never raises."""
    if not page.exists():
        return NOT_MADE
    try:
        then = made_from(page)
    except BnstudyError as error:
        return str(error)
    if then.get("profile") != now.get("profile"):
        return f"of the {then.get('profile')} profile"
    changed = [name for name in {**then, **now} if then.get(name) != now.get(name)]
    return f"changed since: {', '.join(changed)}" if changed else ""


def state(page: Path, now: Mapping[str, str], ablation: str) -> str:
    """Return whether the report shows an ablation's present records: `of these records`, `stale`, or `none`
    where there is no report of the profile."""
    try:
        then = made_from(page)
    except BnstudyError:
        return "none"
    if then.get("profile") != now["profile"]:
        return "none"
    same = all(then.get(f"{what} {ablation}") == now.get(f"{what} {ablation}") for what in _OF_ABLATION)
    return "of these records" if same else "stale"
