"""Statistics of batches: their running averages, several side by side, and those of many batches as one."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn

Statistics = Literal["running", "batch", "pooling"]

TRACKED: dict[str, float | None] = {
    **{str(weight): weight for weight in (0.9, 0.5, 0.1, 0.01, 0.001)},
    "cumulative": None,
}
"""Weights of the new batch that `tracking` averages with, by name; `cumulative`: the mean of all batches."""


class PooledMoments:
    """Moments over many batches as if they were one: exact for uneven batches, summed in float64.

    `square` of a mean is what its variance lacks to the mean square: for covariances an outer product.
    """

    def __init__(self, square: Callable[[Tensor], Tensor] = torch.square) -> None:
        self.count = 0
        self.square = square
        self.total: Tensor | float = 0.0
        self.squares: Tensor | float = 0.0
        self.others: list[Tensor] = []

    def add(self, mean: Tensor, var: Tensor, count: int, *others: Tensor) -> None:
        """Add a batch of `count` values a channel with these moments; of `others` the mean is taken."""
        mean, var = mean.double(), var.double()
        self.count += count
        self.total = self.total + count * mean
        self.squares = self.squares + count * (var + self.square(mean))
        sums = self.others or [torch.zeros_like(other, dtype=torch.float64) for other in others]
        self.others = [total + count * other for total, other in zip(sums, others, strict=True)]

    def moments(self) -> tuple[Tensor, ...]:
        """Return mean and biased variance, and the means of what else was added, in float64."""
        mean = torch.as_tensor(self.total / self.count)
        var = self.squares / self.count - self.square(mean)
        var = var.clamp_min(0) if self.square is torch.square else var
        return mean, var, *(total / self.count for total in self.others)


class Running(nn.Module):
    """A normalization with the batch's statistics that predicts with running averages of them.

    In training mode it updates the averages; in evaluation mode `statistics` says what it predicts with.
    A subclass names the buffers that hold the averages and defines `normalize_batch` and `predict`.
    `momentum` is the weight of the new batch (PyTorch's convention).

    With a `ghost_size` g each g images are normalized with their own statistics, in training and where
    prediction is by the batch's. The averages take in one ghost batch after the other (Hoffer et al. 2017,
    algorithm 1), so that their memory is g / batch as long. What remains is a smaller ghost batch, or part
    of the last one where it would be one value a channel.
    """

    averaged: tuple[str, ...] = ("running_mean", "running_var")

    def __init__(self, momentum: float = 0.1, *, unbiased: bool = True) -> None:
        super().__init__()
        self.momentum, self.unbiased, self.ghost_size = momentum, unbiased, 0
        self.statistics: Statistics = "running"
        self.pooled: PooledMoments | None = None
        self.tracked: dict[str, tuple[Tensor, ...]] = {}
        self.batches = 0

    def forward(self, x: Tensor) -> Tensor:
        """Return float of the shape and dtype of x: float [batch, channels, *spatial]."""
        if not self.uses_batch:
            return self.predict(x)
        parts = self.parts(x)
        return (
            torch.cat([self.normalize_batch(part) for part in parts])
            if parts[1:]
            else self.normalize_batch(x)
        )

    def normalize_batch(self, x: Tensor) -> Tensor:
        """Normalize with the statistics of the batch, and `note` them."""
        raise NotImplementedError

    def predict(self, x: Tensor) -> Tensor:
        """Normalize with the running averages."""
        raise NotImplementedError

    @property
    def uses_batch(self) -> bool:
        """Whether the next batch is normalized with its own statistics."""
        return self.training or self.statistics != "running"

    def parts(self, x: Tensor) -> Sequence[Tensor]:
        """Return the images that are normalized together, in order."""
        size = self.ghost_size
        if not size or not self.uses_batch or len(x) <= size:
            return (x,)
        sizes = [size] * (len(x) // size)
        rest = len(x) % size
        if rest * x[0, 0].numel() == 1:
            sizes[-1] += rest
        elif rest:
            sizes.append(rest)
        return torch.split(x, sizes)

    def averages(self) -> tuple[Tensor, ...]:
        """Return the buffers with the running averages."""
        return tuple(getattr(self, name) for name in self.averaged)

    def note(self, mean: Tensor, var: Tensor, count: int, *others: Tensor) -> None:
        """Take in the moments, [channels], of a batch of `count` values a channel."""
        if self.training:
            values = mean, var * (count / (count - 1)) if self.unbiased else var, *others
            self.average(*values)
        elif self.statistics == "pooling" and self.pooled is not None:
            self.pooled.add(mean, var, count, *others)

    def average(self, *values: Tensor) -> None:
        """Take a batch's statistics into the running averages, and those kept beside them."""
        fold(self.averages(), values, self.momentum)
        self.track(*values)

    def track(self, *values: Tensor) -> None:
        """Take a batch's statistics into the averages kept beside the norm's own."""
        self.batches += 1
        for name, averages in self.tracked.items():
            fold(averages, values, TRACKED[name] or 1 / self.batches)

    def pool(self) -> PooledMoments:
        """Return what batches' statistics are pooled in."""
        return PooledMoments()

    def settle(self, *pooled: Tensor) -> None:
        """Put pooled statistics in the place of the running averages."""
        for name, value in zip(self.averaged, pooled, strict=True):
            setattr(self, name, value.to(getattr(self, name).dtype))

    @torch.no_grad()
    def start(self, var: float) -> None:
        """Start the running variance from `var`."""
        self.get_buffer("running_var").fill_(var)


