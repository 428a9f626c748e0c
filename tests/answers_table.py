"""The README's table of answers, from the committed records: `python tests/answers_table.py` renews it."""

from functools import cache
from pathlib import Path

from bnstudy.books import registry
from bnstudy.books.places import PAPER, Place
from bnstudy.judgement import sentences
from bnstudy.reporting import discussion, judging
from bnstudy.reporting.discussion import Said
from bnstudy.reporting.judging import Judged

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
HEAD = "| exercise | question and answer | claim, written down before the runs; verdict |\n|---|---|---|\n"
ROWS = {
    "bias-removal": "1",
    "bn-per-layer": "3",
    "lite-bn": "4",
    "fixed-affine": "5",
    "dropout-swap": "6",
    "robustness": "7, in part",
    "momentum": "0.1 or 0.9?",
    "convergence": "faster, or better?",
    "noise": "covariate shift?",
    "batch-of-one": "batches of one?",
    "ghost-batch": "small batches?",
    "quirks": "published bugs",
    "replication": "published runs",
    "placebo": "none: is it honest?",
}
"""Ablations, and which exercise they answer; the README tells of exercise 2, `lr-sweep`, above the table."""


def _fail(said: str) -> None:
    raise AssertionError(said)


def judged(name: str, record: bool) -> Judged:
    """Return an ablation as the study of record has it, or as the example."""
    folder, profile = ("results", "paper") if record else ("results/example", "quick")
    return judging.judge(registry.find().get(name).at(profile), Place(ROOT / folder, profile, _fail))


def of_record(name: str) -> Judged:
    """Return an ablation as the study of record has it where that is complete, else as the example."""
    found = judged(name, record=True)
    return judged(name, record=False) if found.preview else found


@cache
def said() -> dict[str, Said]:
    """Return what a person says of the study of record."""
    ablations = registry.find().ablations
    return discussion.load(PAPER / "discussion", {name: judged(name, record=True) for name in ablations})


def row(name: str) -> str:
    """Return an ablation's line of the table, or nothing where neither holds its trials."""
    found = of_record(name)
    if not found.answer:
        return ""
    verdict = sentences.sentence(found.verdicts[0])
    short = " ".join(said().get(name, Said()).answer.paragraphs) or found.measured
    preview = " (preview)" if found.preview else ""
    return f"| {ROWS[name]} | **{found.ablation.question}** {short} | {verdict}{preview} |\n"


def table() -> str:
    """Return the whole table."""
    return HEAD + "".join(map(row, ROWS))


def renew() -> None:
    """Write the table into the README."""
    before, _, after = README.read_text(encoding="utf-8").partition(HEAD)
    _, _, after = after.partition("\n\n")
    README.write_text(f"{before}{table()}\n{after}", encoding="utf-8")


if __name__ == "__main__":
    renew()
