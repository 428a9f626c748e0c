"""Where does the spread of the published test accuracies come from, and was 0.9 meant to be 0.1?

Expected: at large steps the running averages lag behind the weights, and moments recomputed from 1,000 to
10,000 images remove what varies (Wu & Johnson 2021). The rival: at lr 1 the last weights themselves swing,
and only averaging them helps. The same trials are therefore predicted with running averages of six
memories, with recomputed and with batch moments, and with the averaged weights of the last epoch.
"""

from bnstudy.claims import Claim, at_least, equal_within, exact, spread_ratio_at_least, spread_ratio_at_most
from bnstudy.design import QUICK, Ablation, across
from bnstudy.recipe import BN_LENET

LARGE_STEPS = {"lr": "1"}

ablation = Ablation(
    question="Do the running averages, rather than the weights, make published test accuracies disagree?",
    source="d2l-en 8.5.1 and 8.5.3, d2l-zh 7.5.1 and 7.5.3; sixteen published runs; claims C17, C18",
    base=BN_LENET.replace(probes="averages"),
    factors=(across("lr", 0.01, 0.1, 1, role="scientific"),),
    seeds=range(20),  # the fewest from which an interval of a ratio of spreads is trusted
    claims=(
        # Threefold: a ninth of the variance left says that the averages made nearly all of it.
        Claim(
            "At lr 1 recomputed statistics cut the spread of test accuracy at least threefold.",
            outcome="test_accuracy",
            against="precise_test_accuracy",
            at=LARGE_STEPS,
            effect=spread_ratio_at_least(3),
        ),
        # 1.5: weights that swing would make up more than half of the variance that is left.
        Claim(
            "What is left is not the swing of the last weights: averaging them removes less than a third.",
            outcome="precise_test_accuracy",
            against="tracked_test_accuracy.averaged weights",
            at=LARGE_STEPS,
            effect=spread_ratio_at_most(1.5),
        ),
        # 1 point, here and below: what a reader of the textbook would notice.
        Claim(
            "Predicting with the statistics of the data gains at least a point over the running averages.",
            outcome="precise_test_accuracy",
            against="test_accuracy",
            at=LARGE_STEPS,
            effect=at_least(0.01),
            refs=("C18",),
        ),
        Claim(
            "Read as the new batch's weight, the textbook's 0.9 costs at least a point.",
            outcome="tracked_test_accuracy.0.1",
            against="tracked_test_accuracy.0.9",
            at=LARGE_STEPS,
            effect=at_least(0.01),
        ),
        Claim(
            "In training mode at least 1 image in 100 is classified differently in different batches.",
            outcome="checks.batch_disagreement",
            at=LARGE_STEPS,
            effect=at_least(0.01),
            refs=("C17",),
        ),
        # 0.3 points: below what anyone would recompute statistics for.
        Claim(
            "At lr 0.01 it makes no difference how the statistics are averaged.",
            outcome="test_accuracy",
            against="precise_test_accuracy",
            at={"lr": "0.01"},
            effect=equal_within(0.003),
        ),
        # 5 of 10,000 images: near ties, which rounding decides.
        Claim(
            "0.9 as the old value's weight and 0.1 as the new one's are the same average.",
            outcome="test_accuracy",
            against="tracked_test_accuracy.0.1",
            effect=exact(0.0005),
        ),
    ),
    quick=QUICK.but(seeds=20, levels={"lr": ("0.1", "1")}, epochs=3),
    figure="statistics",
)
