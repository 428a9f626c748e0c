"""A stack of fully connected layers, 5 to 100 and more, with or without skips."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from bnstudy.recipe import Recipe
from bnstudy.training.activations import dropout, following
from bnstudy.training.layers import PackedLinear
from bnstudy.training.packed import CLASSES, PackedNet


class Scale(nn.Module):
    """A learned number for each trial, from 0 on."""

    def __init__(self, trials: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(trials))

    def forward(self, x: Tensor) -> Tensor:
        """Return x [batch, K * width], scaled."""
        return (x.view(len(x), len(self.weight), -1) * self.weight.unsqueeze(1)).flatten(1)


class Stack(PackedNet):
    """K stacks of `depth` hidden layers of `width` units as one, over the pixels.

    Each layer takes the activation of the normalized sum before it. With skips its output is added to that
    sum, untouched on its way up ("full pre-activation", He et al. 2016), scaled by a learned number that
    starts at 0 for SkipInit (De & Smith 2020, section 4); without, it is the sum. So all kinds normalize at
    the same places, and the output layer sees normalized activations.
    """

    def __init__(
        self, recipe: Recipe, trials: int, trial_seeds: Sequence[int] = (), *, fused: bool = False
    ) -> None:
        super().__init__(recipe, trials, trial_seeds)
        self.follow, self.skip = following(recipe, fused=fused), recipe.skip
        self.names = [f"layer{number}" for number in range(1, recipe.depth + 1)]
        self.dropping = self.names[-1 if recipe.dropout_at == "after_norms" else max(-2, -recipe.depth)]
        directly = recipe.norm != "none" and recipe.norm_place == "before"
        self.normalized += self.names if directly else []
        inputs = recipe.image_size**2
        for name in self.names:
            bias = recipe.bias_before_norm or not directly
            self.add_module(name, PackedLinear(trials, inputs, recipe.width, bias=bias))
            if recipe.skip == "skipinit" and name != "layer1":
                self.add_module(f"{name}_scale", Scale(trials))
            self.add_module(f"{name}_norm", self.norm(name, recipe.width))
            inputs = recipe.width
        self.dropout = dropout(recipe, self.dropping, self.trial_seeds)
        self.output = PackedLinear(trials, inputs, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits [batch, K, 10] of pixels [batch, 1, side, side] shared by the trials, or
        [batch, K, side, side], each trial its own."""
        first, *others = self.names
        total: Tensor = self.get_submodule(first)(x.expand(-1, self.trials, -1, -1).flatten(1))
        for below, name in zip(self.names, others, strict=False):
            y = self.get_submodule(name)(self._activated(below, total))
            if self.skip == "skipinit":
                y = self.get_submodule(f"{name}_scale")(y)
            total = y if self.skip == "none" else total + y
        return self.logits(self.output(self._activated(self.names[-1], total)))

    def _activated(self, name: str, x: Tensor) -> Tensor:
        y = self.follow(self.get_submodule(f"{name}_norm"), x)
        return self.dropout(y) if name == self.dropping else y
