"""What bnstudy is measured beside: recipes, a plain loop, and the textbook's own code."""

import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from bnstudy.errors import BnstudyError
from bnstudy.outcome import Outcome
from bnstudy.packs import Job, Result
from bnstudy.recipe import BN_LENET, Recipe
from bnstudy.training import data, machine


@dataclass(frozen=True)
class Case:
    """A recipe to measure with: what differs from BN-LeNet at batch 256, and how the packs are made."""

    changes: Mapping[str, Any] = field(default_factory=dict)
    shares_images: bool = True

    def recipe(self, epochs: int, sample: bool = False) -> Recipe:
        """Return the recipe for trials of that many epochs."""
        small = {"data": "sample", "train_images": 1600, "validation_images": 400} if sample else {}
        return BN_LENET.replace(epochs=epochs, **self.changes, **small)


CASES = {
    "bn-lenet": Case(),
    "own-images": Case(shares_images=False),
    "batch-128": Case({"batch_size": 128}),
    "no-norm": Case({"norm": "none"}),
    "padded": Case({"padding": 2}),
    "max-pool": Case({"pool": "max"}),
    "adam": Case({"optimizer": "adam"}),
    "dropout": Case({"dropout": 0.5}),
}


def plain_loop(job: Job, report: Callable[[int], None]) -> Result:
    """Train the first trial of a pack as a reader would, over one tensor in memory, validating each epoch.

    Its one outcome holds the validation accuracies.
    """
    machine.prepare(job.device)
    trial = job.pack.trials[0]
    recipe = trial.arm.recipe
    images = data.load(recipe.data, job.images)
    pixels, labels = data.batch(images, torch.arange(len(images.images)))
    sizes = {"train_images": recipe.train_images, "validation_images": recipe.validation_images}
    split = data.split(images, trial.seed, **sizes)
    net = textbook_lenet(recipe)
    optimizer = (torch.optim.Adam if recipe.optimizer == "adam" else torch.optim.SGD)(
        net.parameters(), recipe.lr
    )
    accuracies = []
    for epoch in range(recipe.epochs):
        net.train()
        order = split.train[data.order(len(split.train), trial.seed, epoch)]
        for index in torch.split(order, recipe.batch_size):
            optimizer.zero_grad()
            torch.autograd.backward(F.cross_entropy(net(pixels[index]), labels[index]))
            optimizer.step()
        net.eval()
        with torch.no_grad():
            right = [
                (net(pixels[index]).argmax(1) == labels[index]).sum().item()
                for index in torch.split(split.validation, recipe.batch_size)
            ]
        accuracies.append(sum(right) / len(split.validation))
    return Result((Outcome(status="ok", validation_accuracy=tuple(accuracies)),), {})


def textbook_lenet(recipe: Recipe = BN_LENET) -> nn.Sequential:
    """Return the textbook's concise LeNet (d2l 7.6 and 8.5.5) of a case, for one trial."""

    def norm(channels: int, kind: type[nn.Module]) -> nn.Module:
        return nn.Identity() if recipe.norm == "none" else kind(channels)

    pool = nn.MaxPool2d if recipe.pool == "max" else nn.AvgPool2d
    side = 5 if recipe.padding else 4
    return nn.Sequential(
        *(nn.Conv2d(1, 6, 5, padding=recipe.padding), norm(6, nn.BatchNorm2d), nn.Sigmoid(), pool(2)),
        *(nn.Conv2d(6, 16, 5), norm(16, nn.BatchNorm2d), nn.Sigmoid(), pool(2), nn.Flatten()),
        *(nn.Linear(16 * side**2, 120), norm(120, nn.BatchNorm1d), nn.Sigmoid(), nn.Dropout(recipe.dropout)),
        *(nn.Linear(120, 84), norm(84, nn.BatchNorm1d), nn.Sigmoid(), nn.Linear(84, 10)),
    )


def d2l_rate(images: Path, epochs: int, case: str) -> float:
    """Run `d2l`'s own `train_ch6` end to end in a fresh process, and return its rate."""
    return float(_of_d2l("-m", "bnstudy.commands.textbook", str(images), str(epochs), case).split()[-1])


def check_d2l() -> None:
    """Raise `BnstudyError` where `d2l` is installed and does not start, before others are measured for it."""
    _of_d2l("-c", "import d2l.torch")


def _of_d2l(*arguments: str) -> str:
    """Return what a fresh Python says."""
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip() or f"exit status {done.returncode}").splitlines()[-1]
        raise BnstudyError(f"d2l's own loop failed: {reason}. Mend or uninstall d2l, which is optional.")
    return done.stdout
