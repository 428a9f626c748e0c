"""The convolution of LeNet's second layer, forward and back.

The framework spends a vector of 16 on the 6 inputs of a group: 19 ms for the gradient of 8 x 256 images. Here
two vectors hold a kernel row's columns and inputs, 5 x 6 of them, and it takes 7. Forward and for the weights
a vector holds a place's 16 outputs, as the framework's does, and the sums are in its order, so that the bits
are the same; but the next image is on its way to the cache while one is computed: 5.6 ms where it takes 7.4,
and 7.1 where it takes 10.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from bnstudy.training import vectors
from bnstudy.training.vectors import ACROSS, FIRST, KERNEL, ROW, SECOND


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
        vectors.convolve_second(rows.numpy(), torch.cat([taps, biases], 1).view(-1).numpy(), y.numpy())
        return y.permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor, Tensor | None]:
        x, weight = ctx.saved_tensors
        g, trials = _channels_last(gradient).numpy(), len(weight)
        totals, d_bias = x.new_zeros(trials, KERNEL, KERNEL, FIRST, SECOND), x.new_zeros(trials * SECOND)
        vectors.weight_gradient_of_second(g, x.numpy(), totals.view(-1).numpy(), d_bias.numpy())
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
    vectors.input_gradient_of_second(g, rows.view(-1).numpy(), dx.numpy())
    return dx.permute(0, 3, 1, 2)
