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
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from bnstudy.training import fused, kernels
from bnstudy.training.fused import Formula, Moments, ScaleAndShift
from bnstudy.training.kernels import OPTIONS
from bnstudy.training.layers import PackedConv2d
from bnstudy.training.own_images import CHUNK, OwnImages
from bnstudy.training.vectors import FIRST, KERNEL, TAPS, Vectors, data_of

WIDE = 16
"""Outputs of the first convolution, whichever trials' they are, in one vector where trials share images."""

PLACES = 12
"""Places beside each other that share what is loaded of such a vector's weights: half of LeNet's 24."""

PADDED = 14
"""The same of padded images: half of their 28."""

TOGETHER = 384
"""Places whose products are summed up before they join the others': as the framework's matrix product does,
so that the bits are the same."""


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


@njit(**OPTIONS)
def _activations(
    x: Any, taps: Any, center: Any, scale: Any, shift: Any, channels: int, pool: int, rows: Any, y: Any
) -> None:
    """Fill y [batch, height', width' * channels] with `kernels.activate_and_pool` of the convolution of x
    [batch, height, width], one image after the other in rows."""
    for n in range(len(x)):
        convolve_rows(x[n : n + 1], taps, channels, rows)
        kernels.activate_and_pool(rows, center, scale, shift, channels, pool, y[n : n + 1])


@njit(**OPTIONS)
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
            convolve_rows(part[n : n + 1], taps, channels, rows)
            of, dx = g[start + n : start + n + 1], slopes[n : n + 1]
            kernels.slopes(rows, center, scale, shift, channels, pool, of, dx, by_scale, by_shift)
        weight_gradient(slopes[: len(part)], part, channels, totals)


