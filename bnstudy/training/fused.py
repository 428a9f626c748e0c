"""Normalization, sigmoid and pooling as one operation, for every normalization that is a scale and a shift.

Such a normalization is a formula on two vectors: its `coefficients` turn the batch's mean and variance of
each channel into scale and shift. The passes over the activations are in `kernels`; the gradient goes
through the formula by autograd, so that a new one needs no kernel and no derivative of its own.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bnstudy.training import kernels

POOLS = {None: 0, "avg": 1, "max": 2}


class ScaleAndShift(Protocol):
    """What a normalization must offer to be fused."""

    weight: Tensor
    bias: Tensor

    @property
    def uses_batch(self) -> bool:
        """Whether the next batch is normalized with its own moments."""

    def parts(self, x: Tensor) -> Sequence[Tensor]:
        """Return the images that are normalized together, in order."""

    def known(self) -> tuple[Tensor, Tensor]:
        """Return the mean and variance, [channels], to normalize with otherwise."""

    def note(self, mean: Tensor, var: Tensor, count: int) -> None:
        """Take in the moments, [channels], of a batch of `count` values a channel."""

    def coefficients(self, mean: Tensor, var: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """Return scale and shift, [channels], of y = scale * (x - mean) + shift."""


def sigmoid_of(norm: nn.Module, x: Tensor, pool: str | None = None) -> Tensor:
    """Return sigmoid(norm(x)), pooled by 2 x 2 means (`avg`) or maxima (`max`).

    x: float [batch, channels, height, width] with channels last in memory, or [batch, channels]. A `norm`
    that is a `ScaleAndShift` or the identity takes part; another one goes first, by its own operations.
    """
    # One value a channel: the gradient through its mean is 0, and only the norm's own operations make it so.
    if not hasattr(norm, "coefficients") or x.numel() == x.shape[1]:
        norm, x = nn.Identity(), norm(x)
    return over_parts(_Sigmoid.apply, norm, x, POOLS[pool])


def over_parts(function: Callable[..., Tensor], norm: nn.Module, x: Tensor, *others: Any) -> Tensor:
    """Return function(images, weight, bias, norm, *others), joined, of the images that are normalized
    together; for the identity of all, without these three.
    """
    if not hasattr(norm, "coefficients"):
        return function(x, None, None, None, *others)
    takes = cast(ScaleAndShift, norm)
    parts = [function(part, takes.weight, takes.bias, takes, *others) for part in takes.parts(x)]
    return torch.cat(parts) if parts[1:] else parts[0]


def patches(x: Tensor, kernel: int, padding: int) -> Tensor:
    """Return what each kernel element sees, and a row of ones: [channels * kernel**2 + 1, batch, h', w'].

    x: float [batch, channels, height, width]. 1.1 ms for 256 images, of which slices and copies take 8.
    """
    x = nn.functional.pad(x, [padding] * 4) if padding else x
    batch, channels, height, width = x.shape
    columns = x.new_empty(channels * kernel**2 + 1, batch, height - kernel + 1, width - kernel + 1)
    kernels.patches(x.contiguous().numpy(), kernel, columns.numpy())
    return columns


class _Sigmoid(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, norm: ScaleAndShift | None, pool: int
    ) -> Tensor:
        rows, channels = rows_of(x), x.shape[1]
        width = rows.shape[2] // channels
        taken = Formula.of(norm, weight, bias, x.new_zeros(channels), lambda: moments([rows], channels))
        ctx.formula, ctx.rows, ctx.pool, ctx.shape = taken, rows, pool, x.shape
        ctx.columns = tuple(np.tile(values, width) for values in taken.vectors)
        shape = (len(rows), rows.shape[1] // 2, width // 2 * channels) if pool else rows.shape
        y = empty(shape, rows)
        kernels.activate_and_pool(rows, *ctx.columns, channels, pool, y)
        return _planes(y, x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None, None, None]:
        channels, rows, columns = ctx.shape[1], ctx.rows, ctx.columns
        dx, sums = empty(rows.shape, rows), np.zeros((2, rows.shape[2]))
        kernels.slopes(rows, *columns, channels, ctx.pool, rows_of(gradient), dx, *sums)
        d_weight, d_bias, through = ctx.formula.backward(sums, gradient.dtype)
        if through is not None:
            tiled = (np.tile(values, rows.shape[2] // channels) for values in through)
            kernels.through_moments(rows, columns[0], columns[1], *tiled, dx)
        return _planes(dx, gradient), d_weight, d_bias, None, None


Moments = tuple[NDArray[Any], NDArray[Any], int]
"""Mean and biased variance, float64 [channels], and of how many values a channel."""


@dataclass(frozen=True)
class Formula:
    """A normalization's mean, scale and shift, [channels], and the way back through them."""

    vectors: tuple[NDArray[Any], NDArray[Any], NDArray[Any]]
    outputs: tuple[Tensor, ...] = ()
    leaves: tuple[Tensor, ...] = ()
    count: int | None = None
    """Values a channel that the moments are of; `None` where they are not the batch's."""

    @classmethod
    def of(
        cls,
        norm: ScaleAndShift | None,
        weight: Tensor | None,
        bias: Tensor | None,
        zero: Tensor,
        moments: Callable[[], Moments],
    ) -> "Formula":
        """Return the formula for a batch, and show its moments to the normalization; zero: [channels]."""
        if norm is None or weight is None or bias is None:
            return cls((zero.numpy(), (zero + 1).numpy(), zero.numpy()))
        if norm.uses_batch:
            *both, count = moments()
            mean, var = (torch.from_numpy(values).to(zero.dtype) for values in both)
            norm.note(mean, var, count)
        else:
            (mean, var), count = norm.known(), None
        with torch.enable_grad():
            leaves = [value.detach().requires_grad_() for value in (weight, bias, mean, var)]
            scale, shift = norm.coefficients(leaves[2], leaves[3], leaves[0], leaves[1])
        vectors = mean.detach().numpy(), scale.detach().numpy(), shift.detach().numpy()
        return cls(vectors, (scale, shift), tuple(leaves), count)

    def backward(
        self, sums: NDArray[Any], dtype: torch.dtype
    ) -> tuple[Tensor | None, Tensor | None, tuple[NDArray[Any], NDArray[Any]] | None]:
        """Return the gradients of weight and bias, and what `kernels.through_moments` multiplies deviations
        and ones with, [channels] each: zeros where the moments are not the batch's. `None` without a formula.

        sums: float64 [2, width * channels], the gradients of scale and shift.
        """
        if not self.outputs:
            return None, None, None
        channels = len(self.vectors[0])
        both = np.empty((2, channels))
        for to, values in zip(both, sums, strict=True):
            kernels.over_columns(values, channels, to)
        d_outputs = tuple(torch.from_numpy(both).to(dtype))
        of = torch.autograd.grad(self.outputs, self.leaves, d_outputs, allow_unused=True)
        none = np.zeros(channels, self.vectors[0].dtype)
        d_mean, d_var = (d.numpy() if self.count and d is not None else none for d in of[2:])
        count = self.count or 1
        return of[0], of[1], (2 * d_var / count, d_mean / count)


