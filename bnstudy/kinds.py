"""Whether the fields of a declaration are of their kind, told with the field's name and what would do."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bnstudy import checks
from bnstudy.errors import BnstudyError, unknown
from bnstudy.recipe import BN_LENET, FIELDS

FIGURES = ("arms", "learning rates", "curves", "effects", "subsets", "dose", "statistics", "published")
"""The kinds of figures that an ablation can name."""

_LEVELS = '(Level("bn"), Level("none", norm="none"))'
EXAMPLES = {
    "question": '"Does it matter?"',
    "source": '"my own"',
    "base": "BN_LENET.replace(lr=0.1)",
    "quick": "Profile(seeds=3)",
    "smoke": "Profile(seeds=2)",
    "factors": '(across("lr", 0.1, 1),)',
    "claims": '(Claim("It helps.", ...),)',
    "seeds": "range(5)",
    "figure": '"arms"',
    "name": '"bn"',
    "label": '"with BN"',
    "control": 'Level("none", norm="none")',
    "treatments": _LEVELS,
    "levels": _LEVELS,
    "varies": '("norm", "padding")',
    "text": '"BN helps."',
    "effect": "at_least(0.01)",
    "factor": '"norm"',
    "outcome": '"test_accuracy"',
    "against": '"test_accuracy"',
    "at": '{"lr": "1"}',
    "refs": '("C13",)',
}
"""By field, what an error shows."""


def kind(owner: str, field: str, value: object, *wanted: type) -> None:
    """Raise for a value of none of these types."""
    if not isinstance(value, wanted) or (isinstance(value, bool) and bool not in wanted):
        raise _wrong(owner, field, value)


def several(owner: str, field: str, values: object, wanted: type) -> tuple[Any, ...]:
    """Return values as a tuple; raise for what is no sequence, or has a value of another type."""
    if isinstance(values, str | Mapping) or not isinstance(values, Sequence):
        lone = isinstance(values, wanted) and wanted is not int
        hint = f": a tuple of one has a comma, ({_short(values)},)" if lone else ""
        raise _wrong(owner, field, values, hint)
    for value in values:
        if not isinstance(value, wanted) or isinstance(value, bool):
            raise _wrong(owner, field, value)
    return tuple(values)


def levels(owner: str, field: str, value: object) -> None:
    """Raise for what names no levels of factors."""
    pairs = isinstance(value, tuple) and all(isinstance(pair, tuple) and len(pair) == 2 for pair in value)
    named = value if isinstance(value, Mapping) else dict(value) if pairs else None  # type: ignore[call-overload]
    if named is None or not all(isinstance(name, str) for pair in named.items() for name in pair):
        raise _wrong(owner, field, value, ": names of factors and of their levels")


def recipe_fields(owner: str, fields: Mapping[str, object]) -> None:
    """Raise for a field that no recipe has, or a value that it cannot hold."""
    for name, value in fields.items():
        if name not in FIELDS:
            raise unknown("recipe field", name, FIELDS)
        try:
            if name != "revisions":
                checks.typed(name, value, type(getattr(BN_LENET, name)))
        except BnstudyError as error:
            raise BnstudyError(f"{owner}: {error}") from None


def figure(value: str | Callable[..., Any]) -> None:
    """Raise for a figure that is neither known nor a function."""
    if isinstance(value, str) and value not in FIGURES:
        raise unknown("figure", value, FIGURES)
    if not isinstance(value, str) and not callable(value):
        raise _wrong("Ablation", "figure", value)


def _wrong(owner: str, field: str, value: object, hint: str = "") -> BnstudyError:
    return BnstudyError(
        f"{owner}: {field} = {_short(value)} is not what it takes, such as {EXAMPLES[field]}{hint}."
    )


def _short(value: object) -> str:
    """Return a value as a file would hold it; of a declaration its class alone."""
    if type(value).__module__.startswith("bnstudy."):
        return f"{type(value).__name__}(...)"
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