def _by_tap(matrix: Tensor) -> NDArray[Any]:
    """Return [channels, taps] as `convolve_rows` takes it, zero in what is filled up and in a bias
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


def _outputs(places: int) -> Any:
    """Return a function of compiled code that fills WIDE outputs of `places` places beside each other.

    What the kernel sees begins at x[at], its next row at x[at + width]; the weights are weight[matrix :] as
    [TAPS, WIDE]; the first `lanes` outputs go to y[to :], those of the next place to y[to + apart :].
    """

    @intrinsic
    def fill(
        _: Any, x: Any, at: Any, width: Any, weight: Any, matrix: Any, y: Any, to: Any, apart: Any, lanes: Any
    ) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            x_data, weight_data, y_data = data_of(context, builder, signature, arguments, 0, 3, 5)
            _, at, width, _, matrix, _, to, apart, lanes = arguments
            vectors = Vectors(context, builder, x.dtype)
            sums = [vectors.zeros(WIDE)] * places
            for tap in range(TAPS - 1):
                of_tap = vectors.load(vectors.at(weight_data, matrix, tap * WIDE), WIDE)
                seen = vectors.at(x_data, at, vectors.times(width, tap // KERNEL), tap % KERNEL)
                for n in range(places):
                    value = vectors.everywhere(vectors.at(seen, n), WIDE)
                    sums[n] = vectors.multiply_add(value, of_tap, sums[n])
            bias = vectors.load(vectors.at(weight_data, matrix, (TAPS - 1) * WIDE), WIDE)
            for n, total in enumerate(sums):
                place = vectors.at(y_data, to, vectors.times(apart, n))
                vectors.store_some(builder.fadd(total, bias), place, lanes)
            return context.get_dummy_value()

        return types.void(x, at, width, weight, matrix, y, to, apart, lanes), generate

    return fill


_fill_beside, _fill_padded, _fill_one = _outputs(PLACES), _outputs(PADDED), _outputs(1)


@njit(**OPTIONS)
def convolve_rows(x: Any, weight: Any, channels: int, rows: Any) -> None:
    """Fill rows [batch, h', w' * channels] with the convolution of x [batch, h, w].

    weight: [TAPS * WIDE] for each WIDE of the channels, the last filled up.
    """
    pixels, y = x.reshape(-1), rows.reshape(-1)
    width = x.shape[2]
    columns = width - KERNEL + 1
    for n in range(len(x)):
        for h in range(rows.shape[1]):
            at, row = (n * x.shape[1] + h) * width, (n * rows.shape[1] + h) * rows.shape[2]
            for first in range(0, channels, WIDE):
                matrix, lanes, w = first * TAPS, min(WIDE, channels - first), 0
                while w < columns:
                    seen, to = at + w, row + w * channels + first
                    if columns % PADDED == 0:
                        w += PADDED
                        _fill_padded(pixels, seen, width, weight, matrix, y, to, channels, lanes)
                    elif w + PLACES <= columns:
                        w += PLACES
                        _fill_beside(pixels, seen, width, weight, matrix, y, to, channels, lanes)
                    else:
                        w += 1
                        _fill_one(pixels, seen, width, weight, matrix, y, to, channels, lanes)


@intrinsic
def _add_run(
    _: Any,
    g: Any,
    start: Any,
    apart: Any,
    lanes: Any,
    places: Any,
    x: Any,
    at: Any,
    width: Any,
    sums: Any,
) -> Any:
    """Add the gradient of WIDE outputs' weights, of places beside each other, to sums, [TAPS * WIDE].

    The first `lanes` outputs' gradient begins at g[start], that of the next place at g[start + apart]; what
    the kernel sees begins at x[at], its next row at x[at + width].
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        g_data, x_data, sums_data = data_of(context, builder, signature, arguments, 0, 5, 8)
        _, start, apart, lanes, places, _, at, width, _ = arguments
        vectors = Vectors(context, builder, g.dtype)
        to = [vectors.at(sums_data, tap * WIDE) for tap in range(TAPS)]
        kept = [cgutils.alloca_once_value(builder, vectors.load(place, WIDE)) for place in to]  # type: ignore[no-untyped-call]
        with cgutils.for_range(builder, places) as w:
            slope = vectors.load_some(vectors.at(g_data, start, builder.mul(w.index, apart)), WIDE, lanes)
            corner = vectors.at(x_data, at, w.index)
            for tap in range(TAPS - 1):
                seen = vectors.at(corner, vectors.times(width, tap // KERNEL), tap % KERNEL)
                value = vectors.everywhere(seen, WIDE)
                builder.store(vectors.multiply_add(value, slope, builder.load(kept[tap])), kept[tap])
            builder.store(builder.fadd(slope, builder.load(kept[-1])), kept[-1])
        for place, total in zip(to, kept, strict=True):
            vectors.store(builder.load(total), place)
        return context.get_dummy_value()

    return types.void(g, start, apart, lanes, places, x, at, width, sums), generate


@njit(**OPTIONS)
def weight_gradient(g: Any, x: Any, channels: int, totals: Any) -> None:
    """Add the weights' gradient to totals, laid out as the weight of `convolve_rows`, from the outputs', g
    [batch, h', w' * channels]; x: [batch, h, w].

    In sums of TOGETHER places, and the last two of one length.
    """
    slopes, pixels = g.reshape(-1), x.reshape(-1)
    width = x.shape[2]
    columns = width - KERNEL + 1
    places = len(x) * g.shape[1] * columns
    sums = np.empty(TAPS * WIDE, g.dtype)
    for first in range(0, channels, WIDE):
        lanes, done = min(WIDE, channels - first), 0
        while done < places:
            sums[:] = 0
            end = done + _together(places - done)
            while done < end:
                row, w = done // columns, done % columns
                run = min(columns - w, end - done)
                at = (row // g.shape[1] * x.shape[1] + row % g.shape[1]) * width + w
                start = done * channels + first
                _add_run(slopes, start, channels, lanes, run, pixels, at, width, sums)  # type: ignore[call-arg]
                done += run
            for i in range(len(sums)):
                totals[first * TAPS + i] += sums[i]


@njit(**OPTIONS)
def _together(places: int) -> int:
    """Return how many of the places that are left are summed up next."""
    if places >= 2 * TOGETHER:
        return TOGETHER
    return places if places <= TOGETHER else (places + 7) // 8 * 4
