"""Were the published numbers typical of their recipes?

Expected: the fits were, the test accuracies were not. Sixteen published single runs of the textbook's recipe
agree on the training accuracy (0.901, give or take 0.001) and not on the test accuracy (0.830, give or take
0.044, from 0.708 to 0.882). Here each system is trained as its source did: 60,000 images, the test set for
validation, the last epoch reported.
"""

from bnstudy.claims import Claim, contains, spread_at_least, spread_at_most
from bnstudy.design import SMOKE, Ablation, Factor, Level, Profile
from bnstudy.systems import LENETS, RECORDED, SYSTEMS

TEXTBOOK = {"system": "S4b"}
PRINTED = {name: RECORDED[name] for name in LENETS if RECORDED[name].test_accuracy is not None}
BASE = SYSTEMS["S4b"]


def system(name: str) -> Level:
    """Return a published system as what it changes; those of which nothing is recorded get 10 seeds."""
    changes = {field: value for field, (value, _) in SYSTEMS[name].differences(BASE).items()}
    return Level(name, seeds=None if name in PRINTED else 10, **changes)


def printed(number: str) -> dict[str, float]:
    """Return a number that the sources printed, by system."""
    return {name: getattr(recorded, number) for name, recorded in PRINTED.items()}


LEVELS = [system(name) for name in LENETS]

ablation = Ablation(
    question="Were the published numbers typical of their recipes?",
    source="five notebooks and notes on d2l-en 8.5 and d2l-zh 7.5; sixteen published runs",
    base=BASE,
    factors=(
        Factor(
            "system",
            control=system("S4b"),
            levels=LEVELS,
            varies=sorted({field for level in LEVELS for field, _ in level.changes}),
        ),
    ),
    seeds=range(40),  # a spread is then known to a quarter, a prediction interval 6% wider than of all
    claims=(
        # 0.0005, here and below: half of the last digit printed.
        Claim(
            "The recorded test accuracies are typical of their recipes.",
            factor="system",
            outcome="test_accuracy",
            effect=contains(printed("test_accuracy"), rounding=0.0005),
        ),
        Claim(
            "So are the recorded training accuracies.",
            factor="system",
            outcome="online_train_accuracy.last",
            effect=contains(printed("train_accuracy"), rounding=0.0005),
        ),
        Claim(
            "So are the recorded training losses.",
            factor="system",
            outcome="online_train_loss.last",
            effect=contains(printed("loss"), rounding=0.0005),
        ),
        # 1.5 points: so that two readers disagree by 2, more than most answers to the exercises claim.
        Claim(
            "At lr 1 test accuracy, predicted with running averages, spreads by at least 1.5 points.",
            outcome="test_accuracy",
            at=TEXTBOOK,
            effect=spread_at_least(0.015),
        ),
        # 0.3 points: a fifth of that.
        Claim(
            "The training accuracy printed beside it spreads by at most 0.3 points.",
            outcome="online_train_accuracy.last",
            at=TEXTBOOK,
            effect=spread_at_most(0.003),
        ),
    ),
    quick=Profile(seeds=3, levels={"system": tuple(PRINTED)}),
    smoke=SMOKE.but(levels={"system": ("S1a", "S3b", "S4a", "S4b")}, caps={"epochs": 2}),
    figure="published",
)