@torch.no_grad()
def fold(averages: Sequence[Tensor], values: Sequence[Tensor], weight: float) -> None:
    """Move averages, in place, towards new values by `weight`."""
    for average, value in zip(averages, values, strict=True):
        average.mul_(1 - weight).add_(value, alpha=weight)


def running_norms(net: nn.Module) -> list[Running]:
    """Return the network's normalizations that keep running averages, in order."""
    return [module for module in net.modules() if isinstance(module, Running)]


@contextmanager
def predict_with(net: nn.Module, statistics: Statistics) -> Iterator[None]:
    """Let every batch normalization predict with its running averages, or with each batch's moments."""
    norms = running_norms(net)
    before = [norm.statistics for norm in norms]
    try:
        for norm in norms:
            norm.statistics = statistics
        yield
    finally:
        for norm, old in zip(norms, before, strict=True):
            norm.statistics = old


@contextmanager
def pooling_moments(net: nn.Module) -> Iterator[None]:
    """Collect the moments of the batches that pass inside the block ("precise BN", Wu & Johnson 2021, 3.1).

    Each layer normalizes those batches with their own moments and changes nothing else. When the block
    ends the layers hold what they pooled; `precise_statistics` predicts with it.
    """
    for norm in running_norms(net):
        norm.pooled = norm.pool()
    with predict_with(net, "pooling"):
        yield


@contextmanager
def precise_statistics(net: nn.Module) -> Iterator[None]:
    """Predict with the pooled moments in place of the running averages, which come back at the end."""
    with _other_averages(net):
        for norm in running_norms(net):
            if norm.pooled is None:
                raise ValueError("no moments were pooled; run batches inside pooling_moments(net) first")
            norm.settle(*norm.pooled.moments())
            norm.pooled = None
        yield


def tracking(net: nn.Module) -> None:
    """Keep from now on the averages of `TRACKED` beside every norm's own, from the same start.

    Training does not feel them, and they are no part of the state dict. Move the network to its device first.
    """
    for norm in running_norms(net):
        norm.batches = 0
        norm.tracked = {name: tuple(a.detach().clone() for a in norm.averages()) for name in TRACKED}


@contextmanager
def predict_with_tracked(net: nn.Module, name: str) -> Iterator[None]:
    """Predict with the averages of that name in `TRACKED`; the norms' own come back at the end."""
    with _other_averages(net):
        for norm in running_norms(net):
            if name not in norm.tracked:
                kept = ", ".join(norm.tracked) or "none; call tracking(net) before training"
                raise ValueError(f"no averages named {name!r} are tracked; there are {kept}")
            for buffer, value in zip(norm.averaged, norm.tracked[name], strict=True):
                setattr(norm, buffer, value)
        yield


@contextmanager
def _other_averages(net: nn.Module) -> Iterator[None]:
    """Give every norm its running averages back at the end of the block."""
    norms = running_norms(net)
    before = [norm.averages() for norm in norms]
    try:
        yield
    finally:
        for norm, averages in zip(norms, before, strict=True):
            for name, value in zip(norm.averaged, averages, strict=True):
                setattr(norm, name, value)
