"""The article's sections on the ablations, as its template reads them."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from bnstudy.reporting.arm_table import ArmLine, ArmTable, Mean
from bnstudy.reporting.references import Citation, Reference, cited
from bnstudy.reporting.report import Finding, Picture, Section

WIDTH, HEIGHT = 168, 185  # millimetres that a figure may take: the text's width; a page without its caption

CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")
"""Characters that no XML may hold; matplotlib lets those of a question pass."""

Told = Callable[[Iterable[str]], list[list[dict[str, str]]]]
"""From texts to their pieces."""


def pieces(text: str, works: Mapping[str, Reference]) -> list[dict[str, str]]:
    """Return a text as words, code (in backticks) and works; ends of lines are spaces."""
    found: list[dict[str, str]] = []
    for place, part in enumerate(re.split(r"`([^`]+)`", " ".join(text.split()))):
        if place % 2:
            found.append({"kind": "code", "text": part})
            continue
        for piece in cited(part, works):
            if isinstance(piece, Citation):
                found.append({"kind": "work", "text": piece.text, "key": piece.key})
            else:
                found.append({"kind": "text", "text": piece})
    return found


def of(section: Section, told: Told) -> dict[str, Any]:
    """Return a section with its answer, figure, claims, table, and what is held fixed."""
    made = f"{section.finished:,} of {section.declared:,} trials"
    diverged = f", {section.diverged:,} diverged" if section.diverged else ""
    seeds = f". Seeds: {section.seeds_reason}" if section.seeds_reason else ""
    return {
        "name": section.name,
        "question": section.question,
        "source": section.source,
        "preview": section.preview,
        "made": f"{made}{diverged}{seeds}.",
        "answer": told([section.answer])[0] if section.answer else [],
        "result": section.primary.verdict.result if section.primary else "",
        "discussion": told(section.discussion.rest.paragraphs),
        "figure": section.figure and _figure(section.figure, section),
        "findings": [_finding(place, each, told) for place, each in enumerate(section.findings, 1)],
        "table": section.table and _table(section.table),
        "expected": told(filter(None, section.expected.split("\n\n"))),
        "recorded": bool(section.numbers),
        "held": _held(section),
        "limits": told([" ".join(section.limits)])[0],
        "command": section.command,
    }


def _figure(picture: Picture, section: Section) -> dict[str, Any]:
    widest = min(1.0, HEIGHT * picture.width / picture.height / WIDTH)
    made = f"{section.finished:,} of {section.declared:,} trials"
    svg = CONTROL.sub("\N{REPLACEMENT CHARACTER}", picture.svg)
    return {"svg": svg, "alt": picture.alt, "share": widest, "made": made}


def _held(section: Section) -> list[dict[str, str]]:
    """Return what all arms share, by its reason: `pool avg, epochs 10 (as in the chapter)`."""
    held: dict[str, list[str]] = {}
    for each in section.held:
        held.setdefault(each.why, []).append(f"{each.field.replace('_', ' ')} {each.value}")
    return [{"why": why, "fields": ", ".join(fields)} for why, fields in held.items()]


def _finding(place: int, finding: Finding, told: Told) -> dict[str, Any]:
    return {
        "place": str(place),
        "anchor": finding.anchor,
        "claim": told([finding.claim])[0],
        "reason": finding.reason,
        "effect": finding.effect,
        "power": finding.power,
        "result": finding.verdict.result,
    }


def _table(table: ArmTable) -> dict[str, Any]:
    return {
        "factors": table.factors,
        "outcomes": table.outcomes,
        "lines": [_line(each) for each in table.lines],
    }


def _line(line: ArmLine) -> list[str]:
    seeds = f"{line.seeds}, {line.diverged} diverged" if line.diverged else str(line.seeds)
    return [*line.levels, seeds, *map(_mean, line.means)]


def _mean(mean: Mean | None) -> str:
    if mean is None:
        return ""
    told = f"{mean.text} ({mean.interval.replace('%', '')})" if mean.interval else mean.text
    return told.replace(" ", "\N{NO-BREAK SPACE}")
