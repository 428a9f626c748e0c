"""What is measured after training, and the outcome of each trial that it makes."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from bnstudy.outcome import Outcome
from bnstudy.training import data, evaluate, nets, norms
from bnstudy.training.watchers import Numbers, Watcher

FIRST = 20
"""Steps whose losses are kept: another machine reproduces no more, since rounding grows to the noise between
seeds."""


class History:
    """What the epochs left behind, for each trial of the pack."""

    def __init__(self, trials: int) -> None:
        self.online: list[evaluate.Score] = []
        self.validation: list[evaluate.Score] = []
        self.test: list[evaluate.Score] = []
        self.diverged: list[tuple[int, str] | None] = [None] * trials
        self.first: list[Tensor] = []
        self.steps = 0

    def note(self, losses: Tensor) -> None:
        """Count a step; keep its mean losses, [K] on the device, if it is one of the first."""
        if self.steps < FIRST:
            self.first.append(losses)
        self.steps += 1


def outcomes(
    net: nets.PackedNet,
    images: data.ImageSet,
    parts: data.Split,
    history: History,
    watchers: Sequence[Watcher],
) -> list[Outcome]:
    """Measure what is measured after training, and put each trial's numbers together."""
    fixed = parts.train[: evaluate.FIXED_TRAINING_IMAGES]
    with norms.predict_with(net, "batch"):
        batch = evaluate.score(net, images, parts.test)
    train = evaluate.score(net, images, fixed)
    evaluate.pool_moments(net, images, fixed)
    with norms.precise_statistics(net):
        precise_train = evaluate.score(net, images, fixed)
        precise_test = evaluate.score(net, images, parts.test)
    tracked, checks = _seen(watchers, parts)
    first = torch.stack(history.first).cpu()
    tensors = evaluate.first_not_finite(net)
    return [
        Outcome(
            **_course(history, k),
            precise_test_accuracy=float(precise_test.accuracy[k]),
            batch_test_accuracy=float(batch.accuracy[k]),
            train_loss=_number(train.loss[k]),
            train_accuracy=float(train.accuracy[k]),
            precise_train_loss=_number(precise_train.loss[k]),
            precise_train_accuracy=float(precise_train.accuracy[k]),
            finite=tensors[k] is None,
            weight_norms={n: _number(v) for n, v in evaluate.weight_norms(net, k).items()},
            first_losses=tuple(_number(loss) for loss in first[:, k]),
            tracked_test_accuracy={n: float(v[k]) for n, v in tracked.items()} or None,
            checks={n: _number(v[k]) for n, v in checks.items()} or None,
        )
        for k in range(net.trials)
    ]


def _seen(watchers: Sequence[Watcher], parts: data.Split) -> tuple[Numbers, Numbers]:
    """Return accuracies with other averages, and checks, of all watchers."""
    tracked: Numbers = {}
    checks: Numbers = {}
    for watcher in watchers:
        tracked |= watcher.tracked(parts)
        checks |= watcher.checks(parts)
    return tracked, checks


def _course(history: History, k: int) -> dict[str, Any]:
    """Return what one trial's epochs tell."""
    validation = tuple(float(s.accuracy[k]) for s in history.validation)
    tests = tuple(float(s.accuracy[k]) for s in history.test)
    diverged = history.diverged[k]
    return {
        "status": "ok" if diverged is None else "diverged",
        "diverged_at": diverged[0] if diverged else None,
        "diverged_in": diverged[1] if diverged else None,
        "online_train_loss": tuple(_number(s.loss[k]) for s in history.online),
        "online_train_accuracy": tuple(float(s.accuracy[k]) for s in history.online),
        "validation_accuracy": validation,
        "last_test_accuracies": tests,
        "test_accuracy": tests[-1],
        "mean_test_accuracy": sum(tests) / len(tests),
        "epochs_to_85": next((e for e, a in enumerate(validation, 1) if a >= 0.85), None),
        "validation_area": sum(validation) / len(validation),
    }


def _number(value: Tensor | float) -> float | None:
    """Return a finite number, or `None`."""
    return float(value) if math.isfinite(value) else None
