"""From recipes to a packed network with its initial values."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bnstudy import norms, seeds
from bnstudy.layers import PackedConv2d, PackedLinear, sigmoid
from bnstudy.recipe import Recipe

CLASSES = 10
DTYPES = {"float32": torch.float32, "float64": torch.float64}


class LeNet(nn.Module):
    """K of the textbook's LeNets as one (d2l 7.6 and 8.5.6; LeCun et al. 1998): two convolutions of 5 x 5
    and three linear layers, each but the last followed by the recipe's normalization and a sigmoid.
    """

    def __init__(self, recipe: Recipe, trials: int, *, fused: bool = False) -> None:
        super().__init__()
        self.trials = trials
        self.activated = _fused() if fused else _activated
        side = ((28 + 2 * recipe.padding - 4) // 2 - 4) // 2
        self.conv1 = PackedConv2d(trials, 1, 6, 5, recipe.padding, fused=fused)
        self.conv1_norm = norms.build(recipe, trials * 6)
        self.conv2 = PackedConv2d(trials, 6, 16, 5)
        self.conv2_norm = norms.build(recipe, trials * 16)
        self.fc1 = PackedLinear(trials, 16 * side**2, 120)
        self.fc1_norm = norms.build(recipe, trials * 120)
        self.fc2 = PackedLinear(trials, 120, 84)
        self.fc2_norm = norms.build(recipe, trials * 84)
        self.fc3 = PackedLinear(trials, 84, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits [batch, K, 10] of pixels [batch, 1, 28, 28] shared by the trials, or
        [batch, K, 28, 28], each trial its own."""
        x = self.activated(self.conv1_norm, self.conv1(x), pool="avg")
        x = self.activated(self.conv2_norm, self.conv2(x), pool="avg")
        x = self.activated(self.fc1_norm, self.fc1(x.flatten(1)))
        x = self.activated(self.fc2_norm, self.fc2(x))
        logits: Tensor = self.fc3(x)
        return logits.view(-1, self.trials, CLASSES)


def _activated(norm: nn.Module, x: Tensor, pool: str | None = None) -> Tensor:
    """Return what follows a layer: normalization, sigmoid and pooling."""
    x = sigmoid(norm(x))
    return F.avg_pool2d(x, 2) if pool else x


def _fused() -> Callable[..., Tensor]:
    """Return the same as one operation, which needs Numba."""
    from bnstudy.fused import sigmoid_of

    return sigmoid_of


def build(recipes: Sequence[Recipe], trial_seeds: Sequence[int], *, fused: bool = False) -> LeNet:
    """Return the packed network of trials that differ in nothing that shapes it, initialized.

    `fused` takes our own loops where there are any for the recipe; they run on a CPU only.
    """
    if len(recipes) != len(trial_seeds):
        raise ValueError(
            f"seeds must have the same length as recipes: {len(recipes)}, not {len(trial_seeds)}"
        )
    net = LeNet(recipes[0], len(recipes), fused=fused).to(DTYPES[recipes[0].precision])
    initialize(net, trial_seeds)
    return net


@torch.no_grad()
def initialize(net: nn.Module, trial_seeds: Sequence[int]) -> None:
    """Draw each trial's weights and biases from its own stream of each tensor's name, in float32 on the CPU.

    Weights by Glorot & Bengio (2010), eq. 16; biases uniform within 1 / sqrt(fan in), as the framework
    leaves them and the textbook with it. Normalizations start at scale 1 and shift 0.
    """
    for name, layer in net.named_children():
        if isinstance(layer, PackedConv2d | PackedLinear):
            outputs, inputs, *kernel = layer.weight.shape[1:]
            area = math.prod(kernel)
            _draw(layer.weight, f"{name}.weight", math.sqrt(6 / ((inputs + outputs) * area)), trial_seeds)
            _draw(layer.bias, f"{name}.bias", 1 / math.sqrt(inputs * area), trial_seeds)


def _draw(tensor: Tensor, name: str, bound: float, trial_seeds: Sequence[int]) -> None:
    for trial, seed in zip(tensor, trial_seeds, strict=True):
        generator = torch.Generator().manual_seed(seeds.stream(seed, "init", name))
        trial.copy_(torch.empty(trial.shape).uniform_(-bound, bound, generator=generator))


def of_trial(net: LeNet, tensor: Tensor, trial: int) -> Tensor:
    """Return one trial's part of a parameter or statistic of a packed network, as a view."""
    return tensor.detach().view(net.trials, -1)[trial]
