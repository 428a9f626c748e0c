"""Normalizations of each image by itself, in a pack each trial's part of it: nothing of the batch.

Scale and shift are of a channel, as in batch normalization, so that parameters are as many.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bnstudy.training.batchnorm import add_scale_and_shift, at_least_float32, scaled


class Imagewise(nn.Module):
    """weight * transform(x) + bias, where `transform` sees one trial's values of one image at a time."""

    weight: nn.Parameter
    bias: nn.Parameter

    def __init__(self, trials: int, channels: int, *, eps: float = 1e-5) -> None:
        super().__init__()
        self.trials, self.eps = trials, eps
        add_scale_and_shift(self, trials * channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return float of the shape and dtype of x: float [batch, K * channels, *spatial]."""
        # Contiguous: how a row is summed must not depend on the rows beside it.
        rows = at_least_float32(x).contiguous().view(len(x), self.trials, -1)
        y = self.transform(rows).view(x.shape)
        if x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last):
            y = y.contiguous(memory_format=torch.channels_last)
        return scaled(y, self.weight, self.bias, x.dtype)

    def transform(self, rows: Tensor) -> Tensor:
        """Return float of the shape of `rows` [batch, K, values]."""
        raise NotImplementedError


class GroupNorm(Imagewise):
    """Mean 0 and variance 1 over each group of an image's channels and their places (Wu & He 2018)."""

    def __init__(self, trials: int, channels: int, *, groups: int = 1, eps: float = 1e-5) -> None:
        super().__init__(trials, channels, eps=eps)
        self.groups = groups

    def transform(self, rows: Tensor) -> Tensor:
        """Return float of the shape of `rows` [batch, K, values]. Raises `ValueError` for groups of one."""
        values = rows.shape[2]
        if values == self.groups:
            raise ValueError(
                f"normalizing an image by itself needs more than one value per group, got {self.groups} "
                f"groups of {values} values"
            )
        # One row each, so that even one image and one trial are a batch of rows to the kernel.
        return F.layer_norm(rows.view(-1, values // self.groups), [values // self.groups], eps=self.eps)


class LayerNorm(GroupNorm):
    """Mean 0 and variance 1 over all of an image's channels and their places (Ba et al. 2016)."""

    def __init__(self, trials: int, channels: int, *, eps: float = 1e-5) -> None:
        super().__init__(trials, channels, groups=1, eps=eps)


class RMSNorm(Imagewise):
    """Mean square 1 over all of an image's channels and their places, the mean left in.

    (Zhang & Sennrich 2019.)
    """

    def transform(self, rows: Tensor) -> Tensor:
        """Return float of the shape of `rows` [batch, K, values]."""
        return rows / (rows.square().mean(2, keepdim=True) + self.eps).sqrt()


class L2Ball(Imagewise):
    """The nearest point of the ball with radius sqrt(values): a mean square up to 1 stays as it is."""

    def transform(self, rows: Tensor) -> Tensor:
        """Return float of the shape of `rows` [batch, K, values]."""
        return rows * rows.square().mean(2, keepdim=True).clamp_min(1).rsqrt()


class Cone(Imagewise):
    """The nearest point of the cone of 45 degrees about the direction in which all values agree.

    In it the mean is at least the standard deviation; an image inside stays as it is, one in the opposite
    (polar) cone becomes 0. (Boyd & Vandenberghe 2004, exercise 8.3c: the second-order cone.)
    """

    def transform(self, rows: Tensor) -> Tensor:
        """Return float of the shape of `rows` [batch, K, values]."""
        along = rows.mean(2, keepdim=True) * math.sqrt(rows.shape[2])
        across = rows - rows.mean(2, keepdim=True)
        # 1e-30: the root has no slope at 0.
        length = across.square().sum(2, keepdim=True).clamp_min(1e-30).sqrt()
        reach = ((along + length) / 2).clamp_min(0)  # of the point on the surface, in both directions
        surface = reach / length * across + reach / math.sqrt(rows.shape[2])
        return torch.where(length <= along, rows, surface)
