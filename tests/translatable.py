"""Every text of the code and of the project's ablations that a report shows, for translators."""

import ast
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from jinja2.ext import extract_from_ast

import bnstudy
from bnstudy import chapter, declaration
from bnstudy.books import registry
from bnstudy.books.places import PAPER
from bnstudy.claims import Claim
from bnstudy.design import Ablation
from bnstudy.judgement import evidence, held, origins, phrases, placebo, sentences, several
from bnstudy.judgement.phrases import is_number, spoken
from bnstudy.outcome import NUMBERS
from bnstudy.plots import contrasts, drawing, figures, plot_strips
from bnstudy.reporting import discussion, page
from bnstudy.systems import published_runs

PACKAGE = Path(bnstudy.__file__).parent

TABLES = (
    *(evidence.TOO_FEW, phrases.SPOKEN, drawing.NAMES, plot_strips.WAYS, held.WHY),
    *(sentences.OVER, sentences.MEASURED, sentences.MEASURED_OUTCOMES, sentences.RESULTS),
    *(sentences.EFFECTS, sentences.SEEN, several.EXACT, several.RECORDED, several.ALARMS),
)
"""Texts that are told by what they are about."""

WORDS = (
    *(
        contrasts.AVERAGED,
        figures.ALTERNATIVE,
        figures.SHORT_ALTERNATIVE,
        figures.DETAILED_ALTERNATIVE,
        held.OWN,
        origins.UNKNOWN,
    ),
    *("cumulative", "averaged weights"),  # of the probe `averages`
    *(word for result in sentences.RESULTS for word in (result, f"claims {result}")),  # of the page
)


def texts() -> dict[str, str]:
    """Return each text with where it stands, in the order of a translator's reading."""
    found: dict[str, str] = {}
    places = (_of_code(), _of_page(), _of_tables(), _of_chapter(), _of_ablations(), _of_discussions())
    for where, text in chain(*places):
        if text.strip():
            found.setdefault(text, where)
    return found


def _of_code() -> Iterator[tuple[str, str]]:
    """Yield what is told as it stands: `tell("...")`, `listed(..., "; ")`, `counted(n, "seed")`."""
    for path in sorted(PACKAGE.rglob("*.py")):
        source = path.read_text(encoding="utf-8")
        if "bnstudy.words import counted" in source:  # of the terminal, whose language is English
            continue
        for call in ast.walk(ast.parse(source)):
            name = call.func.id if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) else ""
            if name in ("tell", "listed", "counted") and isinstance(call, ast.Call):
                for text in _constants(call.args[:1] if name == "tell" else call.args[1:2]):
                    both = (f"1 {text}", f"{{number}} {text}s") if name == "counted" else (text,)
                    yield from ((path.name, each) for each in both)


def _constants(arguments: list[ast.expr]) -> Iterator[str]:
    for argument in arguments:
        parts = (argument.body, argument.orelse) if isinstance(argument, ast.IfExp) else (argument,)
        for part in parts:
            if isinstance(part, ast.Constant) and isinstance(part.value, str):
                yield part.value


def _of_page() -> Iterator[tuple[str, str]]:
    """Yield what the page's templates tell: `t("...")`."""
    for path in sorted((PAPER / "templates").glob("*.html")):
        tree = page.environment(PAPER).parse(path.read_text(encoding="utf-8"))
        for _, _, text in extract_from_ast(tree, gettext_functions=("t",)):
            first = text[0] if isinstance(text, tuple) else text
            if first:  # a variable has none
                yield path.name, first


def _of_tables() -> Iterator[tuple[str, str]]:
    yield "phrases.py", ", "
    for table in TABLES:
        yield from (("the code's tables", text) for text in table.values())
    yield from (("the code's tables", text) for text in (*WORDS, *figures.SHOWN.values()))
    yield from (("placebo.py", alarm.name) for alarm in placebo.false_alarms([-1.0, 1.0, 2.0], 0.1, 10))
    yield from (("outcome.py", spoken(outcome)) for outcome in NUMBERS)
    for item in _items():
        yield "checklist.py", item
    for run in published_runs():
        yield from (("published_runs.csv", text) for text in (run.source, run.implementation))


def _items() -> Iterator[str]:
    """Yield the topics and questions of the checklist."""
    for node in ast.walk(ast.parse((PACKAGE / "reporting" / "checklist.py").read_text(encoding="utf-8"))):
        if isinstance(node, ast.Yield) and isinstance(node.value, ast.Tuple):
            yield from _constants(node.value.elts[:2])


def _of_chapter() -> Iterator[tuple[str, str]]:
    for exercise in (*chapter.EXERCISES, chapter.CHINESE_ONLY):
        yield "chapter.py", exercise.text
    for claim in chapter.CLAIMS:
        yield "chapter.py", claim.text
        yield "chapter.py", claim.later


def _of_ablations() -> Iterator[tuple[str, str]]:
    for name, ablation in sorted(registry.find().ablations.items()):
        yield from ((f"ablations/{name.replace('-', '_')}.py", text) for text in _of_ablation(ablation))


def _of_discussions() -> Iterator[tuple[str, str]]:
    for path in sorted((PAPER / "discussion").glob("*.md")):
        yield from ((f"discussion/{path.name}", text) for text in discussion.read(path).paragraphs)


def _of_ablation(ablation: Ablation) -> Iterator[str]:
    yield ablation.question
    yield ablation.source
    for factor in ablation.factors:
        yield factor.name.replace("_", " ")
        yield from (level.label for level in factor.levels if not is_number(level.label))
    for claim in ablation.claims:
        yield claim.text
        yield from map(spoken, _outcomes(claim))
    yield declaration.expected(ablation.file)
    yield from declaration.margins(ablation.file).values()
    yield declaration.seeds(ablation.file)


def _outcomes(claim: Claim) -> Iterator[str]:
    for measure in (claim.measure, claim.against):
        if measure is not None:
            yield measure if isinstance(measure, str) else measure.outcome
