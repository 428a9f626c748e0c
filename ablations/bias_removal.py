"""Should the bias in front of a batch normalization be removed?

Expected: yes, it is redundant. Centring removes it, its gradient is zero and the shift does its work (Ioffe &
Szegedy 2015, section 3.2). Adam divides a gradient by its own size, so that there the rounding noise of a
zero moves the bias; the output does not depend on it even so.
"""

from bnstudy.claims import Claim, equal_within, exact
from bnstudy.design import QUICK, Ablation, Factor, Level

ablation = Ablation(
    question="Should the bias in front of batch normalization be removed?",
    source="d2l-en 8.5 exercise 1; d2l-zh 7.5 exercise 1",
    factors=(
        Factor(
            "bias",
            control=Level("kept", "with bias"),
            treatments=(Level("removed", "without bias", bias_before_norm=False),),
            varies=("bias_before_norm",),
        ),
        Factor(
            "optimizer",
            levels=(Level("sgd", "SGD"), Level("adam", "Adam", optimizer="adam", lr=1e-3)),
            varies=("optimizer", "lr"),
            role="nuisance",
        ),
    ),
    seeds=range(20),  # 85% power for equality within 0.3 points where differences spread by 0.42
    claims=(
        # 0.3 points: below what anyone would keep a parameter for.
        Claim("Removing it changes nothing.", factor="bias", effect=equal_within(0.003)),
        # 1 point of area: at lr 1 the running averages make single epochs jump by more.
        Claim(
            "Nor does it change how fast training is.",
            factor="bias",
            outcome="validation_area",
            effect=equal_within(0.01),
        ),
        # 0.01 of the weight's: float32 rounds each of 256 x 24 x 24 terms by up to 2^-24, together by 0.009.
        Claim(
            "The gradient of the bias is zero to rounding.",
            outcome="checks.bias_gradient",
            at={"bias": "kept"},
            effect=exact(0.01),
        ),
    ),
    quick=QUICK.but(seeds=8),
)
