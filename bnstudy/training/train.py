"""Train a pack: many trials as one network, in one flat loop; files and processes are others' business."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from bnstudy import packs
from bnstudy.outcome import Outcome
from bnstudy.recipe import Recipe
from bnstudy.training import data, evaluate, measure, nets, optim, probes, quirks
from bnstudy.training.watchers import Watcher

LAST = 3
"""The test images are looked at after each of the last three epochs only."""

Report = Callable[[int], None]
"""Called now and then with the number of images trained since the last call, all trials together."""


@dataclass
class Run:
    """A pack in training: what an epoch needs, and what it leaves behind."""

    net: nets.PackedNet
    images: data.ImageSet
    recipe: Recipe
    optimizer: optim.Optimizer
    watchers: list[Watcher]
    history: measure.History
    report: Report


def train_pack(
    recipes: Sequence[Recipe],
    seeds: Sequence[int],
    images: data.ImageSet,
    *,
    shares_images: bool,
    device: str = "cpu",
    fused: bool = False,
    report: Report = lambda images: None,
) -> list[Outcome]:
    """Return the outcome of each trial, recipe k trained from seed k on `device`, where `images` are.

    The recipes may differ in `packs.PER_TRIAL` alone; with `shares_images` the seeds are all the same
    and one batch serves every trial; `fused` is `nets.build`'s. A trial's numbers depend neither on its mates
    nor on its place.
    """
    recipe = recipes[0]
    with _flushing_denormals(recipe.flush_denormals):
        parts = _split(recipe, seeds, images, shares_images, device)
        net = nets.build(recipes, seeds, fused=fused).to(device)
        watchers, history = probes.watchers(net, images, recipe), measure.History(len(recipes))
        run = Run(net, images, recipe, optim.build(net, recipes), watchers, history, report)
        epochs = packs.epochs(recipe)
        for epoch in range(epochs):
            order = _order(len(parts.train), seeds, epoch, shares_images).to(device)
            index = parts.train[order] if shares_images else parts.train.gather(0, order)
            history.online.append(_train_epoch(run, index))
            history.validation.append(evaluate.score(net, images, parts.validation))
            if epoch >= epochs - LAST:
                history.test.append(evaluate.score(net, images, parts.test))
        return measure.outcomes(net, images, parts, history, watchers)


@contextmanager
def _flushing_denormals(flush: bool) -> Iterator[None]:
    """Take denormal numbers for zero inside the block, where that is asked; never after it."""
    torch.set_flush_denormal(flush)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def _split(
    recipe: Recipe, seeds: Sequence[int], images: data.ImageSet, shares_images: bool, device: str
) -> data.Split:
    """Return indices on the device: [n] where the images are shared, [n, K] where each trial has its own.

    The test images are the same for all, and so are validation images that stand in for them.
    """
    sizes = {"train_images": recipe.train_images, "validation_images": recipe.validation_images}
    each = [data.split(images, seed, **sizes) for seed in (seeds[:1] if shares_images else seeds)]
    train = torch.stack([split.train for split in each], dim=1)
    validation = torch.stack([split.validation for split in each], dim=1)
    if shares_images:
        train = train.squeeze(1)
    if shares_images or not recipe.validation_images:
        validation = validation[:, 0]
    return data.Split(train.to(device), validation.to(device), each[0].test.to(device))


def _order(count: int, seeds: Sequence[int], epoch: int, shares_images: bool) -> Tensor:
    """Return the positions of an epoch, [count] or [count, K]."""
    if shares_images:
        return data.order(count, seeds[0], epoch)
    return torch.stack([data.order(count, seed, epoch) for seed in seeds], dim=1)


def _train_epoch(run: Run, index: Tensor) -> evaluate.Score:
    """Train through `index` once; return the averages over the epoch while the weights moved."""
    net, recipe, history = run.net.train(), run.recipe, run.history
    meter, finite, begun = evaluate.Meter(), [], history.steps
    for batch in torch.split(index, recipe.batch_size)[: packs.steps_of_epoch(recipe, len(history.online))]:
        entropy, right = evaluate.losses(net, run.images, batch)
        # Each trial's loss reaches its own parameters only, so the gradient of the sum is each one's own.
        gradients = torch.autograd.grad(entropy.mean(0).sum(), run.optimizer.parameters)
        for watcher in run.watchers:
            watcher.before(history.steps, batch, gradients)
        run.optimizer.step(gradients)
        for watcher in run.watchers:
            watcher.after(history.steps, batch)
        if recipe.quirk:
            quirks.AFTER_STEP[recipe.quirk](net)
        history.note(meter.add(entropy, right))
        finite.append(entropy.detach().isfinite().all(0))
        run.report(right.numel())
    _note_divergence(net, torch.stack(finite).cpu(), begun, history)
    return meter.score()


def _note_divergence(net: nets.PackedNet, finite: Tensor, begun: int, history: measure.History) -> None:
    """Remember where each trial first stopped being finite; `finite` is bool [steps of the epoch, K], the
    first of them step `begun`."""
    tensors = evaluate.first_not_finite(net)
    for trial, known in enumerate(history.diverged):
        if known is None and not finite[:, trial].all():
            history.diverged[trial] = begun + int(finite[:, trial].int().argmin()), "loss"
        elif known is None and (name := tensors[trial]) is not None:
            history.diverged[trial] = begun + len(finite) - 1, name
