"""AlexNet, VGG-11, NiN and GoogLeNet as the textbook has them (d2l 8.1 to 8.4), packed, for one channel.

A network is a list of parts. Every convolution is followed by the recipe's normalization and activation,
every linear layer but the last by the activation and dropout; what is pooled is the recipe's.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from bnstudy.errors import BnstudyError
from bnstudy.recipe import Recipe
from bnstudy.training.activations import ACTIVATIONS, dropout, following, pooled
from bnstudy.training.layers import PackedConv2d, PackedLinear
from bnstudy.training.packed import CLASSES, PackedNet


class Conv(NamedTuple):
    """A convolution to `outputs` channels."""

    outputs: int
    kernel: int
    stride: int = 1
    padding: int = 0


class Pool(NamedTuple):
    """A pooling of the recipe's kind."""

    kernel: int = 3
    stride: int = 2
    padding: int = 0


class Inception(NamedTuple):
    """Four paths side by side: 1 x 1; 1 x 1 and 3 x 3; 1 x 1 and 5 x 5; pooling and 1 x 1."""

    one: int
    three: tuple[int, int]
    five: tuple[int, int]
    pool: int


class Linear(NamedTuple):
    """A linear layer; all but the last, which makes the logits, with activation and dropout."""

    outputs: int


class Dropout(NamedTuple):
    """A dropout."""


class Mean(NamedTuple):
    """The mean over all places."""


Part = Conv | Pool | Inception | Linear | Dropout | Mean


def _nin(outputs: int, kernel: int, stride: int = 1, padding: int = 0) -> list[Part]:
    return [Conv(outputs, kernel, stride, padding), Conv(outputs, 1), Conv(outputs, 1)]


PARTS: dict[str, list[Part]] = {
    "alexnet": [
        *(Conv(96, 11, 4, 1), Pool(), Conv(256, 5, 1, 2), Pool()),
        *(Conv(384, 3, 1, 1), Conv(384, 3, 1, 1), Conv(256, 3, 1, 1), Pool()),
        *(Linear(4096), Linear(4096), Linear(CLASSES)),
    ],
    "vgg11": [
        *(Conv(16, 3, 1, 1), Pool(2), Conv(32, 3, 1, 1), Pool(2)),
        *(Conv(64, 3, 1, 1), Conv(64, 3, 1, 1), Pool(2), Conv(128, 3, 1, 1), Conv(128, 3, 1, 1), Pool(2)),
        *(Conv(128, 3, 1, 1), Conv(128, 3, 1, 1), Pool(2)),
        *(Linear(4096), Linear(4096), Linear(CLASSES)),
    ],
    "nin": [
        *_nin(96, 11, 4),
        Pool(),
        *_nin(256, 5, 1, 2),
        Pool(),
        *_nin(384, 3, 1, 1),
        Pool(),
        *(Dropout(),),
        *_nin(CLASSES, 3, 1, 1),
        Mean(),
    ],
    "googlenet": [
        *(Conv(64, 7, 2, 3), Pool(3, 2, 1), Conv(64, 1), Conv(192, 3, 1, 1), Pool(3, 2, 1)),
        *(Inception(64, (96, 128), (16, 32), 32), Inception(128, (128, 192), (32, 96), 64), Pool(3, 2, 1)),
        *(Inception(192, (96, 208), (16, 48), 64), Inception(160, (112, 224), (24, 64), 64)),
        *(Inception(128, (128, 256), (24, 64), 64), Inception(112, (144, 288), (32, 64), 64)),
        *(Inception(256, (160, 320), (32, 128), 128), Pool(3, 2, 1)),
        *(Inception(256, (160, 320), (32, 128), 128), Inception(384, (192, 384), (48, 128), 128)),
        *(Mean(), Dropout(), Linear(CLASSES)),
    ],
}
"""VGG-11 has a quarter of its channels, as the textbook trains it."""


class Chain(PackedNet):
    """K networks as one, part after part; `part3.conv.weight` is a tensor of the fourth."""

    def __init__(
        self, recipe: Recipe, trials: int, trial_seeds: Sequence[int] = (), *, fused: bool = False
    ) -> None:
        super().__init__(recipe, trials, trial_seeds)
        self.parts = nn.Sequential(*self._modules_of(PARTS[recipe.net], fused))

    def forward(self, x: Tensor) -> Tensor:
        """Return logits [batch, K, 10] of pixels [batch, 1, side, side] shared by the trials, or
        [batch, K, side, side], each trial its own."""
        return self.logits(self.parts(x).flatten(1))

    def _modules_of(self, parts: Sequence[Part], fused: bool) -> Iterator[nn.Module]:
        channels, side = 1, self.image_size
        for number, part in enumerate(parts):
            name = f"parts.{number}"
            if isinstance(part, Conv):
                yield Convolution(self, name, channels, part, fused=fused)
            elif isinstance(part, Inception):
                yield Paths(self, name, channels, part, fused=fused)
            elif isinstance(part, Pool):
                yield Pooling(self.recipe.pool, part)
            elif isinstance(part, Linear):
                last = number == len(parts) - 1
                yield Hidden(self, name, channels * side**2, part, last=last)
            else:
                yield Average() if isinstance(part, Mean) else dropout(self.recipe, name, self.trial_seeds)
            channels, side = _after(part, channels, side)
            if side < 1:
                raise BnstudyError(
                    f"image_size = {self.image_size} leaves net = {self.recipe.net!r} nothing to see after "
                    f"part {number + 1}, {part}; the textbook has 224, and 96 for GoogLeNet."
                )


