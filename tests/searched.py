"""A search over a known function, without any training: importable, as workers need."""

import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bnstudy.books import schedule, search
from bnstudy.books.executors import InProcess
from bnstudy.books.ledger import Ledger
from bnstudy.design import Ablation, Factor, Level, Trial, across
from bnstudy.outcome import Outcome
from bnstudy.packs import Job, Result

BEST = {"batch_norm": 1.3, "affine": -0.4, "none": 3.0}
"""The log10 rate at which each normalization is best; the last is the end of the range."""
FAILS = 0.8
"""So many decades above its best rate an arm diverges."""

NORM = Factor(
    "norm",
    levels=(Level("affine", norm="affine"), Level("bn"), Level("plain", norm="none")),
    varies=("norm",),
)
RATES = across("lr", 0.01, 1, 1000)


def design(*factors: Factor, **changes: Any) -> Ablation:
    values: dict[str, Any] = {
        "question": "Which rates train best?",
        "source": "here",
        "seeds": range(3),
        "name": "searched",
    }
    return Ablation(factors=factors or (NORM, RATES), **values | changes)


def accuracy(trial: Trial, spread: float = 0.003) -> float:
    """Return a parabola in the log rate that is 0.9 at the best, with a spread over seeds and rates."""
    recipe = trial.arm.recipe
    distance = math.log10(recipe.lr) - BEST[recipe.norm]
    noise = random.Random(f"{trial.id}").gauss(0, spread)
    return max(0.1, 0.9 - 0.1 * distance**2 - 0.1 * recipe.dropout + noise)


def outcome(trial: Trial) -> Outcome:
    """Return what a trial measures; test numbers point the other way, so that whoever looks goes astray."""
    recipe = trial.arm.recipe
    if math.log10(recipe.lr) > BEST[recipe.norm] + FAILS:
        return Outcome(status="diverged", diverged_at=3, diverged_in="loss", validation_accuracy=(0.99,))
    score = accuracy(trial)
    return Outcome(
        status="ok",
        validation_accuracy=(0.1, score),
        test_accuracy=1 - score,
        precise_test_accuracy=1 - score,
        batch_test_accuracy=1 - score,
    )


def train(job: Job, report: Callable[[int], None]) -> Result:
    """Return the outcomes of a pack at once."""
    return Result(tuple(map(outcome, job.pack.trials)), {"device": job.device})


class Trainer:
    """Trains rounds in this process, counting packs; `fails_at` is the pack that raises."""

    def __init__(self, ledger: Ledger, fails_at: int = -1) -> None:
        self.ledger, self.fails_at = ledger, fails_at
        self.packs: list[Job] = []

    def __call__(self, made: Ablation, said: dict[str, Any]) -> schedule.Tally:
        return schedule.Run(
            made, self.ledger, search.scratch(), InProcess(self.train), provenance={"search": said}
        ).execute()

    def train(self, job: Job, report: Callable[[int], None]) -> Result:
        if len(self.packs) == self.fails_at:
            raise KeyboardInterrupt
        self.packs.append(job)
        return train(job, report)


def searched(ablation: Ablation, folder: Path, budget: int = 16, **options: Any) -> tuple[Ledger, Trainer]:
    """Search an ablation in a folder; return its ledger and what trained."""
    ledger = Ledger(folder / f"{ablation.name}.jsonl")
    trainer = Trainer(ledger, **options)
    search.run(ablation, ledger, budget, trainer)
    return ledger, trainer
