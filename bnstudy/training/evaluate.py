"""What is measured of a packed network between and after its epochs."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bnstudy.training import data, nets, norms
from bnstudy.training.sums import over_batch

BATCH = 256
"""Images an evaluation batch; what predicting with a batch's own moments means."""

FIXED_TRAINING_IMAGES = 10_000
"""How many training images the training accuracy and the recomputed moments use: 1,000 to 10,000 suffice
for the moments (Wu & Johnson 2021, section 3.3)."""


@dataclass(frozen=True)
class Score:
    """Mean cross-entropy (nats) and accuracy in [0, 1] of each trial: float64 [K] each, on the CPU."""

    loss: Tensor
    accuracy: Tensor


def score(net: nets.PackedNet, images: data.ImageSet, index: Tensor) -> Score:
    """Return the scores on images `index`, int64 [n] shared by the trials or [n, K] each its own."""
    meter = Meter()
    net.eval()
    with torch.no_grad():
        for chunk in torch.split(index, BATCH):
            meter.add(*losses(net, images, chunk))
    return meter.score()


def losses(net: nets.PackedNet, images: data.ImageSet, index: Tensor) -> tuple[Tensor, Tensor]:
    """Return cross-entropies, float [batch, K], and whether each prediction is right, bool [batch, K]."""
    pixels, labels = batch(net, images, index)
    return losses_of(net, pixels, labels)


def batch(net: nets.PackedNet, images: data.ImageSet, index: Tensor) -> tuple[Tensor, Tensor]:
    """Return pixels and labels as `data.batch` does, in the network's type and size.

    Resized bilinearly and rounded to the 256 shades again, as by the textbook: 4 ms for 128 images of
    224 x 224, where all 70,000 would take 3.5 GB.
    """
    pixels, labels = data.batch(images, index, dtype=next(net.parameters()).dtype)
    if net.image_size != data.SIDE:
        size = (net.image_size, net.image_size)
        shades = F.interpolate(pixels * 255, size, mode="bilinear", align_corners=False).round_()
        pixels = shades / torch.full((), 255, dtype=shades.dtype, device=shades.device)
    return pixels, labels


def losses_of(net: nn.Module, pixels: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return what `losses` does, of pixels and labels themselves."""
    logits = net(pixels)
    labels = labels.view(len(labels), -1).expand(logits.shape[:2])
    # Flat logits: the spatial form of the loss is not deterministic on CUDA.
    entropy = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
    return entropy.view(logits.shape[:2]), logits.detach().argmax(2) == labels


class Meter:
    """Sums losses and right predictions by trial, on the device, without waiting for it."""

    def __init__(self) -> None:
        self.count = 0
        self.loss: Tensor | float = 0.0
        self.right: Tensor | int = 0

    def add(self, entropy: Tensor, right: Tensor) -> Tensor:
        """Add a batch, float and bool [batch, K]; return its mean losses, float64 [K]."""
        self.count += len(entropy)
        losses = over_batch(entropy.detach().double())
        self.loss = self.loss + losses
        self.right = self.right + right.sum(0)
        return losses / len(entropy)

    def score(self) -> Score:
        """Return the means over all images added."""
        loss, right = torch.as_tensor(self.loss).cpu(), torch.as_tensor(self.right).cpu()
        return Score(loss / self.count, right.double() / self.count)


def pool_moments(net: nets.PackedNet, images: data.ImageSet, index: Tensor) -> None:
    """Recompute every batch normalization's moments over images `index`, for `norms.precise_statistics`."""
    net.eval()
    size = BATCH + (len(index) % BATCH == 1)  # a last batch of one image would have no variance
    with torch.no_grad(), norms.pooling_moments(net):
        for chunk in torch.split(index, size):
            net(batch(net, images, chunk)[0])


def first_not_finite(net: nets.PackedNet) -> list[str | None]:
    """Return for each trial the name of its first parameter or running statistic that is not finite."""
    tensors = {**dict(net.named_parameters()), **dict(net.named_buffers())}
    finite = {
        name: tensor.detach().view(net.trials, -1).isfinite().all(1) for name, tensor in tensors.items()
    }
    table = torch.stack(list(finite.values())).cpu()  # [tensors, K]
    names = list(finite)
    return [next((n for n, good in zip(names, row, strict=True) if not good), None) for row in table.T]


def weight_norms(net: nets.PackedNet, trial: int) -> dict[str, float]:
    """Return the Euclidean norm of each of a trial's parameters, by name."""
    return {
        name: float(nets.of_trial(net, tensor, trial).double().norm())
        for name, tensor in net.named_parameters()
    }
