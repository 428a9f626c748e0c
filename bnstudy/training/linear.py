"""A linear layer with normalization and sigmoid after it, each trial's numbers together in memory.

Side by side, as convolutions have them, they are copied between products and what stands between these: the
linear layers of a step of 8 x 256 LeNets took 15 ms so, and take 11. Here x is float [K, batch, features] on
the way through all of them.
"""

from typing import Any, cast

import numpy as np
import torch
from numba import njit
from torch import Tensor, nn

from bnstudy.training import kernels, sums
from bnstudy.training.fused import Formula, Moments, ScaleAndShift, rows_of
from bnstudy.training.kernels import ONE, OPTIONS, sigmoid
from bnstudy.training.layers import PackedLinear


def fits(norm: nn.Module, x: Tensor) -> bool:
    """Return whether `sigmoid_of` is made for a normalization of images x [batch, *]: of all together."""
    if not hasattr(norm, "coefficients"):
        return isinstance(norm, nn.Identity)
    return len(x) > 1 and len(cast(ScaleAndShift, norm).parts(x)) == 1


def sigmoid_of(norm: nn.Module, layer: PackedLinear, x: Tensor) -> Tensor:
    """Return sigmoid(norm(layer(x))): float [K, batch, in] to [K, batch, out]."""
    given = (norm.weight, norm.bias, norm) if hasattr(norm, "coefficients") else (None, None, None)
    return _Linear.apply(x, layer, layer.weight, layer.bias, *given)  # type: ignore[no-any-return]


def apart(x: Tensor, trials: int) -> Tensor:
    """Return x [batch, K * channels, *spatial], channels last in memory, as [K, batch, features]."""
    return _Apart.apply(x, trials)  # type: ignore[no-any-return]


def beside(x: Tensor) -> Tensor:
    """Return x [K, batch, features] as [batch, K * features]."""
    return x.transpose(0, 1).flatten(1)


class _Apart(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, trials: int) -> Tensor:
        ctx.shape, places = x.shape, x.shape[2:].numel()
        y = x.new_empty(trials, len(x), x.shape[1] // trials * places)
        _take_apart(rows_of(x).reshape(len(x), places, -1), y.numpy())
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        batch, channels, *spatial = ctx.shape
        dx = gradient.new_empty(batch, *spatial, channels)
        _put_beside(gradient.contiguous().numpy(), dx.view(batch, -1, channels).numpy())
        return dx.movedim(-1, 1), None


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        layer: PackedLinear,
        weight: Tensor,
        bias: Tensor | None,
        gamma: Tensor | None,
        beta: Tensor | None,
        norm: ScaleAndShift | None,
    ) -> Tensor:
        y = layer.apart(x)
        zero = y.new_zeros(y.shape[0] * y.shape[2])
        formula = Formula.of(norm, gamma, beta, zero, lambda: _moments(y))
        columns = tuple(values.reshape(len(y), -1) for values in formula.vectors)
        a = torch.empty_like(y)
        _activate(y.numpy(), *columns, a.numpy())
        ctx.save_for_backward(x, weight, y)
        ctx.formula, ctx.columns = formula, columns
        return a

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (x, weight, y), (center, scale, shift) = ctx.saved_tensors, ctx.columns
        dy, of = torch.empty_like(y), np.zeros((2, *center.shape))
        _slopes(y.numpy(), center, scale, shift, gradient.contiguous().numpy(), dy.numpy(), *of)
        d_gamma, d_beta, through = ctx.formula.backward(of.reshape(2, -1), y.dtype)
        if through is not None:
            by_square, by_mean = (values.reshape(center.shape) for values in through)
            _through_moments(y.numpy(), center, scale, by_square, by_mean, dy.numpy())
        wanted = ctx.needs_input_grad
        d_x = torch.bmm(dy, weight) if wanted[0] else None
        d_weight = torch.bmm(dy.transpose(1, 2), x) if wanted[2] else None
        return d_x, None, d_weight, sums.over_rows(dy) if wanted[3] else None, d_gamma, d_beta, None


def _moments(y: Tensor) -> Moments:
    """Return the moments of y [K, batch, out]."""
    near, of = y[:, 0].contiguous().numpy(), np.zeros((2, len(y), y.shape[2]))
    _add_moments(y.numpy(), near, *of)
    both = np.empty((2, near.size))
    kernels.moments(*of.reshape(2, -1), near.reshape(-1), y.shape[1], near.size, *both)
    return both[0], both[1], y.shape[1]


@njit(**OPTIONS)
def _take_apart(x: Any, y: Any) -> None:
    """Fill y [K, batch, channels * places] from x [batch, places, K * channels]."""
    channels = x.shape[2] // y.shape[0]
    for n in range(x.shape[0]):
        for k in range(y.shape[0]):
            for c in range(channels):
                for p in range(x.shape[1]):
                    y[k, n, c * x.shape[1] + p] = x[n, p, k * channels + c]


@njit(**OPTIONS)
def _put_beside(y: Any, x: Any) -> None:
    """Fill x from y: the way back."""
    channels = x.shape[2] // y.shape[0]
    for n in range(x.shape[0]):
        for k in range(y.shape[0]):
            for c in range(channels):
                for p in range(x.shape[1]):
                    x[n, p, k * channels + c] = y[k, n, c * x.shape[1] + p]


@njit(**OPTIONS)
def _add_moments(y: Any, near: Any, total: Any, squares: Any) -> None:
    """Add the deviations of y [K, batch, out] from near [K, out] to total, and their squares to squares,
    float64 [K, out]: an image has one value a channel here, and no sum of its own before."""
    for k in range(y.shape[0]):
        for n in range(y.shape[1]):
            for i in range(y.shape[2]):
                d = y[k, n, i] - near[k, i]
                total[k, i] += d
                squares[k, i] += d * d


@njit(**OPTIONS)
def _activate(y: Any, center: Any, scale: Any, shift: Any, a: Any) -> None:
    """Do what `kernels.activate` does, for y [K, batch, out]."""
    for k in range(len(y)):
        kernels.activate(y[k : k + 1], center[k], scale[k], shift[k], a[k : k + 1])


@njit(**OPTIONS)
def _slopes(
    y: Any, center: Any, scale: Any, shift: Any, g: Any, dy: Any, by_scale: Any, by_shift: Any
) -> None:
    """Fill dy with the gradient before the activation, and add that of scale and shift to the sums, float64
    [K, out]; g is the gradient of what `_activate` filled."""
    for k in range(y.shape[0]):
        for n in range(y.shape[1]):
            for i in range(y.shape[2]):
                d = y[k, n, i] - center[k, i]
                s = sigmoid(d * scale[k, i] + shift[k, i])
                slope = g[k, n, i] * (s * (ONE - s))
                dy[k, n, i] = slope
                by_scale[k, i] += slope * d
                by_shift[k, i] += slope


@njit(**OPTIONS)
def _through_moments(y: Any, center: Any, scale: Any, by_square: Any, by_mean: Any, dy: Any) -> None:
    """Do what `kernels.through_moments` does, for y [K, batch, out]."""
    for k in range(len(y)):
        part = slice(k, k + 1)
        kernels.through_moments(y[part], center[k], scale[k], by_square[k], by_mean[k], dy[part])
