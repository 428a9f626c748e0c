"""The chapter of the textbook: its exercises and the claims of its prose, by the numbers that ablations name.

*Dive into Deep Learning*, English section 8.5 and Chinese section 7.5, in our words.
"""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Exercise:
    """An exercise of the English edition, in our words; `chinese` is its number there, or nothing."""

    number: int
    chinese: int | None
    text: str


EXERCISES = (
    Exercise(1, 1, "Should the bias in front of batch normalization be removed, and why?"),
    Exercise(
        2,
        2,
        "Compare the learning rates of LeNet with and without batch normalization: how large can they get?",
    ),
    Exercise(3, 3, "Is batch normalization needed in every layer?"),
    Exercise(4, None, "How does a lite form behave, which removes only the mean or only the variance?"),
    Exercise(5, 5, "Fix gamma and beta. What changes?"),
    Exercise(6, 4, "Can batch normalization replace dropout?"),
    Exercise(7, 7, "Research ideas: which other transforms could take its place?"),
)

CHINESE_ONLY = Exercise(6, 6, "Which other applications does batch normalization have?")
"""Exercise 6 of the Chinese edition, which the English one does not have."""


@dataclass(frozen=True)
class ChapterClaim:
    """A claim of the chapter's prose, in our words; `later` is what a rewrite by one of its authors says."""

    id: str
    text: str
    later: str = ""


_CLAIMS = {
    "C1": "Batch normalization always speeds up convergence.",
    "C2": "With residual blocks it makes networks of 100 and more layers routine.",
    "C3": "It regularizes by itself.",
    "C4": "It works by reducing internal covariate shift.",
    "C5": "Its regularization cannot fully replace weight decay or dropout.",
    "C7": "Activations of 100 times the scale would need a compensating learning rate.",
    "C10": "With batches of one image nothing is learned.",
    "C11": "The batch size matters more with batch normalization than without.",
    "C12": "The magnitudes of intermediate layers cannot diverge.",
    "C13": "Larger learning rates become possible.",
    "C15": "The noise of the batch statistics helps.",
    "C16": "Batches of 50 to 100 images are best.",
    "C17": "In training mode one image can be classified differently in different batches.",
    "C18": "Predicting with statistics of the whole data set is standard practice.",
    "C20": "It belongs between the affine map and the activation.",
    "C22": "The framework's layer is much faster than the one written from scratch.",
    "C25": "Top layers get larger gradients than bottom ones.",
    "C27": "It only injects noise that controls complexity.",
    "C28": "So it need not be combined with dropout.",
    "C29": "It speeds up convergence and does not change the final accuracy.",
    "C30": "It can also sit on the inputs of layers.",
    "C31": "The output layer needs none.",
}
_LATER = {
    "C10": "only fully connected activations lose the input's signal",
    "C12": "gamma can grow",
    "C16": "there is no universally best range",
    "C18": "running averages are the default",
}

CLAIMS = tuple(ChapterClaim(number, text, _LATER.get(number, "")) for number, text in _CLAIMS.items())
"""The claims of the chapter's prose; missing numbers were no statements that trainings can judge."""


def exercises(source: str) -> tuple[int, ...]:
    """Return the exercises of the English edition that an ablation's source names."""
    return tuple(int(n) for n in re.findall(r"d2l-en 8\.5 exercise (\d)", source))


def named_claims(source: str) -> tuple[str, ...]:
    """Return the claims of the chapter that an ablation's source names: C1, C29."""
    return tuple(re.findall(r"\bC\d+\b", source))
