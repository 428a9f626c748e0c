"""Can batch normalization replace dropout?

Expected: both regularize (Luo et al. 2019), and together they may do harm: dropout in front of a
normalization gives its running averages a variance that prediction does not have, which took a DenseNet on
CIFAR-100 from 77.4 to 68.6 (Li et al. 2019). Recomputed statistics should get that part back.
"""

from bnstudy.claims import Claim, at_least, at_most, equal_within, share_at_most
from bnstudy.design import QUICK, SMOKE, Ablation, Factor, Level, across
from bnstudy.levels import IMAGES, NORM

SHIFTED = {"norm": "bn", "dropout": "0.5", "images": "all"}
BOTH = {"dropout": "0.5", "site": "after"}
BN_ON_FEW = {"norm": "bn", "images": "few"}

ablation = Ablation(
    question="Can batch normalization replace dropout?",
    source="d2l-en 8.5 exercise 6; d2l-zh 7.5 exercise 4 and notes on it; claims C3, C5, C28",
    factors=(
        NORM,
        across("dropout", 0, 0.1, 0.3, 0.5, role="scientific"),
        Factor(
            "site",
            control=Level("before", "before the last norm"),
            treatments=(Level("after", "after the last norm", dropout_at="after_norms"),),
            varies=("dropout_at",),
            where={"dropout": ("0.1", "0.3", "0.5")},
        ),
        IMAGES,
    ),
    seeds=range(5),  # 95% power for equality within a point where differences spread by half a point
    claims=(
        # 1 point: an eighth of what Li et al. lost.
        Claim(
            "With running averages, dropout 0.5 before BN is at least a point worse than after it.",
            factor="site",
            treatment="before",
            control="after",
            outcome="test_accuracy",
            at=SHIFTED,
            effect=at_most(-0.01),
        ),
        # A half: the statistics are then the larger part of the loss.
        Claim(
            "Recomputed statistics leave at most half of that loss.",
            factor="site",
            treatment="after",
            control="before",
            against="test_accuracy",
            at=SHIFTED,
            effect=share_at_most(0.5),
        ),
        # 1 point: within it, one or the other is a matter of taste. Pilot (seed 1000): without BN, dropout
        # 0.5 before the last norm trains best at rate 1 of 0.3, 1 and 3, as here; after it, it has hardly
        # begun to at rate 1 in as many updates, and is worse even at its best rate, 3.
        Claim(
            "Where a network overfits, BN without dropout is as good as dropout 0.5 without BN.",
            treatment={"norm": "bn", "dropout": "0"},
            control={"norm": "affine", "dropout": "0.5", "site": "before"},
            at={"images": "few"},
            effect=equal_within(0.01),
        ),
        # 0: a smaller gap is what regularization means.
        Claim(
            "BN by itself narrows the gap between training and test accuracy.",
            factor="norm",
            outcome="precise_train_accuracy",
            against="precise_test_accuracy",
            at={"dropout": "0", "images": "few"},
            effect=at_most(0),
            refs=("C3",),
        ),
        # 0.5 points, here and below: what makes a layer worth writing.
        Claim(
            "BN cannot fully replace dropout, which gains at least half a point beside it.",
            treatment=BOTH,
            control={"dropout": "0"},
            at=BN_ON_FEW,
            effect=at_least(0.005),
            refs=("C5",),
        ),
        Claim(
            "BN need not be combined with dropout, which gains at most half a point beside it.",
            treatment=BOTH,
            control={"dropout": "0"},
            at=BN_ON_FEW,
            effect=at_most(0.005),
            refs=("C28",),
        ),
    ),
    quick=QUICK.but(levels={"dropout": ("0", "0.5")}, caps={"epochs": 40}),
    smoke=SMOKE.but(levels={"dropout": ("0", "0.5"), "images": ("all",)}),
    figure="dose",
)
