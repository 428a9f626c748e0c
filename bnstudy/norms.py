"""Normalizations, one formula each, over any number of channels; a pack just has more of them.

Everywhere x is float [batch, channels, *spatial], and a channel's moments are over all other axes.
`momentum` is the weight of the new batch in the running averages (PyTorch's convention).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bnstudy.recipe import Recipe
from bnstudy.sums import over_batch, over_channels

Statistics = Literal["running", "batch", "pooling"]

VECTOR = 8
"""Channels that the framework's kernel takes at once. It rounds the gradient of what is left in another
way, which would depend on the width of the pack, so nothing is left."""


def build(recipe: Recipe, channels: int) -> nn.Module:
    """Return the recipe's normalization over `channels` channels."""
    if recipe.norm == "none":
        return nn.Identity()
    if recipe.norm == "affine":
        return Affine(channels)
    if recipe.norm == "batch_norm":
        return BatchNorm(channels, eps=recipe.eps, momentum=recipe.momentum)
    return ScratchBatchNorm(
        channels, eps=recipe.eps, momentum=recipe.momentum, unbiased=recipe.running_variance == "unbiased"
    )


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and biased variance of each channel, both [channels] (Ioffe & Szegedy 2015, algorithm 1).

    Half-precision x is reduced in float32. Raises `ValueError` for one value a channel: no variance.
    """
    if x.numel() <= x.shape[1]:
        raise ValueError(
            f"batch normalization needs more than one value per channel, got x of {tuple(x.shape)}"
        )
    x, count = _at_least_float32(x), x.numel() // x.shape[1]
    mean = over_batch(x) / count
    return mean, over_batch((x - over_channels(mean, x.shape)).square()) / count


def _at_least_float32(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


class Affine(nn.Module):
    """The scale and shift of batch normalization without its normalization: weight * x + bias."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Return float of the shape and dtype of x."""
        return (over_channels(self.weight, x.shape) * x + over_channels(self.bias, x.shape)).to(x.dtype)

    uses_batch = False

    def known(self) -> tuple[Tensor, Tensor]:
        """Return mean 0 and variance 1, [channels]: there is nothing to normalize with."""
        return torch.zeros_like(self.weight), torch.ones_like(self.weight)

    def note(self, mean: Tensor, var: Tensor, count: int) -> None:
        """Ignore a batch's moments."""

    def coefficients(self, mean: Tensor, var: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """Return scale and shift themselves, [channels]."""
        return weight, bias


class BatchNorm(nn.Module):
    """Batch normalization by the framework's own kernels (Ioffe & Szegedy 2015, algorithms 1 and 2).

    In training mode it normalizes with the batch's moments and updates the running averages; the running
    variance is of the unbiased kind. In evaluation mode `statistics` says which moments it predicts with.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, *, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__()
        self.eps, self.momentum, self.unbiased = eps, momentum, True
        self.statistics: Statistics = "running"
        self.pooled: PooledMoments | None = None
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Return float of the shape and dtype of x."""
        if self.training:
            return self.train_batch(x)
        if not self.uses_batch:
            return self.normalize(x, self.running_mean, self.running_var)
        mean, var = moments(x)
        self.note(mean, var, x.numel() // x.shape[1])
        return self.normalize(x, mean, var)

    @property
    def uses_batch(self) -> bool:
        """Whether the next batch is normalized with its own moments."""
        return self.training or self.statistics != "running"

    def known(self) -> tuple[Tensor, Tensor]:
        """Return the mean and variance, [channels], to normalize with otherwise."""
        return self.running_mean, self.running_var

    def note(self, mean: Tensor, var: Tensor, count: int) -> None:
        """Take in the moments, [channels], of a batch of `count` values a channel."""
        if self.training:
            var = var * (count / (count - 1)) if self.unbiased else var
            self.running_mean.mul_(1 - self.momentum).add_(mean, alpha=self.momentum)
            self.running_var.mul_(1 - self.momentum).add_(var, alpha=self.momentum)
        elif self.statistics == "pooling" and self.pooled is not None:
            self.pooled.add(mean, var, count)

    def coefficients(self, mean: Tensor, var: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """Return scale and shift, [channels], of y = scale * (x - mean) + shift, differentiable.

        The mean in that formula counts as a constant: what moving it does to y is in the shift.
        """
        scale = weight / (var + self.eps).sqrt()
        return scale, bias - scale * (mean - mean.detach())

    def train_batch(self, x: Tensor) -> Tensor:
        """Normalize with the batch's moments and update the running averages."""
        channels = self.running_mean, self.running_var, self.weight, self.bias
        spare = -x.shape[1] % VECTOR
        if not spare:
            return F.batch_norm(x, *channels, True, self.momentum, self.eps)
        mean, var, weight, bias = (F.pad(values, [0, spare]) for values in channels)
        wide = F.pad(x.movedim(1, -1), [0, spare]).movedim(-1, 1)
        y = F.batch_norm(wide, mean, var, weight, bias, True, self.momentum, self.eps)
        self.running_mean.copy_(mean[:-spare])
        self.running_var.copy_(var[:-spare])
        return y.movedim(1, -1)[..., :-spare].contiguous().movedim(-1, 1)

    def normalize(self, x: Tensor, mean: Tensor, var: Tensor) -> Tensor:
        """Return weight * (x - mean) / sqrt(var + eps) + bias, with moments [channels]."""
        return F.batch_norm(x, mean, var, self.weight, self.bias, False, 0.0, self.eps)


class ScratchBatchNorm(BatchNorm):
    """Batch normalization written out from its formulas (d2l 8.5.2 and 8.5.4), differentiated by autograd.

    `unbiased` chooses the variance that enters the running average: the framework's, with n - 1, or the
    textbook's, with n (twice as small for a fully connected layer at batch 2).
    """

    def __init__(
        self, channels: int, *, eps: float = 1e-5, momentum: float = 0.1, unbiased: bool = True
    ) -> None:
        super().__init__(channels, eps=eps, momentum=momentum)
        self.unbiased = unbiased

    def train_batch(self, x: Tensor) -> Tensor:
        """Normalize with the batch's moments and update the running averages."""
        mean, var = moments(x)
        self.note(mean.detach(), var.detach(), x.numel() // x.shape[1])
        return self.normalize(x, mean, var)

    def normalize(self, x: Tensor, mean: Tensor, var: Tensor) -> Tensor:
        """Return weight * (x - mean) / sqrt(var + eps) + bias, with moments [channels]."""
        wide = _at_least_float32(x)
        x_hat = (wide - over_channels(mean, x.shape)) / over_channels((var + self.eps).sqrt(), x.shape)
        return (over_channels(self.weight, x.shape) * x_hat + over_channels(self.bias, x.shape)).to(x.dtype)


class PooledMoments:
    """Moments over many batches as if they were one: exact for uneven batches, summed in float64."""

    def __init__(self) -> None:
        self.count = 0
        self.total: Tensor | float = 0.0
        self.squares: Tensor | float = 0.0

    def add(self, mean: Tensor, var: Tensor, count: int) -> None:
        """Add a batch of `count` values a channel with these moments, both [channels]."""
        mean, var = mean.double(), var.double()
        self.count += count
        self.total = self.total + count * mean
        self.squares = self.squares + count * (var + mean.square())

    def moments(self) -> tuple[Tensor, Tensor]:
        """Return mean and biased variance [channels], float64."""
        mean = torch.as_tensor(self.total / self.count)
        return mean, (self.squares / self.count - mean.square()).clamp_min(0)


def batch_norms(net: nn.Module) -> list[BatchNorm]:
    """Return the network's batch normalizations, in order."""
    return [module for module in net.modules() if isinstance(module, BatchNorm)]


@contextmanager
def predict_with(net: nn.Module, statistics: Statistics) -> Iterator[None]:
    """Let every batch normalization predict with its running averages, or with each batch's moments."""
    norms = batch_norms(net)
    before = [norm.statistics for norm in norms]
    try:
        for norm in norms:
            norm.statistics = statistics
        yield
    finally:
        for norm, old in zip(norms, before, strict=True):
            norm.statistics = old


@contextmanager
def pooling_moments(net: nn.Module) -> Iterator[None]:
    """Collect the moments of the batches that pass inside the block ("precise BN", Wu & Johnson 2021, 3.1).

    Each layer normalizes those batches with their own moments and changes nothing else. When the block
    ends the layers hold what they pooled; `precise_statistics` predicts with it.
    """
    for norm in batch_norms(net):
        norm.pooled = PooledMoments()
    with predict_with(net, "pooling"):
        yield


@contextmanager
def precise_statistics(net: nn.Module) -> Iterator[None]:
    """Predict with the pooled moments in place of the running averages, which come back at the end."""
    norms = batch_norms(net)
    before = [(norm.running_mean, norm.running_var) for norm in norms]
    try:
        for norm in norms:
            if norm.pooled is None:
                raise ValueError("no moments were pooled; run batches inside pooling_moments(net) first")
            mean, var = norm.pooled.moments()
            norm.running_mean, norm.running_var = mean.to(norm.weight.dtype), var.to(norm.weight.dtype)
            norm.pooled = None
        yield
    finally:
        for norm, (mean, var) in zip(norms, before, strict=True):
            norm.running_mean, norm.running_var = mean, var
