"""How outcomes, levels and numbers are named in sentences and figures."""

import math
from collections.abc import Iterable

from bnstudy.books.language import tell
from bnstudy.factors import Factor
from bnstudy.recipe import level_name

SPOKEN = {
    "precise_test_accuracy": "test accuracy (statistics recomputed)",
    "test_accuracy": "test accuracy (running averages)",
    "batch_test_accuracy": "test accuracy (each batch's statistics)",
    "mean_test_accuracy": "mean test accuracy of the last three epochs",
    "train_accuracy": "training accuracy (running averages)",
    "precise_train_accuracy": "training accuracy (statistics recomputed)",
    "online_train_loss.last": "training loss over the last epoch",
    "online_train_accuracy.last": "training accuracy over the last epoch",
    "validation_area": "validation accuracy averaged over the epochs",
    "epochs_to_85": "number of epochs to 85% validation accuracy",
}
"""Outcomes whose name alone does not say what they are."""


def spoken(outcome: str) -> str:
    """Return an outcome's name as a text says it."""
    field, _, key = outcome.partition(".")
    words, entry = field.replace("_", " "), key.replace("_", " ")
    if field == "checks" and key:
        return tell(entry)
    return tell(SPOKEN.get(outcome, f"{words} ({entry})" if key else words))


def is_share(outcome: str) -> bool:
    """Return whether an outcome is a share in [0, 1], whose differences are told in points."""
    return "accuracy" in outcome or outcome in ("validation_area", "finite", "checks.batch_disagreement")


def titled(factor: Factor, name: str) -> str:
    """Return a level as a text names it: its label, or `lr 0.1` where that is only a number."""
    label = factor.level(name).label
    return f"{entitled(factor)} {label}" if is_number(label) else tell(label)


def entitled(factor: Factor) -> str:
    """Return a factor's name as a text says it."""
    return tell(factor.name.replace("_", " "))


def listed(items: Iterable[str], separator: str = ", ") -> str:
    """Return items one after the other, parted as the language does it."""
    return tell(separator).join(items)


def counted(number: int, what: str) -> str:
    """Return a number of things: 1 seed, 2 seeds."""
    return tell(f"1 {what}") if number == 1 else tell(f"{{number}} {what}s", number=f"{number:,}")


def is_number(text: str) -> bool:
    """Return whether a label is a finite number."""
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def points(share: float) -> str:
    """Return a difference of shares in points, with its sign."""
    return f"{round(100 * share, 2) + 0.0:+.2f}"


def difference(value: float, outcome: str) -> str:
    """Return a difference of an outcome, with its sign, in points where it is a share."""
    return points(value) if is_share(outcome) else f"{value + 0.0:+.3g}"


def change(value: float, outcome: str) -> str:
    """Return a difference of an outcome with its sign and unit: +1.32 points, or +3.25."""
    told = difference(value, outcome)
    return tell("{difference} points", difference=told) if is_share(outcome) else told


def amount(value: float, outcome: str) -> str:
    """Return an outcome's value: 87.1%, or 3.25."""
    return f"{100 * value:.1f}%" if is_share(outcome) else f"{value:.3g}"


def duration(seconds: float) -> str:
    """Return a duration in one unit, no finer than it is known: 40 seconds, 3 minutes, 1.5 hours."""
    if seconds < 100:
        return counted(round(seconds), "second")
    if seconds < 100 * 60:
        return counted(round(seconds / 60), "minute")
    return tell("{number} hours", number=f"{seconds / 3600:.1f}")


def interval(low: float, high: float, outcome: str) -> str:
    """Return an interval of an outcome: 86.9% to 87.3%."""
    return tell("{low} to {high}", low=amount(low, outcome), high=amount(high, outcome))


def size(value: float, outcome: str) -> str:
    """Return the size of a difference or of a spread: 1.32 points, or 3.25."""
    if not is_share(outcome):
        return f"{value:.3g}"
    return tell("{difference} points", difference=f"{100 * value:.2f}")


def digits(value: float) -> str:
    """Return a positive number to two digits: 0.0098, 3.2, 320."""
    if not math.isfinite(value) or value == 0:
        return str(value)
    rounded = float(f"{value:.2g}")
    return f"{rounded:,.0f}" if rounded >= 10 else level_name(rounded)
