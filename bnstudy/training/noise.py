"""Noise behind a normalization, in training alone, each trial's from streams of its own."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from bnstudy.seeds import stream
from bnstudy.training.batchnorm import at_least_float32, moments
from bnstudy.training.sums import over_batch, over_channels

CENTRES, SCALES, WIDTH = 0.5, 1.25, 0.1
"""After Santurkar et al. (2018, appendix A; recalled, the text was not at hand): each step's mean shift is
uniform within +-0.5 and its mean scale from 1 to 1.25; an image's shift is uniform within 0.1 of the one, its
scale normal about the other by 0.1."""


class Noisy(nn.Module):
    """A normalization and noise on what it returns.

    A step's draws depend on the seed, the name and the number of the step alone, whatever the device and
    whoever is in the pack; they are drawn on the CPU.
    """

    def __init__(self, norm: nn.Module, trial_seeds: Sequence[int], name: str) -> None:
        super().__init__()
        self.norm, self.trial_seeds, self.name, self.steps = norm, tuple(trial_seeds), name, 0

    def forward(self, x: Tensor) -> Tensor:
        """Return float of the shape and dtype of x: float [batch, K * channels, *spatial]."""
        y: Tensor = self.norm(x)
        if not self.training:
            return y
        generators = [
            torch.Generator().manual_seed(stream(seed, "noise", self.name, self.steps))
            for seed in self.trial_seeds
        ]
        self.steps += 1
        return self.disturbed(x, y, generators)

    def disturbed(self, x: Tensor, y: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """Return y = norm(x) with noise."""
        raise NotImplementedError


class ShiftingNoise(Noisy):
    """Scale and shift drawn anew in each step: the distribution that the next layer sees shifts all the time
    (Santurkar et al. 2018, appendix A, algorithm 1).

    In each step every channel has a mean shift and a mean scale, and every image draws its own about them;
    all places of a channel in an image share one draw.
    """

    def disturbed(self, x: Tensor, y: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """Return scale * y + shift, drawn for each image and channel."""
        channels = y.shape[1] // len(generators)
        drawn = [_scale_and_shift(len(y), channels, generator) for generator in generators]
        pairs = zip(*drawn, strict=True)
        places = [1] * (y.dim() - 2)
        scale, shift = (torch.cat(parts, dim=1).to(y).view(*y.shape[:2], *places) for parts in pairs)
        return scale * y + shift


def _scale_and_shift(images: int, channels: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return one trial's scales and shifts, [images, channels] each."""
    centre = CENTRES * (2 * torch.rand(channels, generator=generator) - 1)
    scale = 1 + (SCALES - 1) * torch.rand(channels, generator=generator)
    shift = WIDTH * (2 * torch.rand(images, channels, generator=generator) - 1)
    return scale + WIDTH * torch.randn(images, channels, generator=generator), centre + shift


class CalibratedNoise(Noisy):
    """The noise of a batch's moments: as if x were normalized with those of another batch of that size.

    The other batch's moments are simulated by a random weight 1 + N(0, 1) of each image (the multiplier
    bootstrap), one weight for all channels of a trial. So mean and variance have the sampling variance of
    this many images, correlated between places, channels and with each other as the images make them; a
    formula for independent Gaussian values would call a convolution's moments far too sure. The draws do
    not know the images, and no gradient passes through them.
    """

    def disturbed(self, x: Tensor, y: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """Return weight * (x_hat - a) / b + bias of y = weight * x_hat + bias."""
        drawn = [torch.randn(len(x), generator=generator) for generator in generators]
        a, b = self.errors(x.detach(), torch.stack(drawn, dim=1).to(x.device))
        weight, bias = self.norm.get_parameter("weight"), self.norm.get_parameter("bias")
        scale, shift = 1 / b, bias - (bias + weight * a) / b
        return (over_channels(scale, y.shape) * y + over_channels(shift, y.shape)).to(y.dtype)

    @torch.no_grad()
    def errors(self, x: Tensor, drawn: Tensor) -> tuple[Tensor, Tensor]:
        """Return another batch's mean, in standard deviations, and its standard deviation, relative to it.

        Both [K * channels]; `drawn` is standard normal, [batch, K].
        """
        x = at_least_float32(x).contiguous()
        mean, var = moments(x)
        x_hat = (x - over_channels(mean, x.shape)) / over_channels((var + 1e-12).sqrt(), x.shape)
        x_hat = x_hat.contiguous().view(*x.shape[:2], -1)
        drawn = drawn.to(x.dtype).repeat_interleave(x.shape[1] // drawn.shape[1], dim=1)
        a = over_batch(drawn * x_hat.mean(2)) / len(x)
        square = 1 + over_batch(drawn * (x_hat.square().mean(2) - 1)) / len(x) - a.square()
        # 0.1: no batch of several images has less than a tenth of the variance, but linear noise may.
        return a, square.clamp_min(0.1).sqrt()


KINDS: dict[str, type[Noisy]] = {"shifting": ShiftingNoise, "calibrated": CalibratedNoise}
