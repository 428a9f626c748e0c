"""What stands between packed layers: activations, pooling, dropout, and the order they come in.

x is float [batch, K * channels, *spatial] everywhere.
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bnstudy import seeds
from bnstudy.recipe import Recipe
from bnstudy.training.layers import in_whole_vectors

Follow = Callable[..., Tensor]
"""From a normalization, what a layer computed, and a pooling or none, to what the next layer sees."""


def following(recipe: Recipe, *, fused: bool = False) -> Follow:
    """Return what follows a layer in this recipe: `follow(norm, x, pool=None)` normalizes, activates and
    pools by 2 x 2, in the order of `norm_place`. `fused` does it in one operation where there is one.
    """
    activate = ACTIVATIONS[recipe.activation]
    if fused and recipe.activation == "sigmoid":
        at_once = _fused()
        if recipe.norm_place == "before":
            return at_once
        activate = partial(at_once, nn.Identity())
    if recipe.norm_place == "before":
        return lambda norm, x, pool=None: pooled(activate(norm(x)), pool)
    if recipe.norm_place == "after":
        return lambda norm, x, pool=None: pooled(norm(activate(x)), pool)
    return lambda norm, x, pool=None: norm(pooled(activate(x), pool))


def _fused() -> Follow:
    """Return normalization, sigmoid and pooling as one operation, which needs Numba."""
    from bnstudy.training.fused import sigmoid_of

    return sigmoid_of


def sigmoid(x: Tensor) -> Tensor:
    """Return the logistic function of x: float [batch, K * channels, *spatial]."""
    return in_whole_vectors(torch.sigmoid, x)


def tanh(x: Tensor) -> Tensor:
    """Return the hyperbolic tangent of x: float [batch, K * channels, *spatial]."""
    return in_whole_vectors(torch.tanh, x)


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"sigmoid": sigmoid, "relu": torch.relu, "tanh": tanh}


def pooled(x: Tensor, kind: str | None, kernel: int = 2, stride: int = 2, padding: int = 0) -> Tensor:
    """Return x, or its means (`avg`) or maxima (`max`) over windows."""
    if kind is None:
        return x
    pool = F.avg_pool2d if kind == "avg" else F.max_pool2d
    return pool(x, kernel, stride, padding)


class Dropout(nn.Module):
    """Dropout (Srivastava et al. 2014) in training, each trial from its own stream.

    A step's draws depend on the seed, the name and the number of the step alone, so a copy of the network
    drops the same; a larger `share` drops what a smaller one does, and more. They are drawn on the CPU:
    a GPU's would be others.
    """

    def __init__(self, share: float, name: str, trial_seeds: Sequence[int]) -> None:
        super().__init__()
        self.share, self.name, self.trial_seeds, self.steps = share, name, tuple(trial_seeds), 0

    def forward(self, x: Tensor) -> Tensor:
        """Return x [batch, K * channels, *spatial], or in training with a share of it set to zero and the
        rest raised to keep the mean."""
        if not self.training:
            return x
        shape = (len(x), x.shape[1] // len(self.trial_seeds), *x.shape[2:])
        kept = torch.cat([self._kept(seed, shape) for seed in self.trial_seeds], dim=1)
        self.steps += 1
        return x * kept.to(x.device, x.dtype).div_(1 - self.share)

    def _kept(self, seed: int, shape: tuple[int, ...]) -> Tensor:
        generator = torch.Generator().manual_seed(seeds.stream(seed, "dropout", self.name, self.steps))
        return torch.rand(shape, generator=generator) >= self.share


def dropout(recipe: Recipe, name: str, trial_seeds: Sequence[int]) -> nn.Module:
    """Return the recipe's dropout at a place called `name`, or the identity where it drops nothing."""
    return Dropout(recipe.dropout, name, trial_seeds) if recipe.dropout else nn.Identity()
