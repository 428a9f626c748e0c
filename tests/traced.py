"""Trainings of a pack with what each trial starts and ends with: parameters and running statistics."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
import solo
from torch import Tensor, nn

from bnstudy.outcome import Outcome
from bnstudy.recipe import Recipe
from bnstudy.training import data, evaluate, nets, train

IMAGES = replace(solo.IMAGES, images=solo.IMAGES.images[:2016], labels=solo.IMAGES.labels[:2016])
"""The sample with 16 test images."""
Values = dict[str, Tensor]


@dataclass
class Trial:
    """One trial of a pack: its tensors by name, in the shapes of a single network."""

    outcome: Outcome
    before: Values
    after: Values


def run(
    recipes: Sequence[Recipe],
    seeds: Sequence[int],
    monkeypatch: pytest.MonkeyPatch,
    *,
    fused: bool = False,
    images: data.ImageSet = IMAGES,
) -> list[Trial]:
    """Train a pack, each trial on its own images, and return its trials.

    What is measured on training images at the end uses 16 of them.
    """
    kept: list[tuple[nn.Module, list[Values]]] = []
    original = nets.build

    def build(*args: Any, **options: Any) -> Any:
        net = original(*args, **options)
        kept.append((net, [of_trial(net, k) for k in range(len(recipes))]))
        return net

    with monkeypatch.context() as patch:
        patch.setattr(nets, "build", build)
        patch.setattr(evaluate, "FIXED_TRAINING_IMAGES", 16)
        outcomes = train.train_pack(recipes, seeds, images, shares_images=False, fused=fused)
    ((net, before),) = kept
    return [Trial(outcome, before[k], of_trial(net, k)) for k, outcome in enumerate(outcomes)]


def of_trial(net: nn.Module, trial: int) -> Values:
    """Return copies of a trial's parameters and statistics; a layer's have no axis of trials any more."""
    shared = {name: value.detach().clone() for name, value in solo.tensors(net).items()}
    count = net.trials
    assert isinstance(count, int)
    shapes = {n: v.shape[1:] if v.shape[0] == count and v.dim() > 1 else (-1,) for n, v in shared.items()}
    return {name: value.view(count, -1)[trial].view(shapes[name]) for name, value in shared.items()}


def batches(recipe: Recipe, seed: int, epoch: int = 0) -> list[tuple[Tensor, Tensor]]:
    """Return pixels in [0, 1], float64 [images, 1, 28, 28], and labels of an epoch's batches."""
    split = data.split(
        IMAGES, seed, train_images=recipe.train_images, validation_images=recipe.validation_images
    )
    parts = split.train[data.order(recipe.train_images, seed, epoch)].split(recipe.batch_size)
    return [(IMAGES.images[part].double().unsqueeze(1) / 255, IMAGES.labels[part]) for part in parts]
