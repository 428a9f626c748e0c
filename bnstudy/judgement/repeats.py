"""Trials that a ledger holds several times, as one merged from two machines does: do their outcomes agree?

They are judged as `verify` judges a training that was repeated, but nothing is trained for it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bnstudy.books.ledger import repeated
from bnstudy.books.record import Record
from bnstudy.judgement import certify
from bnstudy.outcome import MARGIN
from bnstudy.words import counted


@dataclass(frozen=True)
class Repeat:
    """The record of a trial that counts, another one, and the level that their outcomes reach."""

    counts: Record
    other: Record
    judged: certify.Judged


def repeats(records: Iterable[Record]) -> list[Repeat]:
    """Return every further finished record of a trial, held against the one that counts."""
    return [
        Repeat(first, other, _judged(first, other))
        for first, *others in repeated(records).values()
        for other in others
    ]


def _judged(first: Record, other: Record) -> certify.Judged:
    """Return the level of two records; steps that are apart later than the first are not judged here."""
    before, after = certify.plain(first.outcome), certify.plain(other.outcome)
    apart = certify.differences(before, after, first.held & other.held)
    steps = certify.first_steps(before["first_losses"], after["first_losses"])
    elsewhere = not certify.differing(first.provenance, other.provenance).keys() <= certify.NEUTRAL
    if apart and elsewhere and steps and steps.apart:
        why = f"they part at step {steps.apart}; `bnstudy verify` tells whether by rounding alone"
        return certify.Judged("not shown", why)
    return certify.judge(apart, steps, elsewhere=elsewhere)


def told(records: Iterable[Record]) -> list[str]:
    """Return sentences on trials that are recorded several times; none where each is recorded once."""
    found = repeats(records)
    same = [each for each in found if each.judged.level == "L0"]
    others = [each for each in found if each.judged.level != "L0"]
    agree = f"{counted(len(same), 'trial')} recorded again with the same outcome to the last bit"
    return ([agree] if same else []) + (_disagreement(found, others) if others else [])


def _disagreement(found: Sequence[Repeat], others: Sequence[Repeat]) -> list[str]:
    """Return what verify would say of records that differ, and of each that does not agree."""
    pairs = [(r.counts.outcome.precise_test_accuracy, r.other.outcome.precise_test_accuracy) for r in found]
    apart = [after - before for before, after in pairs if before is not None and after is not None]
    verdict = certify.verdict([r.judged.level for r in found], certify.equivalence(apart, MARGIN))
    within = sum(r.judged.level == "L1" for r in others)
    head = (
        f"{counted(len(others), 'trial')} recorded again with another outcome, the first record counts: "
        f"{within} equal but for rounding over the first steps (L1); together {verdict}"
    )
    wrong = [r for r in others if r.judged.level != "L1"]
    return [head, *(f"trial {r.counts.trial}: {r.judged.level}, {r.judged.reason}" for r in wrong)]
