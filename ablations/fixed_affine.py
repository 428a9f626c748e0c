"""What changes when the scale gamma and the shift beta are fixed?

Expected: little (they are worth 0.5 to 2 points on CIFAR-10), and yet they alone, with all other weights left
as drawn, train to 82% there (Frankle et al. 2021). In front of a sigmoid a fixed scale chooses between its
linear part and saturation, for which another rate may make up.
"""

from bnstudy.claims import Claim, at_least, at_most, interaction
from bnstudy.design import QUICK, SMOKE, Ablation, Factor, Level, across

FREE = {"gamma": "trained", "beta": "trained"}
SCALES = [Level(f"{g:g}", f"gamma fixed at {g:g}", train_gamma=False, gamma=g) for g in (0.5, 1, 2, 4)]

ablation = Ablation(
    question="What changes when gamma and beta are fixed?",
    source="d2l-en 8.5 exercise 5; d2l-zh 7.5 exercise 5 (there: print them); claims C7, C12",
    factors=(
        Factor(
            "weights",
            control=Level("all", "all weights trained"),
            treatments=(
                Level("norms", "only gamma and beta trained", trained="norms"),
                Level("random", "as many other weights trained", trained="random"),
            ),
            varies=("trained",),
        ),
        Factor(
            "gamma",
            control=Level("trained", "gamma trained"),
            treatments=SCALES,
            varies=("train_gamma", "gamma"),
            where={"weights": ("all",)},
        ),
        Factor(
            "beta",
            control=Level("trained", "beta trained"),
            treatments=(Level("fixed", "beta fixed at 0", train_beta=False),),
            varies=("train_beta",),
            where={"weights": ("all",)},
        ),
        across("lr", 0.1, 1),
    ),
    seeds=range(5),  # where differences spread by 0.4 points, five seeds see 0.7
    claims=(
        # 1.5 points: within what they are worth on CIFAR-10.
        Claim(
            "Fixing both costs at most 1.5 points.",
            treatment={"gamma": "1", "beta": "fixed"},
            control=FREE,
            effect=at_least(-0.015),
        ),
        # 5 points: with less they would not be another kind of weight.
        Claim(
            "Trained alone they reach at least 5 points more than as many other weights.",
            factor="weights",
            treatment="norms",
            control="random",
            effect=at_least(0.05),
        ),
        # 0: whether a larger scale wants a smaller rate at all.
        Claim(
            "At 8 times the scale of what a sigmoid sees, ten times the rate gains less.",
            contrast=interaction({"gamma": ("4", "0.5"), "lr": ("1", "0.1")}),
            effect=at_most(0),
            refs=("C7",),
        ),
        # 21.9: twice the norm of 120 ones, its start.
        Claim(
            "Magnitudes are held: at lr 1 the norm of the first linear layer's gamma at most doubles.",
            outcome="weight_norms.fc1_norm.weight",
            at={**FREE, "lr": "1"},
            effect=at_most(21.9),
            refs=("C12",),
        ),
    ),
    quick=QUICK.but(levels={"gamma": ("trained", "0.5", "1", "4")}, epochs=3),
    smoke=SMOKE.but(levels={"gamma": ("trained", "1"), "lr": ("1",)}),
    figure="effects",
)
