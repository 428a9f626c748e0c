"""What all arms of an ablation share: the recipe fields that none of them changes, and why they are so."""

from dataclasses import dataclass

from bnstudy.books.language import tell
from bnstudy.design import Ablation
from bnstudy.recipe import Recipe, level_name


@dataclass(frozen=True)
class Held:
    """A recipe field that no arm changes, its value as a design writes it, and why."""

    field: str
    value: str
    why: str


WHY = {
    "data": "the textbook's images",
    "train_images": "the 60,000 training images without those held out",
    "validation_images": "held out, so that nothing is chosen by the test images",
    "net": "the chapter's network",
    "padding": "as in the chapter's network with normalization",
    "pool": "as in the chapter",
    "activation": "as in the chapter",
    "norm": "the framework's layer",
    "norm_at": "in front of every activation, as in the chapter",
    "bias_before_norm": "kept, as in the chapter",
    "momentum": "the weight of the new batch: the chapter's 0.9 of the old one",
    "eps": "as in the chapter",
    "dropout": "none, as in the chapter",
    "init": "as in the chapter: Glorot & Bengio 2010",
    "optimizer": "as in the chapter",
    "lr": "the chapter's rate for the network with normalization",
    "batch_size": "as in the chapter",
    "epochs": "as in the chapter",
    "precision": "the framework's default",
}
"""Why the fields that a reader asks about have their defaults."""

OWN = "chosen for this question; its file says why"


def of(ablation: Ablation) -> tuple[Held, ...]:
    """Return the fields worth telling that all arms share, with what the profile has cut down."""
    recipes, whole = ([arm.recipe for arm in a.arms] for a in (ablation, ablation.whole))
    shared = ((name, {getattr(recipe, name) for recipe in recipes}) for name in WHY)
    return tuple(
        Held(name, level_name(values.pop()), _why(name, recipes[0], whole))
        for name, values in shared
        if len(values) == 1
    )


def _why(name: str, recipe: Recipe, whole: list[Recipe]) -> str:
    value = getattr(recipe, name)
    if value not in {getattr(each, name) for each in whole}:
        return tell("cut down by the profile")
    return tell(WHY[name] if value == getattr(Recipe(), name) else OWN)
