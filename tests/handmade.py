"""Records made by hand, whose truth is known: what the books and the judge read, without a training."""

import math
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from bnstudy.books.ledger import Ledger, Record
from bnstudy.design import Ablation, Factor, Level, across
from bnstudy.outcome import Outcome
from bnstudy.recipe import Recipe

Measured = Callable[[Mapping[str, str], int], Outcome | None]
"""From an arm's levels and a seed to the outcome, or None for a trial that is not recorded."""

SMALL = Recipe(data="sample", train_images=320, validation_images=100, batch_size=64, epochs=2)


def outcome(accuracy: float, *, validation: float | None = None, epochs: int = 2, **changes: Any) -> Outcome:
    """Return an outcome all of whose accuracies are this one."""
    final = accuracy if validation is None else validation
    curve = (*(round(final * (1 - 0.5**epoch * 0.3), 4) for epoch in range(1, epochs)), final)
    values: dict[str, Any] = {
        "status": "ok",
        "online_train_loss": (0.5,) * epochs,
        "online_train_accuracy": curve,
        "validation_accuracy": curve,
        "last_test_accuracies": (accuracy,) * min(3, epochs),
        "test_accuracy": accuracy,
        "precise_test_accuracy": accuracy,
        "batch_test_accuracy": accuracy,
        "mean_test_accuracy": accuracy,
        "train_loss": 0.5,
        "train_accuracy": accuracy,
        "precise_train_loss": 0.5,
        "precise_train_accuracy": accuracy,
        "validation_area": sum(curve) / len(curve),
        "finite": True,
        "weight_norms": {"fc.weight": 1.5},
    }
    return Outcome(**values | changes)


def diverged(epochs: int = 2) -> Outcome:
    """Return the outcome of a trial that stopped being finite: it guesses one class."""
    return outcome(
        0.1,
        epochs=epochs,
        status="diverged",
        diverged_at=7,
        diverged_in="loss",
        train_loss=None,
        finite=False,
    )


def crashed() -> Outcome:
    """Return what is recorded of a trial that raised an error."""
    return Outcome(status="crashed", reason="RuntimeError: out of luck, 3 times")


def two_arms(*claims: Any, seeds: int = 5, **more: Any) -> Ablation:
    """Return an ablation of one factor with batch normalization and without."""
    network = Factor(
        "network",
        control=Level("affine", label="without BN", norm="affine"),
        treatments=(Level("bn", label="with BN", norm="batch_norm"),),
        varies=("norm",),
    )
    return made(network, claims=claims, seeds=range(seeds), **more)


def by_rate(*claims: Any, rates: tuple[float, ...] = (0.1, 1.0, 10.0, 100.0), seeds: int = 5) -> Ablation:
    """Return the same over learning rates."""
    (network,) = two_arms().factors
    return made(network, across("lr", *rates), claims=claims, seeds=range(seeds), figure="learning rates")


def made(*factors: Factor, **more: Any) -> Ablation:
    values: dict[str, Any] = {
        "name": "made",
        "question": "Does it matter?",
        "source": "by hand",
        "base": SMALL,
    }
    return Ablation(factors=factors, **{**values, "seeds": range(2)} | more)


def records(ablation: Ablation, measured: Measured, **provenance: Any) -> list[Record]:
    """Return the records of the trials that `measured` gives an outcome."""
    pairs = [(trial, measured(dict(trial.arm.levels), trial.seed)) for trial in ablation.trials]
    return [Record.of(ablation.name, t, o, provenance or PROVENANCE) for t, o in pairs if o is not None]


PROVENANCE = {"wall_seconds": 4.0, "pack": {"size": 4, "slot": 0, "shares_images": True}, "commit": None}


def write(folder: Path, ablation: Ablation, measured: Measured, **provenance: Any) -> Ledger:
    """Append the records to the ablation's ledger in a folder."""
    ledger = Ledger(folder / f"{ablation.name}.jsonl")
    ledger.append(records(ablation, measured, **provenance))
    return ledger


def table(ablation: Ablation, measured: Measured) -> pd.DataFrame:
    """Return the columns of `Ledger.frame` that claims look at, without a file."""
    rows = [
        {"seed": trial.seed, **dict(trial.arm.levels), **vars(found)}
        for trial, found in ((t, measured(dict(t.arm.levels), t.seed)) for t in ablation.trials)
        if found is not None
    ]
    frame = pd.DataFrame(rows, columns=["seed", *(f.name for f in ablation.factors), *vars(outcome(0.5))])
    for factor in ablation.factors:
        names = [level.name for level in factor.levels]
        frame[factor.name] = pd.Categorical(frame[factor.name], categories=names, ordered=True)
    return frame


def like_the_paper(arm: Mapping[str, str], seed: int) -> Outcome:
    """Return values as a learning-rate sweep of LeNets gives them."""
    rate, network = math.log10(float(arm["lr"])), arm["network"]
    draw = random.Random(f"{network}{rate}{seed}").gauss
    low, high, top = {"bn": (-2.4, 1.9, 0.885)}.get(network, (-0.6, 0.45, 0.86))
    works = (
        1
        / (1 + math.exp(-6 * (rate - low + draw(0, 0.1))))
        / (1 + math.exp(8 * (rate - high + draw(0, 0.15))))
    )
    accuracy = min(0.93, max(0.1, 0.1 + (top - 0.1) * works + draw(0, 0.004)))
    if rate > 2.3 and network != "bn":
        return diverged(epochs=10)
    return outcome(round(accuracy, 4), validation=round(accuracy + draw(0, 0.003), 4), epochs=10)
