"""From recipes to a packed network with its initial values."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from bnstudy import seeds
from bnstudy.recipe import Recipe
from bnstudy.training.architectures import Chain
from bnstudy.training.layers import PackedConv2d, PackedLinear
from bnstudy.training.lenet import LeNet
from bnstudy.training.packed import CLASSES, PackedNet, of_trial
from bnstudy.training.stack import Stack

__all__ = ["CLASSES", "DTYPES", "LeNet", "PackedNet", "build", "initialize", "of_trial"]

DTYPES = {"float32": torch.float32, "float64": torch.float64}


def build(recipes: Sequence[Recipe], trial_seeds: Sequence[int], *, fused: bool = False) -> PackedNet:
    """Return the packed network of trials that differ in nothing that shapes it, initialized.

    `fused` takes our own loops where there are any for the recipe; they run on a CPU only.
    """
    if len(recipes) != len(trial_seeds):
        raise ValueError(
            f"seeds must have the same length as recipes: {len(recipes)}, not {len(trial_seeds)}"
        )
    net = _network(recipes[0], trial_seeds, fused).to(DTYPES[recipes[0].precision])
    initialize(net, recipes, trial_seeds)
    return net


def _network(recipe: Recipe, trial_seeds: Sequence[int], fused: bool) -> PackedNet:
    if recipe.net == "lenet":
        return LeNet(recipe, len(trial_seeds), trial_seeds, fused=fused)
    kind = Stack if recipe.net == "stack" else Chain
    return kind(recipe, len(trial_seeds), trial_seeds, fused=fused)


@torch.no_grad()
def initialize(net: nn.Module, recipes: Sequence[Recipe], trial_seeds: Sequence[int]) -> None:
    """Draw each trial's weights and biases from its own stream of each tensor's name, in float32 on the CPU.

    Weights by Glorot & Bengio (2010), eq. 16, or as the framework leaves them, uniform within 1 / sqrt(fan
    in); biases as the framework leaves them, and the textbook with it. What normalizations start from is
    theirs.
    """
    for name, layer in net.named_modules():
        if isinstance(layer, PackedConv2d | PackedLinear):
            outputs, inputs, *kernel = layer.weight.shape[1:]
            area = math.prod(kernel)
            default = 1 / math.sqrt(inputs * area)
            xavier = math.sqrt(6 / ((inputs + outputs) * area))
            bound = xavier if recipes[0].init == "xavier" else default
            _draw(layer.weight, f"{name}.weight", bound, recipes, trial_seeds)
            if layer.bias is not None:
                _draw(layer.bias, f"{name}.bias", default, recipes, trial_seeds)


def _draw(
    tensor: Tensor, name: str, bound: float, recipes: Sequence[Recipe], trial_seeds: Sequence[int]
) -> None:
    for trial, recipe, seed in zip(tensor, recipes, trial_seeds, strict=True):
        generator = torch.Generator().manual_seed(initial_stream(recipe, seed, name))
        trial.copy_(torch.empty(trial.shape).uniform_(-bound, bound, generator=generator))


def initial_stream(recipe: Recipe, seed: int, name: str) -> int:
    """Return the generator seed of what `name` starts from; a `replica` has streams of its own."""
    return seeds.stream(seed, "init", name, *([recipe.replica] if recipe.replica else []))