def _after(part: Part, channels: int, side: int) -> tuple[int, int]:
    """Return the channels of a trial and the pixels a side that a part leaves."""
    if isinstance(part, Conv | Pool):
        side = (side + 2 * part.padding - part.kernel) // part.stride + 1
    if isinstance(part, Linear | Mean):
        side = 1
    if isinstance(part, Conv | Linear):
        return part.outputs, side
    if isinstance(part, Inception):
        return part.one + part.three[1] + part.five[1] + part.pool, side
    return channels, side


class Convolution(nn.Module):
    """A convolution, its normalization and activation."""

    def __init__(self, net: PackedNet, name: str, inputs: int, part: Conv, *, fused: bool) -> None:
        super().__init__()
        recipe = net.recipe
        directly = recipe.norm != "none" and recipe.norm_place == "before"
        net.normalized += [f"{name}.conv"] if directly else []
        self.conv = PackedConv2d(
            *(net.trials, inputs, part.outputs, part.kernel, part.padding),
            stride=part.stride,
            bias=recipe.bias_before_norm or not directly,
            fused=fused,
        )
        self.conv_norm = net.norm(f"{name}.conv", part.outputs)
        self.follow = following(recipe, fused=fused)

    def forward(self, x: Tensor) -> Tensor:
        """Return float [batch, K * outputs, side, side]."""
        return self.follow(self.conv_norm, self.conv(x))


class Paths(nn.Module):
    """Inception: each trial's four paths one after the other along its channels."""

    def __init__(self, net: PackedNet, name: str, inputs: int, part: Inception, *, fused: bool) -> None:
        super().__init__()
        self.trials = net.trials

        def conv(path: str, inputs: int, part: Conv) -> Convolution:
            return Convolution(net, f"{name}.{path}", inputs, part, fused=fused)

        self.one = conv("one", inputs, Conv(part.one, 1))
        self.three_in = conv("three_in", inputs, Conv(part.three[0], 1))
        self.three = conv("three", part.three[0], Conv(part.three[1], 3, 1, 1))
        self.five_in = conv("five_in", inputs, Conv(part.five[0], 1))
        self.five = conv("five", part.five[0], Conv(part.five[1], 5, 1, 2))
        self.pooling = Pooling(net.recipe.pool, Pool(3, 1, 1))
        self.four = conv("four", inputs, Conv(part.pool, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Return float [batch, K * (one + three + five + four), side, side]."""
        paths = (
            self.one(x),
            self.three(self.three_in(x)),
            self.five(self.five_in(x)),
            self.four(self.pooling(x)),
        )
        return torch.cat([y.unflatten(1, (self.trials, -1)) for y in paths], dim=2).flatten(1, 2)


class Pooling(nn.Module):
    """Means or maxima over windows."""

    def __init__(self, kind: str, part: Pool) -> None:
        super().__init__()
        self.kind, self.part = kind, part

    def forward(self, x: Tensor) -> Tensor:
        """Return float [batch, channels, side, side]."""
        return pooled(x, self.kind, *self.part)


class Average(nn.Module):
    """The mean over all places, [batch, channels]; the framework's own layer for it has no deterministic
    gradient on a GPU."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the means."""
        return x.mean((2, 3))


class Hidden(nn.Module):
    """A linear layer with activation and dropout, or alone where it makes the logits."""

    def __init__(self, net: PackedNet, name: str, inputs: int, part: Linear, *, last: bool) -> None:
        super().__init__()
        self.fc = PackedLinear(net.trials, inputs, part.outputs)
        self.activate: Callable[[Tensor], Tensor] = ACTIVATIONS[net.recipe.activation]
        self.dropout = nn.Identity() if last else dropout(net.recipe, name, net.trial_seeds)
        self.last = last

    def forward(self, x: Tensor) -> Tensor:
        """Return float [batch, K * outputs]."""
        y: Tensor = self.fc(x.flatten(1))
        return y if self.last else self.dropout(self.activate(y))
