"""Does batch normalization cost robustness?

Expected: yes: with BN networks are less robust to noise and to small adversarial changes of their inputs, by
ten points and more (Galloway et al. 2019). The step is the sign of the loss's gradient (FGSM).
"""

from bnstudy.claims import Claim, at_most
from bnstudy.design import QUICK, Ablation
from bnstudy.levels import NORM
from bnstudy.recipe import BN_LENET

ablation = Ablation(
    question="Does batch normalization cost robustness?",
    source="d2l-en 8.5 exercise 7; d2l-zh 7.5 exercise 7",
    base=BN_LENET.replace(probes="corruption"),
    factors=(NORM,),
    seeds=range(10),  # where differences spread by a point, ten seeds see one
    claims=(
        # 1 point, here and below, and beyond what the clean accuracies differ by.
        Claim(
            "Noise on the pixels costs at least a point more with BN.",
            factor="norm",
            outcome="checks.noise_accuracy",
            against="test_accuracy",
            effect=at_most(-0.01),
        ),
        Claim(
            "An adversarial step costs at least a point more with BN.",
            factor="norm",
            outcome="checks.fgsm_accuracy",
            against="test_accuracy",
            effect=at_most(-0.01),
        ),
    ),
    quick=QUICK.but(seeds=5),
)
