"""Batch normalization followed by a fixed or fitted transform of the normalized activations."""

import torch
from torch import Tensor

from bnstudy.training.batchnorm import Moments, moments, scaled
from bnstudy.training.layers import in_whole_vectors
from bnstudy.training.sums import over_batch, over_channels

HALF = 0.6745
"""The median of a standard Gaussian's absolute value."""

LEAST_POWER, MOST_POWER = 0.05, 1.95
"""Between the logarithms that the transform has for limits at 0 and 2."""


class SparseBatchNorm(Moments):
    """Batch normalization that keeps what is larger than `HALF` deviations and sets the rest to 0.

    Of Gaussian activations that is one half: a sparsifying compression (d2l 8.5, exercise 7). The gradient
    is that of what is kept.
    """

    def normalize(self, x: Tensor, mean: Tensor, var: Tensor) -> Tensor:
        """Return weight * kept + bias, with moments [channels]."""
        x_hat = self.standardized(x, mean, var)
        # Not `> HALF`: NaN has to pass.
        return scaled(torch.where(x_hat.abs() <= HALF, 0, x_hat), self.weight, self.bias, x.dtype)


class YeoJohnson(Moments):
    """Batch normalization and then the power transform of Yeo & Johnson (2000) that makes each channel the
    most Gaussian, as Eftekhari & Papyan (2025) do, without their noise.

    The power is one Newton step of the likelihood from 1, no transform, held within 0.05 and 1.95; for the
    gradient it is a constant. Prediction is by running averages of the moments and of the power.
    """

    averaged = ("running_mean", "running_var", "running_power")
    running_power: Tensor

    def __init__(
        self, channels: int, *, eps: float = 1e-5, momentum: float = 0.1, unbiased: bool = True
    ) -> None:
        super().__init__(channels, eps=eps, momentum=momentum, unbiased=unbiased)
        self.register_buffer("running_power", torch.ones(channels))

    def normalize_batch(self, x: Tensor) -> Tensor:
        """Transform with the batch's moments and powers, and `note` them."""
        mean, var = moments(x)
        x_hat = self.standardized(x, mean, var)
        power = likeliest_power(x_hat.detach())
        self.note(mean.detach(), var.detach(), x.numel() // x.shape[1], power)
        return scaled(yeo_johnson(x_hat, power), self.weight, self.bias, x.dtype)

    def predict(self, x: Tensor) -> Tensor:
        """Transform with the running averages."""
        x_hat = self.standardized(x, self.running_mean, self.running_var)
        return scaled(yeo_johnson(x_hat, self.running_power), self.weight, self.bias, x.dtype)


def yeo_johnson(z: Tensor, power: Tensor) -> Tensor:
    """Return ((1 + z)**power - 1) / power, for z < 0 the same of -z with 2 - power, negated.

    z: float [batch, channels, *spatial], power [channels], inside (0, 2).
    """
    side = over_channels(power, z.shape).to(z.dtype)
    side = torch.where(z < 0, 2 - side, side)
    return z.sign() * in_whole_vectors(torch.expm1, side * in_whole_vectors(torch.log1p, z.abs())) / side


def likeliest_power(z: Tensor) -> Tensor:
    """Return the power of each channel, [channels], by one Newton step from 1 (Eftekhari & Papyan 2025)."""
    count = z.numel() // z.shape[1]

    def mean(values: Tensor) -> Tensor:
        return over_batch(values) / count

    # At power 1 the transform is z itself; `first` and `second` are its derivatives there.
    log = in_whole_vectors(torch.log1p, z.abs())
    u = 1 + z.abs()
    first = u * log - z.abs()
    second = z.sign() * (u * log.square() - 2 * first)
    centre = z - over_channels(mean(z), z.shape)
    var = mean(centre.square()).clamp_min(1e-12)
    slope = 2 * mean(centre * first) / var
    spread = mean((first - over_channels(mean(first), z.shape)).square())
    bend = 2 * (spread + mean(centre * second)) / var
    gradient = slope / 2 - mean(z.sign() * log)
    curvature = ((bend - slope.square()) / 2).clamp_min(1e-3)
    return (1 - gradient / curvature).clamp(LEAST_POWER, MOST_POWER)
