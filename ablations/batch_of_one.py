"""Does batch normalization learn nothing from batches of one image?

Expected: not nothing. In a fully connected layer the one value is its own mean: every output is beta, and no
gradient passes below. A convolution has moments over its positions, and learns. It is the scratch layer,
which is silent about such a batch; the framework's refuses it.
"""

from bnstudy.claims import Claim, at_least, at_most, exact, success
from bnstudy.design import QUICK, SMOKE, Ablation, Factor, Level
from bnstudy.levels import AFFINE, GROUP
from bnstudy.recipe import BN_LENET

# The biased variance, since the unbiased one divides by 0. Of 0.003 to 0.1, lr 0.03 was best for BN on the
# convolutions in a pilot (seed 1000).
SCRATCH = BN_LENET.replace(norm="batch_norm_scratch", running_variance="biased", lr=0.03)

ablation = Ablation(
    question="Does batch normalization learn nothing from batches of one image?",
    source="d2l-en 8.5.1, d2l-zh 7.5.1; claim C10",
    base=SCRATCH.replace(batch_size=1, train_images=5_000, epochs=1),
    factors=(
        Factor(
            "norm",
            control=AFFINE,
            treatments=(
                Level("everywhere", "BN everywhere"),
                Level("convolutions", "BN on the convolutions", norm_at="conv1,conv2"),
                GROUP,
            ),
            varies=("norm", "norm_at", "groups"),
        ),
    ),
    seeds=range(8),  # whether, not how much; five of five would not decide beside another claim
    claims=(
        # Exactly 0: a value minus itself.
        Claim(
            "No gradient passes below the first fully connected BN.",
            outcome="checks.gradient_below_fc1",
            at={"norm": "everywhere"},
            effect=exact(0),
        ),
        # 50%: five times a guess.
        Claim(
            "BN on the convolutions alone learns.",
            outcome="test_accuracy",
            at={"norm": "convolutions"},
            effect=at_least(0.5),
        ),
        # 20%: twice a guess. Half of the seeds: none of eight puts their share below 0.33.
        Claim(
            "BN everywhere learns nothing.",
            outcome=success("test_accuracy", 0.2),
            at={"norm": "everywhere"},
            effect=at_most(0.5),
            refs=("C10",),
        ),
    ),
    quick=QUICK.but(epochs=1),
    smoke=SMOKE.but(batch_size=1, train_images=100, epochs=1),
)
