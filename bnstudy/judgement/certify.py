"""Judges trainings that were repeated against their records: equal to the last bit, equal but for rounding
over the first steps, equal in the mean.

Another environment rounds differently, and training amplifies that. Between AVX2 and AVX-512 kernels of one
processor the losses of 20 steps stay within 1e-4 in 26 of 32 trainings at the textbook's rate of 1, and in
1 of 96 at rates of 100 and more, which part after 2 to 10 steps. So steps that are apart are excused where
rounding alone parts them, too: trainings here whose recipes are off by rounding errors (`rounded`).
"""

import dataclasses
import json
import math
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from statistics import stdev
from typing import Any

from bnstudy.judgement import stats
from bnstudy.outcome import Outcome
from bnstudy.packs import steps as steps_of
from bnstudy.recipe import Recipe

FIRST_STEPS = 20
TOLERANCE = 1e-4
"""Relative, of a step's loss. One percent off in the learning rate is beyond it after the first step."""

EXCUSED = 1e-5
"""How far apart rounding alone must be to excuse a step beyond the tolerance. Of 325 trainings by two kernels
that parted, it was 4e-5 or more at the step that was the first beyond it; without the errors of epsilon below
it was less than 1e-5 in 5."""

RATE_ERRORS = (0.0, 2.0**-22, -(2.0**-22), 2.0**-21)
EPS_ERRORS = (2.0**-8, -(2.0**-8))
"""Relative errors, in single precision: of the learning rate as of a rounding, and of the epsilon of
normalizations so that what they give, for a variance of 0.1, is off by 2e-7. The latter changes how gradients
round that are zero but for that, as of a bias in front of a normalization; high rates make much of it."""

LEAST_TRIALS = 5
"""Below, a spread is a guess: the 90% interval of 4 trials is 1.2 standard deviations wide on each side."""

LEVELS = {
    "L0": "every number of the record is equal to the last bit",
    "L1": f"the losses of the first {FIRST_STEPS} steps agree within a relative {TOLERANCE:g}, up to where "
    "rounding alone parts them",
    "L2": "the mean difference of the precise test accuracy is equivalent to zero: two one-sided tests at 5%",
}

MEASURED = {
    *("wall_seconds", "peak_memory_bytes", "memory_bytes"),
    *("attempts", "failures", "pack", "recorded", "search"),
}
"""Facts of a training or of a moment, no environment; a virtual machine's memory changes by some bytes."""

NEUTRAL = {"commit", "clean", "cores", "scipy", "pandas", "optuna"}
"""Facts that cannot change a bit of a training; the hash of the sources speaks for their commit."""

PACK_SIZE = "pack size"

Numbers = Mapping[str, Any]
Losses = Sequence[float | None]


def plain(outcome: Outcome) -> dict[str, Any]:
    """Return an outcome as the ledger holds it: lists, and None for what is not finite."""
    found: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(outcome)), parse_constant=lambda _: None)
    return found


def differences(recorded: Numbers, again: Numbers, held: Container[str]) -> dict[str, float]:
    """Return the relative difference of each number in which two outcomes differ; `inf` for other values.

    Fields that the record's line does not hold, since they are younger, are no differences.
    """
    before = dict(_flat({name: value for name, value in recorded.items() if name in held}))
    after = dict(_flat({name: value for name, value in again.items() if name in held}))
    names = dict.fromkeys([*before, *after])
    apart = {
        name: relative(before[name], after[name]) if name in before and name in after else math.inf
        for name in names
    }
    return {name: difference for name, difference in apart.items() if difference}


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the single values of nested ones: weight_norms.fc1.weight, validation_accuracy[2]."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _flat(item, f"{name}.{key}" if name else key)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _flat(item, f"{name}[{index}]")
    else:
        yield name, value


def relative(a: Any, b: Any) -> float:
    """Return |a - b| over the larger of |a| and |b|: 0 for equal values, infinite for what is no number."""
    if a == b:
        return 0.0
    if not (isinstance(a, int | float) and isinstance(b, int | float)):
        return math.inf
    return float(abs(a - b) / max(abs(a), abs(b)))


def differing(there: Numbers, here: Numbers) -> dict[str, tuple[Any, Any]]:
    """Return the facts in which two environments differ, each with its value there and here."""
    names = [name for name in dict.fromkeys([*there, *here]) if name not in MEASURED]
    return {n: (there.get(n), here.get(n)) for n in names if there.get(n) != here.get(n)}


@dataclass(frozen=True)
class FirstSteps:
    """How far apart the losses of the first steps are: the largest relative difference of those that were
    compared, and the first step (from 0) beyond the tolerance."""

    largest: float
    apart: int | None
    steps: int


