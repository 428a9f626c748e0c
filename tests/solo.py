"""One network of the framework's parts alone, trained by a plain loop: what packs are held against."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bnstudy import seeds
from bnstudy.recipe import Recipe
from bnstudy.training import data, nets

SAMPLE = data.load("sample")
IMAGES = replace(SAMPLE, images=SAMPLE.images[:2120], labels=SAMPLE.labels[:2120])
"""The sample with 120 test images."""
HIDDEN = 4096  # units of a linear layer of AlexNet and VGG
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


class Dropping(nn.Module):
    """Dropout by the stream of a seed and a place: the n-th batch has its own draws, on the CPU."""

    def __init__(self, share: float, place: str, seed: int) -> None:
        super().__init__()
        self.share, self.place, self.seed, self.batch = share, place, seed, 0

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        generator = torch.Generator()
        generator.manual_seed(seeds.stream(self.seed, "dropout", self.place, self.batch))
        self.batch += 1
        uniform = torch.rand(x.shape, generator=generator)
        return torch.where(uniform < self.share, 0, x / (1 - self.share))


class Sum(nn.Module):
    """A layer's output, scaled or not, added to its input."""

    def __init__(self, branch: nn.Module) -> None:
        super().__init__()
        self.branch = branch

    def forward(self, x: Tensor) -> Tensor:
        added: Tensor = x + self.branch(x)
        return added


class Scale(nn.Module):
    """A learned number that starts at 0."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * x


class Side(nn.Module):
    """Paths side by side, one channel after the other."""

    def __init__(self, *paths: nn.Module) -> None:
        super().__init__()
        self.paths = nn.ModuleList(paths)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([path(x) for path in self.paths], dim=1)


ACTIVATIONS = {"sigmoid": nn.Sigmoid, "relu": nn.ReLU, "tanh": nn.Tanh}
POOLS = {"avg": nn.AvgPool2d, "max": nn.MaxPool2d}


def norm_of(recipe: Recipe, channels: int, kind: type[nn.Module]) -> nn.Module:
    if recipe.norm in ("none", "affine"):
        return Affine(channels) if recipe.norm == "affine" else nn.Identity()
    return kind(channels, eps=recipe.eps, momentum=recipe.momentum)


def network(recipe: Recipe, seed: int = 0) -> nn.Sequential:
    """Return the recipe's network in float64, its parameters in the order that the pack has them."""
    kind = {"lenet": _lenet, "stack": _stack}.get(recipe.net, _published)
    return kind(recipe, seed).double()


