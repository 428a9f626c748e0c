"""Train a pack: many trials as one network, in one flat loop; files and processes are others' business."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor

from bnstudy import data, evaluate, nets, norms
from bnstudy.outcome import Outcome
from bnstudy.recipe import Recipe

LAST = 3
"""The test images are looked at after each of the last three epochs only."""

Report = Callable[[int], None]
"""Called now and then with the number of images trained since the last call, all trials together."""


@dataclass
class History:
    """What the epochs left behind, for each trial of the pack."""

    online: list[evaluate.Score] = field(default_factory=list)
    validation: list[evaluate.Score] = field(default_factory=list)
    test: list[evaluate.Score] = field(default_factory=list)
    diverged: list[tuple[int, str] | None] = field(default_factory=list)


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

    The recipes may differ in their learning rate alone; with `shares_images` the seeds are all the same
    and one batch serves every trial; `fused` is `nets.build`'s. A trial's numbers depend neither on its mates
    nor on its place.
    """
    recipe = recipes[0]
    with _flushing_denormals(recipe.flush_denormals):
        parts = _split(recipe, seeds, images, shares_images, device)
        net = nets.build(recipes, seeds, fused=fused).to(device)
        rates = torch.tensor([r.lr for r in recipes], dtype=nets.DTYPES[recipe.precision], device=device)
        history = History(diverged=[None] * len(recipes))
        for epoch in range(recipe.epochs):
            order = _order(len(parts.train), seeds, epoch, shares_images).to(device)
            index = parts.train[order] if shares_images else parts.train.gather(0, order)
            history.online.append(_train_epoch(net, images, index, recipe, rates, history, report))
            history.validation.append(evaluate.score(net, images, parts.validation))
            if epoch >= recipe.epochs - LAST:
                history.test.append(evaluate.score(net, images, parts.test))
        return _outcomes(net, images, parts, history)


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


def _train_epoch(
    net: nets.LeNet,
    images: data.ImageSet,
    index: Tensor,
    recipe: Recipe,
    rates: Tensor,
    history: History,
    report: Report,
) -> evaluate.Score:
    """Train through `index` once; return the averages over the epoch while the weights moved."""
    net.train()
    meter, parameters = evaluate.Meter(), list(net.parameters())
    finite = []
    for batch in torch.split(index, recipe.batch_size):
        entropy, right = evaluate.losses(net, images, batch)
        # Each trial's loss reaches its own parameters only, so the gradient of the sum is each one's own.
        gradients = torch.autograd.grad(entropy.mean(0).sum(), parameters)
        descend(parameters, gradients, rates)
        meter.add(entropy, right)
        finite.append(entropy.detach().isfinite().all(0))
        report(right.numel())
    _note_divergence(net, torch.stack(finite).cpu(), history)
    return meter.score()


@torch.no_grad()
def descend(parameters: Sequence[Tensor], gradients: Sequence[Tensor], rates: Tensor) -> None:
    """Step down the gradient in place, each trial by its own learning rate, float [K]."""
    for parameter, gradient in zip(parameters, gradients, strict=True):
        trials = parameter.view(len(rates), -1)
        trials.addcmul_(gradient.reshape(trials.shape), rates.unsqueeze(1), value=-1)


def _note_divergence(net: nets.LeNet, finite: Tensor, history: History) -> None:
    """Remember where each trial first stopped being finite; `finite` is bool [steps of the epoch, K]."""
    steps = len(finite)
    before = len(history.online) * steps
    tensors = evaluate.first_not_finite(net)
    for trial, known in enumerate(history.diverged):
        if known is None and not finite[:, trial].all():
            history.diverged[trial] = before + int(finite[:, trial].int().argmin()), "loss"
        elif known is None and (name := tensors[trial]) is not None:
            history.diverged[trial] = before + steps - 1, name


def _outcomes(net: nets.LeNet, images: data.ImageSet, parts: data.Split, history: History) -> list[Outcome]:
    """Measure what is measured after training, and put each trial's numbers together."""
    fixed = parts.train[: evaluate.FIXED_TRAINING_IMAGES]
    with norms.predict_with(net, "batch"):
        batch = evaluate.score(net, images, parts.test)
    train = evaluate.score(net, images, fixed)
    evaluate.pool_moments(net, images, fixed)
    with norms.precise_statistics(net):
        precise_train = evaluate.score(net, images, fixed)
        precise_test = evaluate.score(net, images, parts.test)
    tensors = evaluate.first_not_finite(net)
    outcomes = []
    for k, diverged in enumerate(history.diverged):
        validation = tuple(float(s.accuracy[k]) for s in history.validation)
        tests = tuple(float(s.accuracy[k]) for s in history.test)
        outcomes.append(
            Outcome(
                status="ok" if diverged is None else "diverged",
                diverged_at=diverged[0] if diverged else None,
                diverged_in=diverged[1] if diverged else None,
                online_train_loss=tuple(_number(s.loss[k]) for s in history.online),
                online_train_accuracy=tuple(float(s.accuracy[k]) for s in history.online),
                validation_accuracy=validation,
                last_test_accuracies=tests,
                test_accuracy=tests[-1],
                precise_test_accuracy=float(precise_test.accuracy[k]),
                batch_test_accuracy=float(batch.accuracy[k]),
                mean_test_accuracy=sum(tests) / len(tests),
                train_loss=_number(train.loss[k]),
                train_accuracy=float(train.accuracy[k]),
                precise_train_loss=_number(precise_train.loss[k]),
                precise_train_accuracy=float(precise_train.accuracy[k]),
                epochs_to_85=next((e for e, a in enumerate(validation, 1) if a >= 0.85), None),
                validation_area=sum(validation) / len(validation),
                finite=tensors[k] is None,
                weight_norms={n: _number(v) for n, v in evaluate.weight_norms(net, k).items()},
            )
        )
    return outcomes


def _number(value: Tensor | float) -> float | None:
    """Return a finite number, or `None`."""
    return float(value) if math.isfinite(value) else None
