"""The textbook's LeNet in float64, written out from its formulas: what the machine is held against.

No layer, loss or optimizer of the framework is used, only sums, products and autograd. Sections are those of
d2l.ai.
"""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

EPS = 1e-5
SITES = ("conv1", "conv2", "fc1", "fc2")
Values = dict[str, Tensor]


@dataclass
class Textbook:
    """One network: its parameters and running statistics by name, float64, and how it is built."""

    parameters: Values
    running: Values
    padding: int = 0
    pool: str = "avg"
    layer: str = "scratch"
    """`scratch` or `framework`, whose running variance is divided by n - 1; or `none`."""
    old_weight: float = 0.9
    steps: int = 0
    first: Values = field(default_factory=dict)
    """Adam's averages of the gradients and of their squares."""
    second: Values = field(default_factory=dict)

    def logits(self, x: Tensor, *, frozen: bool = False) -> Tensor:
        """Return [images, 10] of pixels [images, 1, 28, 28]; `frozen`: by the running statistics."""
        x = convolved(x, self.parameters["conv1.weight"], self.parameters["conv1.bias"], self.padding)
        x = pooled(logistic(self.normalized("conv1", x, frozen)), self.pool)
        x = convolved(x, self.parameters["conv2.weight"], self.parameters["conv2.bias"], 0)
        x = pooled(logistic(self.normalized("conv2", x, frozen)), self.pool).flatten(1)
        for site in ("fc1", "fc2"):
            x = x @ self.parameters[f"{site}.weight"].T + self.parameters[f"{site}.bias"]
            x = logistic(self.normalized(site, x, frozen))
        return x @ self.parameters["fc3.weight"].T + self.parameters["fc3.bias"]

    def normalized(self, site: str, x: Tensor, frozen: bool) -> Tensor:
        """Section 8.5.2: gamma * (x - mean) / sqrt(variance + eps) + beta, over all but the channels."""
        if self.layer == "none":
            return x
        names = [f"{site}_norm.{name}" for name in ("running_mean", "running_var", "weight", "bias")]
        channels = (1, -1, 1, 1)[: x.dim()]
        mean, variance = self.running[names[0]], self.running[names[1]]
        if not frozen:
            axes, count = ((0, 2, 3), x.numel() // x.shape[1]) if x.dim() == 4 else ((0,), len(x))
            mean = x.sum(axes) / count
            variance = (x - mean.view(channels)).pow(2).sum(axes) / count
            divided = variance * count / (count - 1) if self.layer == "framework" else variance
            for name, new in zip(names, (mean, divided), strict=False):
                kept = self.old_weight * self.running[name]
                self.running[name] = kept + (1 - self.old_weight) * new.detach()
        x = (x - mean.view(channels)) / (variance.view(channels) + EPS).sqrt()
        return self.parameters[names[2]].view(channels) * x + self.parameters[names[3]].view(channels)

    def step(
        self, x: Tensor, labels: Tensor, *, lr: float, adam: bool = False, frozen: bool = False
    ) -> float:
        """Take one step down the gradient of the mean cross-entropy, and return that loss before it."""
        for value in self.parameters.values():
            value.requires_grad_()
        loss = cross_entropy(self.logits(x, frozen=frozen), labels)
        found = torch.autograd.grad(loss, list(self.parameters.values()))
        gradients = dict(zip(self.parameters, found, strict=True))
        self.steps += 1
        for name, value in self.parameters.items():
            gradient = gradients[name]
            change = lr * (self._adam(name, gradient) if adam else gradient)
            self.parameters[name] = (value - change).detach()
        return float(loss.detach())

    def _adam(self, name: str, gradient: Tensor) -> Tensor:
        """Section 12.10, with the weights 0.9 and 0.999 of the old averages."""
        self.first[name] = 0.9 * self.first.get(name, 0.0) + 0.1 * gradient
        self.second[name] = 0.999 * self.second.get(name, 0.0) + 0.001 * gradient**2
        mean = self.first[name] / (1 - 0.9**self.steps)
        square = self.second[name] / (1 - 0.999**self.steps)
        return mean / (square.sqrt() + 1e-8)


def convolved(x: Tensor, kernel: Tensor, bias: Tensor, padding: int) -> Tensor:
    """Section 7.4.2: each output is the sum of a window times the kernel, over all input channels."""
    size, side = kernel.shape[-1], x.shape[-1]
    wide = x.new_zeros(*x.shape[:2], side + 2 * padding, side + 2 * padding)
    wide[:, :, padding : padding + side, padding : padding + side] = x
    windows = wide.unfold(2, size, 1).unfold(3, size, 1)
    return torch.einsum("nchwij,ocij->nohw", windows, kernel) + bias.view(1, -1, 1, 1)


def pooled(x: Tensor, pool: str) -> Tensor:
    """Section 7.5: the mean or the maximum of each window of 2 x 2."""
    windows = x.unfold(2, 2, 2).unfold(3, 2, 2).flatten(4)
    return windows.amax(4) if pool == "max" else windows.sum(4) / 4


def logistic(x: Tensor) -> Tensor:
    """Section 5.1.2: 1 / (1 + exp(-x))."""
    return 1 / (1 + torch.exp(-x))


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Section 4.1.2: minus the log of the softmax at the label, averaged over the images."""
    return (logits.exp().sum(1).log() - logits[torch.arange(len(labels)), labels]).sum() / len(labels)


def initial_bounds(recipe_init: str, shape: torch.Size) -> float:
    """Return what no initial weight exceeds: section 5.4.2.2, or the framework's 1 / sqrt(inputs)."""
    area = math.prod(shape[2:])
    outputs, inputs = shape[0] * area, shape[1] * area
    return math.sqrt(6 / (inputs + outputs)) if recipe_init == "xavier" else 1 / math.sqrt(inputs)
