"""Published numbers of single runs as percentiles of our own trials of the same recipe."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bnstudy.books.language import tell
from bnstudy.claims import Claim
from bnstudy.judgement import parties
from bnstudy.judgement.phrases import amount, interval, is_share, listed, spoken
from bnstudy.recipe import BN_LENET, level_name
from bnstudy.reporting.judging import Judged
from bnstudy.systems import RECORDED, SYSTEMS, published_runs

TEXTBOOK = "S4b"
"""The system whose recipe many others published runs of."""

PRINTED = {
    "online_train_loss.last": "loss",
    "online_train_accuracy.last": "train_accuracy",
    "test_accuracy": "test_accuracy",
}
"""What the sources printed, by our outcome: the name in `systems.Recorded`."""

_ALL_IMAGES = BN_LENET.replace(train_images=60_000, validation_images=0)

ROUNDING = 0.0005
"""Half of the last digit printed."""


@dataclass(frozen=True)
class Number:
    """A published number of one run and where it lies among our seeds of the same recipe."""

    ablation: str
    name: str
    """The system, or the source of a run."""
    outcome: str
    value: float
    below: int
    """Our seeds below it by more than rounding."""
    equal: int
    """Our seeds as it was printed."""
    seeds: int
    low: float | None = None
    """The prediction interval that its claim is judged by, simultaneous over the numbers of the claim."""
    high: float | None = None

    @property
    def percentile(self) -> float | None:
        """Its mid-rank among our seeds, 0 to 100; None without seeds."""
        return 100 * (self.below + self.equal / 2) / self.seeds if self.seeds else None

    @property
    def inside(self) -> bool | None:
        """Whether it lies inside the interval; None without one."""
        if self.low is None or self.high is None:
            return None
        return self.low <= self.value <= self.high

    @property
    def text(self) -> str:
        """The number as it was printed: 87.2%, 0.3096."""
        return _as_printed(self.value, self.outcome)

    @property
    def interval(self) -> str:
        """The prediction interval: 86.1% to 88.0%; nothing without one."""
        if self.low is None or self.high is None:
            return ""
        return interval(self.low, self.high, self.outcome)

    @property
    def measure(self) -> str:
        """The outcome as a text names it."""
        return spoken(self.outcome)


@dataclass(frozen=True)
class System:
    """A published system: how it differs from the textbook's recipe, and what became of its numbers."""

    name: str
    recipe: str
    """The fields in which it differs from the textbook's BN-LeNet on all training images: lr=0.1, net=nin."""
    printed: tuple[tuple[str, str], ...]
    """What its source printed: outcome and number, as a text names them; empty where it printed nothing."""
    numbers: tuple[Number, ...]
    """The same held against our trials; empty where no ablation trained it."""


def _as_printed(value: float, outcome: str) -> str:
    """Return a published number with all of its digits; accuracies were printed to three."""
    return amount(value, outcome) if is_share(outcome) else level_name(value)


def numbers(judged: Judged) -> tuple[Number, ...]:
    """Return the numbers that an ablation's claims say were recorded, against its finished trials."""
    found = []
    for verdict in judged.verdicts:
        if verdict.claim.effect.kind == "recorded":
            bounds = {part.name: (part.low, part.high) for part in verdict.parts}
            values = _values(judged, verdict.claim)
            for level, value in verdict.claim.effect.recorded:
                margin = verdict.claim.effect.margin
                outcome = verdict.claim.measure.outcome
                ours = values.get(level, [])
                found.append(_number(judged, level, outcome, value, ours, margin, *bounds.get(level, ())))
    return tuple(found)


def systems(judged: Iterable[Judged]) -> tuple[System, ...]:
    """Return every published system, with its numbers where an ablation trained it."""
    found = [number for each in judged for number in numbers(each)]
    return tuple(
        System(
            name,
            ", ".join(f"{f}={level_name(v)}" for f, (v, _) in recipe.differences(_ALL_IMAGES).items()),
            tuple(
                (spoken(outcome), _as_printed(value, outcome))
                for outcome, field in PRINTED.items()
                if (value := getattr(RECORDED[name], field)) is not None
            ),
            tuple(number for number in found if number.name == name),
        )
        for name, recipe in SYSTEMS.items()
    )


def runs(judged: Iterable[Judged]) -> tuple[Number, ...]:
    """Return the published single runs of the textbook's recipe against our seeds of the same, for each
    outcome that was printed; without seeds where no ablation holds that recipe."""
    field = {"loss": "train_loss"}
    found = []
    held = next((each for each in judged if _textbook(each)), None)
    for outcome, printed in PRINTED.items():
        ours = _finite(held, outcome) if held else []
        for run in published_runs():
            value = float(getattr(run, field.get(printed, printed)))
            name = listed((tell(run.source), tell(run.implementation)))
            found.append(_number(held, name, outcome, value, ours, ROUNDING))
    return tuple(found)


def _textbook(judged: Judged) -> str:
    """Return the level whose arm is, at full size, the textbook's recipe; nothing where there is none."""
    for arm in judged.ablation.whole.arms:
        if arm.recipe == SYSTEMS[TEXTBOOK]:
            return arm.name
    return ""


def _finite(judged: Judged, outcome: str) -> list[float]:
    """Return our finite values of the textbook's recipe, one a seed."""
    arm = next(arm for arm in judged.ablation.whole.arms if arm.recipe == SYSTEMS[TEXTBOOK])
    if not _exists(judged, arm.levels):
        return []
    rows = parties.rows_of(judged.ablation, judged.finished, arm.levels)
    return [value for value in parties.column(rows, outcome) if math.isfinite(value)]


def _exists(judged: Judged, levels: Sequence[tuple[str, str]]) -> bool:
    names = {factor.name: {level.name for level in factor.levels} for factor in judged.ablation.factors}
    return all(level in names[factor] for factor, level in levels)


def _values(judged: Judged, claim: Claim) -> dict[str, list[float]]:
    """Return our finite values by the level that a number was recorded of; "" for an arm alone."""
    found = {}
    for party in parties.parties(judged.ablation, claim):
        if _exists(judged, tuple(party.levels.items())):
            rows = parties.rows_of(judged.ablation, judged.finished, party.levels)
            values = parties.outcomes(rows, party.measure).values()
            found[party.name if party.compared else ""] = [v for v in values if math.isfinite(v)]
    return found


def _number(
    judged: Judged | None,
    name: str,
    outcome: str,
    value: float,
    ours: Sequence[float],
    rounding: float,
    low: float | None = None,
    high: float | None = None,
) -> Number:
    below = sum(each < value - rounding for each in ours)
    equal = sum(abs(each - value) <= rounding for each in ours)
    return Number(
        judged.ablation.name if judged else "", name, outcome, value, below, equal, len(ours), low, high
    )
