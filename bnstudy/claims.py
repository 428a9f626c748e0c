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

from bnstudy import kinds
from bnstudy.effects import (
    Effect,
    at_least,
    at_most,
    best_among,
    contains,
    equal_within,
    exact,
    false_alarms,
    ranked,
    ratio_at_least,
    ratio_at_most,
    share_at_least,
    share_at_most,
    spread_at_least,
    spread_at_most,
    spread_ratio_at_least,
    spread_ratio_at_most,
)
from bnstudy.errors import BnstudyError

__all__ = [
    "Claim",
    "Contrast",
    "Effect",
    "Levels",
    "Measure",
    "Pairs",
    "at_best",
    "at_least",
    "at_most",
    "best_among",
    "contains",
    "equal_within",
    "exact",
    "false_alarms",
    "interaction",
    "largest_workable",
    "ranked",
    "ratio_at_least",
    "ratio_at_most",
    "share_at_least",
    "share_at_most",
    "spread_at_least",
    "spread_at_most",
    "spread_ratio_at_least",
    "spread_ratio_at_most",
    "success",
    "weighted",
]

Pairs = tuple[tuple[str, str], ...]
Levels = Mapping[str, str] | Pairs
"""Levels of some factors: {"norm": "bn", "lr": "1"}."""
Contrast = tuple[tuple[float, Pairs], ...]
"""Weights and the levels that each belongs to; they add up to 0."""


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
        """Raise `BnstudyError` for fields of another kind, or that make no statement together."""
        _check_kinds(self)
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
    def recorded_levels(self) -> tuple[str, ...]:
        """The levels of the claim's factor for which numbers were recorded."""
        return tuple(level for level, _ in self.effect.recorded)

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


def _check_kinds(claim: Claim) -> None:
    """Raise for fields that hold something else than what they are for."""
    kinds.kind("Claim", "text", claim.text, str)
    owner = f"The claim {claim.text!r}"
    kinds.kind(owner, "effect", claim.effect, Effect)
    kinds.kind(owner, "factor", claim.factor, str, type(None))
    kinds.kind(owner, "outcome", claim.outcome, str, Measure)
    kinds.kind(owner, "against", claim.against, str, Measure, type(None))
    kinds.levels(owner, "at", claim.at)
    kinds.several(owner, "refs", claim.refs, str)


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
    elif claim.effect.rule == "ranked" and len(claim.effect.levels) < 2:
        wrong = "ranks at least two levels, and names fewer"
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
    if claim.effect.kind == "recorded" and (claim.form == "alone") != (
        dict(claim.effect.recorded).keys() == {""}
    ):
        return 'needs factor="..." with one recorded number for each of its levels, or one number alone'
    return ""
