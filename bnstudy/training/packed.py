"""What every packed network is: K networks of one shape as one."""

from collections.abc import Sequence

from torch import Tensor, nn

from bnstudy.recipe import Recipe
from bnstudy.training import norms

CLASSES = 10


class PackedNet(nn.Module):
    """K networks as one. Every parameter and statistic holds its K parts one after the other; names that
    hold `_norm` belong to normalizations."""

    def __init__(self, recipe: Recipe, trials: int, trial_seeds: Sequence[int]) -> None:
        super().__init__()
        self.trials, self.image_size = trials, recipe.image_size
        self.trial_seeds = tuple(trial_seeds) or tuple(range(trials))
        self.recipe = recipe
        self.normalized: list[str] = []
        """Layers whose output is normalized before anything else happens to it."""
        self.apart = False
        """Whether linear layers are computed with what follows them, which calls none of their hooks."""

    def norm(self, name: str, channels: int) -> nn.Module:
        """Return the recipe's normalization of what layer `name` computes, `channels` a trial."""
        return norms.build(self.recipe, self.trials, channels, name=name, seeds=self.trial_seeds)

    def logits(self, x: Tensor) -> Tensor:
        """Return [batch, K * 10] as [batch, K, 10]."""
        return x.view(-1, self.trials, CLASSES)


def of_trial(net: PackedNet, tensor: Tensor, trial: int) -> Tensor:
    """Return one trial's part of a parameter or statistic of a packed network, as a view."""
    return tensor.detach().view(net.trials, -1)[trial]
