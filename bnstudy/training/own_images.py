"""The first convolution where every trial has its own images, with normalization, sigmoid and pooling.

The framework's convolution of one input channel leaves most of each vector empty. Here a vector holds a
place's six outputs, and its sums stay in registers: over the kernel on the way there, over an image's places
on the way back. When it was made, a step of 8 x 256 LeNets took 106 ms, where the framework's parts took 135.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from bnstudy.training import fused, kernels
from bnstudy.training.fused import Formula, ScaleAndShift
from bnstudy.training.kernels import OPTIONS
from bnstudy.training.vectors import FIRST, KERNEL, TAPS, Vectors, data_of, fetch

LANES = 8
"""Of a vector of the first's outputs, filled up."""

BESIDE = 8
"""Places beside each other that do: 8 vectors of 8."""

CHUNK = 8
"""Images at a time: with 8 trials 0.9 MB of output, which stays in a cache of 2 MB beside what it becomes.
One number for packs of any size, since it orders the sums of a gradient."""


class OwnImages(torch.autograd.Function):
    """sigmoid(norm(conv(x))), pooled: see `first_layer.convolve`."""

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
        """x: float [batch, K, height, width]; matrix: [K * FIRST, TAPS], or without its last column."""
        images, trials, height, width = x.shape
        pixels, channels = x.contiguous().numpy(), len(matrix)
        height, width = height - KERNEL + 1, width - KERNEL + 1
        rows = fused.empty((images, height, width * channels), pixels)
        chunks = _convolved(pixels, _by_tap(matrix.detach(), trials), rows)
        formula = Formula.of(
            norm, weight, bias, x.new_zeros(channels), lambda: fused.moments(chunks, channels)
        )
        for _ in chunks:
            pass  # they are filled as they are asked for: by the moments, or else here
        columns = tuple(np.tile(values, width) for values in formula.vectors)
        y = x.new_empty(images, *((height // 2, width // 2) if pool else (height, width)), channels)
        kernels.activate_and_pool(rows, *columns, channels, pool, y.flatten(2).numpy())
        ctx.kept = (pixels, rows, matrix.shape, formula, columns, pool)
        return y.permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of weight, bias and matrix; there is none of the pixels."""
        pixels, rows, shape, formula, columns, pool = ctx.kept
        dx, sums = fused.empty(rows.shape, rows), np.zeros((2, rows.shape[2]))
        kernels.slopes(rows, *columns, shape[0], pool, fused.rows_of(gradient), dx, *sums)
        d_weight, d_bias, through = formula.backward(sums, gradient.dtype)
        tiled = None if through is None else [np.tile(v, rows.shape[2] // shape[0]) for v in through]
        totals = np.zeros(pixels.shape[1] * TAPS * LANES)
        for part in parts(len(rows)):
            if tiled is not None:
                kernels.through_moments(rows[part], columns[0], columns[1], *tiled, dx[part])
            weight_gradient(dx[part], pixels[part], totals)
        d = torch.from_numpy(totals).view(-1, TAPS, LANES)[:, : shape[1], :FIRST]
        return None, d_weight, d_bias, None, d.transpose(1, 2).reshape(shape).to(gradient.dtype), None


def _by_tap(matrix: Tensor, trials: int) -> NDArray[Any]:
    """Return [K * FIRST, taps] as [K * TAPS * LANES]: a vector of outputs for each tap, zero in what is
    filled up and in a bias that is not there."""
    taps = matrix.view(trials, FIRST, -1).transpose(1, 2)
    return F.pad(taps, [0, LANES - FIRST, 0, TAPS - taps.shape[1]]).contiguous().view(-1).numpy()


def _convolved(x: NDArray[Any], weight: NDArray[Any], rows: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Fill rows [batch, height', width' * channels], and yield what was filled, some images at a time."""
    for part in parts(len(rows)):
        convolve_rows(x[part], weight, rows[part])
        yield rows[part]


def parts(images: int) -> Iterator[slice]:
    """Yield slices of CHUNK images, the last of what is left."""
    return (slice(start, start + CHUNK) for start in range(0, images, CHUNK))


def _outputs(places: int) -> Any:
    """Return a function of compiled code that fills the outputs of `places` places beside each other.

    What the kernel sees begins at x[at], its next row at x[at + width]; the weights are weight[matrix :] as
    [TAPS, LANES]; outputs begin at y[to], those of the next place at y[to + apart].
    """

    @intrinsic
    def fill(
        _: Any, x: Any, at: Any, width: Any, weight: Any, matrix: Any, y: Any, to: Any, apart: Any
    ) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            x_data, weight_data, y_data = data_of(context, builder, signature, arguments, 0, 3, 5)
            _, at, width, _, matrix, _, to, apart = arguments
            vectors = Vectors(context, builder, x.dtype)
            bias = vectors.load(vectors.at(weight_data, matrix, (TAPS - 1) * LANES), LANES)
            sums = [bias] * places
            for tap in range(TAPS - 1):
                of_tap = vectors.load(vectors.at(weight_data, matrix, tap * LANES), LANES)
                seen = vectors.at(x_data, at, vectors.times(width, tap // KERNEL), tap % KERNEL)
                for n in range(places):
                    value = vectors.everywhere(vectors.at(seen, n), LANES)
                    sums[n] = vectors.multiply_add(value, of_tap, sums[n])
            for n, total in enumerate(sums):
                place = vectors.at(y_data, to, vectors.times(apart, n))
                vectors.store(vectors.chosen(total, total, [0, 1, 2, 3]), place)
                vectors.store(vectors.chosen(total, total, [4, 5]), vectors.at(place, 4))
            return context.get_dummy_value()

        return types.void(x, at, width, weight, matrix, y, to, apart), generate

    return fill


_fill_beside, _fill_one = _outputs(BESIDE), _outputs(1)


@njit(**OPTIONS)
def convolve_rows(x: Any, weight: Any, rows: Any) -> None:
    """Fill rows [batch, h', w' * trials * FIRST] with the convolution of x [batch, trials, h, w]."""
    images, trials, height, width = x.shape
    apart = trials * FIRST
    pixels, y = x.reshape(-1), rows.reshape(-1)
    made, steps = rows.shape[1] * rows.shape[2], rows.shape[1] * trials
    for n in range(images):
        for h in range(rows.shape[1]):
            for k in range(trials):
                fetch(y, (n + 1) * made, made, h * trials + k, steps, True)
                at, matrix = ((n * trials + k) * height + h) * width, k * TAPS * LANES
                to, w = (n * rows.shape[1] + h) * rows.shape[2] + k * FIRST, 0
                while w + BESIDE <= width - KERNEL + 1:
                    _fill_beside(pixels, at + w, width, weight, matrix, y, to + w * apart, apart)
                    w += BESIDE
                while w < width - KERNEL + 1:
                    _fill_one(pixels, at + w, width, weight, matrix, y, to + w * apart, apart)
                    w += 1


@intrinsic
def _add_image(
    _: Any,
    g: Any,
    start: Any,
    below: Any,
    apart: Any,
    x: Any,
    at: Any,
    width: Any,
    totals: Any,
    into: Any,
    rows: Any,
    columns: Any,
) -> Any:
    """Add one image's gradient of a trial's weights to totals[into :] as [TAPS, LANES] of float64.

    The outputs' gradient begins at g[start], that of the place beside it at g[start + apart], of the one
    below at g[start + below]; what the kernel sees begins at x[at], its next row at x[at + width].
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        g_data, x_data, totals_data = data_of(context, builder, signature, arguments, 0, 4, 7)
        _, start, below, apart, _, at, width, _, into, rows, columns = arguments
        vectors, doubles = Vectors(context, builder, g.dtype), Vectors(context, builder, types.float64)
        sums = [cgutils.alloca_once_value(builder, vectors.zeros(LANES)) for _ in range(TAPS)]  # type: ignore[no-untyped-call]
        with cgutils.for_range(builder, rows) as h, cgutils.for_range(builder, columns) as w:
            place = vectors.at(g_data, start, builder.mul(h.index, below), builder.mul(w.index, apart))
            first, last = vectors.load(place, 4), vectors.load(vectors.at(place, 4), 2)
            last = vectors.chosen(last, vectors.zeros(2), [0, 1, 2, 3])
            slope = vectors.chosen(first, last, list(range(LANES)))
            corner = vectors.at(x_data, at, builder.mul(h.index, width), w.index)
            for tap in range(TAPS - 1):
                seen = vectors.at(corner, vectors.times(width, tap // KERNEL), tap % KERNEL)
                value = vectors.everywhere(seen, LANES)
                builder.store(vectors.multiply_add(value, slope, builder.load(sums[tap])), sums[tap])
            builder.store(builder.fadd(slope, builder.load(sums[-1])), sums[-1])
        for tap in range(TAPS):
            to, total = vectors.at(totals_data, into, tap * LANES), builder.load(sums[tap])
            total = total if g.dtype == types.float64 else builder.fpext(total, doubles.of(LANES))
            doubles.store(builder.fadd(doubles.load(to, LANES), total), to)
        return context.get_dummy_value()

    return types.void(g, start, below, apart, x, at, width, totals, into, rows, columns), generate


@njit(**OPTIONS)
def weight_gradient(g: Any, x: Any, totals: Any) -> None:
    """Add the weights' gradient to totals, float64 [trials * TAPS * LANES], from the outputs', g
    [batch, h', w' * trials * FIRST]; x: [batch, trials, h, w]."""
    images, trials, height, width = x.shape
    slopes, pixels, apart = g.reshape(-1), x.reshape(-1), trials * FIRST
    for n in range(images):
        for k in range(trials):
            start, at = n * g.shape[1] * g.shape[2] + k * FIRST, (n * trials + k) * height * width
            into = k * TAPS * LANES
            _add_image(  # type: ignore[call-arg]
                slopes,
                start,
                g.shape[2],
                apart,
                pixels,
                at,
                width,
                totals,
                into,
                g.shape[1],
                g.shape[2] // apart,
            )
