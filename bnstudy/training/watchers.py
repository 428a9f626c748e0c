"""What watches a training from inside its loop, and changes nothing of it.

A watcher keeps what it measures on the device, so that the loop never waits for it; an empty list of
watchers costs nothing.
"""

from collections.abc import Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn

from bnstudy import packs
from bnstudy.recipe import Recipe
from bnstudy.training import data, evaluate, nets, optim
from bnstudy.training.layers import PackedConv2d, PackedLinear

FIRST = 20
"""Steps in which gradients that should be zero are looked at: later ones say nothing new."""

SHIFT_STEPS = (10, 30, 100, 300, 1000)
"""Steps, counted from 0, before and after which the network is looked at: two a tenfold."""

Gradients = Sequence[Tensor]
Numbers = dict[str, Tensor]
"""Float64 [K] by name."""


class Watcher:
    """Looks at the steps of a training. `batch` holds indices of its images, as the loop has them."""

    def before(self, step: int, batch: Tensor, gradients: Gradients) -> None:
        """Look at the gradients of a step that is about to be taken."""

    def after(self, step: int, batch: Tensor) -> None:
        """Look at the network after the step."""

    def checks(self, parts: data.Split) -> Numbers:
        """Return what was seen, and what is measured after training on these images."""
        return {}

    def tracked(self, parts: data.Split) -> Numbers:
        """Return accuracies on the test images with other averages than the network's own."""
        return {}


def _largest(gradient: Tensor, trials: int) -> Tensor:
    """Return the largest absolute value of each trial, float64 [K]; NaN where there is one."""
    return gradient.reshape(trials, -1).abs().amax(1).double()


def _norm(gradients: Gradients, trials: int) -> Tensor:
    """Return the Euclidean norm of each trial over several tensors, float64 [K]."""
    return sum((_squares(g, trials) for g in gradients), torch.zeros(())).sqrt()


def _squares(gradient: Tensor, trials: int) -> Tensor:
    rows = gradient.detach().double().square().reshape(trials, -1)
    return torch.stack([row.sum() for row in rows])  # row by row: the same sum in every pack


class BiasGradient(Watcher):
    """The largest gradient of a bias in front of a normalization, relative to its weight's largest."""

    def __init__(self, trials: int, pairs: list[tuple[int, int]]) -> None:
        self.trials, self.pairs = trials, pairs
        self.largest: list[Tensor] = []

    def before(self, step: int, batch: Tensor, gradients: Gradients) -> None:
        """Look at one of the first steps."""
        if step < FIRST:
            for w, b in self.pairs:
                weight, bias = (_largest(gradients[i], self.trials) for i in (w, b))
                self.largest.append((bias / weight).where(bias != 0, 0))  # both are 0 in a batch of one

    def checks(self, parts: data.Split) -> Numbers:
        """Return `bias_gradient`."""
        return {"bias_gradient": torch.stack(self.largest).amax(0).cpu()}


class GradientBelow(Watcher):
    """The largest gradient of what lies below the first normalization of a linear layer, whose batch of one
    is a constant."""

    def __init__(self, trials: int, site: str, below: list[int]) -> None:
        self.trials, self.site, self.below = trials, site, below
        self.largest: list[Tensor] = []

    def before(self, step: int, batch: Tensor, gradients: Gradients) -> None:
        """Look at one of the first steps."""
        if step < FIRST:
            self.largest += [_largest(gradients[i], self.trials) for i in self.below]

    def checks(self, parts: data.Split) -> Numbers:
        """Return `gradient_below_fc1`, or of whichever layer it is."""
        return {f"gradient_below_{self.site}": torch.stack(self.largest).amax(0).cpu()}


