"""Which batch size is best, and does it matter more with batch normalization than without?

Expected: small batches, 2 to 32, generalize best (Masters & Luschi 2018), although their moments are noisy.
The rate follows the batch by the linear rule, 1 at 256. At equal epochs a large batch makes few steps;
every size is therefore also run for 1,950 of them, as many as ten epochs of batch 256 have.
"""

from bnstudy.claims import Claim, at_least, best_among, interaction
from bnstudy.design import QUICK, SMOKE, Ablation, Factor, Level
from bnstudy.levels import AFFINE, BN, GROUP

SIZES = [Level(f"{n}", f"batch {n}", batch_size=n, lr=n / 256) for n in (16, 32, 64, 128, 256, 2048)]
EPOCHS = {"budget": "epochs"}

ablation = Ablation(
    question="Which batch size is best, and does it matter more with batch normalization?",
    source="d2l-en 8.5.1, d2l-zh 7.5.1; claims C11, C16",
    factors=(
        Factor("norm", control=AFFINE, treatments=(BN, GROUP), varies=("norm", "groups")),
        Factor("batch", levels=SIZES, control=SIZES[4], varies=("batch_size", "lr")),
        Factor(
            "budget",
            levels=(Level("epochs", "10 epochs"), Level("updates", "1,950 updates", updates=1950)),
            varies=("updates",),
            role="nuisance",
        ),
    ),
    seeds=range(5),  # where differences spread by 0.4 points, five seeds see 0.7
    claims=(
        # 64: the one size between 50 and 100 on a grid of doublings.
        Claim(
            "At equal epochs the best batch for BN lies in 50 to 100.",
            factor="batch",
            at={"norm": "bn", **EPOCHS},
            effect=best_among("64"),
            refs=("C16",),
        ),
        # 1 point: a smaller difference drowns in the choice of the rate.
        Claim(
            "From batch 256 down to 16 a network with BN loses at least a point more than one without.",
            contrast=interaction({"norm": ("bn", "affine"), "batch": ("256", "16")}),
            at=EPOCHS,
            effect=at_least(0.01),
            refs=("C11",),
        ),
    ),
    quick=QUICK.but(
        levels={"norm": ("affine", "bn"), "batch": ("16", "64", "256", "2048"), "budget": ("epochs",)},
        epochs=3,
    ),
    smoke=SMOKE.but(levels={"batch": ("16", "64", "256"), "budget": ("epochs",)}),
    figure="dose",
)
