"""One network of the framework's parts alone, trained by a plain loop: what packs are held against."""

import copy
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bnstudy import data, nets
from bnstudy.recipe import Recipe

SAMPLE = data.load("sample")
IMAGES = replace(SAMPLE, images=SAMPLE.images[:2120], labels=SAMPLE.labels[:2120])
"""The sample with 120 test images."""
BATCH = 50  # images that are scored at once


class Affine(nn.Module):
    """Scale and shift."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        shape = (1, -1, 1, 1)[: x.dim()]
        return x * self.weight.reshape(shape) + self.bias.reshape(shape)


def network(recipe: Recipe) -> nn.Sequential:
    """Return the recipe's network in float64, its tensors named as the pack names them."""

    def norm(channels: int, kind: type[nn.Module]) -> nn.Module:
        if recipe.norm in ("none", "affine"):
            return Affine(channels) if recipe.norm == "affine" else nn.Identity()
        return kind(channels, eps=recipe.eps, momentum=recipe.momentum)

    side = 5 if recipe.padding else 4
    net = nn.Sequential()
    net.add_module("conv1", nn.Conv2d(1, 6, 5, padding=recipe.padding))
    net.add_module("conv1_norm", norm(6, nn.BatchNorm2d))
    net.extend([nn.Sigmoid(), nn.AvgPool2d(2)])
    net.add_module("conv2", nn.Conv2d(6, 16, 5))
    net.add_module("conv2_norm", norm(16, nn.BatchNorm2d))
    net.extend([nn.Sigmoid(), nn.AvgPool2d(2), nn.Flatten()])
    net.add_module("fc1", nn.Linear(16 * side * side, 120))
    net.add_module("fc1_norm", norm(120, nn.BatchNorm1d))
    net.append(nn.Sigmoid())
    net.add_module("fc2", nn.Linear(120, 84))
    net.add_module("fc2_norm", norm(84, nn.BatchNorm1d))
    net.append(nn.Sigmoid())
    net.add_module("fc3", nn.Linear(84, 10))
    return net.double()


def started(recipe: Recipe, seed: int) -> nn.Sequential:
    """Return the network with the initial values that a pack gives this seed."""
    pack = nets.build([recipe] * 2, (seed, seed))
    assert isinstance(pack, nets.LeNet)
    net = network(recipe)
    with torch.no_grad():
        for name, value in net.named_parameters():
            value.copy_(nets.of_trial(pack, pack.get_parameter(name), 0).view(value.shape))
    return net


def tensors(net: nn.Module) -> dict[str, Tensor]:
    """Return parameters and running statistics by name; the framework's count of batches is neither."""
    named = dict(net.named_parameters()) | dict(net.named_buffers())
    return {name: value for name, value in named.items() if not name.endswith("num_batches_tracked")}


def pixels(index: Tensor) -> Tensor:
    return IMAGES.images[index].double().unsqueeze(1) / 255


def descend(net: nn.Module, optimizer: torch.optim.Optimizer, index: Tensor) -> tuple[float, int]:
    """Take one step; return the sum of the losses and the number of right predictions before it."""
    optimizer.zero_grad()
    logits, labels = net(pixels(index)), IMAGES.labels[index]
    loss = F.cross_entropy(logits, labels)
    loss.backward()
    optimizer.step()
    return loss.item() * len(index), int((logits.argmax(1) == labels).sum())


@torch.no_grad()
def score(net: nn.Module, index: Tensor) -> tuple[float, float]:
    """Return mean loss and accuracy on images, in the mode that the network is in."""
    logits = torch.cat([net(pixels(part)) for part in index.split(BATCH)])
    labels = IMAGES.labels[index]
    return F.cross_entropy(logits, labels).item(), float((logits.argmax(1) == labels).double().mean())


def with_batch_moments(net: nn.Module) -> nn.Module:
    """Return a copy that normalizes by its batch: the framework's training mode, its averages unused."""
    return copy.deepcopy(net).train()


@torch.no_grad()
def with_precise_moments(net: nn.Module, index: Tensor, batch: int = BATCH) -> nn.Module:
    """Return a copy whose running averages are the moments of all that its layers see of these images.

    The layers see activations normalized batch by batch, and all of them are kept.
    """
    seen: dict[str, list[Tensor]] = {}
    passing, precise = with_batch_moments(net), copy.deepcopy(net).eval()
    for name, layer in passing.named_children():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            seen[name] = []
            layer.register_forward_pre_hook(lambda _, inputs, name=name: seen[name].append(inputs[0]))
    for part in index.split(batch):
        passing(pixels(part))
    for name, inputs in seen.items():
        values = torch.cat(inputs).movedim(1, -1).flatten(0, -2)
        layer = precise.get_submodule(name)
        layer.get_buffer("running_mean").copy_(values.mean(0))
        layer.get_buffer("running_var").copy_(values.var(0, unbiased=False))
    return precise


@dataclass
class Told:
    """What a plain loop has to tell of a training."""

    net: nn.Sequential
    online_train_loss: list[float] = field(default_factory=list)
    online_train_accuracy: list[float] = field(default_factory=list)
    validation_accuracy: list[float] = field(default_factory=list)
    test_accuracies: list[float] = field(default_factory=list)


def train(recipe: Recipe, seed: int) -> Told:
    """Train one network by a loop as in any tutorial, over the seed's split and order of the images."""
    split = data.split(
        IMAGES, seed, train_images=recipe.train_images, validation_images=recipe.validation_images
    )
    told = Told(started(recipe, seed))
    optimizer = torch.optim.SGD(told.net.parameters(), lr=recipe.lr)
    for epoch in range(recipe.epochs):
        told.net.train()
        order = data.order(recipe.train_images, seed, epoch)
        steps = [descend(told.net, optimizer, part) for part in split.train[order].split(recipe.batch_size)]
        losses, right = zip(*steps, strict=True)
        told.online_train_loss.append(sum(losses) / recipe.train_images)
        told.online_train_accuracy.append(sum(right) / recipe.train_images)
        told.net.eval()
        told.validation_accuracy.append(score(told.net, split.validation)[1])
        told.test_accuracies.append(score(told.net, split.test)[1])
    return told
