"""What a person has to say about the findings: the texts in `paper/discussion/`, which hold no number.

A text begins with what it leans on, in TOML between two lines of `+++`, each under a name of its own: claims
with the verdict that the text takes for granted, and numbers of arms. `of` names another ablation than the
text's. Below, paragraphs are parted by blank lines, and `{name.field}` is filled in from the ledgers. The
first paragraph is the answer, in two sentences: it also stands where all answers are listed.

    +++
    [speed]
    claim = "Nor does it change how fast training is."
    verdict = "supported"

    [plain]
    outcome = "test_accuracy"
    at = {bias = "removed"}
    +++
    Nothing: training is as fast without it ({speed.effect}, {speed.interval}). It reaches {plain.mean}.

    A likely reason is ...

A text is told in the report's language where that has a translation of each paragraph, else as it is written.
"""

import re
import statistics
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bnstudy.books.language import ENGLISH, current, speaking, tell, translations
from bnstudy.claims import Measure
from bnstudy.design import Ablation
from bnstudy.errors import BnstudyError, unknown
from bnstudy.judgement import sentences, stats
from bnstudy.judgement.parties import outcomes, rows_of
from bnstudy.judgement.phrases import amount, interval, size
from bnstudy.judgement.verdicts import Verdict
from bnstudy.outcome import known_outcome
from bnstudy.reporting.judging import Judged

FENCE = "+++"

CLAIM = ("verdict", "finding", "effect", "interval", "seeds")
"""Fields of a claim: `effect` is the finding up to its first comma, `interval` what follows but the seeds."""
NUMBER = ("mean", "interval", "spread", "least", "most", "seeds")
"""Fields of arms' numbers: over seeds, averaged within each over the arms that `at` leaves open."""


@dataclass(frozen=True)
class Lean:
    """What a text leans on: a claim of an ablation with its verdict, or an outcome of some of its arms."""

    of: str
    claim: str = ""
    verdict: str = ""
    outcome: str = ""
    at: tuple[tuple[str, str], ...] = ()

    @property
    def fields(self) -> tuple[str, ...]:
        """What a placeholder can ask of it."""
        return CLAIM if self.claim else NUMBER


@dataclass(frozen=True)
class Text:
    """A text as written."""

    path: Path
    leans: Mapping[str, Lean]
    paragraphs: tuple[str, ...]

    def wrong(self, what: str) -> BnstudyError:
        """Return the error that says what is wrong in the text's file."""
        return BnstudyError(f"{self.path}: {what}.")


@dataclass(frozen=True)
class Said:
    """A text filled in, and the language that it is in."""

    paragraphs: tuple[str, ...] = ()
    language: str = ENGLISH

    @property
    def answer(self) -> "Said":
        """The first paragraph alone."""
        return replace(self, paragraphs=self.paragraphs[:1])

    @property
    def rest(self) -> "Said":
        """What stands below the answer."""
        return replace(self, paragraphs=self.paragraphs[1:])


def load(folder: Path, judged: Mapping[str, Judged]) -> dict[str, Said]:
    """Return each text, filled in, by its file's name, which is its ablation's (or, for a text on several,
    `abstract`).

    A text is left out where an ablation that it leans on, or its own, is not there or not recorded in full.
    Raises `BnstudyError` for a text that cannot be read, names what does not exist, or takes a verdict for
    granted that has changed.
    """
    found = {}
    for path in sorted(folder.glob("*.md")):
        text = read(path)
        needed = {lean.of for lean in text.leans.values()} | ({path.stem} & judged.keys())
        if needed <= judged.keys():
            check(text, {name: judged[name].ablation for name in needed})
            if needed and not any(judged[name].preview for name in needed):
                known = set(text.paragraphs) <= translations(current()).keys()
                with speaking(current() if known else ENGLISH):
                    found[path.stem] = Said(_filled(text, judged), current())
    return found


