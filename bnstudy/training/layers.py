"""Packed layers: K trials side by side as one layer, nothing shared between them but the work.

Activations are float [batch, K * channels, *spatial]; every parameter has its trials first.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bnstudy.training.sums import over_channels

VECTORS = 32
"""Floats that the framework computes at once, element by element: 2 vectors with AVX-512."""


def in_whole_vectors(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Return function(x), element by element, with the batch filled up to whole vectors.

    The framework computes what is left after them in another way, and the width of a pack decides what is.
    """
    if x.numel() % VECTORS == 0:
        return function(x)
    return function(F.pad(x, [0, 0] * (x.dim() - 1) + [0, -len(x) % VECTORS]))[: len(x)]


class PackedConv2d(nn.Module):
    """K convolutions: weight [K, out, in, kernel, kernel], bias [K, out] or none.

    Takes float [batch, K * in, height, width] (each trial its own images), or [batch, in, height, width]
    shared by all trials; returns float [batch, K * out, height', width'], channels last in memory.
    """

    def __init__(
        self,
        trials: int,
        inputs: int,
        outputs: int,
        kernel: int,
        padding: int = 0,
        *,
        stride: int = 1,
        bias: bool = True,
        fused: bool = False,
    ) -> None:
        super().__init__()
        self.padding, self.stride = padding, stride
        self.weight = nn.Parameter(torch.empty(trials, outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.empty(trials, outputs)) if bias else None
        self.patches = _fused_patches() if fused else patches
        self.convolve = _fused_convolution(self.weight, stride, padding) if fused else None

    def forward(self, x: Tensor) -> Tensor:
        """See the class for shapes."""
        shares = x.shape[1] == self.weight.shape[2]
        if self.stride == 1 and self.weight.shape[2] == 1:
            if shares:
                return self.shared(x)
            if x.requires_grad:
                return self.own(x)
        x = x.contiguous(memory_format=torch.channels_last)
        weight, bias = self.weight.flatten(0, 1), None if self.bias is None else self.bias.flatten()
        if self.convolve and not shares:
            return self.convolve(x, self.weight, bias)
        groups = 1 if shares else self.weight.shape[0]
        return F.conv2d(x, weight, bias, self.stride, self.padding, groups=groups)

    def shared(self, x: Tensor) -> Tensor:
        """Convolve the same images for all trials, as one matrix product over their patches.

        14 ms a step of 4 x 256 images forward and backward, against 21 ms for the convolution; the bias
        is the weight of a constant input, since a sum of its gradient rounds differently in wider packs.
        """
        kernel = self.weight.shape[-1]
        take = patches if x.requires_grad else self.patches  # our own loop has no way back to pixels
        columns = take(x, kernel, self.padding)  # [in * kernel * kernel + 1, batch, height', width']
        matrix = self.matrix()
        y = columns.flatten(1)[: matrix.shape[1]].t() @ matrix.t()
        return y.view(*columns.shape[1:], -1).permute(0, 3, 1, 2)

    def matrix(self) -> Tensor:
        """Return weight, and bias as that of a constant input: [K * out, in * kernel * kernel (+ 1)]."""
        flat = self.weight.flatten(2)
        return (flat if self.bias is None else torch.cat([flat, self.bias.unsqueeze(2)], dim=2)).flatten(0, 1)

    def own(self, x: Tensor) -> Tensor:
        """Convolve each trial's own images, of one channel, whose gradient is wanted: as products over their
        patches, since the convolution rounds that gradient differently in packs of 8 and more."""
        trials, outputs, _, kernel, _ = self.weight.shape
        size = [side + 2 * self.padding - kernel + 1 for side in x.shape[2:]]
        columns = F.unfold(x, kernel, padding=self.padding).view(len(x), trials, kernel**2, -1)
        y = torch.bmm(self.weight.flatten(2), columns.permute(1, 2, 0, 3).flatten(2))
        y = y.view(trials * outputs, len(x), *size).permute(1, 0, 2, 3)
        y = y.contiguous(memory_format=torch.channels_last)
        return y if self.bias is None else y + over_channels(self.bias.flatten(), y.shape)


def _fused_patches() -> Callable[[Tensor, int, int], Tensor]:
    """Return `patches` by one loop, which needs Numba."""
    from bnstudy.training.fused import patches

    return patches


def _fused_convolution(weight: Tensor, stride: int, padding: int) -> Callable[..., Tensor] | None:
    """Return a convolution with a faster gradient of its input, if there is one for this shape."""
    from bnstudy.training import convolution

    return convolution.convolve if convolution.fits(weight, stride, padding) else None


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


class PackedLinear(nn.Module):
    """K linear layers: weight [K, out, in], bias [K, out] or none; float [batch, K * in] to
    [batch, K * out]."""

    def __init__(self, trials: int, inputs: int, outputs: int, *, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(trials, outputs, inputs))
        self.bias = nn.Parameter(torch.empty(trials, outputs)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """See the class for shapes."""
        return self.apart(self.by_trial(x)).transpose(0, 1).flatten(1)

    def apart(self, x: Tensor) -> Tensor:
        """Return [K, batch, out] of x [K, batch, in]."""
        if self.bias is None:
            return torch.bmm(x, self.weight.transpose(1, 2))
        bias = over_channels(self.bias.flatten(), torch.Size([x.shape[1], self.bias.numel()]))
        return torch.baddbmm(self.by_trial(bias), x, self.weight.transpose(1, 2))

    def by_trial(self, x: Tensor) -> Tensor:
        """Return x [batch, K * any] as [K, batch, any]."""
        return x.view(len(x), len(self.weight), -1).transpose(0, 1)
