"""The published systems: 14 networks of five notebooks and notes on the textbook, as they were trained.

The number is the document's, the letter its place there. All train on 60,000 images for the test set to
stand in for validation, keep the biases in front of the normalization, leave pixels in [0, 1] and report
the last epoch of one run.
"""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bnstudy.recipe import BN_LENET, LENET, Recipe, momentum_of_old_weight

RUNS_FILE = Path(__file__).with_name("published_runs.csv")

_ALL_IMAGES: dict[str, Any] = {"train_images": 60_000, "validation_images": 0}
_FRAMEWORK = BN_LENET.replace(**_ALL_IMAGES)
# The textbook's batch_norm averages the variance that it divides by, the one with n, and calls 0.9 what it
# keeps of the old average; only S0a's, of the second edition, calls 0.1 the weight of the new batch.
_SCRATCH = _FRAMEWORK.replace(
    norm="batch_norm_scratch", running_variance="biased", momentum=momentum_of_old_weight(0.9)
)
_DEEP = Recipe(**_ALL_IMAGES, norm="none", activation="relu", pool="max", batch_size=128, dropout=0.5)
_SECOND_EDITION = {"lr": 0.1, "batch_size": 128}
_BY_ADAM = {"pool": "max", "init": "default", "optimizer": "adam", "lr": 0.001, "epochs": 5}

SYSTEMS: dict[str, Recipe] = {
    "S0a": _SCRATCH.replace(**_SECOND_EDITION, momentum=0.1),
    "S0b": _FRAMEWORK.replace(**_SECOND_EDITION),
    "S1a": _SCRATCH.replace(**_BY_ADAM, running_start=0.0),
    "S1b": _FRAMEWORK.replace(**_BY_ADAM),
    # S2a tests inside its batch loop too, but its layer looks at `is_grad_enabled` and takes no notice.
    "S2a": _SCRATCH.replace(batch_size=128),
    "S2b": _FRAMEWORK.replace(batch_size=128, quirk="test_inside_epoch"),
    "S3a": _SCRATCH.replace(drop_last=True),
    "S3b": _FRAMEWORK.replace(drop_last=True),
    "S4a": LENET.replace(**_ALL_IMAGES),
    # The notes print one result below both layers; the scratch one, the first, is taken for its source.
    "S4b": _SCRATCH,
    "S4c": _DEEP.replace(net="alexnet", image_size=224, lr=0.01),
    "S4d": _DEEP.replace(net="vgg11", image_size=224, lr=0.05),
    "S4e": _DEEP.replace(net="nin", image_size=224, lr=0.1),
    "S4f": _DEEP.replace(net="googlenet", image_size=96, lr=0.1, dropout=0.0),
}
"""A recipe for each published system, by its name. S4d is VGG-11 with a quarter of the channels."""

LENETS = tuple(name for name, recipe in SYSTEMS.items() if recipe.net == "lenet")
"""The systems that train in minutes on a CPU."""


@dataclass(frozen=True)
class Recorded:
    """What a source printed of its last epoch; `None` where nothing was: S0 ran out of memory, S2 was not
    run, and S4a, S4c and S4e are pictures only."""

    loss: float | None = None
    """Online training loss: the average over the epoch while the weights move; so is the accuracy."""
    train_accuracy: float | None = None
    test_accuracy: float | None = None


_PRINTED = {
    "S1a": Recorded(0.3047, 0.894, 0.846),
    "S1b": Recorded(0.3096, 0.892, 0.873),
    "S3a": Recorded(0.268, 0.902, 0.872),
    "S3b": Recorded(0.264, 0.902, 0.882),
    "S4b": Recorded(0.264, 0.902, 0.830),
    "S4d": Recorded(0.177, 0.933, 0.911),
    "S4f": Recorded(0.256, 0.903, 0.886),
}
RECORDED: dict[str, Recorded] = {name: _PRINTED.get(name, Recorded()) for name in SYSTEMS}
"""What was published of each system."""


@dataclass(frozen=True)
class PublishedRun:
    """One published run of the textbook's recipe (lr 1, batch 256, 10 epochs): three decimals each."""

    source: str
    implementation: str
    """`scratch`, `framework` or `not said`."""
    train_loss: float
    train_accuracy: float
    test_accuracy: float


def published_runs() -> tuple[PublishedRun, ...]:
    """Return the 16 single runs of one recipe that were found in print, in the order of the file."""
    lines = RUNS_FILE.read_text(encoding="utf-8").splitlines()
    rows = csv.DictReader(line for line in lines if not line.startswith("#"))
    return tuple(
        PublishedRun(
            row["source"],
            row["implementation"],
            float(row["train_loss"]),
            float(row["train_accuracy"]),
            float(row["test_accuracy"]),
        )
        for row in rows
    )
