"""Does the noise of small batches help, and are moments of 50 to 100 images best?

Expected: ghost batches regularize small and medium batches (Summers & Dinneen 2020) and narrow the gap of
large ones (Hoffer et al. 2017). Every step sees 256 images; only the moments are of fewer, which tells their
noise apart from the gradient's. An epoch's smaller last batch is left out: every ghost batch is whole.
"""

from bnstudy.claims import Claim, at_least
from bnstudy.design import QUICK, SMOKE, Ablation, Factor, Level
from bnstudy.levels import IMAGES
from bnstudy.recipe import BN_LENET

ablation = Ablation(
    question="Does the noise of small batches help, and are moments of 50 to 100 images best?",
    source="d2l-en 8.5.1, d2l-zh 7.5.1; claims C15, C16",
    base=BN_LENET.replace(drop_last=True),
    factors=(
        Factor(
            "ghost",
            control=Level("256", "moments of 256 images"),
            treatments=(
                Level("64", "moments of 64 images", ghost_size=64),
                Level("16", "moments of 16 images", ghost_size=16),
            ),
            varies=("ghost_size",),
        ),
        IMAGES,
    ),
    seeds=range(20),  # where differences spread by 0.4 points, 20 seeds see 0.26
    claims=(
        # 0.2 points, here and below: half of what seeds differ by; less would not be worth a choice.
        Claim(
            "Moments of 64 images are at least 0.2 points better than those of 256.",
            factor="ghost",
            treatment="64",
            effect=at_least(0.002),
            refs=("C15", "C16"),
        ),
        Claim(
            "Moments of 64 images are at least 0.2 points better than those of 16.",
            factor="ghost",
            treatment="64",
            control="16",
            effect=at_least(0.002),
            refs=("C16",),
        ),
    ),
    quick=QUICK.but(seeds=5, caps={"epochs": 40}),
    smoke=SMOKE.but(levels={"images": ("all",)}, batch_size=256),
    figure="dose",
)
