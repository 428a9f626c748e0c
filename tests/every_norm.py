"""Every normalization of a recipe, and what all tests of them do with one."""

from typing import Any

import torch
from test_norms import channels_last, draw
from torch import Tensor, nn

from bnstudy.recipe import Recipe
from bnstudy.training import norms

CHANNELS, SEEDS = 6, tuple(range(8))

NORMS = {
    name: Recipe(norm=name)
    for name in (
        *("affine", "batch_norm", "batch_norm_scratch", "mean_only", "std_only", "rms_only", "population"),
        *("layer_norm", "rms_norm", "l2_ball", "cone"),
        *("rank_uniform", "rank_gaussian", "sparse_batch_norm", "yeo_johnson", "whitening"),
    )
} | {
    "group_norm": Recipe(norm="group_norm", groups=3),
    "whitening in groups": Recipe(norm="whitening", groups=2),
    "newton": Recipe(norm="whitening", whitening="newton"),
    "newton in groups": Recipe(norm="whitening", whitening="newton", groups=3),
    "biased": Recipe(running_variance="biased", running_start=0.0),
    "ghosts": Recipe(ghost_size=4),
    "ghosts from scratch": Recipe(norm="batch_norm_scratch", ghost_size=4),
    "whitened ghosts": Recipe(norm="whitening", ghost_size=4, groups=3),
    "shifting": Recipe(norm_noise="shifting"),
    "calibrated": Recipe(norm="population", norm_noise="calibrated"),
}
OF_BATCHES = [
    name
    for name, recipe in NORMS.items()
    if name not in ("affine", "layer_norm", "group_norm", "rms_norm", "l2_ball", "cone")
]
FORMULAS = [
    *("affine", "batch_norm", "batch_norm_scratch", "mean_only", "std_only", "rms_only", "population"),
    *("biased", "ghosts", "ghosts from scratch"),
]
"""Those that are a scale and a shift."""


def built(name: str, trials: int = 1, channels: int = CHANNELS, **changes: Any) -> nn.Module:
    """The normalization in float32, with scales and shifts that are not 1 and 0."""
    recipe = NORMS[name].replace(**changes)
    layer = norms.build(recipe, trials, channels, name="fc1_norm", seeds=SEEDS[:trials])
    each = {"weight": 1 + draw(channels, seed=3) / 4, "bias": draw(channels, seed=4) / 2}
    with torch.no_grad():
        for key, parameter in layer.named_parameters():
            parameter.copy_(each[key.split(".")[-1]].repeat(trials))
    return layer


def run(layer: nn.Module, x: Tensor, dy: Tensor) -> dict[str, Tensor]:
    """What the layer makes of x, and the gradients of <y, dy>."""
    x = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    y = layer(x)
    named = dict(layer.named_parameters())
    gradients = torch.autograd.grad(y, [x, *named.values()], dy, allow_unused=True)
    found = {"y": y.detach(), **dict(zip(["dx", *(f"d_{name}" for name in named)], gradients, strict=True))}
    return {name: value for name, value in found.items() if value is not None}


def lasting(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Random numbers with channels last in memory."""
    return channels_last(draw(*shape, seed=seed, dtype=dtype))
