"""Whitening: batch normalization with the covariance of channels in place of their variances."""

import torch
from torch import Tensor, nn

from bnstudy.training.batchnorm import add_scale_and_shift, at_least_float32, scaled
from bnstudy.training.running import PooledMoments, Running
from bnstudy.training.sums import over_channels

SHRINKAGE = 1e-3
"""Of the mean variance of a group, added to every variance with eps: 64 images leave at least 57 of 120
features without any, and in float32 a condition of more than 120 / 0.001 would leave no digits. Siarohin et
al. (2019) shrink by as much."""

NEWTON_STEPS = 5
"""As Huang et al. (2019, IterNorm): not to convergence, so that directions of little variance stay small."""


class Whitening(Running):
    """Decorrelates the channels of each group and gives them variance 1, in a pack within each trial.

    `cholesky` multiplies by the inverse of the covariance's Cholesky factor (Siarohin et al. 2019),
    `newton` by its inverse square root by Newton's iteration (Huang et al. 2019), both over the batch and
    all places. Gradients pass through the factor. Prediction factors the running covariance.
    """

    averaged = ("running_mean", "running_cov")
    running_mean: Tensor
    running_cov: Tensor
    weight: nn.Parameter
    bias: nn.Parameter

    def __init__(
        self,
        trials: int,
        channels: int,
        *,
        groups: int = 1,
        method: str = "cholesky",
        eps: float = 1e-5,
        momentum: float = 0.1,
        unbiased: bool = True,
    ) -> None:
        super().__init__(momentum, unbiased=unbiased)
        self.eps, self.method = eps, method
        add_scale_and_shift(self, trials * channels)
        size = channels // groups
        self.register_buffer("running_mean", torch.zeros(trials * channels))
        self.register_buffer("running_cov", torch.eye(size).repeat(trials, groups, 1, 1))

    def normalize_batch(self, x: Tensor) -> Tensor:
        """Whiten with the batch's covariance, and `note` it. Raises `ValueError` for one value a channel."""
        rows = self.rows(x)
        count = rows.shape[2]
        if count == 1:
            raise ValueError(f"whitening needs more than one value per channel, got x of {tuple(x.shape)}")
        mean = rows.mean(2)
        rows = rows - mean.unsqueeze(2)
        cov = products(rows, rows.transpose(1, 2)) / count
        self.note(mean.detach().flatten(), cov.detach().view(self.running_cov.shape), count)
        return self.whiten(rows, cov, x)

    def predict(self, x: Tensor) -> Tensor:
        """Whiten with the running averages."""
        rows = self.rows(x - over_channels(self.running_mean, x.shape))
        return self.whiten(rows, self.running_cov.flatten(0, 1), x)

    def rows(self, x: Tensor) -> Tensor:
        """Return x as [K * groups, channels of a group, values], at least float32."""
        size = self.running_cov.shape[-1]
        return at_least_float32(x).movedim(1, 0).reshape(x.shape[1] // size, size, -1)

    def whiten(self, rows: Tensor, cov: Tensor, x: Tensor) -> Tensor:
        """Return centred rows, whitened, scaled and shifted, in the shape of x."""
        y = products(self.inverse_root(cov).to(rows.dtype), rows)
        y = y.view(x.shape[1], len(x), *x.shape[2:]).movedim(0, 1)
        layout = torch.channels_last if x.dim() == 4 else torch.contiguous_format
        return scaled(y.contiguous(memory_format=layout), self.weight, self.bias, x.dtype)

    def inverse_root(self, cov: Tensor) -> Tensor:
        """Return W with W @ cov @ W.T = 1 for each of cov [K * groups, d, d], regularized, in float64."""
        cov = cov.double()
        variance = cov.diagonal(dim1=1, dim2=2).mean(1)
        one = torch.eye(cov.shape[1], dtype=cov.dtype, device=cov.device)
        cov = cov + (self.eps + SHRINKAGE * variance).view(-1, 1, 1) * one
        return _by_newton(cov, one) if self.method == "newton" else _by_cholesky(cov, one)

    def pool(self) -> PooledMoments:
        """Return what batches' covariances are pooled in."""
        size = self.running_cov.shape

        def square(mean: Tensor) -> Tensor:
            column = mean.view(size[:-1]).unsqueeze(3)
            return column * column.transpose(2, 3)

        return PooledMoments(square)

    @torch.no_grad()
    def start(self, var: float) -> None:
        """Start the running variances from `var`, the covariances from 0."""
        self.running_cov.copy_(var * torch.eye(self.running_cov.shape[-1]))


def products(a: Tensor, b: Tensor) -> Tensor:
    """Return the matrix products of a [n, i, j] and b [n, j, k], one by one: a batch of them rounds in a way
    that depends on how many there are."""
    return torch.stack([left @ right for left, right in zip(a, b, strict=True)])


def _by_cholesky(cov: Tensor, one: Tensor) -> Tensor:
    """One by one too: on some processors the way back through a batch of them rounds by their place in it."""
    return torch.stack([_inverse_factor(of_one, one) for of_one in cov])


def _inverse_factor(cov: Tensor, one: Tensor) -> Tensor:
    factor, failed = torch.linalg.cholesky_ex(cov)
    factor = torch.where(failed == 0, factor, torch.nan)  # of that trial alone, not an error
    inverse: Tensor = torch.linalg.solve_triangular(factor, one, upper=False)
    return inverse


def _by_newton(cov: Tensor, one: Tensor) -> Tensor:
    trace = cov.diagonal(dim1=1, dim2=2).sum(1).view(-1, 1, 1)
    cov, root = cov / trace, one.expand_as(cov)
    for _ in range(NEWTON_STEPS):
        root = (3 * root - products(products(products(root, root), root), cov)) / 2
    return root / trace.sqrt()
