"""Claims: statements with a margin and a rule, written down before the runs. Plain data, judged elsewhere."""

import math
from dataclasses import KW_ONLY, dataclass

from bnstudy.errors import BnstudyError


@dataclass(frozen=True)
class Effect:
    """What a claim says of treatment minus control (`kind` "difference") or treatment over control ("ratio").

    `rule` is `at least`, `at most` or `equal within`; `margin` is in units of the outcome (accuracies
    in [0, 1]: 0.003 is 0.3 points), or a factor for ratios.
    """

    rule: str
    margin: float
    kind: str = "difference"

    def __post_init__(self) -> None:
        """Raise `BnstudyError` for a margin with which the rule could not decide."""
        if not math.isfinite(self.margin):
            raise BnstudyError(f"A claim's margin must be a finite number, not {self.margin!r}.")
        if self.rule == "equal within" and self.margin <= 0:
            raise BnstudyError(f"equal_within needs a margin above 0, not {self.margin!r}.")
        if self.kind == "ratio" and self.margin <= 0:
            raise BnstudyError(f"A ratio's margin must be above 0, not {self.margin!r}.")


def at_least(margin: float) -> Effect:
    """Treatment minus control is at least `margin`."""
    return Effect("at least", margin)


def at_most(margin: float) -> Effect:
    """Treatment minus control is at most `margin`."""
    return Effect("at most", margin)


def equal_within(margin: float) -> Effect:
    """Treatment and control differ by less than `margin` either way (two one-sided tests)."""
    return Effect("equal within", margin)


def ratio_at_least(factor: float) -> Effect:
    """Treatment over control is at least `factor`."""
    return Effect("at least", factor, "ratio")


@dataclass(frozen=True)
class Measure:
    """The number that a claim compares: one value for each arm and seed.

    With `over`, the levels of that factor become one value: `best` takes the outcome at the arm's best
    level, chosen by the mean final validation accuracy; `largest workable` takes the largest rate of
    the unbroken run of successes (outcome at least `threshold`) around each seed's best rate.
    """

    outcome: str
    over: str | None = None
    summary: str | None = None
    threshold: float | None = None


def at_best(over: str, outcome: str = "precise_test_accuracy") -> Measure:
    """The outcome at each arm's best level of `over`, chosen on the validation images."""
    return Measure(outcome, over, "best")


def largest_workable(
    over: str = "lr", outcome: str = "precise_train_accuracy", threshold: float = 0.5
) -> Measure:
    """The largest learning rate before optimization fails: training accuracy, since that is the question."""
    return Measure(outcome, over, "largest workable", threshold)


@dataclass(frozen=True)
class Claim:
    """A statement about a factor's treatment against its control; an ablation's first claim is primary.

    `treatment` and `control` default to the factor's only treatment and its control; `at` fixes levels
    of other factors, which are else averaged within each seed. `refs` names the textbook's claims (C13).
    """

    text: str
    _: KW_ONLY
    factor: str
    effect: Effect
    outcome: str | Measure = "precise_test_accuracy"
    treatment: str | None = None
    control: str | None = None
    at: tuple[tuple[str, str], ...] = ()
    refs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raise `BnstudyError` for an effect that its measure does not have."""
        if (self.effect.kind == "ratio") != (self.measure.summary == "largest workable"):
            raise BnstudyError(
                f"The claim {self.text!r} mixes a ratio and a difference: largest_workable(...) goes with "
                "ratio_at_least(...), every other outcome with at_least, at_most or equal_within."
            )

    @property
    def measure(self) -> Measure:
        """The claim's outcome as a `Measure`; a plain name is the outcome itself."""
        return Measure(self.outcome) if isinstance(self.outcome, str) else self.outcome
