"""Finds ablations: the files of the project, of other packages, and of a folder the user names."""

import importlib.util
import re
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.metadata import entry_points
from pathlib import Path

from bnstudy.design import Ablation
from bnstudy.errors import BnstudyError, unknown

ENTRY_POINT = "bnstudy.ablations"
"""Group of entry points, each a module whose folder holds ablation files."""

NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")


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
    package = Path(__file__).resolve().parent
    installed = package / "ablations"
    return installed if installed.is_dir() else package.parent / "ablations"


def find(extra: Path | None = None) -> Registry:
    """Load every ablation file; one that does not load never keeps the others from running."""
    registry = Registry({}, {})
    if extra is not None and not extra.is_dir():
        raise BnstudyError(f"--ablations {extra}: there is no such folder.")
    for folder in [own_folder(), *_other_packages(), *([extra] if extra else [])]:
        for path in sorted(folder.glob("*.py")):
            if path.stem != "__init__":
                _add(registry, path)
    return registry


def _other_packages() -> Iterator[Path]:
    for point in entry_points(group=ENTRY_POINT):
        spec = importlib.util.find_spec(point.value)
        for place in (spec.submodule_search_locations or []) if spec else []:
            yield Path(place)


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
    if not NAME.fullmatch(path.stem):
        raise BnstudyError(
            f"{path}: an ablation's file is named in lower case and underscores, like lr_sweep.py."
        )
    spec = importlib.util.spec_from_file_location(f"bnstudy_ablations.{path.stem}", path)
    if spec is None or spec.loader is None:
        raise BnstudyError(f"{path} cannot be loaded as Python.")
    module = importlib.util.module_from_spec(spec)
    writes, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise BnstudyError(f"{_place(path, error)}: {_what(error)}") from error
    finally:
        sys.dont_write_bytecode = writes
    ablation = getattr(module, "ablation", None)
    if not isinstance(ablation, Ablation):
        raise BnstudyError(f"{path} declares no `ablation = Ablation(...)`.")
    return replace(ablation, name=path.stem.replace("_", "-"))


def _place(path: Path, error: Exception) -> str:
    if isinstance(error, SyntaxError):
        return f"{error.filename or path}, line {error.lineno}"
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
    return f"{path}, line {lines[-1]}" if lines else str(path)


def _what(error: Exception) -> str:
    if isinstance(error, BnstudyError):
        return str(error)
    if isinstance(error, SyntaxError):
        return f"not valid Python: {error.msg}"
    return f"{type(error).__name__}: {error}"
