"""What a recipe's fields may hold: every value that cannot train is refused with a sentence."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bnstudy.errors import BnstudyError, unknown

if TYPE_CHECKING:
    from bnstudy.recipe import Recipe

CHOICES: dict[str, tuple[str, ...]] = {
    "data": ("fashion-mnist", "sample"),
    "net": ("lenet", "stack", "alexnet", "vgg11", "nin", "googlenet"),
    "pool": ("avg", "max"),
    "activation": ("sigmoid", "relu", "tanh"),
    "skip": ("none", "identity", "skipinit"),
    "norm": (
        *("none", "affine", "batch_norm", "batch_norm_scratch", "mean_only", "std_only", "rms_only"),
        *("population", "layer_norm", "group_norm", "rms_norm", "whitening", "rank_uniform"),
        *("rank_gaussian", "sparse_batch_norm", "yeo_johnson", "l2_ball", "cone"),
    ),
    "norm_place": ("before", "after", "after_pool"),
    "running_variance": ("unbiased", "biased"),
    "whitening": ("cholesky", "newton"),
    "norm_noise": ("none", "shifting", "calibrated"),
    "dropout_at": ("before_norm", "after_norms"),
    "trained": ("all", "norms", "random"),
    "init": ("xavier", "default"),
    "optimizer": ("sgd", "adam"),
    "precision": ("float32", "float64"),
    "quirk": ("", "test_inside_epoch"),
}
LEAST = {
    "train_images": 1,
    "validation_images": 0,
    "image_size": 28,
    "padding": 0,
    "depth": 1,
    "width": 1,
    "ghost_size": 0,
    "groups": 1,
    "replica": 0,
    "epochs": 1,
    "updates": 0,
}
OF_ONE_NET: dict[str, tuple[str, Any]] = {
    "depth": ("stack", 5),
    "width": ("stack", 100),
    "skip": ("stack", "none"),
    "padding": ("lenet", 0),
}
"""Fields that one network alone has, and their defaults."""

BATCH_NORMS = (
    *("batch_norm", "batch_norm_scratch", "mean_only", "std_only", "rms_only", "population"),
    *("whitening", "rank_uniform", "rank_gaussian", "sparse_batch_norm", "yeo_johnson"),
)
"""Normalizations whose moments, or order, are over the batch."""


def typed(name: str, value: Any, kind: type) -> Any:
    """Return `value` as the field's type, or raise an error that says what the field takes."""
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not kind:
        wanted = {int: "a whole number", float: "a number", str: "a name", bool: "True or False"}[kind]
        raise BnstudyError(f"{name} = {value!r} is not {wanted}.")
    if name in CHOICES and value not in CHOICES[name]:
        raise unknown(name, str(value), CHOICES[name])
    return value


def listed(name: str, value: str, known: Sequence[str]) -> str:
    """Return names separated by commas in the order of `known`, each once; `hidden` stands for itself."""
    names = [part.strip() for part in value.split(",") if part.strip()]
    if names == ["hidden"]:
        return "hidden"
    for part in names:
        if part not in known:
            raise unknown(name, part, known)
    return ",".join(part for part in known if part in names)


def revisions(found: Mapping[str, int], known: Mapping[str, int]) -> None:
    """Raise for revisions that are not whole numbers from 1 by component."""
    wrong = [(k, v) for k, v in found.items() if k not in known or type(v) is not int or v < 1]
    if wrong:
        raise BnstudyError(
            f"revisions has {wrong[0]!r}; it holds whole numbers from 1 for {', '.join(known)}."
        )


def recipe(recipe: "Recipe") -> None:
    """Raise `BnstudyError` for a recipe that cannot train."""
    _numbers(recipe)
    _combinations(recipe)
    _batches(recipe)


def _numbers(recipe: "Recipe") -> None:
    for name in ("lr", "eps"):
        value = getattr(recipe, name)
        if not (math.isfinite(value) and value > 0):
            raise BnstudyError(f"{name} = {value!r} cannot train: it must be a finite number above 0.")
    for name in ("gamma", "running_start"):
        if not math.isfinite(getattr(recipe, name)):
            raise BnstudyError(f"{name} = {getattr(recipe, name)!r} must be a finite number.")
    if not 0 < recipe.momentum <= 1:
        raise BnstudyError(
            f"momentum = {recipe.momentum!r} must be above 0 and at most 1, the weight of the new batch."
        )
    if not 0 <= recipe.dropout < 1:
        raise BnstudyError(f"dropout = {recipe.dropout!r} must be from 0 to below 1, the share set to zero.")
    for name, least in LEAST.items():
        if getattr(recipe, name) < least:
            raise BnstudyError(f"{name} = {getattr(recipe, name)} must be at least {least}.")
    if not 1 <= recipe.batch_size <= recipe.train_images:
        raise BnstudyError(
            f"batch_size = {recipe.batch_size} must be from 1 to the {recipe.train_images:,} training images."
        )


def _combinations(recipe: "Recipe") -> None:
    """Raise where a field would be ignored: two fingerprints for one training."""
    if recipe.net != "lenet" and recipe.norm_at != "hidden":
        raise BnstudyError(
            f"norm_at = {recipe.norm_at!r} names sites of LeNet; net = {recipe.net!r} has none."
        )
    if not recipe.norm_at:
        raise BnstudyError("norm_at names no site; a network without normalization is norm='none'.")
    for name, (net, unused) in OF_ONE_NET.items():
        value = getattr(recipe, name)
        if recipe.net != net and value != unused:
            raise BnstudyError(f"{name} = {value!r} is for net={net!r}, not {recipe.net!r}.")
    if recipe.norm == "none" and recipe.trained != "all":
        raise BnstudyError(
            f"trained = {recipe.trained!r} needs scales and shifts, which norm='none' has not."
        )
    if recipe.ghost_size and recipe.batch_size % recipe.ghost_size:
        raise BnstudyError(
            f"ghost_size = {recipe.ghost_size} must divide batch_size = {recipe.batch_size}, "
            "so that all ghost batches are of one size."
        )


def _batches(recipe: "Recipe") -> None:
    """Raise where batch normalization of a fully connected layer would see a batch of one image; the scratch
    formulas with the biased variance, 0, make beta of it."""
    full = {"fc1", "fc2", "fc3"} & set(recipe.norm_sites) if recipe.net == "lenet" else {"hidden"}
    silent = recipe.norm == "batch_norm_scratch" and recipe.running_variance == "biased"
    if recipe.norm not in BATCH_NORMS or not full or silent:
        return
    if recipe.batch_size == 1:
        raise BnstudyError(
            "batch_size = 1 cannot train under batch normalization: a fully connected layer's batch of one "
            "has no variance. Use at least 2, or norm='affine' or 'none'."
        )
    if recipe.train_images % recipe.batch_size == 1 and not recipe.drop_last:
        raise BnstudyError(
            f"train_images = {recipe.train_images:,} in batches of {recipe.batch_size} leaves a last batch "
            "of one image, which batch normalization cannot use. Change either number by one."
        )
