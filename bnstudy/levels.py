"""Levels and factors that several ablations share, so that a name means the same in all of them."""

from bnstudy.factors import Factor, Level

AFFINE = Level("affine", "without BN (affine only)", norm="affine")
"""The control without normalization: scale and shift stay, so that nothing but the normalization differs."""

BN = Level("bn", "with BN", norm="batch_norm")

GROUP = Level("group", "GroupNorm", norm="group_norm", groups=2)
"""Two groups: the most that the 6, 16, 120 and 84 channels of LeNet can all be cut into."""

NORM = Factor("norm", control=AFFINE, treatments=(BN,))

IMAGES = Factor(
    "images",
    control=Level("all", "50,000 images"),
    treatments=(Level("few", "5,000 images", train_images=5_000, epochs=100),),
    varies=("train_images", "epochs"),
    role="nuisance",
)
"""5,000 images for about as many updates: there is something to regularize only where a network overfits."""
