"""Normalization, sigmoid and pooling as one operation, for every normalization that is a scale and a shift.

Such a normalization is a formula on two vectors: its `coefficients` turn the batch's mean and variance of
each channel into scale and shift. The passes over the activations are `bnstudy.kernels`'; the gradient goes
through the formula by autograd, so that a new one needs no kernel and no derivative of its own.
"""

from collections.abc import Sequence
from typing import Any, Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bnstudy import kernels

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
        return _Sigmoid.apply(norm(x), None, None, None, POOLS[pool])  # type: ignore[no-any-return]
    scale_and_shift = cast(ScaleAndShift, norm)
    parts = [
        _Sigmoid.apply(part, norm.weight, norm.bias, scale_and_shift, POOLS[pool])
        for part in scale_and_shift.parts(x)
    ]
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
        rows, channels = _rows(x), x.shape[1]
        mean, scale, shift = _coefficients(ctx, rows, x, weight, bias, norm)
        width = rows.shape[2] // channels
        ctx.columns = tuple(np.tile(values.detach().numpy(), width) for values in (mean, scale, shift))
        ctx.rows, ctx.pool, ctx.shape = rows, pool, x.shape
        shape = (len(rows), rows.shape[1] // 2, width // 2 * channels) if pool else rows.shape
        y = _empty(shape, rows)
        if pool:
            fill = kernels.activate_and_average if pool == 1 else kernels.activate_and_choose
            fill(rows, *ctx.columns, channels, y)
        else:
            kernels.activate(rows, *ctx.columns, y)
        return _planes(y, x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None, None, None]:
        channels, rows, columns = ctx.shape[1], ctx.rows, ctx.columns
        dx, sums = _empty(rows.shape, rows), np.empty((2, channels))
        kernels.slopes(rows, *columns, channels, ctx.pool, _rows(gradient), dx, *sums)
        if ctx.formula is None:
            return _planes(dx, gradient), None, None, None, None
        outputs, leaves, count = ctx.formula
        d_outputs = tuple(torch.from_numpy(sums).to(gradient.dtype))
        of = torch.autograd.grad(outputs, leaves, d_outputs, allow_unused=True)
        none = np.zeros(channels, rows.dtype)
        d_mean, d_var = (d.numpy() if count and d is not None else none for d in of[2:])
        tiled = (np.tile(d / (count or 1), rows.shape[2] // channels) for d in (2 * d_var, d_mean))
        kernels.through_moments(rows, columns[0], columns[1], *tiled, dx)
        return _planes(dx, gradient), of[0], of[1], None, None


def _coefficients(
    ctx: Any,
    rows: NDArray[Any],
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    norm: ScaleAndShift | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean, scale and shift, [channels], and leave their formula in the context for the way back."""
    channels = x.shape[1]
    if norm is None or weight is None or bias is None:
        ctx.formula = None
        zero = torch.zeros(channels, dtype=x.dtype)
        return zero, zero + 1, zero
    mean, var = _moments(rows, norm, x) if norm.uses_batch else norm.known()
    with torch.enable_grad():
        leaves = [value.detach().requires_grad_() for value in (weight, bias, mean, var)]
        scale, shift = norm.coefficients(leaves[2], leaves[3], leaves[0], leaves[1])
    ctx.formula = (scale, shift), leaves, x.numel() // channels if norm.uses_batch else None
    return mean, scale, shift


def _moments(rows: NDArray[Any], norm: ScaleAndShift, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the batch's moments, [channels], and show them to the normalization."""
    both = np.empty((2, x.shape[1]))
    kernels.moments(rows, x.shape[1], *both)
    mean, var = torch.from_numpy(both).to(x.dtype)
    norm.note(mean, var, x.numel() // x.shape[1])
    return mean, var


def _empty(shape: Sequence[int], like: NDArray[Any]) -> NDArray[Any]:
    """Return new memory at a multiple of 64 bytes, where whole vectors are read a quarter faster."""
    return torch.empty(shape, dtype=torch.from_numpy(like[:0]).dtype).numpy()


def _rows(x: Tensor) -> NDArray[Any]:
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
