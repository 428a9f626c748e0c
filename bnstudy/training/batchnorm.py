"""Batch normalization by the framework and from its formulas, and its scale and shift alone.

Everywhere x is float [batch, channels, *spatial], and a channel's moments are over all other axes.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bnstudy.training.running import Running
from bnstudy.training.sums import over_batch, over_channels

VECTOR = 8
"""Channels that the framework's kernel takes at once. It rounds the gradient of what is left in another
way, which would depend on the width of the pack, so nothing is left."""


def moments(x: Tensor, *, least: int = 2) -> tuple[Tensor, Tensor]:
    """Return mean and biased variance of each channel, both [channels] (Ioffe & Szegedy 2015, algorithm 1).

    Half-precision x is reduced in float32. Raises `ValueError` for fewer than `least` values a channel:
    one has no variance.
    """
    if x.numel() < least * x.shape[1]:
        raise ValueError(
            f"batch normalization needs more than one value per channel, got x of {tuple(x.shape)}"
        )
    x, count = at_least_float32(x), x.numel() // x.shape[1]
    mean = over_batch(x) / count
    return mean, over_batch((x - over_channels(mean, x.shape)).square()) / count


def at_least_float32(x: Tensor) -> Tensor:
    """Return x, half precision as float32."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def scaled(x_hat: Tensor, weight: Tensor, bias: Tensor, dtype: torch.dtype) -> Tensor:
    """Return weight * x_hat + bias, with scale and shift [channels]."""
    return (over_channels(weight, x_hat.shape) * x_hat + over_channels(bias, x_hat.shape)).to(dtype)


def add_scale_and_shift(layer: nn.Module, channels: int) -> None:
    """Give a layer the parameters `weight`, ones, and `bias`, zeros."""
    layer.weight = nn.Parameter(torch.ones(channels))
    layer.bias = nn.Parameter(torch.zeros(channels))


