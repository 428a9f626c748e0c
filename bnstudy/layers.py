"""Packed layers: K trials side by side as one layer, nothing shared between them but the work.

Activations are float [batch, K * channels, *spatial]; every parameter has its trials first.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bnstudy.sums import over_channels

VECTORS = 32
"""Floats that the framework computes at once, element by element: 2 vectors with AVX-512."""


class PackedConv2d(nn.Module):
    """K convolutions: weight [K, out, in, kernel, kernel], bias [K, out].

    Takes float [batch, K * in, height, width] (each trial its own images), or [batch, in, height, width]
    shared by all trials; returns float [batch, K * out, height', width'], channels last in memory.
    """

    def __init__(
        self, trials: int, inputs: int, outputs: int, kernel: int, padding: int = 0, *, fused: bool = False
    ) -> None:
        super().__init__()
        self.padding = padding
        self.patches = _fused_patches() if fused else patches
        self.weight = nn.Parameter(torch.empty(trials, outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.empty(trials, outputs))

    def forward(self, x: Tensor) -> Tensor:
        """See the class for shapes."""
        if x.shape[1] == self.weight.shape[2]:
            return self.shared(x)
        x = x.contiguous(memory_format=torch.channels_last)
        weight, bias = self.weight.flatten(0, 1), self.bias.flatten()
        return F.conv2d(x, weight, bias, padding=self.padding, groups=self.weight.shape[0])

    def shared(self, x: Tensor) -> Tensor:
        """Convolve the same images for all trials, as one matrix product over their patches.

        14 ms a step of 4 x 256 images forward and backward, against 21 ms for the convolution; the bias
        is the weight of a constant input, since a sum of its gradient rounds differently in wider packs.
        """
        kernel = self.weight.shape[-1]
        columns = self.patches(x, kernel, self.padding)  # [in * kernel * kernel + 1, batch, height', width']
        matrix = torch.cat([self.weight.flatten(2), self.bias.unsqueeze(2)], dim=2).flatten(0, 1)
        y = columns.flatten(1).t() @ matrix.t()
        return y.view(*columns.shape[1:], -1).permute(0, 3, 1, 2)


def _fused_patches() -> Callable[[Tensor, int, int], Tensor]:
    """Return `patches` by one loop, which needs Numba."""
    from bnstudy.fused import patches

    return patches


def patches(x: Tensor, kernel: int, padding: int) -> Tensor:
    """Return what each kernel element sees, and a row of ones: [channels * kernel**2 + 1, batch, h', w'].

    x: float [batch, channels, height, width].
    """
    x = F.pad(x, [padding] * 4) if padding else x
    height, width = x.shape[2] - kernel + 1, x.shape[3] - kernel + 1
    columns = x.new_ones(x.shape[1] * kernel**2 + 1, x.shape[0], height, width)
    row = 0
    for channel in range(x.shape[1]):
        for i in range(kernel):
            for j in range(kernel):
                columns[row] = x[:, channel, i : i + height, j : j + width]
                row += 1
    return columns


def sigmoid(x: Tensor) -> Tensor:
    """Return the logistic function of x: float [batch, K * channels, *spatial].

    The framework computes the values that are left after whole vectors in another way, and with the width
    of the pack it would change which those are: a batch that leaves some is filled up.
    """
    if x.numel() % VECTORS == 0:
        return torch.sigmoid(x)
    fill = [0, 0] * (x.dim() - 1) + [0, -len(x) % VECTORS]
    return torch.sigmoid(F.pad(x, fill))[: len(x)]


class PackedLinear(nn.Module):
    """K linear layers: weight [K, out, in], bias [K, out]; float [batch, K * in] to [batch, K * out]."""

    def __init__(self, trials: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(trials, outputs, inputs))
        self.bias = nn.Parameter(torch.empty(trials, outputs))

    def forward(self, x: Tensor) -> Tensor:
        """See the class for shapes."""
        bias = over_channels(self.bias.flatten(), torch.Size([len(x), self.bias.numel()]))
        y = torch.baddbmm(self.by_trial(bias), self.by_trial(x), self.weight.transpose(1, 2))
        return y.transpose(0, 1).flatten(1)

    def by_trial(self, x: Tensor) -> Tensor:
        """Return x [batch, K * any] as [K, batch, any]."""
        return x.view(len(x), len(self.weight), -1).transpose(0, 1)
