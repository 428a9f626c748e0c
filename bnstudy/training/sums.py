"""Sums over a batch that round the same wherever a channel stands and however many stand beside it.

`Tensor.sum` adds the last columns of a matrix in another order than those before them, and which are the
last depends on the width: gradients would depend on the size of the pack. So would those of a broadcast.
"""

from typing import Any

import torch
from torch import Tensor

COLUMNS = 64
"""A multiple of what the framework's kernel adds side by side: 4 vectors of 16 floats with AVX-512."""


def over_batch(x: Tensor) -> Tensor:
    """Return the sums of x over all axes but the second, [channels]; x: float [batch, channels, *spatial]."""
    return _Sum.apply(x)  # type: ignore[no-any-return]


def over_channels(values: Tensor, shape: torch.Size) -> Tensor:
    """Return `values` [channels], broadcast to a shape [batch, channels, *spatial]."""
    return _Spread.apply(values, shape)  # type: ignore[no-any-return]


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.shape = x.shape
        return over_rows(x.movedim(1, -1).reshape(-1, x.shape[1]))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _Spread.apply(gradient, ctx.shape)  # type: ignore[no-any-return]


class _Spread(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, shape: torch.Size) -> Tensor:
        return values.view(1, -1, *[1] * (len(shape) - 2)).expand(shape)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _Sum.apply(gradient), None


def over_rows(x: Tensor) -> Tensor:
    """Return the sum of each column, [*, columns], of matrices [*, rows, columns].

    Folded to whole blocks of columns for the framework's sum; what that leaves is added pair by pair.
    """
    rows, columns = x.shape[-2:]
    whole = rows // COLUMNS * COLUMNS
    parts = x[..., :whole, :].reshape(*x.shape[:-2], -1, COLUMNS * columns).sum(-2)
    parts = parts.view(*x.shape[:-2], COLUMNS, columns)
    parts[..., : rows - whole, :] += x[..., whole:, :]
    while parts.shape[-2] > 1:
        half = parts.shape[-2] // 2
        parts = parts[..., :half, :] + parts[..., half:, :]
    return parts[..., 0, :]