class Affine(nn.Module):
    """The scale and shift of batch normalization without its normalization: weight * x + bias."""

    weight: nn.Parameter
    bias: nn.Parameter

    def __init__(self, channels: int) -> None:
        super().__init__()
        add_scale_and_shift(self, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return float of the shape and dtype of x."""
        return scaled(x, self.weight, self.bias, x.dtype)

    uses_batch = False

    def parts(self, x: Tensor) -> tuple[Tensor]:
        """Return all images as one part."""
        return (x,)

    def known(self) -> tuple[Tensor, Tensor]:
        """Return mean 0 and variance 1, [channels]: there is nothing to normalize with."""
        return torch.zeros_like(self.weight), torch.ones_like(self.weight)

    def note(self, mean: Tensor, var: Tensor, count: int) -> None:
        """Ignore a batch's moments."""

    def coefficients(self, mean: Tensor, var: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """Return scale and shift themselves, [channels]."""
        return weight, bias


class Moments(Running):
    """A normalization by each channel's mean and variance, with a learned scale and shift."""

    running_mean: Tensor
    running_var: Tensor
    weight: nn.Parameter
    bias: nn.Parameter

    def __init__(
        self, channels: int, *, eps: float = 1e-5, momentum: float = 0.1, unbiased: bool = True
    ) -> None:
        super().__init__(momentum, unbiased=unbiased)
        self.eps = eps
        add_scale_and_shift(self, channels)
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    least = 2
    """Values a channel that a batch must have."""

    def normalize_batch(self, x: Tensor) -> Tensor:
        """Normalize with the batch's moments, and `note` them."""
        mean, var = moments(x, least=self.least)
        self.note(mean.detach(), var.detach(), x.numel() // x.shape[1])
        return self.normalize(x, mean, var)

    def predict(self, x: Tensor) -> Tensor:
        """Normalize with the running averages."""
        return self.normalize(x, *self.known())

    def known(self) -> tuple[Tensor, Tensor]:
        """Return the mean and variance, [channels], to normalize with where the batch's are not."""
        return self.running_mean, self.running_var

    def normalize(self, x: Tensor, mean: Tensor, var: Tensor) -> Tensor:
        """Return weight * (x - mean) / sqrt(var + eps) + bias, with moments [channels]."""
        return scaled(self.standardized(x, mean, var), self.weight, self.bias, x.dtype)

    def standardized(self, x: Tensor, mean: Tensor, var: Tensor) -> Tensor:
        """Return (x - mean) / sqrt(var + eps), at least float32."""
        centred = at_least_float32(x) - over_channels(mean, x.shape)
        return centred / over_channels((var + self.eps).sqrt(), x.shape)


class BatchNorm(Moments):
    """Batch normalization by the framework's own kernels (Ioffe & Szegedy 2015, algorithms 1 and 2).

    The running variance is the framework's, of the unbiased kind, or with n in place of n - 1.
    """

    def normalize_batch(self, x: Tensor) -> Tensor:
        """Normalize with the batch's moments, and `note` them."""
        if not self.training:
            return super().normalize_batch(x)
        if self.unbiased and not self.tracked:
            return self.train_batch(x, self.running_mean, self.running_var, self.momentum)
        (mean, var), count = moments(x.detach()), x.numel() // x.shape[1]
        if not self.unbiased:
            self.note(mean, var, count)
            return self.train_batch(x, mean, var, 0.0)
        self.track(mean, var * (count / (count - 1)))  # and the kernel averages as it does without
        return self.train_batch(x, self.running_mean, self.running_var, self.momentum)

    def coefficients(self, mean: Tensor, var: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """Return scale and shift, [channels], of y = scale * (x - mean) + shift, differentiable.

        The mean in that formula counts as a constant: what moving it does to y is in the shift.
        """
        scale = weight / (var + self.eps).sqrt()
        return scale, bias - scale * (mean - mean.detach())

    def train_batch(self, x: Tensor, mean: Tensor, var: Tensor, momentum: float) -> Tensor:
        """Normalize with the batch's moments and average them into mean and var, in place."""
        channels = mean, var, self.weight, self.bias
        spare = -x.shape[1] % VECTOR
        if not spare:
            return F.batch_norm(x, *channels, True, momentum, self.eps)
        wide_mean, wide_var, weight, bias = (F.pad(values, [0, spare]) for values in channels)
        wide = F.pad(x.movedim(1, -1), [0, spare]).movedim(-1, 1)
        y = F.batch_norm(wide, wide_mean, wide_var, weight, bias, True, momentum, self.eps)
        mean.copy_(wide_mean[:-spare])
        var.copy_(wide_var[:-spare])
        return y.movedim(1, -1)[..., :-spare].contiguous().movedim(-1, 1)

    def normalize(self, x: Tensor, mean: Tensor, var: Tensor) -> Tensor:
        """Return weight * (x - mean) / sqrt(var + eps) + bias, with moments [channels]."""
        if mean.requires_grad:  # of this batch, in evaluation mode: the kernel takes constants
            return super().normalize(x, mean, var)
        return F.batch_norm(x, mean, var, self.weight, self.bias, False, 0.0, self.eps)


class ScratchBatchNorm(BatchNorm):
    """Batch normalization written out from its formulas (d2l 8.5.2 and 8.5.3), differentiated by autograd.

    `unbiased` chooses the variance that enters the running average: the framework's, with n - 1, or the
    textbook's, with n (twice as small for a fully connected layer at batch 2). The latter makes the shift
    of a batch of one value a channel, in silence, as the textbook does.
    """

    @property
    def least(self) -> int:  # type: ignore[override]
        """Values a channel that a batch must have."""
        return 2 if self.unbiased else 1

    def normalize_batch(self, x: Tensor) -> Tensor:
        """Normalize with the batch's moments, and `note` them."""
        return Moments.normalize_batch(self, x)

    def normalize(self, x: Tensor, mean: Tensor, var: Tensor) -> Tensor:
        """Return weight * (x - mean) / sqrt(var + eps) + bias, with moments [channels]."""
        return Moments.normalize(self, x, mean, var)
