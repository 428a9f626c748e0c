"""The convolution of LeNet's second layer, forward and back.

The framework spends a vector of 16 on the 6 inputs of a group: 19 ms for the gradient of 8 x 256 images. Here
two vectors hold a kernel row's columns and inputs, 5 x 6 of them, and it takes 7. Forward and for the weights
a vector holds a place's 16 outputs, as the framework's does, and the sums are in its order, so that the bits
are the same; but the next image is on its way to the cache while one is computed: 5.6 ms where it takes 7.4,
and 7.1 where it takes 10.
"""

from typing import Any

import numpy as np
import torch
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from torch import Tensor
from torch.nn import functional as F

from bnstudy.training.kernels import OPTIONS
from bnstudy.training.vectors import FIRST, INDEX, KERNEL, SECOND, Vectors, data_of, fetch

ACROSS = KERNEL * FIRST
"""Kernel columns x inputs of the second."""

ROW = 32
"""The same, filled up to vectors."""

BELOW = 8
"""Places below each other that share what is loaded of a weight: their 8 x 32 sums fill 16 vectors of 16."""

FIVES = 5
"""Places where they come in fives: the 10 x 10 of padded images would leave two of each row to themselves."""

BESIDE = 8
"""Places beside each other that share what is loaded of a weight."""


def fits(weight: Tensor, stride: int, padding: int) -> bool:
    """Return whether `convolve` is made for a weight [K, out, in, kernel, kernel]."""
    return weight.shape[1:] == (SECOND, FIRST, KERNEL, KERNEL) and stride == 1 and padding == 0


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return K convolutions, [batch, K * out, height', width'], channels last in memory.

    x: float [batch, K * in, height, width]; weight [K, out, in, kernel, kernel]; bias [K * out] or none.
    """
    return _Convolution.apply(x, weight, bias)  # type: ignore[no-any-return]


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        rows = _channels_last(x)
        ctx.save_for_backward(rows, weight)
        taps = weight.permute(0, 3, 4, 2, 1).reshape(len(weight), KERNEL * ACROSS, SECOND)
        biases = weight.new_zeros(len(weight), 1, SECOND) if bias is None else bias.view(-1, 1, SECOND)
        height, width = (side - KERNEL + 1 for side in rows.shape[1:3])
        y = rows.new_empty(len(rows), height, width, len(weight) * SECOND)
        convolve_rows(rows.numpy(), torch.cat([taps, biases], 1).view(-1).numpy(), y.numpy())
        return y.permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor, Tensor | None]:
        x, weight = ctx.saved_tensors
        g, trials = _channels_last(gradient).numpy(), len(weight)
        totals, d_bias = x.new_zeros(trials, KERNEL, KERNEL, FIRST, SECOND), x.new_zeros(trials * SECOND)
        weight_gradient(g, x.numpy(), totals.view(-1).numpy(), d_bias.numpy())
        wanted = ctx.needs_input_grad
        dx = _input_gradient(g, weight, x) if wanted[0] else None
        return dx, totals.permute(0, 4, 3, 1, 2), d_bias if wanted[2] else None


def _channels_last(x: Tensor) -> Tensor:
    """Return x [batch, channels, height, width] as [batch, height, width, channels] in memory."""
    return x.detach().permute(0, 2, 3, 1).contiguous()


def _input_gradient(g: Any, weight: Tensor, x: Tensor) -> Tensor:
    """Return the gradient of x, [batch, K * in, height, width]; x and g as in memory."""
    rows = weight.permute(0, 3, 1, 4, 2).reshape(len(weight), KERNEL, SECOND, ACROSS)
    rows = F.pad(rows, [0, ROW - ACROSS]).contiguous()
    dx = torch.empty_like(x)
    input_gradient(g, rows.view(-1).numpy(), dx.numpy())
    return dx.permute(0, 3, 1, 2)


def _inputs(places: int) -> Any:
    """Return a function of compiled code that adds `places` products of a vector and a matrix to rows.

    The matrix is weight[matrix :] as [SECOND, ROW]; the vectors begin at g[start], g[start + apart], ..; the
    rows at flat[at], flat[at + below], ... Each sum runs over the outputs in order, whatever `places` is.
    """

    @intrinsic
    def add(
        _: Any, flat: Any, at: Any, below: Any, g: Any, start: Any, apart: Any, weight: Any, matrix: Any
    ) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            flat_data, g_data, weight_data = data_of(context, builder, signature, arguments, 0, 3, 6)
            _, at, below, _, start, apart, _, matrix = arguments
            vectors, halves = Vectors(context, builder, flat.dtype), range(0, ROW, SECOND)
            sums = [[vectors.zeros(SECOND) for _ in halves] for _ in range(places)]
            for o in range(SECOND):
                row = vectors.at(weight_data, matrix, o * ROW)
                columns = [vectors.load(vectors.at(row, half), SECOND) for half in halves]
                for n in range(places):
                    g_at = vectors.at(g_data, start, vectors.times(apart, n), o)
                    value = vectors.everywhere(g_at, SECOND)
                    sums[n] = [
                        vectors.multiply_add(value, column, total)
                        for column, total in zip(columns, sums[n], strict=True)
                    ]
            for n in range(places):
                for half, total in zip(halves, sums[n], strict=True):
                    to = vectors.at(flat_data, at, vectors.times(below, n), half)
                    vectors.store(builder.fadd(vectors.load(to, SECOND), total), to)
            return context.get_dummy_value()

        return types.void(flat, at, below, g, start, apart, weight, matrix), generate

    return add


_add_below, _add_fives, _add_one = _inputs(BELOW), _inputs(FIVES), _inputs(1)


@intrinsic
def _copy_place(_: Any, x: Any, at: Any, y: Any, to: Any) -> Any:
    """Copy FIRST numbers from x[at :] to y[to :], as two vectors: half a millisecond a step less than one by
    one."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        x_data, y_data = data_of(context, builder, signature, arguments, 0, 2)
        vectors = Vectors(context, builder, x.dtype)
        for first, lanes in ((0, 4), (4, FIRST - 4)):
            value = vectors.load(vectors.at(x_data, arguments[1], first), lanes)
            vectors.store(value, vectors.at(y_data, arguments[3], first))
        return context.get_dummy_value()

    return types.void(x, at, y, to), generate


