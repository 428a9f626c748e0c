"""Claims: statements with a margin and a rule, written down before the runs. Plain data, judged elsewhere.

What a claim is about follows from the fields that it gives:

- `factor` (with `treatment` and `control`), or `treatment={...}, control={...}`: one side against another;
- `against`: the outcome against another outcome of the same trials;
- `contrast`: a weighted sum of arms, such as an `interaction`;
- none of these: the arm that `at` names, alone.
"""

import math
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from itertools import product

from bnstudy.errors import BnstudyError

Pairs = tuple[tuple[str, str], ...]
Levels = Mapping[str, str] | Pairs
"""Levels of some factors: {"norm": "bn", "lr": "1"}."""
Contrast = tuple[tuple[float, Pairs], ...]
"""Weights and the levels that each belongs to; they add up to 0."""


@dataclass(frozen=True)
class Effect:
    """What a claim says of treatment minus control (`kind` "difference"), treatment over control ("ratio"),
    one standard deviation ("spread"), two ("spread ratio"), one difference as a share of another ("share"),
    the order of means ("order"), numbers recorded elsewhere ("recorded"), rounding ("exact") or the judge
    itself ("false alarms").

    `rule` is `at least`, `at most`, `equal within`, `best among`, `ranked`, `contains`, `exact` or `within
    bounds`; `margin` is in units of the outcome (accuracies in [0, 1]: 0.003 is 0.3 points), or a factor for
    ratios.
    """

    rule: str
    margin: float = 0.0
    kind: str = "difference"
    levels: tuple[str, ...] = ()
    """Of the claim's factor: those among which the best lies, or all in their order."""
    recorded: tuple[tuple[str, float], ...] = ()
    """Numbers of single runs by level of the claim's factor; the level is empty for an arm alone."""

    def __post_init__(self) -> None:
        """Raise `BnstudyError` for a margin with which the rule could not decide."""
        for value in (self.margin, *dict(self.recorded).values()):
            if not math.isfinite(value):
                raise BnstudyError(f"A claim's margin must be a finite number, not {value!r}.")
        if self.rule == "equal within" and self.margin <= 0:
            raise BnstudyError(f"equal_within needs a margin above 0, not {self.margin!r}.")
        if self.kind in ("ratio", "spread ratio") and self.margin <= 0:
            raise BnstudyError(f"A ratio's margin must be above 0, not {self.margin!r}.")
        if self.kind in ("spread", "exact", "false alarms") and self.margin < 0:
            raise BnstudyError(f"The bound of a claim on its {self.kind} cannot be {self.margin!r}.")
        if (self.kind == "order" and not self.levels) or (self.kind == "recorded" and not self.recorded):
            raise BnstudyError(f"A claim with the rule {self.rule!r} needs at least one level or number.")


def at_least(margin: float) -> Effect:
    """Treatment minus control is at least `margin`; so is the mean of an arm alone, or a contrast."""
    return Effect("at least", margin)


def at_most(margin: float) -> Effect:
    """Treatment minus control is at most `margin`; so is the mean of an arm alone, or a contrast."""
    return Effect("at most", margin)


def equal_within(margin: float) -> Effect:
    """Treatment and control differ by less than `margin` either way (two one-sided tests)."""
    return Effect("equal within", margin)


def ratio_at_least(factor: float) -> Effect:
    """Treatment over control is at least `factor`: largest workable rates, or means (20 seeds)."""
    return Effect("at least", factor, "ratio")


def ratio_at_most(factor: float) -> Effect:
    """Treatment over control is at most `factor`: largest workable rates, or means (20 seeds)."""
    return Effect("at most", factor, "ratio")


def spread_at_least(spread: float) -> Effect:
    """The standard deviation over seeds of an arm alone is at least `spread` (20 seeds)."""
    return Effect("at least", spread, "spread")


def spread_at_most(spread: float) -> Effect:
    """The standard deviation over seeds of an arm alone is at most `spread` (20 seeds)."""
    return Effect("at most", spread, "spread")


def spread_ratio_at_least(factor: float) -> Effect:
    """The standard deviation of treatment (or outcome) over that of control (or `against`) (20 seeds)."""
    return Effect("at least", factor, "spread ratio")


