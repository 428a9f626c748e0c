"""What `bnstudy run --refine` does: add rates by bisection, in rounds, until the intervals are narrow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bnstudy.books import retries
from bnstudy.commands import study
from bnstudy.design import Ablation
from bnstudy.errors import BnstudyError
from bnstudy.words import counted

if TYPE_CHECKING:
    from bnstudy.books.schedule import Tally
    from bnstudy.judgement.refinement import Held, Located

WIDTH, ROUNDS = 1.5, 6


@dataclass(frozen=True)
class Asked:
    """How narrow the interval of the largest workable rate should be, and how many rounds that may take."""

    width: float = WIDTH
    """The upper end over the lower one."""
    rounds: int = ROUNDS

    def __post_init__(self) -> None:
        """Raise `BnstudyError` for a width that no rates of three digits reach."""
        if not self.width >= 1.05:
            raise BnstudyError(
                f"--width {self.width:g} is the largest rate of an interval over its smallest: at least 1.05."
            )


def asked(refine: bool, width: float | None, rounds: int | None, named: Sequence[Ablation]) -> Asked | None:
    """Return what --refine asks for, if it does; raise `BnstudyError` for a named ablation without rates."""
    if not refine:
        if width is not None or rounds is not None:
            raise BnstudyError("--width and --rounds say how far --refine goes: add --refine.")
        return None
    from bnstudy.judgement import refinement

    for ablation in named:
        refinement.rates_of(ablation)
    return Asked(WIDTH if width is None else width, rounds or ROUNDS)


def run(
    ablations: Sequence[Ablation],
    place: study.Place,
    machinery: study.Machinery,
    shown: Callable[[str], Any],
    asked: Asked,
) -> dict[str, Tally]:
    """Train further rates of the ablations that have rates; return how far each came, and say of which arms
    the interval is still wider than asked, and why. Holds the lease of the folder."""
    from bnstudy.books import schedule
    from bnstudy.judgement import refinement

    ablations = [place.at_tuned(ablation) for ablation in ablations if refinement.refinable(ablation)]
    tallies = {}
    with study.terminable(), study.holding(place) as place, ExitStack() as workers:
        trainer: study.Trainer | None = None
        for ablation in ablations:
            tally = tallies[ablation.name] = schedule.Tally(total=0, recorded=0)
            place.ledger(ablation.name, refinement.PART).set_aside_torn_line()
            while not tally.failed and (todo := _next(ablation, place, asked)):
                number, made, said = todo
                if trainer is None:
                    most = len(made.arms) * len(made.seeds)
                    training = study.training(ablations, most, place, machinery, shown)
                    trainer = workers.enter_context(training)
                ledger = place.ledger(ablation.name, refinement.PART)
                title = f"{ablation.name}, refining, round {number + 1}"
                came = trainer.train(made, ledger, title=title, refine=said)
                retries.refuse(came.left_alone, ledger.path)
                tally.failed |= came.failed
            for remark in remarks(refinement.held(ablation, place), asked):
                place.say(remark)
    return tallies


def _next(
    ablation: Ablation, place: study.Place, asked: Asked
) -> tuple[int, Ablation, dict[str, Any]] | None:
    """Return the next round: one that was begun and misses trials, else what the records ask for."""
    from bnstudy.judgement import refinement

    ledger = place.ledger(ablation.name, refinement.PART)
    begun = refinement.rounds(ledger.recorded())
    for number, rates in enumerate(begun):
        made = refinement.design(ablation, rates)
        if study.missing(made, ledger):
            return number, made, {"round": number, "rates": rates}
    if len(begun) >= asked.rounds:
        return None
    rates = refinement.wanted(refinement.located(refinement.held(ablation, place)), asked.width)
    if not rates:
        return None
    return len(begun), refinement.design(ablation, rates), {"round": len(begun), "rates": rates}


def remarks(recorded: Held, asked: Asked) -> list[str]:
    """Return why the interval of an arm is not as narrow as was asked, a sentence each."""
    from bnstudy.judgement import refinement

    told = [(each.arm, _remark(each, asked)) for each in refinement.located(recorded)]
    return [f"{recorded.declared.name}, {arm}: {remark}" for arm, remark in told if remark]


def _remark(at: Located, asked: Asked) -> str:
    from bnstudy.judgement import refinement

    if at.ratio < asked.width:
        return ""
    if not at.bounded:
        return "no rate between two can bound it, since some seed works at all rates or at none."
    wide = f"the interval is {at.ratio:.3g} wide, and {asked.width:g} was asked for"
    if refinement.further(at, asked.width):
        return f"{wide}, after {counted(asked.rounds, 'round')}: more --rounds go on."
    return f"{wide}: the seeds differ by more than the rates, so that more --seeds are needed."


def rows(recorded: Held) -> list[dict[str, Any]]:
    """Return, for machines, where the largest workable rate of each refined arm lies; open ends are null."""
    from bnstudy.judgement import refinement

    return [
        {
            "arm": each.arm,
            "rates": sorted(recorded.rates[each.arm]),
            "low": each.estimate.low,
            "high": each.estimate.high if each.estimate.high < float("inf") else None,
            "seeds": each.estimate.n,
        }
        for each in refinement.located(recorded)
        if each.arm in recorded.rates
    ]
