"""A recipe: everything that determines a training except its seed, and the name of that: its fingerprint."""

import dataclasses
import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from bnstudy.errors import BnstudyError, unknown

REVISIONS = {"data": 1, "norms": 1, "nets": 1, "train": 1, "evaluate": 1}
"""Components that make numbers. After a change of their numbers the revision rises, and records made
before are visibly stale."""

CHOICES: dict[str, tuple[str, ...]] = {
    "data": ("fashion-mnist", "sample"),
    "net": ("lenet",),
    "pool": ("avg",),
    "norm": ("none", "affine", "batch_norm", "batch_norm_scratch"),
    "running_variance": ("unbiased", "biased"),
    "init": ("xavier",),
    "optimizer": ("sgd",),
    "precision": ("float32", "float64"),
}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One training without its seed. The defaults are the textbook's BN-LeNet on a held-out split.

    `norm`: `batch_norm` is the framework's layer, `batch_norm_scratch` the same formulas written out,
    `affine` only its scale and shift. `momentum` is the weight of the new batch in the running
    averages, PyTorch's convention; the textbook's 0.9 is the weight of the old value, here 0.1.
    `init` draws weights by Glorot & Bengio (2010), eq. 16, and biases as the framework does.
    `flush_denormals`: a CPU takes many times longer over denormal numbers, and rates of 100 make them.

    A field's default means "as before the field existed": only what differs from the defaults is
    hashed, so adding a field keeps every fingerprint.
    """

    data: str = "fashion-mnist"
    train_images: int = 50_000
    validation_images: int = 10_000
    net: str = "lenet"
    padding: int = 0
    pool: str = "avg"
    norm: str = "batch_norm"
    eps: float = 1e-5
    momentum: float = 0.1
    running_variance: str = "unbiased"
    init: str = "xavier"
    optimizer: str = "sgd"
    lr: float = 1.0
    batch_size: int = 256
    epochs: int = 10
    precision: str = "float32"
    flush_denormals: bool = True
    revisions: Mapping[str, int] = field(default_factory=REVISIONS.copy, hash=False)

    def __post_init__(self) -> None:
        """Normalize numbers (`lr=1` is `lr=1.0`) and raise `BnstudyError` for values that cannot train."""
        for name, kind in _SCALARS.items():
            object.__setattr__(self, name, _checked(name, getattr(self, name), kind))
        _check_revisions(self.revisions)
        _check_ranges(self)
        _check_batches(self)

    def replace(self, **changes: Any) -> "Recipe":
        """Return a copy with some fields changed; an unknown field is a `BnstudyError`."""
        for name in changes:
            if name not in FIELDS:
                raise unknown("recipe field", name, FIELDS)
        return dataclasses.replace(self, **changes)

    def as_dict(self) -> dict[str, Any]:
        """Return every field as plain JSON values, in the order of declaration."""
        return {name: getattr(self, name) for name in FIELDS} | {"revisions": dict(self.revisions)}

    @cached_property
    def fingerprint(self) -> str:
        """16 hexadecimal digits: SHA-256 of the canonical JSON of what differs from the defaults."""
        return digest(self.canonical())

    def canonical(self) -> str:
        """Return the JSON that is hashed: sorted, compact, only what differs from the defaults."""
        chosen = {k: v for k, v in self.as_dict().items() if k != "revisions" and v != _DEFAULTS[k]}
        raised = {k: v for k, v in self.revisions.items() if v != 1}
        return canonical_json(chosen | ({"revisions": raised} if raised else {}))

    def differences(self, other: "Recipe") -> dict[str, tuple[Any, Any]]:
        """Return the fields in which two recipes differ, each with its value here and there."""
        here, there = self.as_dict(), other.as_dict()
        return {name: (here[name], there[name]) for name in FIELDS if here[name] != there[name]}

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> "Recipe":
        """Rebuild a recipe from a record; missing fields take their defaults, unknown ones are an error."""
        strange = [name for name in values if name not in FIELDS]
        if strange:
            raise BnstudyError(
                f"The recipe has a field {strange[0]!r} that this version does not know: "
                "it was written by a newer bnstudy; upgrade to read it."
            )
        return Recipe(**dict(values))


FIELDS = tuple(f.name for f in dataclasses.fields(Recipe))
_DEFAULTS = {f.name: f.default for f in dataclasses.fields(Recipe)}
_SCALARS: dict[str, type] = {name: type(value) for name, value in _DEFAULTS.items() if name != "revisions"}


def canonical_json(value: Any) -> str:
    """Return JSON that is the same text for the same content: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)


