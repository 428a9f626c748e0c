"""An outcome: what a trial measured. Divergence is an outcome, not a missing row."""

from dataclasses import dataclass
from typing import get_type_hints

FINISHED = ("ok", "diverged")
"""Statuses of a training that ran to its end; they enter the statistics and are never retried."""

UNFINISHED = ("crashed", "lost", "not run")
"""The training raised an error, its worker died, or its pack did not fit into memory: says something
about the machine, never about the recipe, and is run again by the next `run`."""


MARGIN = 0.003
"""0.3 points of accuracy: what the study's claims of equality take for none; seeds spread by 0.4."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one trial measured. Accuracies are shares in [0, 1], losses mean cross-entropies in nats
    (`None` where not finite), lists have one entry an epoch.

    The prefix says how normalization layers predict: none = with their running averages, `precise` =
    with moments pooled over 10,000 training images after training (Wu & Johnson 2021, section 3),
    `batch` = with the moments of each batch of 256 test images.
    """

    status: str
    reason: str | None = None
    """Why an unfinished trial did not finish."""
    diverged_at: int | None = None
    """The first optimizer step (from 0) with a loss that is not finite, or the last step of the first
    epoch that leaves a parameter or statistic that is not."""
    diverged_in: str | None = None
    """`loss`, or the name of that tensor."""
    online_train_loss: tuple[float | None, ...] = ()
    """Averaged over the epoch while the weights move, as the textbook prints it."""
    online_train_accuracy: tuple[float, ...] = ()
    validation_accuracy: tuple[float, ...] = ()
    last_test_accuracies: tuple[float, ...] = ()
    """After each of the last three epochs; nothing is ever chosen by them."""
    test_accuracy: float | None = None
    precise_test_accuracy: float | None = None
    batch_test_accuracy: float | None = None
    mean_test_accuracy: float | None = None
    """Mean of `last_test_accuracies`."""
    train_loss: float | None = None
    """On a fixed 10,000 of the training images, in evaluation mode, after training."""
    train_accuracy: float | None = None
    precise_train_loss: float | None = None
    precise_train_accuracy: float | None = None
    epochs_to_85: int | None = None
    """Epochs until the validation accuracy first reached 0.85; `None` where it never did."""
    validation_area: float | None = None
    """Mean of the validation accuracy over the epochs: the area under its curve, in [0, 1]."""
    finite: bool | None = None
    """Whether every parameter and running statistic is finite at the end."""
    weight_norms: dict[str, float | None] | None = None
    """Euclidean norm of each parameter at the end, by name."""
    first_losses: tuple[float | None, ...] = ()
    """Training losses of the first 20 optimizer steps: what another machine must reproduce."""
    tracked_test_accuracy: dict[str, float] | None = None
    """Of the probe `averages`: with running averages kept side by side, by the weight of the new batch or
    `cumulative`, and with the `averaged weights` of the last epoch."""
    checks: dict[str, float | None] | None = None
    """What should be zero, or was measured besides by a probe, by name."""

    @property
    def finished(self) -> bool:
        """Whether the training ran to its end, so that the outcome says something about its recipe."""
        return self.status in FINISHED


NUMBERS = tuple(
    name for name, hint in get_type_hints(Outcome).items() if hint in (float | None, int | None, bool | None)
)
"""The fields that hold one number a trial: what a claim can compare."""

_HINTS = {name: str(hint) for name, hint in get_type_hints(Outcome).items()}
LISTS = tuple(name for name, hint in _HINTS.items() if hint.startswith("tuple[float"))
"""The fields that hold one number an epoch."""
MAPS = tuple(name for name, hint in _HINTS.items() if hint.startswith("dict[str, float"))
"""The fields that hold numbers by name."""


def known_outcome(name: str) -> bool:
    """Return whether an outcome is one number a trial: such a field, the entry `field.key` of a field of
    numbers by name, or `field.last` of a list."""
    field, dot, key = name.partition(".")
    if not dot:
        return field in NUMBERS
    return (field in MAPS and bool(key)) or (field in LISTS and key == "last")
