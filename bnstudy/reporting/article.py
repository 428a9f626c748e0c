"""The article: the report as a PDF, set by Typst.

What it says goes to the template as data, JSON in `sys.inputs`: a text from an ablation's file is shown as it
is and never read as markup. The same inputs give the same bytes: there is no time in the file, and the fonts
are those that Typst and matplotlib carry, whatever the machine has.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from bnstudy.books.places import PAPER
from bnstudy.chapter import EXERCISES
from bnstudy.errors import BnstudyError
from bnstudy.plots.fonts import PACKAGE
from bnstudy.reporting import article_sections, references
from bnstudy.reporting.article_sections import Told, pieces
from bnstudy.reporting.recorded import Number
from bnstudy.reporting.references import Reference
from bnstudy.reporting.report import Report, Section
from bnstudy.words import counted

TITLE = ("The Batch-Normalization Exercises of", "Dive into Deep Learning, Answered by Ablations")
"""In lines."""
AUTHORS = ("The bnstudy authors",)
MOST_COMMITS = 2
"""Below the title; of more it says how many, and the checklist names them."""
MOST_LINES = 16
"""Of a table of arms inside its section: longer ones go behind the text, where none of them parts it."""


def pdf(report: Report, paper: Path = PAPER) -> bytes:
    """Return the article as a PDF; `paper` is the folder of the template and of the works."""
    import typst

    template = paper / "templates" / "article.typ"
    inputs = {"content": json.dumps(content(report, references.load(paper / "references.yml")))}
    try:
        made = typst.compile(
            template,
            sys_inputs=inputs,
            font_paths=_fonts(),
            ignore_system_fonts=True,
            timestamp=0,
            pdf_standards="ua-1",  # for those who listen to it; Typst checks that it is so
        )
    except typst.TypstError as error:
        raise BnstudyError(
            f"Typst cannot set {template}: {error.message}; mend the template, {_line_of(error.diagnostic)}."
        ) from error
    assert isinstance(made, bytes)
    return made


def _fonts() -> list[Path]:
    """Return folders of fonts: matplotlib's, for the figures, and that of the extra `chinese` where it is."""
    import matplotlib

    spec = find_spec(PACKAGE)
    chinese = [Path(spec.origin).parent] if spec is not None and spec.origin is not None else []
    return [Path(matplotlib.get_data_path()) / "fonts" / "ttf", *chinese]


def _line_of(diagnostic: str) -> str:
    """Return where Typst's diagnostic points: `line 12`."""
    found = re.search(r"\.typ:(\d+)", diagnostic)
    return f"line {found[1]}" if found else "at a place that Typst does not tell"


def content(report: Report, works: Mapping[str, Reference]) -> dict[str, Any]:
    """Return all that the article says, as the template reads it."""

    def told(texts: Iterable[str]) -> list[list[dict[str, str]]]:
        return [pieces(text, works) for text in texts]

    recorded = [section for section in report.sections if section.state != "empty"]
    return {
        "title": TITLE,
        "authors": AUTHORS,
        "subtitle": AUTHORS[0],
        "made": _made(report),
        "preview": _preview(report),
        "abstract": told(report.abstract.paragraphs or [_abstract(report, len(recorded))]),
        "counts": _counts(report.judged),
        "answers": _answers(report, told),
        "sections": [article_sections.of(each, told) for each in recorded],
        "empty": [section.name for section in report.sections if section.state == "empty"],
        "most_lines": MOST_LINES,
        "chapter": _chapter(report),
        "systems": [
            {
                "name": system.name,
                "recipe": system.recipe or "nothing",
                "printed": [_printed(*each, system.numbers) for each in system.printed],
            }
            for system in report.systems
        ],
        **_runs(report.runs),
        **_back(report, works),
    }


def _back(report: Report, works: Mapping[str, Reference]) -> dict[str, Any]:
    """Return what stands at the end: the checklist, the ledgers and the works, by their authors."""
    return {
        "checklist": [
            {"topic": item.topic, "question": item.question, "answer": pieces(item.answer, works)}
            for item in report.checklist
        ],
        "ledgers": [
            {"name": each.name, "records": f"{each.records:,}", "sha256": each.sha256[:16]}
            for each in report.origins.ledgers
        ],
        "works": {
            key: {"label": work.label, "entry": work.entry, "url": work.url, "checked": work.check}
            for key, work in sorted(works.items(), key=lambda pair: pair[1].entry)
        },
    }


