"""Does batch normalization make a hundred layers routine?

Expected: not by itself. Without skips its gradients explode with depth (Yang et al. 2019), so that 100
layers fail where 5 train; with residual blocks they train, and so they do without BN where the blocks start
at nothing (SkipInit, De & Smith 2020).
"""

from bnstudy.claims import Claim, at_least, at_most, success
from bnstudy.design import QUICK, SMOKE, Ablation, Factor, Level
from bnstudy.recipe import Recipe

DEEP = {"depth": "100", "activation": "relu"}

ablation = Ablation(
    question="Does batch normalization make a hundred layers routine?",
    source="d2l-en 8.5, d2l-zh 7.5 and notes on it; claims C2, C25",
    base=Recipe(net="stack", norm="none", train_images=10_000, lr=0.1, probes="gradients"),
    factors=(
        Factor(
            "network",
            control=Level("plain", "plain layers"),
            treatments=(
                Level("bn", "BN", norm="batch_norm"),
                Level("skips", "skips", skip="identity"),
                Level("bn_skips", "BN and skips", norm="batch_norm", skip="identity"),
                Level("skipinit", "SkipInit", skip="skipinit"),
            ),
            varies=("norm", "skip"),
        ),
        Factor("depth", levels=[Level(f"{n}", f"{n} layers", depth=n) for n in (5, 20, 100)]),
        Factor(
            "activation",
            levels=(Level("relu", "ReLU", activation="relu"), Level("tanh", activation="tanh")),
            role="nuisance",
        ),
    ),
    seeds=range(8),  # eight of eight decide even beside the other claims; five of five would not
    claims=(
        # Success is 50% training accuracy, here and below: far from a guess and from what 5 layers reach.
        Claim(
            "Without skips BN does not train 100 layers.",
            outcome=success(),
            at={"network": "bn", **DEEP},
            effect=at_most(0.5),
        ),
        Claim(
            "With skips BN trains 100 layers.",
            outcome=success(),
            at={"network": "bn_skips", **DEEP},
            effect=at_least(0.5),
            refs=("C2",),
        ),
        Claim(
            "SkipInit trains 100 layers without BN.",
            outcome=success(),
            at={"network": "skipinit", **DEEP},
            effect=at_least(0.5),
        ),
        # 0: the logarithm of the last hidden layer's gradient over the first's.
        Claim(
            "In plain layers the top gets larger gradients than the bottom.",
            outcome="checks.log_gradient_ratio",
            at={"network": "plain", "depth": "20"},
            effect=at_least(0),
            refs=("C25",),
        ),
    ),
    quick=QUICK.but(levels={"depth": ("20", "100"), "activation": ("relu",)}, epochs=10),
    smoke=SMOKE.but(levels={"depth": ("5", "20"), "activation": ("relu",)}),
    figure="dose",
)
