"""What is measured besides, at a cost: the probes that a recipe names, and the checks that need none."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from bnstudy import packs, seeds
from bnstudy.checks import BATCH_NORMS
from bnstudy.recipe import Recipe
from bnstudy.training import data, evaluate, nets, norms, optim
from bnstudy.training.layers import PackedLinear
from bnstudy.training.watchers import BiasGradient, GradientBelow, GradientRatio, Numbers, Shift, Watcher

CENTERED = ("batch_norm", "batch_norm_scratch", "mean_only", "whitening")
"""Normalizations that take the mean of their own batch away, and with it a bias in front of them."""

NOISES = {"noise_accuracy": 0.1, "strong_noise_accuracy": 0.3}
"""Standard deviations of the noise on pixels in [0, 1], by what is measured under it."""

FGSM_STEP = 8 / 255


def watchers(net: nets.PackedNet, images: data.ImageSet, recipe: Recipe) -> list[Watcher]:
    """Return what watches a training of this recipe; by itself, a bias in front of a batch normalization and
    what a batch of one leaves of the gradient."""
    names = [name for name, _ in optim.trained(net, recipe)]
    found: list[Watcher] = []
    if recipe.norm in CENTERED and (pairs := _biased(net, names)):
        found.append(BiasGradient(net.trials, pairs))
    site = _first_linear_norm(net) if recipe.batch_size == 1 and recipe.norm in BATCH_NORMS else None
    if site and (below := _below(names, site)):
        found.append(GradientBelow(net.trials, site, below))
    return found + [PROBES[name](net, images, recipe) for name in recipe.probes.split(",") if name]


def _biased(net: nets.PackedNet, names: Sequence[str]) -> list[tuple[int, int]]:
    """Return the places among `names` of weight and bias of each layer that is normalized as it is."""
    both = [(f"{layer}.weight", f"{layer}.bias") for layer in net.normalized]
    return [(names.index(w), names.index(b)) for w, b in both if w in names and b in names]


def _first_linear_norm(net: nets.PackedNet) -> str | None:
    """Return the first normalized site of a linear layer."""
    linear = [name for name, layer in net.named_modules() if isinstance(layer, PackedLinear)]
    present = {name for name, layer in net.named_modules() if not isinstance(layer, nn.Identity)}
    return next((name for name in linear if f"{name}_norm" in present), None)


def _below(names: Sequence[str], site: str) -> list[int]:
    """Return the places of the parameters in front of a site's normalization."""
    end = next((i for i, name in enumerate(names) if name.startswith(f"{site}_norm.")), len(names))
    return list(range(end))


