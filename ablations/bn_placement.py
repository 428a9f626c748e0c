"""Where does batch normalization belong: before or after the activation, on the input, on the output?

Expected: its authors put it before the activation (Ioffe & Szegedy 2015, section 3.2), where it keeps a
sigmoid off its flat parts. On the pixels alone it standardizes them. On the logits it would bound how
confident a network can get.
"""

from bnstudy.claims import Claim, at_best, at_least, at_most, equal_within
from bnstudy.design import QUICK, SMOKE, Ablation, Factor, Level, across

ablation = Ablation(
    question="Where does batch normalization belong?",
    source="d2l-en 8.5.2, d2l-zh 7.5.2 and notes on it; claims C20, C30, C31",
    factors=(
        Factor(
            "place",
            control=Level("before", "before the activation"),
            treatments=(
                Level("after", "after the activation", norm_place="after"),
                Level("after_pool", "after the pooling", norm_place="after_pool"),
                Level("input", "on the pixels alone", norm_at="input"),
                Level("logits", "on the logits, too", norm_at="conv1,conv2,fc1,fc2,fc3"),
                Level("nowhere", "nowhere (affine only)", norm="affine"),
            ),
            varies=("norm", "norm_at", "norm_place"),
        ),
        across("lr", 0.1, 1),
    ),
    seeds=range(5),  # 95% power for equality within 0.5 points where differences spread by 0.25
    claims=(
        # 0.5 points: less than the choice of the rate costs.
        Claim(
            "Before or after the activation makes no difference.",
            factor="place",
            treatment="after",
            effect=equal_within(0.005),
        ),
        # 0: that it is not worse there, by any amount.
        Claim(
            "It is at least as good before the activation as after it.",
            factor="place",
            treatment="before",
            control="after",
            effect=at_least(0),
            refs=("C20",),
        ),
        # 1 point: what a layer more should bring.
        Claim(
            "On the pixels alone it gains at least a point.",
            factor="place",
            treatment="input",
            control="nowhere",
            outcome=at_best("lr"),
            effect=at_least(0.01),
            refs=("C30",),
        ),
        # 0.3 points: below what anyone would add a layer for.
        Claim(
            "The output layer needs none: on the logits, too, it gains less than 0.3 points.",
            factor="place",
            treatment="logits",
            effect=at_most(0.003),
            refs=("C31",),
        ),
    ),
    quick=QUICK.but(levels={"lr": ("1",)}),
    smoke=SMOKE.but(levels={"lr": ("1",)}),
    figure="effects",
)