@njit(**OPTIONS)
def input_gradient(g: Any, weight: Any, dx: Any) -> None:
    """Fill the inputs' gradient dx [batch, height, width, trials * FIRST] from the outputs', g
    [batch, h', w', trials * SECOND]; weight: [trials * KERNEL * SECOND * ROW]. All are contiguous.
    """
    images, height, width, channels = dx.shape
    stride = width * FIRST + ROW
    flat = np.empty(height * stride, g.dtype)
    places, into, below = g.reshape(-1), dx.reshape(-1), g.shape[2] * g.shape[3]
    given, taken, steps = g.shape[1] * below, height * width * channels, channels // FIRST * g.shape[2]
    for n in range(images):
        for k in range(channels // FIRST):
            flat[:] = 0
            for w in range(g.shape[2]):
                fetch(places, (n + 1) * given, given, k * g.shape[2] + w, steps, False)
                fetch(into, (n + 1) * taken, taken, k * g.shape[2] + w, steps, True)
                for i in range(KERNEL):
                    at, matrix = i * stride + w * FIRST, (k * KERNEL + i) * SECOND * ROW
                    start, h = n * g.shape[1] * below + w * g.shape[3] + k * SECOND, 0
                    while h < g.shape[1]:
                        if g.shape[1] % FIVES == 0:
                            rows = FIVES
                            _add_fives(flat, at, stride, places, start, below, weight, matrix)
                        elif h + BELOW <= g.shape[1]:
                            rows = BELOW
                            _add_below(flat, at, stride, places, start, below, weight, matrix)
                        else:
                            rows = 1
                            _add_one(flat, at, stride, places, start, below, weight, matrix)
                        at, start, h = at + rows * stride, start + rows * below, h + rows
            for h in range(height):
                for w in range(width):
                    to = ((n * height + h) * width + w) * channels + k * FIRST
                    _copy_place(flat, h * stride + w * FIRST, into, to)  # type: ignore[call-arg]


def _outputs(places: int) -> Any:
    """Return a function of compiled code that fills the outputs of `places` places beside each other.

    What the kernel sees begins at x[at], its next row at x[at + below], its next column at x[at + apart];
    the weights are weight[matrix :] as [KERNEL * KERNEL * FIRST + 1, SECOND], the last the bias; outputs
    begin at y[to], those of the next place at y[to + beside]. A loop over the kernel's elements: without one
    the compiler keeps what neighbours see in memory, 64 bytes for each number.
    """

    @intrinsic
    def fill(
        _: Any,
        x: Any,
        at: Any,
        below: Any,
        apart: Any,
        weight: Any,
        matrix: Any,
        y: Any,
        to: Any,
        beside: Any,
    ) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            x_data, weight_data, y_data = data_of(context, builder, signature, arguments, 0, 4, 6)
            _, at, below, apart, _, matrix, _, to, beside = arguments
            vectors, kernel = Vectors(context, builder, x.dtype), INDEX(KERNEL)
            zeros = vectors.zeros(SECOND)
            sums = [cgutils.alloca_once_value(builder, zeros) for _ in range(places)]  # type: ignore[no-untyped-call]
            with cgutils.for_range(builder, INDEX(KERNEL * KERNEL)) as element:
                row, column = builder.udiv(element.index, kernel), builder.urem(element.index, kernel)
                seen = vectors.at(x_data, at, builder.mul(row, below), builder.mul(column, apart))
                taps = vectors.at(weight_data, matrix, vectors.times(element.index, FIRST * SECOND))
                for c in range(FIRST):
                    of_tap = vectors.load(vectors.at(taps, c * SECOND), SECOND)
                    for n in range(places):
                        value = vectors.everywhere(vectors.at(seen, vectors.times(apart, n), c), SECOND)
                        total = vectors.multiply_add(value, of_tap, builder.load(sums[n]))
                        builder.store(total, sums[n])
            bias = vectors.load(vectors.at(weight_data, matrix, KERNEL * ACROSS * SECOND), SECOND)
            for n in range(places):
                place = vectors.at(y_data, to, vectors.times(beside, n))
                vectors.store(builder.fadd(builder.load(sums[n]), bias), place)
            return context.get_dummy_value()

        return types.void(x, at, below, apart, weight, matrix, y, to, beside), generate

    return fill


_fill_beside, _fill_fives, _fill_one = _outputs(BESIDE), _outputs(FIVES), _outputs(1)


@njit(**OPTIONS)
def convolve_rows(x: Any, weight: Any, y: Any) -> None:
    """Fill y [batch, h', w', trials * SECOND] with the convolution of x [batch, height, width, trials *
    FIRST]; weight: [trials * (KERNEL * ACROSS + 1) * SECOND]. All are contiguous.
    """
    images, height, width, channels = x.shape
    inputs, outputs, below, beside = x.reshape(-1), y.reshape(-1), width * channels, y.shape[3]
    given, made, steps = height * below, y.shape[1] * y.shape[2] * beside, channels // FIRST * y.shape[1]
    for n in range(images):
        for k in range(channels // FIRST):
            matrix = k * (KERNEL * ACROSS + 1) * SECOND
            for h in range(y.shape[1]):
                fetch(inputs, (n + 1) * given, given, k * y.shape[1] + h, steps, False)
                fetch(outputs, (n + 1) * made, made, k * y.shape[1] + h, steps, True)
                at, w = (n * height + h) * below + k * FIRST, 0
                to = (n * y.shape[1] + h) * y.shape[2] * beside + k * SECOND
                while w < y.shape[2]:
                    seen, place = at + w * channels, to + w * beside
                    if y.shape[2] % FIVES == 0:
                        w += FIVES
                        _fill_fives(inputs, seen, below, channels, weight, matrix, outputs, place, beside)
                    elif w + BESIDE <= y.shape[2]:
                        w += BESIDE
                        _fill_beside(inputs, seen, below, channels, weight, matrix, outputs, place, beside)
                    else:
                        w += 1
                        _fill_one(inputs, seen, below, channels, weight, matrix, outputs, place, beside)


@intrinsic
def _add_row(
    _: Any, g: Any, start: Any, beside: Any, places: Any, x: Any, at: Any, apart: Any, totals: Any, into: Any
) -> Any:
    """Add the gradient of the weights of one kernel row, of a row of places, to totals[into :], [ACROSS,
    SECOND].

    The outputs' gradient begins at g[start], that of the next place at g[start + beside]; what the kernel row
    sees begins at x[at], its next column at x[at + apart].
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        g_data, x_data, totals_data = data_of(context, builder, signature, arguments, 0, 4, 7)
        _, start, beside, places, _, at, apart, _, into = arguments
        vectors = Vectors(context, builder, g.dtype)
        zeros = vectors.zeros(SECOND)
        sums = [cgutils.alloca_once_value(builder, zeros) for _ in range(ACROSS)]  # type: ignore[no-untyped-call]
        with cgutils.for_range(builder, places) as w:
            slope = vectors.load(vectors.at(g_data, start, builder.mul(w.index, beside)), SECOND)
            corner = vectors.at(x_data, at, builder.mul(w.index, apart))
            for tap, total in enumerate(sums):
                seen = vectors.at(corner, vectors.times(apart, tap // FIRST), tap % FIRST)
                value = vectors.everywhere(seen, SECOND)
                builder.store(vectors.multiply_add(value, slope, builder.load(total)), total)
        for tap, total in enumerate(sums):
            to = vectors.at(totals_data, into, tap * SECOND)
            vectors.store(builder.fadd(vectors.load(to, SECOND), builder.load(total)), to)
        return context.get_dummy_value()

    return types.void(g, start, beside, places, x, at, apart, totals, into), generate


@njit(**OPTIONS)
def weight_gradient(g: Any, x: Any, totals: Any, biases: Any) -> None:
    """Add the weights' gradient to totals, [trials * KERNEL * ACROSS * SECOND], and that of the biases to
    biases, [trials * SECOND], from the outputs', g [batch, h', w', trials * SECOND].

    x: [batch, height, width, trials * FIRST]. In sums of a row, row after row, as the framework's.
    """
    images, height, width, channels = x.shape
    slopes, inputs, below, beside = g.reshape(-1), x.reshape(-1), width * channels, g.shape[3]
    given, seen, steps = g.shape[1] * g.shape[2] * beside, height * below, channels // FIRST * g.shape[1]
    for n in range(images):
        for k in range(channels // FIRST):
            for h in range(g.shape[1]):
                fetch(slopes, (n + 1) * given, given, k * g.shape[1] + h, steps, False)
                fetch(inputs, (n + 1) * seen, seen, k * g.shape[1] + h, steps, False)
                start = (n * g.shape[1] + h) * g.shape[2] * beside + k * SECOND
                for i in range(KERNEL):
                    at, into = (n * height + h + i) * below + k * FIRST, (k * KERNEL + i) * ACROSS * SECOND
                    _add_row(slopes, start, beside, g.shape[2], inputs, at, channels, totals, into)  # type: ignore[call-arg]
        for place in g[n].reshape(-1, beside):
            for c in range(beside):
                biases[c] += place[c]
