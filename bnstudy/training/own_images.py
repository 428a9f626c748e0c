"""The first convolution where every trial has its own images, with normalization, sigmoid and pooling.

The framework's convolution of one input channel leaves most of each vector empty. Here a vector holds a
place's six outputs, and its sums stay in registers: over the kernel on the way there, over an image's places
on the way back. A step of 8 x 256 LeNets takes 106 ms where the framework's parts take 135.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from bnstudy.training import fused, kernels, vectors
from bnstudy.training.fused import Formula, ScaleAndShift
from bnstudy.training.vectors import FIRST, KERNEL, LANES, TAPS

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
            vectors.weight_gradient_of_own(dx[part], pixels[part], totals)
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
        vectors.convolve_own(x[part], weight, rows[part])
        yield rows[part]


def parts(images: int) -> Iterator[slice]:
    """Yield slices of CHUNK images, the last of what is left."""
    return (slice(start, start + CHUNK) for start in range(0, images, CHUNK))