def _made(report: Report) -> str:
    """Return how much there is, and which code made it."""
    held = report.origins.commits
    commits = ", ".join(f"{c.name[:10]}{f' of {c.date}' if c.date else ''}" for c in held[:MOST_COMMITS])
    if len(held) > MOST_COMMITS:
        commits = f"of {counted(len(held), 'commit')}, named under Reproducibility"
    return f"{report.finished:,} of {report.declared:,} trials; records made by code {commits or 'not known'}"


def _preview(report: Report) -> str:
    """Return what the article says of itself when it is not the whole study of record, or nothing."""
    states = Counter(section.state for section in report.sections)
    record = report.profile == "paper"
    whole = f"{states['complete']} of {len(report.sections)} ablations are recorded in full"
    if record and not states["preview"]:
        return f"{whole} and judged for good; the others are not run yet." if states["empty"] else ""
    what = whole if record else f"All numbers are of the {report.profile} profile"
    return (
        f"Preview. {what}. Only complete ledgers of the paper profile are judged for good; verdicts, figures "
        "and numbers below are marked where theirs are not."
    )


def _counts(sections: Sequence[Section]) -> dict[str, str]:
    results = Counter(finding.verdict.result for section in sections for finding in section.findings)
    held = {name: str(results[name]) for name in ("supported", "refuted", "undecided")}
    return {"claims": str(results.total()), **held}


def _abstract(report: Report, recorded: int) -> str:
    """Return an abstract that says what was done and how it came out, until a person has written one."""
    counts, ablations = _counts(report.judged), counted(recorded, "ablation")
    if left := len(report.sections) - recorded:
        ablations += f" ({left:,} more are declared and not recorded yet)"
    return (
        "Exercises on batch normalization are usually answered by one run of a notebook. We put those of "
        f"Dive into Deep Learning, and the claims of its chapter, to trial by {ablations} with "
        f"{report.finished:,} trials on Fashion-MNIST: arms paired by seed, claims with margins and rules "
        "committed before the runs, divergence counted as an outcome, and verdicts computed from append-only "
        f"records that anyone can train again. Of {counts['claims']} claims {counts['supported']} are "
        f"supported, {counts['refuted']} refuted and {counts['undecided']} undecided."
    )


def _answers(report: Report, told: Told) -> list[dict[str, Any]]:
    """Return a row for each exercise and ablation that answers it."""
    rows = []
    for exercise in EXERCISES:
        sections = [section for section in report.sections if exercise.number in section.exercises]
        for section in sections:
            primary = section.primary
            rows.append(
                {
                    "exercise": str(exercise.number),
                    "question": section.question if sections[1:] else exercise.text,
                    "answer": told([section.answer or "No trials are recorded."])[0],
                    "name": section.name if section.state != "empty" else "",
                    "result": primary.verdict.result if primary and section.answer else "",
                    "preview": "preview" if section.state == "preview" else "",
                }
            )
    return rows


def _chapter(report: Report) -> list[dict[str, Any]]:
    return [
        {
            "id": each.claim.id,
            "text": each.claim.text,
            "later": each.claim.later,
            "findings": [
                {
                    "anchor": finding.anchor,
                    "claim": finding.claim,
                    "result": finding.verdict.result,
                    "preview": section.state == "preview",
                }
                for section, finding in each.findings
                if section.state != "empty"
            ],
            "without": "No trials are recorded." if each.findings else "No claim was declared.",
            "bearing": [section.name for section in each.bearing if section.state != "empty"],
        }
        for each in report.claims
    ]


def _printed(outcome: str, value: str, numbers: Sequence[Number]) -> str:
    """Return a number that a source printed, and where it lies among our seeds."""
    ours = next((number for number in numbers if number.measure == outcome and number.seeds), None)
    return f"{outcome} {value}{f', {_among(ours)}' if ours else ''}"


def _among(number: Number) -> str:
    """Return where a number lies among our seeds: percentile, and interval where a claim has one."""
    if number.percentile is None:
        return "not trained here"
    where = f"percentile {number.percentile:.0f} of {counted(number.seeds, 'seed')}"
    if number.inside is None:
        return where
    return f"{where}, {'inside' if number.inside else 'outside of'} {number.interval}"


def _runs(runs: Sequence[Number]) -> dict[str, Any]:
    """Return the published single runs, a row for each with its three numbers and their percentiles."""
    rows: dict[str, list[str]] = {}
    for run in runs:
        each = f"{run.text}, percentile {run.percentile:.0f}" if run.percentile is not None else run.text
        rows.setdefault(run.name, [run.name]).append(each)
    return {"runs": list(rows.values()), "runs_from": runs[0].ablation if runs and runs[0].seeds else ""}
