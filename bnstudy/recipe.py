"""A recipe: everything that determines a training except its seed, and the name of that: its fingerprint."""

import dataclasses
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from operator import attrgetter
from typing import Any

from bnstudy import checks
from bnstudy.errors import BnstudyError, unknown

REVISIONS = {"data": 1, "norms": 1, "nets": 1, "train": 1, "evaluate": 1}
"""Components that make numbers. After a change of their numbers the revision rises, and records made
before are visibly stale."""

SITES = ("input", "conv1", "conv2", "fc1", "fc2", "fc3")
"""Where LeNet can normalize: its pixels, or what a layer computes, the last being the logits."""

HIDDEN = ("conv1", "conv2", "fc1", "fc2")
PROBES = ("averages", "shift", "gradients", "corruption")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One training without its seed. The defaults are the textbook's BN-LeNet on a held-out split.

    A field's default means "as before the field existed": only what differs from the defaults is
    hashed, so adding a field keeps every fingerprint.
    """

    data: str = "fashion-mnist"
    train_images: int = 50_000
    validation_images: int = 10_000
    """0: the test images stand in, as in the textbook."""
    image_size: int = 28
    """Pixels a side; other sizes are resized bilinearly."""
    net: str = "lenet"
    padding: int = 0
    """Of LeNet's first convolution: 2 in the textbook's LeNet, 0 in its BN-LeNet."""
    pool: str = "avg"
    activation: str = "sigmoid"
    depth: int = 5
    """Hidden layers of `net="stack"`, each of `width` units."""
    width: int = 100
    skip: str = "none"
    """Around the layers of a stack: `identity` adds a layer's input to its output (He et al. 2016),
    `skipinit` scales that output by a learned number that starts at 0 (De & Smith 2020)."""
    norm: str = "batch_norm"
    """`batch_norm` is the framework's layer, `batch_norm_scratch` the same formulas written out, `affine`
    only its scale and shift; `mean_only`, `std_only` and `rms_only` are its lite forms; `population`
    normalizes with the running averages in training too. See `bnstudy.training.norms`."""
    norm_at: str = "hidden"
    """`hidden`: in front of every activation; else sites of LeNet, separated by commas."""
    norm_place: str = "before"
    """`before` or `after` the activation, or `after_pool`ing."""
    bias_before_norm: bool = True
    eps: float = 1e-5
    momentum: float = 0.1
    """The weight of the new batch in the running averages, PyTorch's convention; the textbook's 0.9 is the
    weight of the old value, here 0.1."""
    running_variance: str = "unbiased"
    running_start: float = 1.0
    """What the running variance starts from."""
    gamma: float = 1.0
    """What the scale starts from, and stays at without `train_gamma`."""
    train_gamma: bool = True
    train_beta: bool = True
    ghost_size: int = 0
    """Images a ghost batch (Hoffer et al. 2017): each is normalized with its own moments; 0: one batch."""
    groups: int = 1
    """Groups of channels of `group_norm` and `whitening`."""
    whitening: str = "cholesky"
    """How the inverse square root of the covariance is computed: `cholesky` or `newton`."""
    norm_noise: str = "none"
    """After the normalization: `shifting` draws scale and shift anew each step (Santurkar et al. 2018),
    `calibrated` has the variance that a batch's moments would have."""
    dropout: float = 0.0
    dropout_at: str = "before_norm"
    """`before_norm`: on fc1's activations, which a normalization sees next; `after_norms`: on fc2's."""
    trained: str = "all"
    """`norms`: only scales and shifts (Frankle et al. 2021); `random`: as many of the other weights."""
    init: str = "xavier"
    """`xavier` draws weights by Glorot & Bengio (2010), eq. 16, and biases as the framework does; `default`
    draws both as the framework does."""
    replica: int = 0
    """Salts the streams of initial values: two recipes that differ only here are the same recipe."""
    optimizer: str = "sgd"
    lr: float = 1.0
    batch_size: int = 256
    drop_last: bool = False
    """Leave out an epoch's last, smaller batch."""
    epochs: int = 10
    updates: int = 0
    """Optimizer steps in all; 0: as many as the epochs have. The epochs are then those begun."""
    precision: str = "float32"
    flush_denormals: bool = True
    """A CPU takes many times longer over denormal numbers, and rates of 100 make them."""
    quirk: str = ""
    """A bug of the published code to reproduce, by its name in `bnstudy.training.quirks`."""
    probes: str = ""
    """What is measured besides, at a cost: names of `PROBES`, separated by commas. Changes no training."""
    revisions: Mapping[str, int] = field(default_factory=REVISIONS.copy, hash=False)

    def __post_init__(self) -> None:
        """Normalize numbers (`lr=1` is `lr=1.0`) and raise `BnstudyError` for values that cannot train."""
        # Most fields are at their defaults, and twenty designs make 600 recipes to list.
        for name, value in [(k, v) for k, v in vars(self).items() if v is not _DEFAULTS[k]]:
            if name in _SCALARS:
                object.__setattr__(self, name, checks.typed(name, value, _SCALARS[name]))
            if name in _LISTED:
                object.__setattr__(self, name, checks.listed(name, value, _LISTED[name]))
        if self.norm_at == ",".join(HIDDEN):
            object.__setattr__(self, "norm_at", "hidden")
        checks.revisions(self.revisions, REVISIONS)
        checks.recipe(self)

    @property
    def norm_sites(self) -> tuple[str, ...]:
        """The sites of LeNet that are normalized."""
        return HIDDEN if self.norm_at == "hidden" else tuple(filter(None, self.norm_at.split(",")))

    def replace(self, **changes: Any) -> "Recipe":
        """Return a copy with some fields changed; an unknown field is a `BnstudyError`."""
        for name in changes:
            if name not in FIELDS:
                raise unknown("recipe field", name, FIELDS)
        return Recipe(**(self._values | changes))

    def as_dict(self) -> dict[str, Any]:
        """Return every field as plain JSON values, in the order of declaration."""
        return self._values | {"revisions": dict(self.revisions)}

    @cached_property
    def _values(self) -> dict[str, Any]:
        return dict(zip(FIELDS, _of(self), strict=True))

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
        pairs = zip(FIELDS, _of(self), _of(other), strict=True)
        return {name: (here, there) for name, here, there in pairs if here != there}

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
_of = attrgetter(*FIELDS)
_DEFAULTS = {f.name: f.default for f in dataclasses.fields(Recipe)}
_SCALARS: dict[str, type] = {name: type(value) for name, value in _DEFAULTS.items() if name != "revisions"}
_LISTED = {"norm_at": SITES, "probes": PROBES}


def canonical_json(value: Any) -> str:
    """Return JSON that is the same text for the same content: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)


def digest(text: str, length: int = 16) -> str:
    """Return the first `length` hexadecimal digits of the SHA-256 of a text."""
    import hashlib

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

    d2l 8.5.3 keeps 0.9 of the running average, which is PyTorch's 0.1. Rounded to 12 digits, so that
    both ways of writing one recipe have one fingerprint.
    """
    return round(1 - weight, 12)


BN_LENET = Recipe()
"""The textbook's LeNet with batch normalization (d2l 8.5.4: LeNet without padding, lr 1, batch 256)."""

LENET = Recipe(norm="none", padding=2, lr=0.9)
"""The textbook's LeNet (d2l 7.6): first convolution padded by 2, no normalization, lr 0.9."""
