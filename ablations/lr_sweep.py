"""How large can the learning rate get with and without batch normalization?"""

from bnstudy.claims import Claim, at_best, equal_within, largest_workable, ratio_at_least
from bnstudy.design import Ablation, Factor, Level, Profile, across

RATES = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000)
FAIR = ("affine", "bn")

ablation = Ablation(
    question="How large can the learning rate get with and without batch normalization?",
    source="d2l 8.5 exercise 2",
    factors=(
        Factor(
            "network",
            control=Level("affine", "without BN (scale and shift kept)", norm="affine"),
            treatments=(
                Level("bn", "with BN", norm="batch_norm"),
                Level("plain", "plain LeNet", norm="none"),
                Level("padded", "plain LeNet, padded", norm="none", padding=2),
            ),
            varies=("norm", "padding"),
        ),
        across("lr", *RATES),
    ),
    seeds=range(5),
    claims=(
        Claim("x", factor="network", treatment="bn", outcome=largest_workable("lr"), effect=ratio_at_least(5)),
    ),
)
