"""The first convolution with normalization, sigmoid and pooling after it, for images that all trials share.

Where each trial has its own, `own_images` does the same. The output is the largest tensor of the network,
28 MB for 8 x 256 LeNets: here it is made and used some images at a time, while they are in the cache. What
the whole batch would have to be known for comes from the images instead: the output is a matrix product with
their patches, so that its moments, and the way back through them, are products with the patches' own 26 x 26
products, which all trials share.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from bnstudy import fused, kernels
from bnstudy.fused import Formula, Moments, ScaleAndShift
from bnstudy.layers import PackedConv2d
from bnstudy.own_images import CHUNK, OwnImages
from bnstudy.vectors import FIRST, KERNEL, TAPS


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
    keep = torch.is_grad_enabled()
    return fused.over_parts(_Shared.apply, norm, padded, matrix, fused.POOLS[pool], keep)


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
        keep: bool,
    ) -> Tensor:
        channels = len(matrix)
        patches = fused.patches(x, KERNEL, 0)
        images, height, width = patches.shape[1:]
        flat = patches.flatten(1)[: matrix.shape[1]]
        moving = norm is not None and norm.uses_batch
        gram = _products(x) if moving else np.zeros((TAPS, TAPS))
        formula = Formula.of(norm, weight, bias, x.new_zeros(channels), lambda: _moments(matrix, gram))
        columns = tuple(np.tile(values, width) for values in formula.vectors)
        rows = x.new_empty(images if keep else min(CHUNK, images), height, width * channels)
        y = x.new_empty(images, *((height // 2, width // 2) if pool else (height, width)), channels)
        into = y.flatten(2).numpy()
        for part, places in _chunks(images, height * width):
            at = rows[part] if keep else rows[: part.stop - part.start]
            torch.mm(flat[:, places].t(), matrix.t(), out=at.view(-1, channels))
            fused.activate(at.numpy(), columns, channels, pool, into[part])
        ctx.kept = (rows, flat, matrix, gram, formula, columns, pool)
        return y.permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        rows, flat, matrix, gram, formula, columns, pool = ctx.kept
        channels, g = len(matrix), fused.rows_of(gradient)
        slopes, sums = torch.empty_like(rows[:CHUNK]), np.zeros((2, rows.shape[2]))
        d = flat.new_zeros(len(flat), channels)
        for part, places in _chunks(len(rows), flat.shape[1] // len(rows)):
            slope = slopes[: part.stop - part.start]
            kernels.slopes(rows[part].numpy(), *columns, channels, pool, g[part], slope.numpy(), *sums)
            d.addmm_(flat[:, places], slope.view(-1, channels))
        d_weight, d_bias, through = formula.backward(sums, gradient.dtype)
        if through is None:
            return *[None] * 4, d.t(), None, None
        center, scale, _ = formula.vectors
        d_matrix = np.empty(matrix.shape, center.dtype)
        kernels.through_products(matrix.numpy(), gram, center, scale, *through, d.numpy(), d_matrix)
        return None, d_weight, d_bias, None, torch.from_numpy(d_matrix), None, None


def _chunks(images: int, places: int) -> Iterator[tuple[slice, slice]]:
    """Yield some images at a time, and their places, of which each image has so many."""
    for start in range(0, images, CHUNK):
        stop = min(start + CHUNK, images)
        yield slice(start, stop), slice(start * places, stop * places)


def _products(x: Tensor) -> NDArray[Any]:
    """Return patches @ patches.T of x [batch, 1, height, width], and a row of ones, in float64."""
    gram = np.empty((TAPS, TAPS))
    kernels.patch_products(x.squeeze(1).contiguous().numpy(), KERNEL, gram)
    return gram


def _moments(matrix: Tensor, gram: NDArray[Any]) -> Moments:
    """Return the moments of matrix @ patches."""
    mean, var = np.empty(len(matrix)), np.empty(len(matrix))
    kernels.moments_of_products(matrix.detach().numpy(), gram, mean, var)
    return mean, var, int(gram[-1, -1])