def spread_ratio_at_most(factor: float) -> Effect:
    """As `spread_ratio_at_least`, the other way."""
    return Effect("at most", factor, "spread ratio")


def share_at_least(share: float) -> Effect:
    """Treatment minus control is at least this share of a whole, which has to be above 0: of `of` minus
    control, or of treatment minus control by the outcome `against`."""
    return Effect("at least", share, "share")


def share_at_most(share: float) -> Effect:
    """As `share_at_least`, the other way."""
    return Effect("at most", share, "share")


def best_among(*levels: str) -> Effect:
    """The level of `factor` with the highest mean is one of these."""
    return Effect("best among", kind="order", levels=levels)


def ranked(*levels: str) -> Effect:
    """The means of these levels of `factor` descend in this order."""
    return Effect("ranked", kind="order", levels=levels)


def contains(recorded: float | Mapping[str, float], rounding: float = 0.0) -> Effect:
    """Each number recorded for a level of `factor` (or the one of an arm alone) is typical of its recipe: it
    lies inside a prediction interval for one new run, 95% for all of them together.

    `rounding` is how far a number may be from what was measured: 0.0005 where three digits were printed.
    """
    numbers = recorded if isinstance(recorded, Mapping) else {"": recorded}
    return Effect("contains", rounding, "recorded", recorded=tuple(numbers.items()))


def exact(bound: float) -> Effect:
    """In every trial, treatment and control (lists: each entry) differ by no more than `bound`; of an arm
    alone, the outcome is no further from 0."""
    return Effect("exact", bound, "exact")


def false_alarms(margin: float) -> Effect:
    """The judge decides wrongly as often as stated: over sign flips of the differences of two arms that are
    the same, and of such arms of which one is shifted by `margin`."""
    return Effect("within bounds", margin, "false alarms")


def weighted(factor: str, weights: Mapping[str, float]) -> Contrast:
    """Return the weighted sum of the levels of a factor."""
    return tuple((weight, ((factor, level),)) for level, weight in weights.items())


def interaction(changes: Mapping[str, tuple[str, str]]) -> Contrast:
    """Return the difference of differences: how much the change of one factor from its second to its first
    level changes what the same does in another; {"norm": ("bn", "none"), "dropout": ("0.5", "0")}."""
    corners = product(*(((1, f, to), (-1, f, start)) for f, (to, start) in changes.items()))
    return tuple(
        (math.prod(sign for sign, _, _ in corner), tuple((f, level) for _, f, level in corner))
        for corner in corners
    )


@dataclass(frozen=True)
class Measure:
    """The number that a claim compares: one value for each arm and seed.

    `outcome` is a field of `Outcome`; `field.key` is an entry of a field that maps names to numbers, and
    `field.last` the last entry of a list. With `over`, the levels of that factor become one value: `best`
    takes the outcome at the arm's best level, chosen by the mean final validation accuracy; `largest
    workable` takes the largest rate of the unbroken run of successes (outcome at least `threshold`) around
    each seed's best rate. `success` is whether all of a seed's trials reach `threshold`.
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


def success(outcome: str = "precise_train_accuracy", threshold: float = 0.5) -> Measure:
    """Whether a seed of an arm alone succeeds; a claim is then about the share of seeds that do."""
    return Measure(outcome, None, "success", threshold)


@dataclass(frozen=True)
class Claim:
    """A statement about an ablation; its first claim is primary.

    `treatment` and `control` default to the factor's only treatment and its control; `at` fixes levels
    of other factors, which are else averaged within each seed. `refs` names the textbook's claims (C13).
    """

    text: str
    _: KW_ONLY
    effect: Effect
    factor: str | None = None
    outcome: str | Measure = "precise_test_accuracy"
    treatment: str | Levels | None = None
    control: str | Levels | None = None
    of: str | Levels | None = None
    """The level whose difference from the control is the whole that the effect is a share of."""
    against: str | Measure | None = None
    contrast: Contrast = field(default=())
    at: Levels = ()
    refs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raise `BnstudyError` for fields that make no statement together."""
        for name in ("treatment", "control", "of", "at"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, str):
                object.__setattr__(self, name, tuple(dict(value).items()))
        _check(self)

    @property
    def measure(self) -> Measure:
        """The claim's outcome as a `Measure`; a plain name is the outcome itself."""
        return Measure(self.outcome) if isinstance(self.outcome, str) else self.outcome

    @property
    def form(self) -> str:
        """What the claim is about: `contrast`, `levels` of its factor, `sides`, two `outcomes` or an arm
        `alone`."""
        if self.contrast:
            return "contrast"
        if self.factor is not None and self.effect.kind in ("order", "recorded"):
            return "levels"
        if self.factor is not None or self.treatment is not None or self.control is not None:
            return "sides"
        return "outcomes" if self.against is not None else "alone"

    @property
    def fixed(self) -> dict[str, str]:
        """The levels that `at` fixes."""
        return dict(self.at)