class GradientRatio(Watcher):
    """The logarithm of the last hidden layer's gradient over the first's, at the first and last step."""

    def __init__(self, net: nets.PackedNet, names: Sequence[str], steps: int) -> None:
        self.trials, self.last = net.trials, steps - 1
        hidden = list(layers_of(net))[:-1]
        self.bottom, self.top = (names.index(f"{hidden[i]}.weight") for i in (0, -1))
        self.seen: Numbers = {}

    def before(self, step: int, batch: Tensor, gradients: Gradients) -> None:
        """Look at the first and the last step."""
        if step in (0, self.last):
            top, bottom = (_norm([gradients[i]], self.trials) for i in (self.top, self.bottom))
            self.seen["last_log_gradient_ratio" if step else "log_gradient_ratio"] = (top / bottom).log()

    def checks(self, parts: data.Split) -> Numbers:
        """Return `log_gradient_ratio`, of the first step, and `last_log_gradient_ratio`."""
        return {name: value.cpu() for name, value in self.seen.items()}


def layers_of(net: nets.PackedNet) -> dict[str, nn.Module]:
    """Return the layers with weights, in the order of the network."""
    kinds = PackedConv2d | PackedLinear
    return {name: layer for name, layer in net.named_modules() if isinstance(layer, kinds)}


class Shift(Watcher):
    """How far a step moves what each layer sees of the same images, and the gradient.

    `shift` is internal covariate shift as Ioffe & Szegedy (2015) describe it: the change of mean and
    standard deviation of a layer's inputs, relative to their standard deviation, root mean square over its
    inputs and then the mean over layers behind the first. `gradient_change` is gradient predictiveness
    (Santurkar et al. 2018, section 3.2): the distance of the gradients before and after, relative to the
    one before. Both are means over `SHIFT_STEPS`.
    """

    def __init__(self, net: nets.PackedNet, images: data.ImageSet, recipe: Recipe) -> None:
        self.net, self.images = net, images
        self.parameters = [name for name, _ in optim.trained(net, recipe)]
        self.steps = [step for step in SHIFT_STEPS if step < packs.steps(recipe)] or [0]
        self.inputs: list[tuple[Tensor, Tensor]] = []
        self.gradients: Gradients = ()
        self.shifts: list[Tensor] = []
        self.changes: list[Tensor] = []

    def before(self, step: int, batch: Tensor, gradients: Gradients) -> None:
        """Remember the gradients of such a step, and what the layers see."""
        if step in self.steps:
            self.gradients, self.inputs = gradients, self._look(batch)[0]

    def after(self, step: int, batch: Tensor) -> None:
        """Compare."""
        if step in self.steps:
            inputs, gradients = self._look(batch)
            pairs = zip(self.inputs, inputs, strict=True)
            self.shifts.append(torch.stack([_moved(*pair, self.net.trials) for pair in pairs]).mean(0))
            steps = [b - a for a, b in zip(self.gradients, gradients, strict=True)]
            trials = self.net.trials
            self.changes.append(_norm(steps, trials) / _norm(self.gradients, trials))
            self.gradients, self.inputs = (), []

    def _look(self, batch: Tensor) -> tuple[list[tuple[Tensor, Tensor]], Gradients]:
        """Return mean and standard deviation of each layer's inputs, and the gradients, of a copy."""
        twin = deepcopy(self.net)
        twin.apart = False
        found: list[tuple[Tensor, Tensor]] = []
        for layer in list(layers_of(twin).values())[1:]:
            layer.register_forward_pre_hook(lambda _, inputs: found.append(_spread(inputs[0])))
        entropy, _ = evaluate.losses(twin, self.images, batch)
        return found, torch.autograd.grad(
            entropy.mean(0).sum(), [twin.get_parameter(name) for name in self.parameters]
        )

    def checks(self, parts: data.Split) -> Numbers:
        """Return `shift` and `gradient_change`."""
        found = {"shift": self.shifts, "gradient_change": self.changes}
        return {name: torch.stack(values).mean(0).cpu() for name, values in found.items()}


def _spread(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of each channel, float64 [channels]."""
    rows = x.detach().double().movedim(1, 0).flatten(1)
    return rows.mean(1), rows.std(1, correction=0)


def _moved(before: tuple[Tensor, Tensor], after: tuple[Tensor, Tensor], trials: int) -> Tensor:
    """Return how far means and standard deviations moved, relative to the latter: float64 [K]."""
    moves = [b - a for a, b in zip(before, after, strict=True)]
    squares = sum((_squares(move, trials) for move in moves), torch.zeros(()))
    return (squares / _squares(before[1], trials)).sqrt()