def first_steps(recorded: Losses, again: Losses) -> FirstSteps | None:
    """Return how far apart the first steps are, or None where the record holds none."""
    if not recorded:
        return None
    apart = [relative(a, b) for a, b in zip_longest(recorded[:FIRST_STEPS], again[:FIRST_STEPS])]
    first = next((step for step, difference in enumerate(apart) if difference > TOLERANCE), None)
    return FirstSteps(max(apart), first, len(apart))


def rounded(recipe: Recipe) -> tuple[tuple[Recipe, ...], ...]:
    """Return the recipe of the first steps with rounding errors; a row has one epsilon."""
    unit = 2.0**-29 if recipe.precision == "float64" else 1.0
    first = recipe.replace(updates=min(FIRST_STEPS, steps_of(recipe)))
    return tuple(
        tuple(
            first.replace(lr=recipe.lr * (1 + unit * rate), eps=recipe.eps * (1 + unit * eps))
            for rate in RATE_ERRORS
        )
        for eps in EPS_ERRORS
    )


def rounding(exact: Losses, others: Sequence[Losses], step: int) -> float:
    """Return how far other trainings are at the most from one, up to a step."""
    pairs = [pair for other in others for pair in zip(exact[: step + 1], other, strict=False)]
    return max((relative(a, b) for a, b in pairs), default=0.0)


@dataclass(frozen=True)
class Judged:
    """One trial's level, the reason where it is none, and over how many first steps L1 holds."""

    level: str
    reason: str = ""
    steps: int | None = None


def judge(
    apart: Mapping[str, float], steps: FirstSteps | None, *, elsewhere: bool, excuse: float = 0.0
) -> Judged:
    """Return the level that a repeated training reached: L0, L1, failed or not shown.

    `elsewhere`: it ran in another environment than recorded; in the same one nothing excuses a difference.
    `excuse` is what `rounding` parts by at the first step beyond the tolerance.
    """
    if not apart:
        return Judged("L0")
    if not elsewhere:
        return Judged("failed", f"the environment is the same, and {largest(apart)}")
    if steps is None:
        return Judged("not shown", "the record holds no losses of its first steps")
    if steps.apart is None:
        return Judged("L1", steps=steps.steps)
    if steps.apart > 0 and excuse >= EXCUSED:
        return Judged("L1", steps=steps.apart)
    return Judged(
        "failed",
        f"the loss of step {steps.apart} is more than {TOLERANCE:g} apart, and rounding is no reason",
    )


def largest(apart: Mapping[str, float]) -> str:
    """Return in words how much differs."""
    name = max(apart, key=lambda key: apart[key])
    by = f" by {apart[name]:.1e}" if math.isfinite(apart[name]) else ""
    return f"{name} differs{by}" + (f", with {len(apart) - 1} other values" if len(apart) > 1 else "")


@dataclass(frozen=True)
class Equivalence:
    """What the mean difference (again - recorded) over trials says: shown, refuted or not shown.

    `low` and `high` are its 90% interval; `visible` the smallest margin that this many trials of this spread
    would show with 80% power.
    """

    state: str
    trials: int
    margin: float
    mean: float | None = None
    low: float | None = None
    high: float | None = None
    visible: float | None = None


def equivalence(paired: Sequence[float], margin: float) -> Equivalence:
    """Return whether paired differences are equivalent to zero, by the rule of `equal_within` claims.

    Shown where the 90% interval lies inside the margin (Schuirmann 1987), refuted where the 95% interval lies
    wholly outside.
    """
    n = len(paired)
    if n < LEAST_TRIALS:
        return Equivalence("not shown", n, margin)
    interval = partial(stats.paired_mean, paired)
    narrow, wide = interval(0.9), interval(0.95)
    state = "not shown"
    if -margin < narrow.low and narrow.high < margin:
        state = "shown"
    elif wide.low > margin or wide.high < -margin:
        state = "refuted"
    visible = stats.detectable_margin(stdev(paired), n)
    return Equivalence(state, n, margin, narrow.value, narrow.low, narrow.high, visible)


def verdict(levels: Sequence[str], equal: Equivalence) -> str:
    """Return what a sample certifies: bitwise, within tolerance, failed or not shown."""
    if "failed" in levels or equal.state == "refuted":
        return "failed"
    if set(levels) == {"L0"}:
        return "bitwise"
    within = set(levels) <= {"L0", "L1"} and equal.state == "shown"
    return "within tolerance" if within else "not shown"


def undetected(drawn: int, of: int) -> int:
    """Return how many records at most can differ, at 95%, where none of the drawn ones does."""
    missed, chance = 0, 1.0  # that a sample without one of these records is drawn
    while (chance := chance * (of - missed - drawn) / (of - missed)) >= 0.05:
        missed += 1
    return missed
