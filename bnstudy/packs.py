"""Packs: which trials train together as one network."""

from collections import Counter
from collections.abc import Container, Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from bnstudy.design import Ablation, Trial
from bnstudy.outcome import Outcome
from bnstudy.recipe import Recipe

PER_TRIAL = ("lr",)
"""Recipe fields that the trials of one pack may differ in."""

IMAGES_PER_STEP = 2048
"""Trials x batch size of a pack: 8 trials at batch 256. Interleaved in two processes on two cores, packs of 8
passed 24.9 thousand images a second and packs of 4 22.9."""

LARGEST = 8
"""Trials of a pack at small batches: 16 is the largest pack known to leave its trials' bits alone."""

PAIR = 2
"""Arms of a seed that gain less by sharing images than the seeds of an arm by larger packs. Milliseconds a
step and trial, interleaved in one process: 16.2 for two that share, 14.2 for three; where each trial has its
own images, 14.9 for two, 13.5 for five, 12.7 for eight."""


@dataclass(frozen=True)
class Pack:
    """Trials that train together. `shares_images`: they have one seed, so one batch serves all.

    Never below two slots: a pack of one takes other kernels and rounds differently, while 2 to 16 agree
    bitwise; a single trial trains beside a discarded copy of itself.
    """

    trials: tuple[Trial, ...]
    shares_images: bool

    @property
    def slots(self) -> tuple[Trial, ...]:
        """The trials with their filling: what the network is built of."""
        return self.trials if len(self.trials) > 1 else self.trials * 2


def plan(ablation: Ablation, finished: Container[str] = ()) -> tuple[Pack, ...]:
    """Return the packs of the trials whose ids are not among the finished, in the order of the design.

    Either the arms of one seed that may differ inside a pack train together and share their images, or the
    seeds of one arm do, each with its own: the whole design decides that, since the two round differently. A
    group is cut in declared order, so that a seed or level that is added at the end moves no earlier pack,
    unless the design goes over to the other way.
    """
    shares_images = _shares_images(ablation)
    groups: dict[tuple[Recipe, int | None], list[Trial]] = {}
    for trial in ablation.trials:
        if trial.id in finished:
            continue
        recipe = trial.arm.recipe
        key = (shape(recipe), trial.seed) if shares_images else (recipe, None)
        groups.setdefault(key, []).append(trial)
    return tuple(
        Pack(chunk, shares_images)
        for (recipe, _), trials in groups.items()
        for chunk in _chunks(trials, largest(recipe))
    )


def parts(pack: Pack) -> int:
    """Return into how many packs one may be cut."""
    return max(1, len(pack.trials) // 2)


def halves(pack: Pack) -> tuple[Pack, Pack]:
    """Return a pack as two, of two trials at least: who trains together changes nobody's bits."""
    half = -(-len(pack.trials) // 2)
    return Pack(pack.trials[:half], pack.shares_images), Pack(pack.trials[half:], pack.shares_images)


def largest(recipe: Recipe) -> int:
    """Return how many trials a pack of the plan has at most."""
    return min(LARGEST, max(2, IMAGES_PER_STEP // recipe.batch_size))


def _shares_images(ablation: Ablation) -> bool:
    """Return whether more arms of a seed can train together than a pair, or than an arm has seeds."""
    mates = Counter(shape(arm.recipe) for arm in ablation.arms)
    return max(mates.values()) > min(PAIR, len(ablation.seeds))


def images_of(pack: Pack) -> int:
    """Return how many images the training of a pack passes, its trials together."""
    recipe = pack.trials[0].arm.recipe
    whole, rest = divmod(steps(recipe), _whole_epoch(recipe))
    images = _whole_epoch(recipe) * recipe.batch_size if recipe.drop_last else recipe.train_images
    return (whole * images + rest * recipe.batch_size) * len(pack.slots)


def epochs(recipe: Recipe) -> int:
    """Return how many epochs a training begins."""
    return -(-recipe.updates // _whole_epoch(recipe)) or recipe.epochs


def steps(recipe: Recipe) -> int:
    """Return how many optimizer steps a training takes."""
    return recipe.updates or recipe.epochs * _whole_epoch(recipe)


def steps_of_epoch(recipe: Recipe, epoch: int) -> int:
    """Return how many steps an epoch, counted from 0, takes: fewer in the last one under `updates`."""
    return min(_whole_epoch(recipe), steps(recipe) - epoch * _whole_epoch(recipe))


def _whole_epoch(recipe: Recipe) -> int:
    whole, rest = divmod(recipe.train_images, recipe.batch_size)
    return whole + (rest > 0 and not recipe.drop_last)


@lru_cache(maxsize=1024)  # an arm's trials ask for it again and again
def shape(recipe: Recipe) -> Recipe:
    """Return the recipe with what may differ inside a pack set to the default: equal means packable."""
    return recipe.replace(**{name: getattr(Recipe(), name) for name in PER_TRIAL})


def _chunks(trials: list[Trial], size: int) -> Iterable[tuple[Trial, ...]]:
    for start in range(0, len(trials), size):
        yield tuple(trials[start : start + size])


@dataclass(frozen=True)
class Job:
    """A pack on its way to a worker: plain data, so that a worker needs no ablation file."""

    pack: Pack
    device: str
    images: Path | None
    """The checked file of the real images; the sample ships with the package."""


@dataclass(frozen=True)
class Result:
    """What came back: an outcome for each trial of the pack, and how the worker was set up."""

    outcomes: tuple[Outcome, ...]
    provenance: dict[str, Any]
