"""Searches the nuisance factors of every arm by Optuna, with the same budget for each.

Each round is asked of a study that is made of the ledger, by a sampler with a seed of its own: whoever runs
it, wherever it was interrupted, the same points follow from the same records.
"""

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.samplers import TPESampler
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.study import Study
from optuna.trial import TrialState, create_trial

from bnstudy.books import tuning
from bnstudy.books.ledger import Ledger
from bnstudy.books.schedule import Tally
from bnstudy.books.tuning import ROUND, Space, Tried
from bnstudy.design import Ablation
from bnstudy.factors import Factor, Pairs
from bnstudy.recipe import digest

ATTEMPTS = 50
"""How often a point is asked for that is a new one; values of three digits rarely come twice."""

Train = Callable[[Ablation, dict[str, Any]], Tally]
"""Trains what the search's ledger misses of a design; the second is what its records say of the search."""


def run(ablation: Ablation, ledger: Ledger, budget: int, train: Train) -> Tally:
    """Search every arm with `budget` points, those recorded among them; stop at a round that failed."""
    spaces = tuning.spaces(ablation)
    tally = Tally(total=sum(tuning.wanted(space, budget) for space in spaces) * len(tuning.SEEDS), recorded=0)
    for number in range(-(-budget // ROUND)):
        tried = tuning.tried(ablation, ledger.recorded())
        points = [point for space in spaces for point in _missing(space, tried[space.name], number, budget)]
        if points:
            failed = train(tuning.design(ablation, points), {"round": number, "budget": budget}).failed
            tally.failed |= failed
        if tally.failed:
            break
    held = tuning.tried(ablation, ledger.recorded())
    tally.recorded = len(tuning.SEEDS) * sum(map(len, held.values()))
    return tally


def _missing(space: Space, tried: Sequence[Tried], number: int, budget: int) -> list[Pairs]:
    """Return the points of an arm's round, unless it is recorded whole."""
    count = min(ROUND, tuning.wanted(space, budget) - number * ROUND)
    if sum(each.round == number for each in tried) >= count:
        return []
    before = [each for each in tried if each.round < number]
    if space.points is not None and len(space.points) <= budget:
        return list(space.points[number * ROUND :][:count])
    return ask(space, before, number, count)


def ask(space: Space, before: Sequence[Tried], number: int, count: int) -> list[Pairs]:
    """Return up to `count` new points: in round 0 rates evenly over their range, then Optuna's (TPE)."""
    study = _study(space, before, number)
    for factor in space.searched if number == 0 else ():
        if tuning.is_range(factor):
            for rate in _evenly(factor, count):
                study.enqueue_trial({factor.name: rate})
    points: list[Pairs] = []
    known = {each.point for each in before}
    for _ in range(ATTEMPTS * count):
        if len(points) == count:
            break
        trial = study.ask()
        point = space.point({factor.name: _suggested(trial, factor) for factor in space.searched})
        if point in known:
            study.tell(trial, state=TrialState.FAIL)
        else:
            known.add(point)
            points.append(point)
    return points


def _study(space: Space, before: Sequence[Tried], number: int) -> Study:
    """Return a study in memory of the points before; what is asked of it follows from arm and round."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    seed = int(digest(f"{space.name}/{number}", 8), 16)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        # Liar: points that are asked for together keep their distance.
        sampler = TPESampler(seed=seed, n_startup_trials=ROUND, constant_liar=True)
    study = optuna.create_study(direction="maximize", sampler=sampler, pruner=optuna.pruners.NopPruner())
    study.add_trials([_told(space, each) for each in before])
    return study


def _told(space: Space, tried: Tried) -> optuna.trial.FrozenTrial:
    """Return a point as a trial of Optuna that is told its score."""
    levels = dict(tried.point)
    factors = [factor for factor in space.searched if factor.name in levels]
    return create_trial(
        params={f.name: float(levels[f.name]) if tuning.is_range(f) else levels[f.name] for f in factors},
        distributions={f.name: _distribution(f) for f in factors},
        value=tried.score,
        user_attrs={"round": tried.round},
    )


def _distribution(factor: Factor) -> BaseDistribution:
    if tuning.is_range(factor):
        return FloatDistribution(*tuning.ends(factor), log=True)
    return CategoricalDistribution([level.name for level in factor.levels])


def _suggested(trial: optuna.Trial, factor: Factor) -> str:
    if tuning.is_range(factor):
        low, high = tuning.ends(factor)
        return tuning.literal(trial.suggest_float(factor.name, low, high, log=True), factor)
    return str(trial.suggest_categorical(factor.name, [level.name for level in factor.levels]))


def _evenly(factor: Factor, count: int) -> list[float]:
    """Return rates from the smallest to the largest in equal ratios."""
    low, high = map(math.log, tuning.ends(factor))
    steps = max(1, count - 1)
    rates = (math.exp(low + (high - low) * step / steps) for step in range(count))
    return [float(tuning.literal(rate, factor)) for rate in rates]


def scratch() -> BaseStorage:
    """Return a storage for the queue of a round, which nobody looks at."""
    return InMemoryStorage()


def publish(ablation: Ablation, ledger: Ledger, storage: BaseStorage, where: str = "") -> None:
    """Show each arm's search in a storage, made anew of the ledger: its points and their scores.

    `where` names the results folder in a team's storage.
    """
    tried = tuning.tried(ablation, ledger.recorded())
    known = {summary.study_name for summary in optuna.get_all_study_summaries(storage)}
    for space in tuning.spaces(ablation):
        name = " ".join(filter(None, (ablation.name, "tune", space.name, where)))
        if name in known:
            optuna.delete_study(study_name=name, storage=storage)
        study = optuna.create_study(study_name=name, storage=storage, direction="maximize")
        study.add_trials([_told(space, each) for each in tried[space.name]])
