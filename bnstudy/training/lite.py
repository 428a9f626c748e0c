"""Lite batch normalizations: parts of its formula, and its formula with the population's moments."""

from torch import Tensor

from bnstudy.training.batchnorm import BatchNorm, Moments, at_least_float32
from bnstudy.training.sums import over_channels


class Formula(BatchNorm):
    """Any y = scale * (x - mean) + shift that `coefficients` makes of the moments, by autograd."""

    def normalize_batch(self, x: Tensor) -> Tensor:
        """Normalize with the batch's moments, and `note` them."""
        return Moments.normalize_batch(self, x)

    def normalize(self, x: Tensor, mean: Tensor, var: Tensor) -> Tensor:
        """Return scale * (x - mean) + shift, with moments [channels]."""
        scale, shift = self.coefficients(mean, var, self.weight, self.bias)
        mean, scale, shift = (over_channels(values, x.shape) for values in (mean.detach(), scale, shift))
        return (scale * (at_least_float32(x) - mean) + shift).to(x.dtype)


class MeanOnly(Formula):
    """weight * (x - mean) + bias: the mean removed, the variance left (d2l 8.5, exercise 4)."""

    def coefficients(self, mean: Tensor, var: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """Return scale and shift, [channels]."""
        return weight, bias - weight * (mean - mean.detach())


class StdOnly(Formula):
    """weight * x / sqrt(var + eps) + bias: divided by the spread about the mean, the mean left in."""

    def coefficients(self, mean: Tensor, var: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """Return scale and shift, [channels]."""
        scale = weight / (var + self.eps).sqrt()
        return scale, bias + scale * mean.detach()


class RmsOnly(Formula):
    """weight * x / sqrt(mean square + eps) + bias, over the batch and all places of a channel.

    `running_var` holds the average of the mean square, which no n - 1 corrects.
    """

    def known(self) -> tuple[Tensor, Tensor]:
        """Return mean 0 and the mean square, [channels]: the same formula."""
        return self.running_mean.new_zeros(self.running_mean.shape), self.running_var

    def note(self, mean: Tensor, var: Tensor, count: int, *others: Tensor) -> None:
        """Take in the moments, [channels], of a batch of `count` values a channel."""
        if self.training:
            self.average(mean, var + mean.square())
        else:
            super().note(mean, var, count)

    def settle(self, *pooled: Tensor) -> None:
        """Put pooled moments in the place of the running averages."""
        mean, var = pooled
        super().settle(mean, var + mean.square())

    def coefficients(self, mean: Tensor, var: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """Return scale and shift, [channels]."""
        scale = weight / (var + mean.square() + self.eps).sqrt()
        return scale, bias + scale * mean.detach()


class PopulationNorm(Formula):
    """Batch normalization with the running averages in training too, as constants.

    They are those from before the batch, which then enters them: what becomes of an image does not depend
    on its batch, and no gradient passes through moments. Nothing keeps a large step from moving the
    activations away from the averages (Ioffe & Szegedy 2015, section 2).
    """

    def note(self, mean: Tensor, var: Tensor, count: int, *others: Tensor) -> None:
        """Take in the moments, [channels], of a batch of `count` values a channel."""
        if self.training:
            self.before = self.running_mean.clone(), self.running_var.clone()
        super().note(mean, var, count)

    def coefficients(self, mean: Tensor, var: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """Return scale and shift, [channels]; in training mode after `note` of the same batch."""
        if not self.training:
            return super().coefficients(mean, var, weight, bias)
        population_mean, population_var = self.before
        scale = weight / (population_var + self.eps).sqrt()
        return scale, bias + scale * (mean.detach() - population_mean)
