"""Normalizations, one formula each, over any number of channels; a pack just has more of them.

Everywhere x is float [batch, K * channels, *spatial], the K trials side by side. The formulas are in the
modules that this one imports; here they get the numbers of a recipe.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from bnstudy.errors import BnstudyError
from bnstudy.recipe import Recipe
from bnstudy.training.batchnorm import Affine, BatchNorm, ScratchBatchNorm, moments
from bnstudy.training.imagewise import Cone, GroupNorm, L2Ball, LayerNorm, RMSNorm
from bnstudy.training.lite import MeanOnly, PopulationNorm, RmsOnly, StdOnly
from bnstudy.training.noise import KINDS, CalibratedNoise, ShiftingNoise
from bnstudy.training.ranks import RankNorm
from bnstudy.training.running import (
    TRACKED,
    PooledMoments,
    Running,
    Statistics,
    pooling_moments,
    precise_statistics,
    predict_with,
    predict_with_tracked,
    running_norms,
    tracking,
)
from bnstudy.training.transforms import SparseBatchNorm, YeoJohnson
from bnstudy.training.whitening import Whitening

__all__ = [
    "TRACKED",
    "Affine",
    "BatchNorm",
    "CalibratedNoise",
    "Cone",
    "GroupNorm",
    "L2Ball",
    "LayerNorm",
    "MeanOnly",
    "PooledMoments",
    "PopulationNorm",
    "RMSNorm",
    "RankNorm",
    "RmsOnly",
    "ScratchBatchNorm",
    "ShiftingNoise",
    "SparseBatchNorm",
    "Statistics",
    "StdOnly",
    "Whitening",
    "YeoJohnson",
    "batch_norms",
    "build",
    "moments",
    "pooling_moments",
    "precise_statistics",
    "predict_with",
    "predict_with_tracked",
    "running_norms",
    "tracking",
]

BY_CHANNEL: dict[str, type[BatchNorm | SparseBatchNorm | YeoJohnson]] = {
    "batch_norm": BatchNorm,
    "batch_norm_scratch": ScratchBatchNorm,
    "mean_only": MeanOnly,
    "std_only": StdOnly,
    "rms_only": RmsOnly,
    "population": PopulationNorm,
    "sparse_batch_norm": SparseBatchNorm,
    "yeo_johnson": YeoJohnson,
}
BY_IMAGE: dict[str, Callable[..., nn.Module]] = {
    "layer_norm": LayerNorm,
    "rms_norm": RMSNorm,
    "l2_ball": L2Ball,
    "cone": Cone,
}


def build(
    recipe: Recipe, trials: int, channels: int, *, name: str = "", seeds: Sequence[int] = ()
) -> nn.Module:
    """Return the recipe's normalization of x [batch, trials * channels, *spatial], each trial its own.

    `name` and the trials' `seeds` name the streams that noise is drawn from.
    """
    norm = _formula(recipe, trials, channels)
    if isinstance(norm, Running):
        norm.start(recipe.running_start)
        norm.ghost_size = recipe.ghost_size
    elif recipe.ghost_size:
        raise BnstudyError(
            f"ghost_size = {recipe.ghost_size} is for normalizations over the batch; norm = {recipe.norm!r} "
            "is none. Leave ghost_size out."
        )
    if not isinstance(norm, nn.Identity):
        _start(norm, recipe)
    return norm if recipe.norm_noise == "none" else _noisy(norm, recipe, trials, name, seeds)


def _formula(recipe: Recipe, trials: int, channels: int) -> nn.Module:
    if recipe.norm == "none":
        return nn.Identity()
    if recipe.norm == "affine":
        return Affine(trials * channels)
    if recipe.norm in BY_IMAGE:
        return BY_IMAGE[recipe.norm](trials, channels, eps=recipe.eps)
    if recipe.norm == "group_norm":
        return GroupNorm(trials, channels, groups=_groups(recipe, channels), eps=recipe.eps)
    average: dict[str, Any] = {
        "eps": recipe.eps,
        "momentum": recipe.momentum,
        "unbiased": recipe.running_variance == "unbiased",
    }
    if recipe.norm == "whitening":
        groups = _groups(recipe, channels)
        return Whitening(trials, channels, groups=groups, method=recipe.whitening, **average)
    if recipe.norm in BY_CHANNEL:
        return BY_CHANNEL[recipe.norm](trials * channels, **average)
    return RankNorm(trials * channels, gaussian=recipe.norm == "rank_gaussian", **average)


def _groups(recipe: Recipe, channels: int) -> int:
    if channels % recipe.groups:
        raise BnstudyError(
            f"groups = {recipe.groups} does not divide the {channels} channels that norm = {recipe.norm!r} "
            "sees there. Choose a number that divides the channels of every layer, such as 1 or 2."
        )
    return recipe.groups


@torch.no_grad()
def _start(norm: nn.Module, recipe: Recipe) -> None:
    """Set where scale and shift start, and whether they are trained."""
    norm.get_parameter("weight").fill_(recipe.gamma).requires_grad_(recipe.train_gamma)
    norm.get_parameter("bias").requires_grad_(recipe.train_beta)


def _noisy(norm: nn.Module, recipe: Recipe, trials: int, name: str, seeds: Sequence[int]) -> nn.Module:
    if recipe.norm_noise == "calibrated" and isinstance(norm, nn.Identity):
        raise BnstudyError(
            "norm_noise = 'calibrated' is the noise of a normalization's moments; norm = 'none' has none. "
            "Use norm = 'affine', or another noise."
        )
    if len(seeds) != trials:
        raise ValueError(f"noise needs a seed for each of the {trials} trials, not {len(seeds)}")
    return KINDS[recipe.norm_noise](norm, seeds, name)


def batch_norms(net: nn.Module) -> list[BatchNorm]:
    """Return the network's batch normalizations, in order."""
    return [module for module in net.modules() if isinstance(module, BatchNorm)]
