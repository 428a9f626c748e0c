"""The bugs of the published code, fenced off: a training reaches them by the recipe field `quirk` alone.

`AFTER_STEP` holds what a recipe can name. The rest reproduces in isolation what no recipe should have, for
the tests to show. Bugs that are values of ordinary fields have no code here: a running variance that starts
at 0 (`running_start`) or is biased (`running_variance`), a misread `momentum`.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from bnstudy.recipe import Recipe
from bnstudy.training.norms import ScratchBatchNorm


def test_inside_epoch(net: nn.Module) -> None:
    """Leave a network as a test inside the batch loop does: in evaluation mode until the next epoch.

    The framework's layer then trains on running averages that stand still; the published scratch layer
    takes no notice, since it looks at `is_grad_enabled`. The test itself (10,000 images after each batch
    of 128) changes nothing else and is left out.
    """
    net.eval()
    for module in net.modules():
        if type(module) is ScratchBatchNorm:
            module.train()


AFTER_STEP: dict[str, Callable[[nn.Module], None]] = {"test_inside_epoch": test_inside_epoch}
"""What happens to the network after every step of a recipe that names a quirk."""


class PrintedBatchNorm(nn.Module):
    """The scratch layer as it was published, for x [batch, channels, *spatial]; no recipe trains with it.

    It tells training from prediction by `is_grad_enabled`: `eval()` has no effect, and nothing can be
    recomputed under `no_grad`. Its running averages are plain attributes: they are not in the state dict and
    do not move with the module. With `detached=False` (S1a) they hold the graphs of all earlier batches.
    """

    def __init__(self, channels: int, *, momentum: float = 0.1, detached: bool = True) -> None:
        super().__init__()
        self.momentum, self.detached = momentum, detached
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.running_mean = torch.zeros(channels)
        self.running_var = torch.ones(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return float of the shape of x."""
        mean, var = self.running_mean, self.running_var
        if torch.is_grad_enabled():
            axes = [axis for axis in range(x.dim()) if axis != 1]
            var, mean = torch.var_mean(x, axes, correction=0)
            self.running_mean = self._averaged(self.running_mean, mean)
            self.running_var = self._averaged(self.running_var, var)
        scale = self.weight / (var + 1e-5).sqrt()
        rows = x.movedim(1, -1)
        return ((rows - mean) * scale + self.bias).movedim(-1, 1)

    def _averaged(self, old: Tensor, new: Tensor) -> Tensor:
        average = (1 - self.momentum) * old + self.momentum * new
        return average.detach() if self.detached else average


def graph_size(tensor: Tensor) -> int:
    """Return how many operations the graph behind a tensor keeps in memory; 0 for a detached one."""
    found: set[Any] = set()
    ahead = [tensor.grad_fn]
    while ahead:
        node = ahead.pop()
        if node is not None and node not in found:
            found.add(node)
            ahead += [following for following, _ in node.next_functions]
    return len(found)


def draw_weights_again(net: nn.Module, generator: torch.Generator) -> None:
    """Start a network again as the textbook's training function does, and leave the rest of the last run.

    Only the weights of linear layers and convolutions are drawn anew (Glorot & Bengio 2010, eq. 16); biases,
    scales, shifts and running averages leak into the next run.
    """
    for layer in net.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            nn.init.xavier_uniform_(layer.weight, generator=generator)


def mean_of_batch_means(values: Tensor, batch_size: int) -> Tensor:
    """Return what the second edition prints as validation accuracy: each batch's mean counts alike.

    values: float [images]. 10,000 images in batches of 128 leave 16 for the last, each counted 8 times.
    """
    return torch.stack([part.mean() for part in torch.split(values, batch_size)]).mean()


NORM_FIELDS = ("norm", "norm_at", "norm_place", "eps", "momentum", "running_variance", "running_start")


def confounds(without: Recipe, with_norm: Recipe) -> dict[str, tuple[Any, Any]]:
    """Return what else differs between two recipes that are compared for their normalization."""
    found = without.differences(with_norm)
    return {name: pair for name, pair in found.items() if name not in NORM_FIELDS}
