"""The textbook's LeNet, with normalization at any of its sites."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from bnstudy.recipe import Recipe
from bnstudy.training.activations import dropout, following
from bnstudy.training.layers import PackedConv2d, PackedLinear
from bnstudy.training.packed import CLASSES, PackedNet


class LeNet(PackedNet):
    """K of the textbook's LeNets as one (d2l 7.6 and 8.5.4; LeCun et al. 1998): two convolutions of 5 x 5
    and three linear layers, each but the last followed by the recipe's normalization, activation and pooling.
    """

    def __init__(
        self, recipe: Recipe, trials: int, trial_seeds: Sequence[int] = (), *, fused: bool = False
    ) -> None:
        super().__init__(recipe, trials, trial_seeds)
        self.follow, self.pool = following(recipe, fused=fused), recipe.pool
        self.sites = recipe.norm_sites if recipe.norm != "none" else ()
        bias = {name: self._has_bias(name) for name in ("conv1", "conv2", "fc1", "fc2", "fc3")}
        side = ((recipe.image_size + 2 * recipe.padding - 4) // 2 - 4) // 2
        self.input_norm = self._norm("input", 1)
        self.conv1 = PackedConv2d(trials, 1, 6, 5, recipe.padding, bias=bias["conv1"], fused=fused)
        self.conv1_norm = self._norm("conv1", 6)
        at_once = fused and recipe.activation == "sigmoid" and recipe.norm_place == "before"
        self.first = _first_layer(self.conv1_norm, self.conv1) if at_once else None
        self.apart = at_once
        self.conv2 = PackedConv2d(trials, 6, 16, 5, bias=bias["conv2"], fused=fused)
        self.conv2_norm = self._norm("conv2", 16)
        self.fc1 = PackedLinear(trials, 16 * side**2, 120, bias=bias["fc1"])
        self.fc1_norm = self._norm("fc1", 120)
        self.fc1_dropout = self._dropout("fc1", "before_norm")
        self.fc2 = PackedLinear(trials, 120, 84, bias=bias["fc2"])
        self.fc2_norm = self._norm("fc2", 84)
        self.fc2_dropout = self._dropout("fc2", "after_norms")
        self.fc3 = PackedLinear(trials, 84, CLASSES, bias=bias["fc3"])
        self.fc3_norm = self._norm("fc3", CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits [batch, K, 10] of pixels [batch, 1, side, side] shared by the trials, or
        [batch, K, side, side], each trial its own."""
        if "input" in self.sites:
            own = x.expand(-1, self.trials, -1, -1).contiguous(memory_format=torch.channels_last)
            x = self.input_norm(own)
            if x.requires_grad:  # the framework sums a gradient of another layout in another order
                x.register_hook(_channels_last)  # type: ignore[no-untyped-call]
        if self.first and not x.requires_grad:
            x = self.first(self.conv1_norm, self.conv1, x, pool=self.pool)
        else:
            x = self.follow(self.conv1_norm, self.conv1(x), pool=self.pool)
        x = self.follow(self.conv2_norm, self.conv2(x), pool=self.pool)
        if self.apart:
            from bnstudy.training import linear

            if linear.fits(self.fc1_norm, x) and linear.fits(self.fc2_norm, x):
                return self._apart(x)
        x = self.fc1_dropout(self.follow(self.fc1_norm, self.fc1(x.flatten(1))))
        x = self.fc2_dropout(self.follow(self.fc2_norm, self.fc2(x)))
        return self.logits(self.fc3_norm(self.fc3(x)))

    def _apart(self, x: Tensor) -> Tensor:
        """Return logits of x [batch, K * channels, side, side], with a trial's numbers together."""
        from bnstudy.training import linear

        x = linear.apart(x, self.trials)
        for layer, norm, drop in (
            (self.fc1, self.fc1_norm, self.fc1_dropout),
            (self.fc2, self.fc2_norm, self.fc2_dropout),
        ):
            x = linear.sigmoid_of(norm, layer, x)
            if self.recipe.dropout:
                x = linear.apart(drop(linear.beside(x)), self.trials)
        return self.logits(self.fc3_norm(linear.beside(self.fc3.apart(x))))

    def _norm(self, site: str, channels: int) -> nn.Module:
        return self.norm(site, channels) if site in self.sites else nn.Identity()

    def _has_bias(self, site: str) -> bool:
        """Return whether a layer has a bias: always, where no normalization comes directly after it."""
        directly = site in self.sites and (site == "fc3" or self.recipe.norm_place == "before")
        if directly:
            self.normalized.append(site)
        return self.recipe.bias_before_norm or not directly

    def _dropout(self, site: str, place: str) -> nn.Module:
        chosen = self.recipe.dropout_at == place
        return dropout(self.recipe, site, self.trial_seeds) if chosen else nn.Identity()


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def _first_layer(norm: nn.Module, conv: PackedConv2d) -> Callable[..., Tensor] | None:
    """Return the first convolution, normalization, sigmoid and pooling as one, if there is one."""
    from bnstudy.training import first_layer

    return first_layer.convolve if first_layer.fits(norm, conv) else None
