"""A new ablation file to begin with, which plans and runs as it is."""

import re
import shlex
from pathlib import Path

from bnstudy.books import registry
from bnstudy.errors import BnstudyError

NAME = re.compile(r"(?=.{1,100}$)[a-z][a-z0-9]*(-[a-z0-9]+)*")

TEXT = '''"""What do you want to know?

Expected: what the literature, or you, would bet on. Written down before the first run.
"""

from bnstudy.claims import Claim, at_least
from bnstudy.design import Ablation, Factor, Level, across

ablation = Ablation(
    question="Does batch normalization help?",
    source="my own",
    factors=(
        # What the question is about. A level changes fields of the recipe, which bnstudy/recipe.py explains.
        Factor(
            "norm",
            control=Level("affine", "without BN", norm="affine"),
            treatments=(Level("bn", "with BN", norm="batch_norm"),),
        ),
        # What the answer should not hang on: crossed with the question. Leave it out for a first look.
        across("lr", 0.1, 1),
    ),
    seeds=range(5),  # replicates of every arm; `bnstudy judge` says how small an effect so many can show
    claims=(
        # How large must the effect be to matter, and why? Decide it now; the first claim is the primary one.
        Claim("It gains at least a point.", factor="norm", effect=at_least(0.01)),
    ),
    figure="effects",  # or "arms", "subsets", "dose", "curves", "learning rates", "statistics", "published"
)
'''
"""The file: where a newcomer has to decide, a comment says what about."""


def write(name: str, folder: Path) -> Path:
    """Write a new ablation file into a folder and return its path; nothing is ever overwritten."""
    if not NAME.fullmatch(name):
        raise BnstudyError(
            f"An ablation cannot be named {name!r}: at most 100 small letters, digits, single dashes, as "
            "my-question."
        )
    path = folder / f"{name.replace('-', '_')}.py"
    if path.exists():
        raise BnstudyError(f"{path} exists already and was left alone; choose another name or remove it.")
    found = registry.find(folder if folder.is_dir() else None)
    if name in found.ablations or name in found.broken:
        raise BnstudyError(f"An ablation named {name!r} exists already, as `bnstudy list` shows.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(TEXT)
    except OSError as error:
        raise BnstudyError(
            f"Cannot write {path}: {error.strerror or error}. Choose another folder with --ablations."
        ) from error
    return path


def commands(name: str, folder: Path) -> list[str]:
    """Return what to type next: plan, run and figures, with the folder where it is not the project's own."""
    own = folder.resolve() == registry.own_folder().resolve()
    where = "" if own else f" --ablations {shlex.quote(str(folder))}"
    return [
        f"bnstudy plan {name}{where} --profile smoke",
        f"bnstudy run {name}{where} --profile smoke",
        f"bnstudy figures {name}{where} --profile smoke",
    ]