def _lenet(recipe: Recipe, seed: int) -> nn.Sequential:
    """Return a LeNet, its tensors named as the pack names them."""
    net = nn.Sequential()
    sites = recipe.norm_sites if recipe.norm != "none" else ()
    before = recipe.norm_place == "before"

    def add(
        site: str, layer: type[nn.Module], inputs: int, outputs: int, *kernel: int, last: bool = False
    ) -> None:
        convolution = layer is nn.Conv2d
        redundant = site in sites and (before or last) and not recipe.bias_before_norm
        named = {"padding": recipe.padding if site == "conv1" else 0} if convolution else {}
        net.add_module(site, layer(inputs, outputs, *kernel, bias=not redundant, **named))
        norm = norm_of(recipe, outputs, nn.BatchNorm2d if convolution else nn.BatchNorm1d)
        steps = [] if last else [("", ACTIVATIONS[recipe.activation]())]
        steps += [("", POOLS[recipe.pool](2))] if convolution else []
        if site in sites:
            place = 0 if last else {"before": 0, "after": 1, "after_pool": len(steps)}[recipe.norm_place]
            steps.insert(place, (f"{site}_norm", norm))
        for name, module in steps:
            net.add_module(name or str(len(net)), module)
        if recipe.dropout and site == {"before_norm": "fc1", "after_norms": "fc2"}[recipe.dropout_at]:
            net.append(Dropping(recipe.dropout, site, seed))

    if "input" in sites:
        net.add_module("input_norm", norm_of(recipe, 1, nn.BatchNorm2d))
    side = ((recipe.image_size + 2 * recipe.padding - 4) // 2 - 4) // 2
    add("conv1", nn.Conv2d, 1, 6, 5)
    add("conv2", nn.Conv2d, 6, 16, 5)
    net.append(nn.Flatten())
    add("fc1", nn.Linear, 16 * side * side, 120)
    add("fc2", nn.Linear, 120, 84)
    add("fc3", nn.Linear, 84, 10, last=True)
    return net


def _stack(recipe: Recipe, seed: int) -> nn.Sequential:
    """Return a stack: activation and normalization in front of each layer but the first."""
    net, inputs, width = nn.Sequential(nn.Flatten()), recipe.image_size**2, recipe.width
    bias = recipe.norm == "none" or recipe.bias_before_norm
    for number in range(recipe.depth):
        layer: nn.Module = nn.Linear(inputs, width, bias=bias)
        if number:
            scale = [Scale()] if recipe.skip == "skipinit" else []
            layer = nn.Sequential(*_activated(recipe, width), layer, *scale)
        net.append(Sum(layer) if number and recipe.skip != "none" else layer)
        inputs = width
    net.extend([*_activated(recipe, width), nn.Linear(width, 10)])
    return net


def _activated(recipe: Recipe, width: int) -> list[nn.Module]:
    return [norm_of(recipe, width, nn.BatchNorm1d), ACTIVATIONS[recipe.activation]()]


def _published(recipe: Recipe, seed: int) -> nn.Sequential:
    """Return AlexNet, VGG-11, NiN or GoogLeNet, layer by layer."""

    def conv(inputs: int, outputs: int, kernel: int, stride: int = 1, padding: int = 0) -> nn.Sequential:
        bias = recipe.norm == "none" or recipe.bias_before_norm
        return nn.Sequential(
            nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=bias),
            norm_of(recipe, outputs, nn.BatchNorm2d),
            ACTIVATIONS[recipe.activation](),
        )

    def pool(kernel: int = 3, stride: int = 2, padding: int = 0) -> nn.Module:
        return POOLS[recipe.pool](kernel, stride, padding)

    def drop(place: int) -> nn.Module:
        return Dropping(recipe.dropout, f"parts.{place}", seed)

    def head(first: int) -> list[nn.Module]:
        outputs = HIDDEN
        layers = [nn.Flatten(), nn.LazyLinear(outputs), ACTIVATIONS[recipe.activation](), drop(first)]
        layers += [nn.Linear(outputs, outputs), ACTIVATIONS[recipe.activation](), drop(first + 1)]
        return [*layers, nn.Linear(outputs, 10)]

    def nin(inputs: int, outputs: int, *shape: int) -> nn.Module:
        return nn.Sequential(
            conv(inputs, outputs, *shape), conv(outputs, outputs, 1), conv(outputs, outputs, 1)
        )

    def inception(inputs: int, a: int, b: tuple[int, int], c: tuple[int, int], d: int) -> nn.Module:
        return Side(
            conv(inputs, a, 1),
            nn.Sequential(conv(inputs, b[0], 1), conv(b[0], b[1], 3, 1, 1)),
            nn.Sequential(conv(inputs, c[0], 1), conv(c[0], c[1], 5, 1, 2)),
            nn.Sequential(pool(3, 1, 1), conv(inputs, d, 1)),
        )

    average = [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    nets: dict[str, Callable[[], list[nn.Module]]] = {
        "alexnet": lambda: [
            *(conv(1, 96, 11, 4, 1), pool(), conv(96, 256, 5, 1, 2), pool(), conv(256, 384, 3, 1, 1)),
            *(conv(384, 384, 3, 1, 1), conv(384, 256, 3, 1, 1), pool(), *head(8)),
        ],
        "vgg11": lambda: [
            *(conv(1, 16, 3, 1, 1), pool(2), conv(16, 32, 3, 1, 1), pool(2)),
            *(conv(32, 64, 3, 1, 1), conv(64, 64, 3, 1, 1), pool(2)),
            *(conv(64, 128, 3, 1, 1), conv(128, 128, 3, 1, 1), pool(2)),
            *(conv(128, 128, 3, 1, 1), conv(128, 128, 3, 1, 1), pool(2), *head(13)),
        ],
        "nin": lambda: [
            *(nin(1, 96, 11, 4), pool(), nin(96, 256, 5, 1, 2), pool(), nin(256, 384, 3, 1, 1), pool()),
            *(drop(12), nin(384, 10, 3, 1, 1), *average),
        ],
        "googlenet": lambda: [
            *(conv(1, 64, 7, 2, 3), pool(3, 2, 1), conv(64, 64, 1), conv(64, 192, 3, 1, 1), pool(3, 2, 1)),
            inception(192, 64, (96, 128), (16, 32), 32),
            inception(256, 128, (128, 192), (32, 96), 64),
            pool(3, 2, 1),
            inception(480, 192, (96, 208), (16, 48), 64),
            inception(512, 160, (112, 224), (24, 64), 64),
            inception(512, 128, (128, 256), (24, 64), 64),
            inception(512, 112, (144, 288), (32, 64), 64),
            inception(528, 256, (160, 320), (32, 128), 128),
            pool(3, 2, 1),
            inception(832, 256, (160, 320), (32, 128), 128),
            inception(832, 384, (192, 384), (48, 128), 128),
            *(*average, drop(16), nn.Linear(1024, 10)),
        ],
    }
    net = nn.Sequential(*nets[recipe.net]())
    net.eval()(torch.zeros(1, 1, recipe.image_size, recipe.image_size))  # what the lazy layer sees
    return net.train()


def started(recipe: Recipe, seed: int) -> nn.Sequential:
    """Return the network with the initial values that a pack gives this seed."""
    pack = nets.build([recipe] * 2, (seed, seed))
    net = network(recipe, seed)
    with torch.no_grad():
        for ours, value in zip(pack.parameters(), net.parameters(), strict=True):
            value.copy_(nets.of_trial(pack, ours, 0).view(value.shape))
    return net


def tensors(net: nn.Module) -> dict[str, Tensor]:
    """Return parameters and running statistics by name; the framework's count of batches is neither."""
    named = dict(net.named_parameters()) | dict(net.named_buffers())
    return {name: value for name, value in named.items() if not name.endswith("num_batches_tracked")}


def pixels(index: Tensor, size: int = 28) -> Tensor:
    """Return float64 [n, 1, size, size]; what is resized is rounded to the 256 shades again."""
    shades = IMAGES.images[index].double().unsqueeze(1)
    if size != 28:
        shades = F.interpolate(shades, (size, size), mode="bilinear", align_corners=False).round()
    return shades / 255


def optimizer_of(recipe: Recipe, net: nn.Module) -> torch.optim.Optimizer:
    kind = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[recipe.optimizer]
    return kind(net.parameters(), lr=recipe.lr)


def descend(
    net: nn.Module, optimizer: torch.optim.Optimizer, index: Tensor, size: int = 28
) -> tuple[float, int]:
    """Take one step; return the sum of the losses and the number of right predictions before it."""
    optimizer.zero_grad()
    logits, labels = net(pixels(index, size)), IMAGES.labels[index]
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
    first_losses: list[float] = field(default_factory=list)
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
    optimizer, taken = optimizer_of(recipe, told.net), 0
    for epoch in range(recipe.epochs):
        told.net.train()
        order = data.order(recipe.train_images, seed, epoch)
        parts = split.train[order].split(recipe.batch_size)
        if recipe.drop_last:
            parts = [part for part in parts if len(part) == recipe.batch_size]
        parts = parts[: recipe.updates - taken] if recipe.updates else parts
        taken += len(parts)
        steps = [descend(told.net, optimizer, part) for part in parts]
        losses, right = zip(*steps, strict=True)
        told.first_losses += [loss / len(part) for loss, part in zip(losses, parts, strict=True)]
        told.online_train_loss.append(sum(losses) / sum(map(len, parts)))
        told.online_train_accuracy.append(sum(right) / sum(map(len, parts)))
        told.net.eval()
        told.validation_accuracy.append(score(told.net, split.validation)[1])
        told.test_accuracies.append(score(told.net, split.test)[1])
        if taken == recipe.updates:
            break
    return told
