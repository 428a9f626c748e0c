"""Finds ablations: the files of the project, of other packages, and of a folder the user names."""

import importlib.util
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path

from bnstudy.books import mistakes
from bnstudy.design import PROFILES, Ablation
from bnstudy.errors import BnstudyError, unknown

ENTRY_POINT = "bnstudy.ablations"
"""Group of entry points, each a module whose folder holds ablation files."""

NAME = re.compile(r"(?=.{1,100}$)[a-z][a-z0-9]*(_[a-z0-9]+)*")
"""Of a file, without its ending: it becomes the name of the ledger, which systems limit to 255 bytes."""


@dataclass(frozen=True)
class Registry:
    """The ablations that load, by name, and what is wrong with the files that do not."""

    ablations: dict[str, Ablation]
    broken: dict[str, BnstudyError]

    def get(self, name: str) -> Ablation:
        """Return the ablation of that name, or raise what is wrong with its file or its name."""
        if name in self.broken:
            raise self.broken[name]
        if name not in self.ablations:
            raise unknown("ablation", name, [*self.ablations, *self.broken], "`bnstudy list` shows all.")
        return self.ablations[name]


def own_folder() -> Path:
    """Return the project's ablations: beside the package in a checkout, inside it in an installed wheel."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "ablations"
    return installed if installed.is_dir() else package.parent / "ablations"


def find(extra: Path | None = None) -> Registry:
    """Load every ablation file; one that does not load never keeps the others from running."""
    registry = Registry({}, {})
    if extra is not None and not extra.is_dir():
        raise BnstudyError(f"--ablations {extra}: there is no such folder.")
    folders = [own_folder(), *_other_packages(registry.broken), *([extra] if extra else [])]
    for folder in dict.fromkeys(folder.resolve() for folder in folders):
        for path in sorted(folder.glob("*.py")):
            if not path.name.startswith((".", "_")):  # an editor's backup, a package's __init__.py
                _add(registry, path)
    return registry


def _other_packages(broken: dict[str, BnstudyError]) -> Iterator[Path]:
    """Yield the folders of entry points; one that cannot be found is added to `broken`."""
    for point in entry_points(group=ENTRY_POINT):
        try:
            spec = importlib.util.find_spec(point.module)  # imports the packages above it
            places = (spec.submodule_search_locations if spec else None) or []
            why = "there is no such package"
        except Exception as error:
            places, why = [], " ".join(f"{type(error).__name__}: {error}".split())
        if not places:
            broken[f"entry point {point.name}"] = BnstudyError(
                f"The entry point {point.name} = {point.value} leads to no folder of ablations: {why}."
            )
        yield from map(Path, places)


def _add(registry: Registry, path: Path) -> None:
    name = path.stem.replace("_", "-")
    try:
        if name in registry.ablations or name in registry.broken:
            raise BnstudyError(f"{path}: an ablation named {name!r} exists already; rename the file.")
        registry.ablations[name] = load(path)
    except BnstudyError as error:
        registry.broken[name] = error


def load(path: Path) -> Ablation:
    """Return the ablation that a file declares; its name is the file's, with dashes.

    Raises `BnstudyError` with file and line for whatever keeps it from loading.
    """
    path = path.absolute()
    if not NAME.fullmatch(path.stem):
        raise BnstudyError(
            f"{path}: an ablation's file is named in lower case and underscores, like lr_sweep.py, in at "
            "most 100 letters."
        )
    spec = importlib.util.spec_from_file_location(f"bnstudy_ablations.{path.stem}", path)
    if spec is None or spec.loader is None:
        raise BnstudyError(f"{path} cannot be loaded as Python.")
    module = importlib.util.module_from_spec(spec)
    writes, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    sys.modules[spec.name] = module  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise BnstudyError(mistakes.told(path, error, vars(module))) from error
    finally:
        sys.dont_write_bytecode = writes
    ablation = getattr(module, "ablation", None)
    if not isinstance(ablation, Ablation):
        raise BnstudyError(mistakes.undeclared(path, vars(module), Ablation))
    text = path.read_text(encoding="utf-8", errors="replace")
    named = ablation.read_from(path.stem.replace("_", "-"), text)
    for profile in PROFILES:
        try:
            named.at(profile)
        except BnstudyError as error:
            told = mistakes.told(path, error, vars(module))
            raise BnstudyError(f"{told} (In the {profile} profile.)") from error
    return named