def digest(text: str, length: int = 16) -> str:
    """Return the first `length` hexadecimal digits of the SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def level_name(value: Any) -> str:
    """Return a value as it is written in a design: 0.3, 1000, on, off, batch_norm."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if not isinstance(value, float):
        return str(value)
    return re.sub(r"e([+-])0*", r"e\1", format(value, ".12g"))


def momentum_of_old_weight(weight: float) -> float:
    """Return PyTorch's momentum, the new batch's weight, for the textbook's, the old value's weight.

    d2l 8.5.4 keeps 0.9 of the running average, which is PyTorch's 0.1. Rounded to 12 digits, so that
    both ways of writing one recipe have one fingerprint.
    """
    return round(1 - weight, 12)


def _checked(name: str, value: Any, kind: type) -> Any:
    """Return `value` as the field's type, or raise an error that says what the field takes."""
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not kind:
        wanted = {int: "a whole number", float: "a number", str: "a name", bool: "True or False"}[kind]
        raise BnstudyError(f"{name} = {value!r} is not {wanted}.")
    if name in CHOICES and value not in CHOICES[name]:
        raise unknown(name, str(value), CHOICES[name])
    return value


def _check_revisions(revisions: Mapping[str, int]) -> None:
    """Raise for revisions that are not whole numbers from 1 by component."""
    wrong = [(k, v) for k, v in revisions.items() if k not in REVISIONS or type(v) is not int or v < 1]
    if wrong:
        known = ", ".join(REVISIONS)
        raise BnstudyError(f"revisions has {wrong[0]!r}; it holds whole numbers from 1 for {known}.")


def _check_ranges(recipe: Recipe) -> None:
    """Raise for a number outside of what can train."""
    for name in ("lr", "eps"):
        value = getattr(recipe, name)
        if not (math.isfinite(value) and value > 0):
            raise BnstudyError(f"{name} = {value!r} cannot train: it must be a finite number above 0.")
    if not 0 < recipe.momentum <= 1:
        raise BnstudyError(
            f"momentum = {recipe.momentum!r} must be above 0 and at most 1, the weight of the new batch."
        )
    for name, least in {"train_images": 1, "validation_images": 0, "padding": 0, "epochs": 1}.items():
        if getattr(recipe, name) < least:
            raise BnstudyError(f"{name} = {getattr(recipe, name)} must be at least {least}.")
    if not 1 <= recipe.batch_size <= recipe.train_images:
        raise BnstudyError(
            f"batch_size = {recipe.batch_size} must be from 1 to the {recipe.train_images:,} training images."
        )


def _check_batches(recipe: Recipe) -> None:
    """Raise where batch normalization of a fully connected layer would see a batch of one image."""
    if not recipe.norm.startswith("batch_norm"):
        return
    if recipe.batch_size == 1:
        raise BnstudyError(
            "batch_size = 1 cannot train under batch normalization: a fully connected layer's batch of one "
            "has no variance. Use at least 2, or norm='affine' or 'none'."
        )
    if recipe.train_images % recipe.batch_size == 1:
        raise BnstudyError(
            f"train_images = {recipe.train_images:,} in batches of {recipe.batch_size} leaves a last batch "
            "of one image, which batch normalization cannot use. Change either number by one."
        )


BN_LENET = Recipe()
"""The textbook's LeNet with batch normalization (d2l 8.5.6: LeNet without padding, lr 1, batch 256)."""

LENET = Recipe(norm="none", padding=2, lr=0.9)
"""The textbook's LeNet (d2l 7.6): first convolution padded by 2, no normalization, lr 0.9."""
