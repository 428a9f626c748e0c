"""How large can the learning rate get with and without batch normalization?

Expected: batch normalization's gains come from larger learning rates, and at small ones both train alike
(Bjorck et al. 2018); rates too small fail as well, for lack of time. Sigmoid networks saturate at 10%
rather than overflow, so that success is training accuracy and not the absence of NaN (Iyer, Hanin &
Rolnick 2023 threshold accuracy likewise).
"""

from bnstudy.claims import Claim, at_best, equal_within, largest_workable, ratio_at_least
from bnstudy.design import QUICK, SMOKE, Ablation, Factor, Level, across
from bnstudy.levels import AFFINE, BN

ablation = Ablation(
    question="How large can the learning rate get with and without batch normalization?",
    source="d2l-en 8.5 exercise 2; d2l-zh 7.5 exercise 2; claim C13",
    factors=(
        Factor(
            "network",
            # The published comparison also changes padding and parameters; this control changes neither.
            control=AFFINE,
            treatments=(
                BN,
                Level("plain", "LeNet", norm="none"),
                Level("padded", "LeNet, padded", norm="none", padding=2),
            ),
            varies=("norm", "padding"),
        ),
        across("lr", 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000),
    ),
    seeds=range(5),  # all in one cell of the grid, five bound the ratio to a step either way
    claims=(
        # 5: more than one step of the grid, which is a factor of about 3.
        Claim(
            "With BN the largest workable learning rate is at least 5 times that of the affine layers alone.",
            factor="network",
            treatment="bn",
            outcome=largest_workable("lr"),
            effect=ratio_at_least(5),
            refs=("C13",),
        ),
        # 5 points: a rate five times larger is a large effect, and five points of accuracy is a small one.
        Claim(
            "Each at its best rate, the two differ by less than 5 points of test accuracy.",
            factor="network",
            treatment="bn",
            outcome=at_best("lr"),
            effect=equal_within(0.05),
        ),
    ),
    quick=QUICK.but(levels={"network": ("affine", "bn"), "lr": ("0.1", "1", "3", "10", "30", "100", "1000")}),
    smoke=SMOKE.but(
        levels={"network": ("affine", "bn"), "lr": ("0.1", "1", "10", "100")}, batch_size=32, epochs=3
    ),
    figure="learning rates",
)
