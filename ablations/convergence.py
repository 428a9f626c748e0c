"""Does batch normalization change the final accuracy, or only how fast it is reached?

Expected: by itself it needs 2.3 times fewer steps (Ioffe & Szegedy 2015; the famous 14 bundles seven other
changes). What remains in the end is what its larger rates (Bjorck et al. 2018) and its noise are worth.
"""

from bnstudy.claims import Claim, at_least, equal_within
from bnstudy.design import QUICK, SMOKE, Ablation, Factor, Level
from bnstudy.recipe import BN_LENET

ablation = Ablation(
    question="Does batch normalization change the final accuracy, or only how fast it is reached?",
    source="d2l-en 8.5, d2l-zh 7.5 and notes on it; claims C1, C29",
    base=BN_LENET.replace(epochs=60),
    factors=(
        Factor(
            "network",
            # Pilot, 20 epochs at 0.3, 1 and 3 (seed 1000): without BN lr 1 is best (83.9, 86.7, 86.3% of the
            # validation images), with BN none clearly (precise test accuracy 88.1, 86.7, 88.6%).
            control=Level("affine", "without BN (affine only)", norm="affine", lr=1),
            treatments=(Level("bn", "with BN", norm="batch_norm", lr=1),),
            varies=("norm", "lr"),
        ),
    ),
    seeds=range(10),  # 89% power for equality within 0.5 points where differences spread by 0.45
    claims=(
        # 0.5 points: what another rate would be worth.
        Claim("In the end both are equal.", factor="network", effect=equal_within(0.005), refs=("C29",)),
        # 1 point of area: every accuracy more than half an epoch earlier.
        Claim(
            "BN gets there faster: the area under the validation curve is at least a point larger.",
            factor="network",
            outcome="validation_area",
            effect=at_least(0.01),
            refs=("C1", "C29"),
        ),
    ),
    quick=QUICK.but(epochs=20),
    smoke=SMOKE.but(epochs=4),
    figure="curves",
)
