"""How does a batch normalization behave that only removes the mean, or only the variance?

Expected: centring alone goes far (beside normalized weights 7.3% error against BN's 8.05%, Salimans & Kingma
2016), but without the division nothing keeps a large step from saturating a sigmoid, so that the gain in
learning rate needs the variance (Bjorck et al. 2018).
"""

from bnstudy.claims import Claim, at_best, largest_workable, ratio_at_most, share_at_least
from bnstudy.design import QUICK, SMOKE, Ablation, Factor, Level, across
from bnstudy.levels import AFFINE

ablation = Ablation(
    question="How does a batch normalization behave that only removes the mean, or only the variance?",
    source="d2l-en 8.5 exercise 4",
    factors=(
        Factor(
            "norm",
            control=AFFINE,
            treatments=(
                Level("mean", "mean only", norm="mean_only"),
                Level("std", "standard deviation only", norm="std_only"),
                Level("rms", "root mean square only", norm="rms_only"),
                Level("full", "full BN", norm="batch_norm"),
            ),
        ),
        across("lr", 0.1, 0.3, 1, 3, 10, 30, 100),
    ),
    seeds=range(5),  # at their best rates BN and no BN lie tens of points of area apart
    claims=(
        # A half, here and below: what each half of the formula would bring if both brought the same.
        Claim(
            "Removing the mean alone gets at least half of full BN's gain in the area under the curve.",
            factor="norm",
            treatment="mean",
            of="full",
            outcome=at_best("lr", "validation_area"),
            effect=share_at_least(0.5),
        ),
        Claim(
            "Dividing by the standard deviation alone gets at least half of it.",
            factor="norm",
            treatment="std",
            of="full",
            outcome=at_best("lr", "validation_area"),
            effect=share_at_least(0.5),
        ),
        # A half: any step of the grid, which is a factor of about 3, is more than that.
        Claim(
            "With the mean alone the largest workable learning rate is at most half of full BN's.",
            factor="norm",
            treatment="mean",
            control="full",
            outcome=largest_workable("lr"),
            effect=ratio_at_most(0.5),
        ),
    ),
    quick=QUICK.but(levels={"lr": ("0.1", "1", "10", "100")}, epochs=3),
    smoke=SMOKE.but(levels={"norm": ("affine", "mean", "full"), "lr": ("0.1", "1", "10")}),
    figure="learning rates",
)
