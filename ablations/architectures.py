"""Do AlexNet, VGG, NiN and GoogLeNet gain from batch normalization?

Expected: yes, and more the deeper they are; without it they train at rates that were chosen for that. Each
keeps its published rate, batch, dropout and image size, so that BN alone differs. Full size is for a GPU:
the smaller profiles cap the images.
"""

from bnstudy.claims import Claim, at_least
from bnstudy.design import QUICK, SMOKE, Ablation, Factor, Level
from bnstudy.levels import BN
from bnstudy.recipe import Recipe

NETS = {
    "alexnet": Level("alexnet", "AlexNet", net="alexnet", image_size=224, lr=0.01, dropout=0.5),
    "vgg11": Level("vgg11", "VGG-11", net="vgg11", image_size=224, lr=0.05, dropout=0.5),
    "nin": Level("nin", "NiN", net="nin", image_size=224, lr=0.1, dropout=0.5),
    "googlenet": Level("googlenet", "GoogLeNet", net="googlenet", image_size=96, lr=0.1),
}

ablation = Ablation(
    question="Do AlexNet, VGG, NiN and GoogLeNet gain from batch normalization?",
    source="d2l-en 8.1 to 8.4, d2l-zh 7.1 to 7.4: their networks and recipes",
    base=Recipe(norm="none", activation="relu", pool="max", batch_size=128),
    factors=(
        Factor("net", levels=list(NETS.values()), varies=("net", "image_size", "lr", "dropout")),
        Factor("norm", control=Level("none", "without BN"), treatments=(BN,)),
    ),
    seeds=range(5),  # where differences spread by 0.4 points, five seeds see 0.7
    claims=(
        # 1 point, here and below: about what lies between one of these networks and the next.
        Claim("Averaged over the four, BN gains at least a point.", factor="norm", effect=at_least(0.01)),
        *(
            Claim(
                f"{level.label} gains at least a point.",
                factor="norm",
                at={"net": net},
                effect=at_least(0.01),
            )
            for net, level in NETS.items()
        ),
    ),
    # 72 pixels: the least that AlexNet's three poolings leave anything of. NiN alone is a matter of minutes.
    quick=QUICK.but(seeds=2, levels={"net": ("nin",)}, caps={"image_size": 72}, train_images=5_000, epochs=3),
    smoke=SMOKE.but(
        levels={"net": ("vgg11", "nin")},
        caps={"image_size": 72},
        train_images=128,
        validation_images=32,
        epochs=1,
    ),
    figure="effects",
)