class Averages(Watcher):
    """Predicting with other averages: of the moments, with several memories, and of the last epoch's weights.

    `batch_disagreement` is the share of test images that the network classifies differently in two divisions
    into batches, each normalized with its own moments.
    """

    def __init__(self, net: nets.PackedNet, images: data.ImageSet, recipe: Recipe) -> None:
        norms.tracking(net)
        self.net, self.images, self.count = net, images, 0
        self.begin = packs.steps(recipe) - packs.steps_of_epoch(recipe, packs.epochs(recipe) - 1)
        self.sums = [torch.zeros_like(p, dtype=torch.float64) for p in net.parameters()]

    @torch.no_grad()
    def after(self, step: int, batch: Tensor) -> None:
        """Add the weights of a step of the last epoch."""
        if step >= self.begin:
            self.count += 1
            for total, parameter in zip(self.sums, self.net.parameters(), strict=True):
                total.add_(parameter)

    def tracked(self, parts: data.Split) -> Numbers:
        """Return the test accuracy by the name of the averages."""
        found = {}
        for name in norms.TRACKED:
            with norms.predict_with_tracked(self.net, name):
                found[name] = evaluate.score(self.net, self.images, parts.test).accuracy
        with self._averaged_weights():
            evaluate.pool_moments(self.net, self.images, parts.train[: evaluate.FIXED_TRAINING_IMAGES])
            with norms.precise_statistics(self.net):
                found["averaged weights"] = evaluate.score(self.net, self.images, parts.test).accuracy
        return found

    @contextmanager
    def _averaged_weights(self) -> Iterator[None]:
        """Give the network the mean weights inside the block."""
        parameters = list(self.net.parameters())
        before = [p.detach().clone() for p in parameters]
        with torch.no_grad():
            for parameter, total in zip(parameters, self.sums, strict=True):
                parameter.copy_(total / self.count)
        try:
            yield
        finally:
            with torch.no_grad():
                for parameter, old in zip(parameters, before, strict=True):
                    parameter.copy_(old)

    def checks(self, parts: data.Split) -> Numbers:
        """Return `batch_disagreement`."""
        count = len(parts.test)
        generator = torch.Generator().manual_seed(seeds.stream(0, "order", "batch_disagreement"))
        other = torch.randperm(count, generator=generator)
        with norms.predict_with(self.net, "batch"):
            first, second = (self._classes(parts.test[order]) for order in (torch.arange(count), other))
        return {"batch_disagreement": (first[other] != second).double().mean(0)}

    @torch.no_grad()
    def _classes(self, index: Tensor) -> Tensor:
        """Return the predicted classes, int64 [n, K], on the CPU."""
        self.net.eval()
        size = evaluate.BATCH + (len(index) % evaluate.BATCH == 1)
        chunks = [evaluate.batch(self.net, self.images, part)[0] for part in torch.split(index, size)]
        return torch.cat([self.net(pixels).argmax(2) for pixels in chunks]).cpu()


class Corruption(Watcher):
    """Accuracy on test images that are corrupted: by noise, the same for all trials and seeds, and by a step
    of 8/255 up the sign of the loss's gradient (FGSM, Goodfellow et al. 2015), each trial's own."""

    def __init__(self, net: nets.PackedNet, images: data.ImageSet, recipe: Recipe) -> None:
        self.net, self.images = net, images

    def checks(self, parts: data.Split) -> Numbers:
        """Return `noise_accuracy`, `strong_noise_accuracy` and `fgsm_accuracy`."""
        self.net.eval()
        found = {name: self._score(parts.test, self._noisy(deviation)) for name, deviation in NOISES.items()}
        return found | {"fgsm_accuracy": self._score(parts.test, self._stepped)}

    def _score(self, index: Tensor, corrupt: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        meter = evaluate.Meter()
        for part in torch.split(index, evaluate.BATCH):
            pixels, labels = evaluate.batch(self.net, self.images, part)
            corrupted = corrupt(pixels, labels)
            with torch.no_grad():
                meter.add(*evaluate.losses_of(self.net, corrupted, labels))
        return meter.score().accuracy

    def _noisy(self, deviation: float) -> Callable[[Tensor, Tensor], Tensor]:
        generator = torch.Generator().manual_seed(seeds.stream(0, "noise", "corruption"))

        def corrupt(pixels: Tensor, labels: Tensor) -> Tensor:
            noise = torch.randn(pixels.shape, generator=generator).to(pixels.device, pixels.dtype)
            return (pixels + deviation * noise).clamp_(0, 1)

        return corrupt

    def _stepped(self, pixels: Tensor, labels: Tensor) -> Tensor:
        own = pixels.expand(-1, self.net.trials, -1, -1).contiguous().requires_grad_()
        entropy, _ = evaluate.losses_of(self.net, own, labels)
        (gradient,) = torch.autograd.grad(entropy.sum(), own)
        return (own + FGSM_STEP * gradient.sign()).detach().clamp_(0, 1)


def _ratio(net: nets.PackedNet, images: data.ImageSet, recipe: Recipe) -> GradientRatio:
    return GradientRatio(net, [name for name, _ in optim.trained(net, recipe)], packs.steps(recipe))


PROBES: dict[str, Callable[[nets.PackedNet, data.ImageSet, Recipe], Watcher]] = {
    "averages": Averages,
    "shift": Shift,
    "gradients": _ratio,
    "corruption": Corruption,
}
