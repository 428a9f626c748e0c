"""A sweep of rates with known thresholds, without any training."""

import random
from collections.abc import Callable
from typing import Any

from bnstudy.books import schedule, search
from bnstudy.books.executors import InProcess
from bnstudy.books.ledger import Ledger
from bnstudy.claims import Claim, largest_workable, ratio_at_least
from bnstudy.design import Ablation, Factor, Level, Trial, across
from bnstudy.outcome import Outcome
from bnstudy.packs import Job, Result

TRUTH = {"affine": 2.0, "batch_norm": 80.0}
"""The largest rate at which each trains, up to a hundredth from seed to seed."""
DECLARED = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000)

NORM = Factor("norm", control=Level("affine", norm="affine"), treatments=(Level("bn", norm="batch_norm"),))


def design(name: str = "swept", seeds: int = 5) -> Ablation:
    """Return a sweep with a claim on its ratio of the largest workable rates."""
    claim = Claim("Larger.", factor="norm", outcome=largest_workable("lr"), effect=ratio_at_least(5))
    return Ablation(
        question="How large can the rate get?",
        source="here",
        factors=(NORM, across("lr", *DECLARED)),
        seeds=range(seeds),
        claims=(claim,),
        name=name,
        figure="learning rates",
    )


def outcome(trial: Trial) -> Outcome:
    """Return what a trial measures: it trains up to its seed's threshold."""
    recipe = trial.arm.recipe
    threshold = TRUTH[recipe.norm] * random.Random(f"{recipe.norm}/{trial.seed}").uniform(0.99, 1.01)
    score = 0.9 if recipe.lr <= threshold else 0.1
    return Outcome(
        status="ok",
        precise_train_accuracy=score,
        validation_accuracy=(score,),
        test_accuracy=score,
        precise_test_accuracy=score,
        batch_test_accuracy=score,
    )


def train_pack(job: Job, report: Callable[[int], None]) -> Result:
    """Return the outcomes of a pack at once."""
    return Result(tuple(map(outcome, job.pack.trials)), {"device": job.device})


def train(ablation: Ablation, ledger: Ledger, **provenance: Any) -> schedule.Tally:
    """Record what a ledger misses of an ablation."""
    return schedule.Run(
        ablation, ledger, search.scratch(), InProcess(train_pack), provenance=provenance
    ).execute()
