"""Further learning rates where it is uncertain whether one works: which they are, and what they tell of arms.

They are no part of the declared design, which verdicts are about; a ledger of their own holds their trials.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import pandas as pd

from bnstudy.books.language import tell
from bnstudy.books.places import Place
from bnstudy.books.record import Record
from bnstudy.claims import Measure, largest_workable
from bnstudy.design import Ablation
from bnstudy.errors import BnstudyError
from bnstudy.factors import Factor, Level, Pairs
from bnstudy.judgement import parties
from bnstudy.judgement.phrases import counted, listed, titled
from bnstudy.judgement.sentences import workable_range
from bnstudy.judgement.stats import Estimate
from bnstudy.judgement.workable import Workable, workable_location
from bnstudy.recipe import level_name

PART = "refine"
"""The folder of the ledgers of further rates, beside those of the study."""

Rates = dict[str, list[float]]
"""By an arm without its rate, as it is written on the command line: rates that its design does not have."""


@dataclass(frozen=True)
class Located:
    """The largest workable rate of an arm, by all rates at which it was trained from every seed."""

    arm: str
    levels: Pairs
    """Of all factors but the rate."""
    grid: tuple[float, ...]
    cells: tuple[Workable, ...]
    """One a seed."""
    estimate: Estimate

    @property
    def bounded(self) -> bool:
        """Whether every seed has a rate that works below one that fails: else no rate between two helps."""
        return all(cell.low > 0 and math.isfinite(cell.high) for cell in self.cells)

    @property
    def ratio(self) -> float:
        """The upper end of the interval over its lower one."""
        return self.estimate.high / self.estimate.low if self.estimate.low else math.inf


def measure_of(ablation: Ablation) -> Measure:
    """Return what decides whether a rate works: what a claim says, or a training accuracy of a half."""
    said = [c.measure for c in ablation.whole.claims if c.measure.summary == "largest workable"]
    return said[0] if said else largest_workable("lr")


def refinable(ablation: Ablation) -> bool:
    """Return whether every arm has a rate, of several that are named as they are."""
    factor = next((f for f in ablation.factors if f.name == measure_of(ablation).over), None)
    if factor is None or factor.varies != ("lr",) or factor.where or len(factor.levels) < 2:
        return False
    return [level.name for level in factor.levels] == list(map(level_name, factor.values("lr")))


def rates_of(ablation: Ablation) -> Factor:
    """Return the factor of learning rates, or raise `BnstudyError` for a design without one."""
    if not refinable(ablation):
        raise BnstudyError(
            f"{ablation.name} has no learning rates to refine: it needs a factor 'lr' that every arm has, "
            'with several levels named by their rates, such as across("lr", 0.1, 1, 10).'
        )
    return ablation.factor(measure_of(ablation).over or "lr")


def rounds(records: Mapping[str, Record]) -> list[Rates]:
    """Return the rates of each round that a ledger of further rates says was begun."""
    found = [r.provenance["refine"] for r in records.values() if "refine" in r.provenance]
    return [
        each["rates"] for each in sorted({e["round"]: e for e in found}.values(), key=lambda e: e["round"])
    ]


def together(each: Iterable[Rates]) -> Rates:
    """Return the rates of several rounds, arm by arm."""
    found: Rates = {}
    for rates in each:
        for arm, more in rates.items():
            found.setdefault(arm, []).extend(more)
    return found


def extended(ablation: Ablation, rates: Rates) -> Ablation:
    """Return the design with further rates of its arms; what it declares stays what it declares."""
    factor = rates_of(ablation)
    known = {level.name for level in factor.levels}
    names = _others(ablation)
    more = {
        arm: [name for rate in dict.fromkeys(rates.get(arm, ())) if (name := level_name(rate)) not in known]
        for arm in names
    }
    every = sorted({name for each in more.values() for name in each}, key=float)
    levels = [*factor.levels, *(Level(name, lr=float(name)) for name in every)]
    added = [
        tuple((f.name, name if f is factor else dict(levels_of)[f.name]) for f in ablation.factors
              if f is factor or f.name in dict(levels_of))
        for arm, levels_of in names.items()
        for name in more[arm]
    ]  # fmt: skip
    return replace(
        ablation,
        factors=tuple(f.of(levels) if f is factor else f for f in ablation.factors),
        picked=(*(arm.levels for arm in ablation.arms), *added) if added else (),
        declared=ablation.whole,
    )


def design(ablation: Ablation, rates: Rates) -> Ablation:
    """Return the further rates of a round alone: what is trained, in packs of their own."""
    whole = extended(ablation, rates)
    return replace(whole, picked=whole.picked[len(ablation.arms) :], claims=(), declared=None)


def _others(ablation: Ablation) -> dict[str, Pairs]:
    """Return the arms without their rates, each by its name."""
    rate = rates_of(ablation).name
    arms = (tuple(pair for pair in arm.levels if pair[0] != rate) for arm in ablation.arms)
    return {",".join(f"{factor}={level}" for factor, level in arm): arm for arm in arms}


@dataclass(frozen=True)
class Held:
    """What is recorded of an ablation and of the further rates that every seed has."""

    declared: Ablation
    rates: Rates
    records: Mapping[str, Record]
    """By trial, of both ledgers."""
    frame: pd.DataFrame
    """The finished trials of `ablation`."""

    @property
    def ablation(self) -> Ablation:
        """The design with its further rates."""
        return extended(self.declared, self.rates) if self.rates else self.declared

    @property
    def trials(self) -> int:
        """How many trials there are at further rates."""
        return len(design(self.declared, self.rates).trials) if self.rates else 0


def held(ablation: Ablation, place: Place) -> Held:
    """Return what is recorded of an ablation, with its further rates where it has rates at all."""
    ablation = place.at_tuned(ablation)
    ledgers = [place.ledger(ablation.name), place.ledger(ablation.name, PART)]
    declared, further = (ledger.recorded() for ledger in ledgers)
    further = further if refinable(ablation) else {}
    rates = _complete(ablation, together(rounds(further)), further) if further else {}
    whole = extended(ablation, rates) if rates else ablation
    frames = [parties.finished(ledger.frame(whole)) for ledger in ledgers[: 2 if rates else 1]]
    return Held(ablation, rates, {**further, **declared}, pd.concat(frames, ignore_index=True))


def _complete(ablation: Ablation, rates: Rates, records: Mapping[str, Record]) -> Rates:
    """Return those rates of which every seed is recorded."""
    made = design(ablation, rates)
    left = {t.arm.levels for t in made.trials if t.id not in records or not records[t.id].outcome.finished}
    name, found = rates_of(ablation).name, dict[str, list[float]]()
    for arm in made.arms:
        if arm.levels not in left:
            other = ",".join(f"{factor}={level}" for factor, level in arm.levels if factor != name)
            found.setdefault(other, []).append(arm.recipe.lr)
    return found


def located(recorded: Held) -> list[Located]:
    """Return where the largest workable rate of each arm lies, of arms that two seeds have whole."""
    ablation, frame = recorded.ablation, recorded.frame
    factor, measure, found = rates_of(ablation), measure_of(ablation), []
    for name, levels in _others(ablation).items():
        grid = parties.rates_of(ablation, factor, levels)
        cells = parties.workable(factor, parties.rows_of(ablation, frame, levels), measure, grid)
        if len(cells) > 1:
            each = tuple(cells.values())
            found.append(Located(name, levels, tuple(grid), each, workable_location(each, grid)))
    return found


def further(at: Located, width: float) -> list[float]:
    """Return the rates that an arm needs next: the middle, in log rate, of each uncertain cell of its grid.

    Uncertain are the cells in which a seed's largest workable rate lies, and the two at the ends of the
    interval, which ends at a rate; those between them tell nothing more. Cells narrower than a third of the
    wanted width in log rate are fine enough. None where the interval is
    narrower than `width`, a ratio, or no rate between two can make it so.
    """
    if not at.bounded or at.ratio < width:
        return []
    uncertain = [
        (low, high)
        for low, high in pairwise(at.grid)
        if Workable(low, high) in at.cells or low == at.estimate.low or high == at.estimate.high
    ]
    middles = [
        (low, float(f"{math.sqrt(low * high):.3g}"), high)
        for low, high in uncertain
        if high / low > width ** (1 / 3)
    ]
    return [middle for low, middle, high in middles if low < middle < high]


def wanted(at: Sequence[Located], width: float) -> Rates:
    """Return the rates of the next round, of the arms that need some."""
    found = {each.arm: further(each, width) for each in at}
    return {arm: rates for arm, rates in found.items() if rates}


def told(recorded: Held) -> str:
    """Return a sentence on what further rates tell, beside the verdict; nothing where there are none."""
    if not recorded.rates:
        return ""
    factors = [f for f in recorded.declared.factors if len(f.levels) > 1]
    sides = []
    for each in located(recorded):
        levels = dict(each.levels)
        label = listed(titled(f, levels[f.name]) for f in factors if f.name in levels)
        if each.arm in recorded.rates:
            sides.append(workable_range(label, each.cells, each.grid))
    return tell(
        "Further rates ({trials}, which the verdict leaves out) narrow the largest workable learning rate "
        "(95% interval): {sides}.",
        trials=counted(recorded.trials, "trial"),
        sides=listed(sides, "; "),
    )
