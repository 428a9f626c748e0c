"""Is batch normalization needed in every layer?

Expected: no. All 16 subsets of the four hidden layers, so that each layer's main effect can be read. A layer
without it has no scale and shift either (beside weights and bias they add nothing that it could not
compute), so that "off" means the same in every subset, the empty one included.
"""

from bnstudy.claims import Claim, at_best, at_least, equal_within
from bnstudy.design import QUICK, SMOKE, Ablation, Also, Factor, Level, across
from bnstudy.recipe import HIDDEN, Recipe


def site(name: str) -> Factor:
    """Return the factor of one layer: normalized or not."""
    on = Level("on", f"BN on {name}", norm="batch_norm", norm_at=Also(name))
    return Factor(name, levels=(Level("off", f"{name} plain"), on), varies=("norm", "norm_at"))


ablation = Ablation(
    question="Is batch normalization needed in every layer?",
    source="d2l-en 8.5 exercise 3; d2l-zh 7.5 exercise 3",
    base=Recipe(norm="none"),
    factors=(*map(site, HIDDEN), across("lr", 0.1, 1)),
    seeds=range(5),  # 95% power for equality within 0.5 points where differences spread by 0.25
    claims=(
        # 0.5 points: what two layers less may cost.
        Claim(
            "On the convolutions alone it is worth as much as everywhere.",
            treatment={"conv1": "on", "conv2": "on", "fc1": "off", "fc2": "off"},
            control=dict.fromkeys(HIDDEN, "on"),
            outcome=at_best("lr"),
            effect=equal_within(0.005),
        ),
        # Main effects: 1 point, or a layer more is not worth it.
        *(
            Claim(
                f"On {name} it gains at least a point, averaged over what the other layers have.",
                factor=name,
                effect=at_least(0.01),
            )
            for name in HIDDEN
        ),
    ),
    quick=QUICK.but(levels={"lr": ("1",)}, epochs=3),
    smoke=SMOKE.but(levels={"lr": ("1",)}),
    figure="subsets",
)
