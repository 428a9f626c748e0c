"""The first convolution with normalization, sigmoid and pooling after it, for images that all trials share.

Where each trial has its own, `own_images` does the same. The output is the largest tensor of the network,
28 MB for 8 x 256 LeNets: here it is made and used one image after the other, while that is in the cache, and
made again on the way back, which takes 2.8 ms where keeping it takes 28 MB each way through memory. What the
whole batch would have to be known for comes from the images instead: the output is a matrix product with
their patches, so that its moments, and the way back through them, are products with the patches' own 26 x 26
products, which all trials share.
"""

from typing import Any

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from bnstudy.training import fused, kernels, vectors
from bnstudy.training.fused import Formula, Moments, ScaleAndShift
from bnstudy.training.layers import PackedConv2d
from bnstudy.training.own_images import CHUNK, OwnImages
from bnstudy.training.vectors import FIRST, KERNEL, TAPS, WIDE


def fits(norm: nn.Module, conv: PackedConv2d) -> bool:
    """Return whether `convolve` is made for these."""
    alone = isinstance(norm, nn.Identity) or hasattr(norm, "coefficients")
    return alone and conv.stride == 1 and conv.weight.shape[1:] == (FIRST, 1, KERNEL, KERNEL)


def convolve(norm: nn.Module, conv: PackedConv2d, x: Tensor, pool: str | None = None) -> Tensor:
    """Return sigmoid(norm(conv(x))), pooled as by `fused.sigmoid_of`: [batch, K * out, height', width'].

    x: float [batch, 1, height, width] shared by the trials, or [batch, K, height, width], each trial its own;
    pixels that need no gradient.
    """
    padded, matrix = F.pad(x, [conv.padding] * 4) if conv.padding else x, conv.matrix()
    if x.shape[1] > 1:
        return fused.over_parts(OwnImages.apply, norm, padded, matrix, fused.POOLS[pool])
    return fused.over_parts(_Shared.apply, norm, padded, matrix, fused.POOLS[pool])


class _Shared(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        norm: ScaleAndShift | None,
        matrix: Tensor,
        pool: int,
    ) -> Tensor:
        pixels, channels, taps = x.squeeze(1).contiguous().numpy(), len(matrix), _by_tap(matrix.detach())
        moving = norm is not None and norm.uses_batch
        gram = _products(pixels) if moving else np.zeros((TAPS, TAPS))
        formula = Formula.of(norm, weight, bias, x.new_zeros(channels), lambda: _moments(matrix, gram))
        height, width = (side - KERNEL + 1 for side in pixels.shape[1:])
        columns = tuple(np.tile(values, width) for values in formula.vectors)
        y = x.new_empty(len(x), *((height // 2, width // 2) if pool else (height, width)), channels)
        rows = fused.empty((1, height, width * channels), pixels)
        _activations(pixels, taps, *columns, channels, pool, rows, y.flatten(2).numpy())
        ctx.kept = (pixels, taps, matrix, gram, formula, columns, pool)
        return y.permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        pixels, taps, matrix, gram, formula, columns, pool = ctx.kept
        channels, g = len(matrix), fused.rows_of(gradient)
        totals, sums = np.zeros_like(taps), np.zeros((2, len(columns[0])))
        shape = (pixels.shape[1] - KERNEL + 1, len(columns[0]))
        rows, slopes = fused.empty((1, *shape), pixels), fused.empty((CHUNK, *shape), pixels)
        _gradients(pixels, taps, *columns, channels, pool, g, rows, slopes, totals, *sums)
        d = _by_row(totals, matrix)
        d_weight, d_bias, through = formula.backward(sums, gradient.dtype)
        if through is None:
            return None, None, None, None, d.t(), None
        center, scale, _ = formula.vectors
        d_matrix = np.empty(matrix.shape, center.dtype)
        kernels.through_products(matrix.numpy(), gram, center, scale, *through, d.numpy(), d_matrix)
        return None, d_weight, d_bias, None, torch.from_numpy(d_matrix), None


@njit(**kernels.OPTIONS)
def _activations(
    x: Any, taps: Any, center: Any, scale: Any, shift: Any, channels: int, pool: int, rows: Any, y: Any
) -> None:
    """Fill y [batch, height', width' * channels] with `kernels.activate_and_pool` of the convolution of x
    [batch, height, width], one image after the other in rows."""
    for n in range(len(x)):
        vectors.convolve_shared(x[n : n + 1], taps, channels, rows)
        kernels.activate_and_pool(rows, center, scale, shift, channels, pool, y[n : n + 1])


@njit(**kernels.OPTIONS)
def _gradients(
    x: Any,
    taps: Any,
    center: Any,
    scale: Any,
    shift: Any,
    channels: int,
    pool: int,
    g: Any,
    rows: Any,
    slopes: Any,
    totals: Any,
    by_scale: Any,
    by_shift: Any,
) -> None:
    """Add the gradient of taps, as they would be with center, scale and shift fixed, to totals, and that of
    scale and shift to by_scale and by_shift; g is the gradient of what `_activations` filled."""
    for start in range(0, len(x), len(slopes)):
        part = x[start : start + len(slopes)]
        for n in range(len(part)):
            vectors.convolve_shared(part[n : n + 1], taps, channels, rows)
            of, dx = g[start + n : start + n + 1], slopes[n : n + 1]
            kernels.slopes(rows, center, scale, shift, channels, pool, of, dx, by_scale, by_shift)
        vectors.weight_gradient_of_shared(slopes[: len(part)], part, channels, totals)


def _by_tap(matrix: Tensor) -> NDArray[Any]:
    """Return [channels, taps] as `vectors.convolve_shared` takes it, zero in what is filled up and in a bias
    that is not there."""
    channels, taps = matrix.shape
    full = F.pad(matrix, [0, TAPS - taps, 0, -channels % WIDE]).view(-1, WIDE, TAPS)
    return full.transpose(1, 2).contiguous().view(-1).numpy()


def _by_row(totals: NDArray[Any], like: Tensor) -> Tensor:
    """Return what is laid out so as [taps, channels]."""
    by_tap = torch.from_numpy(totals).view(-1, TAPS, WIDE).transpose(0, 1).flatten(1)
    return by_tap[: like.shape[1], : len(like)].contiguous()


def _products(pixels: NDArray[Any]) -> NDArray[Any]:
    """Return patches @ patches.T of pixels [batch, height, width], and a row of ones, in float64."""
    gram = np.empty((TAPS, TAPS))
    kernels.patch_products(pixels, KERNEL, gram)
    return gram


def _moments(matrix: Tensor, gram: NDArray[Any]) -> Moments:
    """Return the moments of matrix @ patches."""
    mean, var = np.empty(len(matrix)), np.empty(len(matrix))
    kernels.moments_of_products(matrix.detach().numpy(), gram, mean, var)
    return mean, var, int(gram[-1, -1])
