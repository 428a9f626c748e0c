"""The report as one page of HTML that needs nothing else: the content arranged, no result added.

Every text of an ablation's file, also hostile, is data: it is escaped wherever it stands, and the page's
content security policy runs the page's own script alone and loads nothing.
"""

import base64
import hashlib
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from bnstudy import __version__, chapter
from bnstudy.books.language import current, languages, speaking, tell
from bnstudy.books.places import PAPER
from bnstudy.chapter import Exercise
from bnstudy.plots import svg
from bnstudy.reporting import references
from bnstudy.reporting.freshness import page_name
from bnstudy.reporting.report import Report, Section

TAGS = {"zh": "zh-CN"}
"""The languages of pages as browsers know them, where that is not the name of the translation."""


@dataclass(frozen=True)
class Answered:
    """An exercise with the sections that answer it, and what is said where none does."""

    label: str
    text: str
    sections: tuple[Section, ...]
    without: str


def render(
    report: Report,
    inputs: Mapping[str, str],
    paper: Path = PAPER,
) -> str:
    """Return the page, in the language that is spoken; `inputs` are the hashes that it embeds
    (`freshness.inputs`), `paper` is the folder of templates and references."""
    works = references.load(paper / "references.yml")
    cited = references.used([references.cited(text, works) for text in _texts(report)])
    script = Markup((paper / "templates" / "report.js").read_text(encoding="utf-8"))
    page = environment(paper).get_template("report.html")
    return page.render(
        t=tell,
        language=_tag(current()),
        tag=_tag,
        translations=_translations(),
        version=__version__,
        report=report,
        inputs=dict(inputs),
        script=script,
        script_hash=_hash(script),
        style=Markup((paper / "templates" / "report.css").read_text(encoding="utf-8")),
        complete=all(section.state == "complete" for section in report.sections),
        results=_results(report),
        exercises=_answered(report),
        others=[section for section in report.sections if not section.exercises],
        pieces=lambda text: references.cited(text, works),
        works=[work for key, work in works.items() if key in cited],
        run_outcomes=list(dict.fromkeys(number.measure for number in report.runs)),
        runs=_runs(report),
        drawings=_drawings(report),
    )


def _tag(language: str) -> str:
    """Return the tag by which browsers know a language."""
    return TAGS.get(language, language)


def _translations() -> list[tuple[str, str, str]]:
    """Return the page in other languages: its file, the language's tag, and what speakers call it."""
    found = []
    for language in languages():
        if language != current():
            with speaking(language):
                found.append((page_name(), _tag(language), tell("English")))
    return found


def environment(paper: Path) -> Environment:
    """Return what reads the page's templates."""
    found = Environment(
        loader=FileSystemLoader(paper / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {"code": _code, "sentence": _sentence}
    return found


def _code(text: str) -> Markup:
    """Return a text in which `what stands in backticks` is code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def _sentence(text: str) -> str:
    """Return a text that begins with a capital and ends with a stop."""
    return tell("{text}.", text=f"{text[:1].upper()}{text[1:].rstrip('.')}")


def _hash(script: str) -> str:
    """Return the hash by which the content security policy knows the page's script."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _texts(report: Report) -> list[str]:
    """Return what may name works."""
    said = [
        text for section in report.sections for text in (section.expected, *section.discussion.paragraphs)
    ]
    return [*said, *report.abstract.paragraphs]


def _results(report: Report) -> dict[str, int]:
    """Return how many claims of the ablations that count came out each way."""
    counts = Counter(finding.verdict.result for section in report.judged for finding in section.findings)
    return {result: counts[result] for result in ("supported", "refuted", "undecided")}


def _answered(report: Report) -> list[Answered]:
    """Return the exercises in the order of the English edition, then the Chinese edition's own."""
    found = [
        Answered(
            _label(exercise),
            exercise.text,
            tuple(s for s in report.sections if exercise.number in s.exercises[:1]),
            tell("No ablation answers it."),
        )
        for exercise in chapter.EXERCISES
    ]
    own = chapter.CHINESE_ONLY
    label = tell("Exercise {number} of the Chinese edition", number=own.chinese)
    without = tell("It asks to read the framework's documentation; no training answers it.")
    return [*found, Answered(label, own.text, (), without)]


def _label(exercise: Exercise) -> str:
    if exercise.chinese == exercise.number:
        return tell("Exercise {number}", number=exercise.number)
    if exercise.chinese is None:
        return tell("Exercise {number} of the English edition", number=exercise.number)
    return tell(
        "Exercise {number} (Chinese edition: {chinese})", number=exercise.number, chinese=exercise.chinese
    )


def _runs(report: Report) -> list[tuple[str, list[Any]]]:
    """Return each source of published runs with its numbers, one for each outcome."""
    ordered = sorted(report.runs, key=lambda number: number.name)
    return [(name, list(held)) for name, held in groupby(ordered, key=lambda number: number.name)]


def _drawings(report: Report) -> dict[str, svg.Inline]:
    """Return the figures, as elements of the page, by section."""
    figures = {section.name: section.figure for section in report.sections if section.figure}
    return {
        name: svg.inline(figure.svg, f"drawing-{name}", figure.alt, (figure.width, figure.height))
        for name, figure in figures.items()
    }
