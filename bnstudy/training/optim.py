"""Optimizers that step each trial of a pack by its own learning rate, and masks of what is trained.

Operations are element by element, and those whose result would depend on an element's place in a vector are
written apart: a trial's steps are the same bits in every pack.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from bnstudy.errors import BnstudyError
from bnstudy.recipe import Recipe
from bnstudy.training import nets


def trained(net: nets.PackedNet, recipe: Recipe) -> list[tuple[str, Tensor]]:
    """Return the parameters that have gradients in this recipe, by name: all, or those of normalizations."""
    named: list[tuple[str, Tensor]] = [(n, p) for n, p in net.named_parameters() if p.requires_grad]
    return [pair for pair in named if "_norm" in pair[0]] if recipe.trained == "norms" else named


def masks(net: nets.PackedNet, recipes: Sequence[Recipe]) -> list[Tensor] | None:
    """Return for each trained parameter which of its elements are, bool of its shape; `None` where all are.

    `random` chooses as many elements of the layers as the normalizations have, in each trial by its stream.
    """
    if recipes[0].trained != "random":
        return None
    named = trained(net, recipes[0])
    sizes = [0 if "_norm" in name else value.numel() // net.trials for name, value in named]
    count = sum(value.numel() // net.trials for name, value in named if "_norm" in name)
    chosen = [_chosen(recipe, seed, sum(sizes), count) for recipe, seed in _trials(net, recipes)]
    parts = torch.split(torch.stack(chosen), sizes, dim=1)
    none = torch.zeros((), dtype=torch.bool)
    return [
        (part.reshape(value.shape) if part.numel() else none.expand(value.shape)).to(value.device)
        for part, (_, value) in zip(parts, named, strict=True)
    ]


def _trials(net: nets.PackedNet, recipes: Sequence[Recipe]) -> list[tuple[Recipe, int]]:
    return list(zip(recipes, net.trial_seeds, strict=True))


def _chosen(recipe: Recipe, seed: int, size: int, count: int) -> Tensor:
    """Return bool [size], `count` of them true."""
    generator = torch.Generator().manual_seed(nets.initial_stream(recipe, seed, "trained"))
    chosen = torch.zeros(size, dtype=torch.bool)
    chosen[torch.randperm(size, generator=generator)[:count]] = True
    return chosen


class Optimizer:
    """Steps down the gradient in place: parameters of K trials each, by `rates`, float [K]."""

    def __init__(self, parameters: Sequence[Tensor], rates: Tensor, mask: Sequence[Tensor] | None) -> None:
        self.parameters, self.rates, self.mask = list(parameters), rates, mask

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor]) -> None:
        """Take one step."""
        if self.mask:  # a selection and no product: 0 times infinity would train what is left alone
            gradients = [g.where(m, 0) for g, m in zip(gradients, self.mask, strict=True)]
        self.descend(gradients)

    def descend(self, gradients: Sequence[Tensor]) -> None:
        """Move the parameters."""
        raise NotImplementedError


class SGD(Optimizer):
    """Stochastic gradient descent."""

    def descend(self, gradients: Sequence[Tensor]) -> None:
        """Subtract the rate times the gradient."""
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            trials = parameter.view(len(self.rates), -1)
            trials.addcmul_(gradient.reshape(trials.shape), self.rates.unsqueeze(1), value=-1)


class Adam(Optimizer):
    """Adam (Kingma & Ba 2015, algorithm 1) with the framework's defaults, .9, .999 and 1e-8, and its formula,
    in which epsilon is added to the corrected root."""

    FIRST, SECOND, EPS = 0.9, 0.999, 1e-8

    def __init__(self, parameters: Sequence[Tensor], rates: Tensor, mask: Sequence[Tensor] | None) -> None:
        super().__init__(parameters, rates, mask)
        self.steps = 0
        self.means = [torch.zeros_like(p) for p in self.parameters]
        self.squares = [torch.zeros_like(p) for p in self.parameters]

    def descend(self, gradients: Sequence[Tensor]) -> None:
        """Subtract the rate times the mean gradient over the root of the mean square, both corrected."""
        self.steps += 1
        rates = (self.rates / (1 - self.FIRST**self.steps)).unsqueeze(1)
        root = (1 - self.SECOND**self.steps) ** 0.5
        for parameter, gradient, mean, square in zip(
            self.parameters, gradients, self.means, self.squares, strict=True
        ):
            mean.mul_(self.FIRST).add_(gradient.mul(1 - self.FIRST))
            square.mul_(self.SECOND).add_(gradient.square().mul_(1 - self.SECOND))
            direction = mean.div(square.sqrt().div_(root).add_(self.EPS))
            trials = parameter.view(len(self.rates), -1)
            trials.sub_(direction.view(trials.shape).mul_(rates))


OPTIMIZERS = {"sgd": SGD, "adam": Adam}


def build(net: nets.PackedNet, recipes: Sequence[Recipe]) -> Optimizer:
    """Return the recipe's optimizer of a network that is on its device."""
    parameters = [value for _, value in trained(net, recipes[0])]
    if not parameters:
        raise BnstudyError(
            f"trained = {recipes[0].trained!r} leaves nothing to train: norm = {recipes[0].norm!r} has no "
            "trained scale or shift."
        )
    rates = torch.tensor([r.lr for r in recipes], dtype=parameters[0].dtype, device=parameters[0].device)
    return OPTIMIZERS[recipes[0].optimizer](parameters, rates, masks(net, recipes))