FORMS = {
    "difference": ("sides", "outcomes", "contrast", "alone"),
    "ratio": ("sides", "outcomes"),
    "spread": ("alone",),
    "spread ratio": ("sides", "outcomes"),
    "share": ("sides",),
    "order": ("levels",),
    "recorded": ("levels", "alone"),
    "exact": ("sides", "outcomes", "alone"),
    "false alarms": ("sides",),
}
"""What claims of each kind of effect can be about."""

_GIVE = {
    "sides": "factor= (or treatment={...} and control={...})",
    "outcomes": "against=",
    "contrast": "contrast=",
    "alone": "at= alone",
    "levels": "factor= without treatment and control",
}


def _check(claim: Claim) -> None:
    """Raise for fields that make no statement together; whether names exist is the design's to check."""
    kind, form, summary = claim.effect.kind, claim.form, claim.measure.summary
    wrong = ""
    if summary == "largest workable" and kind != "ratio":
        wrong = (
            "mixes a ratio and a difference: largest_workable(...) goes with ratio_at_least(...), every "
            "other outcome with at_least, at_most or equal_within"
        )
    elif form not in FORMS[kind]:
        wrong = f"has an effect on its {kind}, which needs {' or '.join(_GIVE[f] for f in FORMS[kind])}"
    elif summary == "success" and (kind, form) != ("difference", "alone"):
        wrong = "compares shares of seeds that succeed; success(...) is for one arm, named by at={...}"
    elif summary is not None and (kind == "exact" or claim.against is not None):
        wrong = "needs plain names of outcomes"
    else:
        wrong = _wrong_sides(claim) or _wrong_contrast(claim) or _wrong_share(claim)
    if wrong:
        raise BnstudyError(f"The claim {claim.text!r} {wrong}.")


def _wrong_sides(claim: Claim) -> str:
    given = [each for each in (claim.treatment, claim.control, claim.of) if each is not None]
    if claim.form != "sides":
        return "names a treatment, control or whole but compares none of them" if given else ""
    if claim.factor is None:
        if claim.treatment is None or claim.control is None or any(isinstance(g, str) for g in given):
            return 'needs factor="...", or levels by factor: treatment={...} and control={...}'
    elif not all(isinstance(each, str) for each in given):
        return "has a factor, so that its treatment and control are names of levels"
    if claim.against is not None and claim.effect.kind not in ("difference", "share"):
        return "compares both levels and outcomes; leave out against= or factor="
    return ""


def _wrong_contrast(claim: Claim) -> str:
    if not claim.contrast:
        return ""
    if claim.factor is not None or claim.against is not None:
        return "has a contrast, which names its own levels: leave out factor= and against="
    total = sum(weight for weight, _ in claim.contrast)
    return "" if abs(total) < 1e-9 else f"has a contrast whose weights add up to {total:g} instead of 0"


def _wrong_share(claim: Claim) -> str:
    if claim.effect.kind == "share" and (claim.of is None) == (claim.against is None):
        return "is about a share of a whole: give of=... (a level) or against=... (an outcome)"
    if claim.of is not None and claim.effect.kind != "share":
        return "has of=..., which goes with share_at_least(...) and share_at_most(...)"
    if claim.effect.kind == "recorded" and (claim.form == "alone") != (dict(claim.effect.recorded).keys() == {""}):
        return 'needs factor="..." with one recorded number for each of its levels, or one number alone'
    return ""