def moments(chunks: Iterable[NDArray[Any]], channels: int) -> Moments:
    """Return the moments of rows [batch, height, width * channels], some images after the others."""
    near, sums, count = np.zeros(0), np.zeros((2, 0)), 0
    for rows in chunks:
        if not count:
            near, sums = np.empty(rows.shape[2], rows.dtype), np.zeros((2, rows.shape[2]))
            kernels.channel_means(rows[0], channels, near)
        kernels.add_moments(rows, near, *sums)
        count += rows.size // channels
    both = np.empty((2, channels))
    kernels.moments(*sums, near, count, channels, *both)
    return both[0], both[1], count


def empty(shape: Sequence[int], like: NDArray[Any]) -> NDArray[Any]:
    """Return new memory at a multiple of 64 bytes, where whole vectors are read a quarter faster."""
    return torch.empty(shape, dtype=torch.from_numpy(like[:0]).dtype).numpy()


def rows_of(x: Tensor) -> NDArray[Any]:
    """Return x, channels last, as [batch, height, width * channels], without copying where it is so."""
    if x.dim() == 2:
        return x.detach().contiguous().numpy()[:, None]
    return x.detach().permute(0, 2, 3, 1).contiguous().numpy().reshape(len(x), x.shape[2], -1)


def _planes(rows: NDArray[Any], like: Tensor) -> Tensor:
    """Return rows [batch, height, width * channels] as a tensor of the rank and channels of `like`."""
    if like.dim() == 2:
        return torch.from_numpy(rows[:, 0])
    batch, height, _ = rows.shape
    return torch.from_numpy(rows).view(batch, height, -1, like.shape[1]).permute(0, 3, 1, 2)
