"""Is the pipeline honest: does it see a difference where there is none?

Expected: two arms of one recipe, with the same images in the same order and other initial values, differ by
chance alone, and every rule decides wrongly as often as it says. Counted over random flips of the signs of
the paired differences, and for margins after shifting one arm by exactly the margin.
"""

from bnstudy.claims import Claim, equal_within, false_alarms
from bnstudy.design import QUICK, Ablation, Factor, Level

ablation = Ablation(
    question="Does the pipeline see a difference where there is none?",
    source="an A/A test of the study itself",
    factors=(
        Factor(
            "replica",
            control=Level("a", "replica A"),
            treatments=(Level("b", "replica B", replica=1),),
        ),
    ),
    seeds=range(20),  # as many as where equality is judged
    claims=(
        # 0.3 points, here and below: the margin of most claims of equality.
        Claim("False alarms come as often as stated.", factor="replica", effect=false_alarms(0.003)),
        # Flipping signs cannot see a shift that all seeds share; this can.
        Claim("The two replicas are equal.", factor="replica", effect=equal_within(0.003)),
    ),
    quick=QUICK.but(seeds=20, epochs=3),
    figure="effects",
)
