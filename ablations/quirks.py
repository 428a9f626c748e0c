"""What do the bugs of the published code do to its numbers?

Expected: a test in the middle of an epoch freezes the framework's layer, which looks at the module's mode,
and not the scratch one, which looks at `is_grad_enabled`: two algorithms under one name. The others change
how running averages start and forget, which a few hundred steps hide, but for a memory of one batch.
Bugs without a switch are shown by the tests of `bnstudy.training.quirks`.
"""

from bnstudy.claims import Claim, at_least, at_most, exact
from bnstudy.design import QUICK, SMOKE, Ablation, Factor, Level

ablation = Ablation(
    question="What do the bugs of the published code do to its numbers?",
    source="notebooks on d2l-zh 7.5; claim C22 (the time of every pack is in its records)",
    factors=(
        Factor(
            "quirk",
            control=Level("none", "no bug"),
            treatments=(
                Level("test_inside", "test inside the epoch", quirk="test_inside_epoch"),
                Level("misread", "momentum 0.9 misread", momentum=0.9),
                Level("zeros", "running variance from zeros", running_start=0),
                Level("biased", "biased running variance", running_variance="biased"),
            ),
            varies=("quirk", "momentum", "running_start", "running_variance"),
        ),
        Factor(
            "layer",
            control=Level("framework", "framework's layer"),
            treatments=(Level("scratch", "scratch layer", norm="batch_norm_scratch"),),
            varies=("norm",),
        ),
    ),
    seeds=range(8),  # the effects asked for are points wide
    claims=(
        # 5 points: more than any seed does.
        Claim(
            "A test inside the epoch costs the framework's layer at least 5 points.",
            factor="quirk",
            treatment="test_inside",
            outcome="test_accuracy",
            at={"layer": "framework"},
            effect=at_most(-0.05),
        ),
        # 1 point, here and below: what a reader would notice.
        Claim(
            "It costs the scratch layer less than a point.",
            factor="quirk",
            treatment="test_inside",
            outcome="test_accuracy",
            at={"layer": "scratch"},
            effect=at_least(-0.01),
        ),
        Claim(
            "The misread momentum costs at least a point.",
            factor="quirk",
            treatment="misread",
            outcome="test_accuracy",
            effect=at_most(-0.01),
        ),
        # 1e-3 nats: rounding in another order, amplified by 20 steps at lr 1.
        Claim(
            "Without a bug both layers are one algorithm: their first 20 losses agree.",
            factor="layer",
            outcome="first_losses",
            at={"quirk": "none"},
            effect=exact(1e-3),
        ),
    ),
    quick=QUICK.but(epochs=3),
    smoke=SMOKE.but(levels={"quirk": ("none", "test_inside")}),
)
