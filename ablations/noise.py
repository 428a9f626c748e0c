"""Does batch normalization work by its noise, or by reducing internal covariate shift?

Expected: BN with noise behind it, so that the shift is larger than without BN, trains about as well
(Santurkar et al. 2018); the noise of the moments regularizes (Luo et al. 2019; Teye et al. 2018). The
population's statistics have none; with noise of a batch's variance they are BN again, if noise is all.
"""

from bnstudy.claims import Claim, at_best, at_least, at_most, equal_within
from bnstudy.design import QUICK, SMOKE, Ablation, Factor, Level, across
from bnstudy.levels import AFFINE, BN
from bnstudy.recipe import BN_LENET

ablation = Ablation(
    question="Does batch normalization work by its noise, or by reducing internal covariate shift?",
    source="d2l-en 8.5.1 and 8.5.6, d2l-zh 7.5.1, 7.5.6 and notes on it; claims C4, C15, C27",
    base=BN_LENET.replace(probes="shift"),
    factors=(
        Factor(
            "norm",
            control=BN,
            treatments=(
                AFFINE,
                Level("noisy", "BN plus shifting noise", norm_noise="shifting"),
                Level("population", "population statistics", norm="population"),
                Level("calibrated", "population plus noise", norm="population", norm_noise="calibrated"),
            ),
            varies=("norm", "norm_noise"),
        ),
        across("lr", 0.1, 1),
    ),
    seeds=range(12),  # 89% power for equality within half a point where differences spread by that
    claims=(
        # 1 point: noise that did what BN is said to prevent would cost many.
        Claim(
            "Noise behind BN costs less than a point.",
            factor="norm",
            treatment="noisy",
            outcome=at_best("lr"),
            effect=equal_within(0.01),
        ),
        Claim(
            "Even so it is at least a point ahead of no BN.",
            factor="norm",
            treatment="noisy",
            control="affine",
            outcome=at_best("lr"),
            effect=at_least(0.01),
        ),
        # 0: less of it, by whatever amount.
        Claim(
            "With BN the inputs of the layers shift less than without.",
            factor="norm",
            treatment="bn",
            control="affine",
            outcome="checks.shift",
            effect=at_most(0),
            refs=("C4",),
        ),
        # 0.2 points: as for ghost batches.
        Claim(
            "The noise of the statistics gains at least 0.2 points over the population's.",
            factor="norm",
            treatment="bn",
            control="population",
            outcome=at_best("lr"),
            effect=at_least(0.002),
            refs=("C15",),
        ),
        # 0.5 points: what is left for anything but noise.
        Claim(
            "BN only injects noise: the population's statistics with a batch's noise do as well.",
            factor="norm",
            treatment="calibrated",
            outcome=at_best("lr"),
            effect=equal_within(0.005),
            refs=("C27",),
        ),
    ),
    quick=QUICK.but(levels={"lr": ("1",)}),
    smoke=SMOKE.but(levels={"lr": ("1",)}),
    figure="effects",
)