def read(path: Path) -> Text:
    """Return a text; raises `BnstudyError` where it is not of the form that the module describes."""
    try:
        before, head, body = path.read_text(encoding="utf-8").split(FENCE + "\n", 2)
        if before.strip():
            raise ValueError("nothing may stand above the first +++")
        leans = {name: _lean(entry, path.stem) for name, entry in tomllib.loads(head).items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:  # TOML's errors are ValueErrors
        what = " ".join(str(error).split())
        raise BnstudyError(
            f"Cannot read the discussion {path}: {what}; it needs two lines of +++ with tables of TOML "
            "between them, each with claim and verdict or with outcome, and text below."
        ) from error
    paragraphs = (" ".join(part.split()) for part in body.split("\n\n"))
    return Text(path, leans, tuple(filter(None, paragraphs)))


def _lean(entry: Mapping[str, Any], own: str) -> Lean:
    values = {**entry, "at": tuple(entry.get("at", {}).items()), "of": entry.get("of", own)}
    lean = Lean(**values)
    if bool(lean.claim) == bool(lean.outcome) or bool(lean.claim) != bool(lean.verdict):
        raise ValueError(f"{dict(entry)} is neither a claim with its verdict nor an outcome")
    return lean


def check(text: Text, ablations: Mapping[str, Ablation]) -> None:
    """Raise for names that do not exist, in what a text leans on and in its placeholders."""
    for lean in text.leans.values():
        ablation = ablations[lean.of].whole
        if lean.claim and lean.claim not in {claim.text for claim in ablation.claims}:
            raise text.wrong(f"{lean.of} has no claim {lean.claim!r}; copy one from its file")
        if lean.outcome and not known_outcome(lean.outcome):
            raise text.wrong(f"no outcome is named {lean.outcome!r}")
        for factor, level in lean.at:
            ablation.factor(factor).level(level)
    body = "\n".join(text.paragraphs)
    for name, field in _PLACE.findall(body):
        if name not in text.leans:
            raise text.wrong(str(unknown("claim or number", name, text.leans, "Name it above.")).rstrip("."))
        if field not in text.leans[name].fields:
            known = ", ".join(text.leans[name].fields)
            raise text.wrong(f"{{{name}.{field}}} does not exist; {name} has {known}")
    if stray := re.search(r"[{}][^{}]*}?", _PLACE.sub("", body)):
        raise text.wrong(f"{stray.group()[:40]!r} is no placeholder; write {{name.field}}")


_PLACE = re.compile(r"\{([\w-]+)\.(\w+)\}")


def _filled(text: Text, judged: Mapping[str, Judged]) -> tuple[str, ...]:
    values = {name: _values(text, lean, judged[lean.of]) for name, lean in text.leans.items()}

    def value(place: re.Match[str]) -> str:
        found = values[place[1]].get(place[2])
        if not found:
            raise text.wrong(f"{place[0]} cannot be told from the records")
        return found

    return tuple(_PLACE.sub(value, tell(paragraph)) for paragraph in text.paragraphs)


def _values(text: Text, lean: Lean, judged: Judged) -> dict[str, str]:
    if lean.outcome:
        return _of_arms(lean, judged)
    verdict = next(each for each in judged.verdicts if each.claim.text == lean.claim)
    if verdict.result != lean.verdict:
        raise text.wrong(
            f"the verdict on {lean.claim!r} of {lean.of} is {verdict.result} and no longer {lean.verdict}; "
            "look at the records, then write what they say"
        )
    return _of_claim(verdict)


def _of_claim(verdict: Verdict) -> dict[str, str]:
    effect, _, rest = sentences.effect(verdict).partition(tell(", "))
    return {
        "verdict": tell(verdict.result),
        "finding": sentences.finding(verdict),
        "effect": effect,
        "interval": rest,
        "seeds": str(verdict.seeds),
    }


def _of_arms(lean: Lean, judged: Judged) -> dict[str, str]:
    rows = rows_of(judged.ablation, judged.finished, lean.at)
    values = [value for value in outcomes(rows, Measure(lean.outcome)).values() if value == value]
    if len(values) < 2:
        return {}
    mean = stats.mean(values)
    return {
        "mean": amount(mean.value, lean.outcome),
        "interval": interval(mean.low, mean.high, lean.outcome),
        "spread": size(statistics.stdev(values), lean.outcome),
        "least": amount(min(values), lean.outcome),
        "most": amount(max(values), lean.outcome),
        "seeds": str(len(values)),
    }
