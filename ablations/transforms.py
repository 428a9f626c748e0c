"""What other transforms could take the place of batch normalization?

Expected: whitening in groups beats full whitening (Huang et al. 2019): 64 images cannot determine the
covariance of 120 features, and eps on its diagonal only keeps it invertible. Forcing a Gaussian is
ineffective (Van Ness & Udell 2022), a Yeo-Johnson power transform with noise behind it helps (Eftekhari &
Papyan 2025).
"""

from bnstudy.claims import Claim, at_least, at_most
from bnstudy.design import QUICK, SMOKE, Ablation, Factor, Level, across
from bnstudy.levels import BN, GROUP

SMALL = {"batch_size": "64"}

ablation = Ablation(
    question="What other transforms could take the place of batch normalization?",
    source="d2l-en 8.5 exercise 7; d2l-zh 7.5 exercises 6 and 7",
    factors=(
        Factor(
            "norm",
            control=BN,
            treatments=(
                Level("layer", "LayerNorm", norm="layer_norm"),
                GROUP,
                Level("rms", "RMSNorm", norm="rms_norm"),
                Level("whitening", "full whitening (Cholesky)", norm="whitening"),
                Level("newton", "full whitening (Newton)", norm="whitening", whitening="newton"),
                Level("grouped", "group whitening", norm="whitening", groups=2),
                Level("uniform", "ranks to uniform", norm="rank_uniform"),
                Level("gaussian", "ranks to Gaussian", norm="rank_gaussian"),
                Level("sparse", "sparsified BN", norm="sparse_batch_norm"),
                Level("power", "Yeo-Johnson", norm="yeo_johnson"),
                Level("ball", "L2 ball", norm="l2_ball"),
                Level("cone", "convex cone", norm="cone"),
            ),
            varies=("norm", "groups", "whitening"),
        ),
        across("batch_size", 256, 64),
    ),
    seeds=range(5),  # where differences spread by 0.4 points, five seeds see 0.7
    claims=(
        # 1 point, here and below: more than seeds do, less than anyone would pay several times the time for.
        Claim(
            "Full whitening at batch 64 loses at least a point.",
            factor="norm",
            treatment="whitening",
            at=SMALL,
            effect=at_most(-0.01),
        ),
        Claim(
            "Group whitening at batch 64 loses less than a point.",
            factor="norm",
            treatment="grouped",
            at=SMALL,
            effect=at_least(-0.01),
        ),
        Claim(
            "Forcing a Gaussian gains less than a point.",
            factor="norm",
            treatment="gaussian",
            effect=at_most(0.01),
        ),
        Claim("Yeo-Johnson gains at least a point.", factor="norm", treatment="power", effect=at_least(0.01)),
    ),
    quick=QUICK.but(seeds=2, levels={"batch_size": ("64",)}, train_images=20_000, epochs=3),
    smoke=SMOKE.but(levels={"batch_size": ("64",)}, epochs=1),
    figure="effects",
)
