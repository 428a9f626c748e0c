"""Imports point downward only: what a student's question needs never loads what trains it."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import bnstudy

PACKAGE = Path(bnstudy.__file__).parent
ABLATIONS = PACKAGE.parent / "ablations"
if not ABLATIONS.is_dir():
    ABLATIONS = PACKAGE / "ablations"


FOLDERS = ("training", "books", "judgement", "plots", "reporting", "commands")
BELOW = {
    "": {""},
    "training": {"", "training"},
    "books": {"", "books"},
    "judgement": {"", "books", "judgement"},
    "plots": {"", "books", "judgement", "plots"},
    "reporting": {"", "books", "judgement", "plots", "reporting"},
    "commands": {"", *FOLDERS},
}
"""What the modules of a folder may import; "" is the package itself, which holds the words of a design."""

DOOR = {"__main__", "cli"}
"""Of the package itself what begins the commands, and may import all."""

TORCH = {"torch", "torchvision"}
PATHS = {path.stem: path for path in sorted(PACKAGE.rglob("*.py")) if path.stem != "__init__"}
MODULES = sorted(PATHS)


def imports(path: Path, *, top_level: bool = False) -> set[str]:
    """Return the dotted names that a file imports, also inside functions; `from a import b` is `a.b`."""
    found = set()
    tree = ast.parse(path.read_text())
    for node in tree.body if top_level else ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level and node.module, f"{path.name}: imports are absolute"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def own(names: set[str]) -> set[str]:
    """Return which of bnstudy's modules are among imported names."""
    parts = [name.split(".")[1:] for name in names if name.split(".")[0] == "bnstudy"]
    return {part for name in parts for part in name[:2] if part in PATHS}


def outside(names: set[str]) -> set[str]:
    """Return the distributions' packages among imported names, the standard library left out."""
    return {name.split(".")[0] for name in names} - sys.stdlib_module_names - {"bnstudy"}


def folder(module: str) -> str:
    """Return the folder of a module, "" for the package itself."""
    return "" if (parent := PATHS[module].parent) == PACKAGE else parent.name


def of(*folders: str) -> list[str]:
    return [module for module in MODULES if folder(module) in folders and module not in DOOR]


def test_modules_stand_in_the_folders_and_have_names_of_their_own() -> None:
    files = [path for path in PACKAGE.rglob("*.py") if path.stem != "__init__"]
    assert len(files) == len(PATHS), "a module is found by its name alone"
    assert {folder(module) for module in MODULES} == {"", *FOLDERS}


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_downward(module: str) -> None:
    may = BELOW["commands" if module in DOOR else folder(module)]
    upward = {name for name in own(imports(PATHS[module])) if folder(name) not in may or name in DOOR}
    assert not upward - ({"cli"} if module == "__main__" else set()), f"{module} imports {upward}"


@pytest.mark.parametrize("module", of(""))
def test_words_need_the_standard_library_alone(module: str) -> None:
    assert outside(imports(PATHS[module])) == set()


@pytest.mark.parametrize("module", of("books", "judgement", "plots", "reporting"))
def test_books_and_judgement_never_see_a_tensor(module: str) -> None:
    assert not outside(imports(PATHS[module])) & TORCH


def test_queue_search_and_storages_alone_know_optuna() -> None:
    knowing = {m for m in MODULES if "optuna" in outside(imports(PATHS[m]))}
    assert knowing == {"journal", "schedule", "search", "storage"}


def test_imports_are_read_inside_functions_too(tmp_path: Path) -> None:
    """The reader itself: a test that reads nothing would pass for ever."""
    path = tmp_path / "module.py"
    path.write_text(
        "import json\n"
        "from bnstudy import recipe\n"
        "from bnstudy.training import train\n"
        "from bnstudy.books.ledger import Ledger\n"
        "def late():\n    import torch.nn as nn\n    from bnstudy.cli import main\n"
    )
    assert own(imports(path)) == {"train", "recipe", "ledger", "cli"}
    assert own(imports(path, top_level=True)) == {"train", "recipe", "ledger"}
    assert outside(imports(path)) == {"torch"}


@pytest.mark.parametrize("path", sorted(ABLATIONS.glob("*.py")), ids=lambda path: path.stem)
def test_questions_are_asked_in_words_alone(path: Path) -> None:
    """A figure function may import its plotting when it is called; loading the file may not."""
    names = imports(path, top_level=True)
    assert own(names) <= set(of("")) and outside(names) == set()


def test_finding_the_ablations_loads_nothing_heavy() -> None:
    """`bnstudy list` and `--help` answer in half a second; PyTorch alone takes two."""
    heavy = {"torch", "pandas", "optuna", "numpy", "scipy", "matplotlib", "pydantic"}
    code = (
        "import sys\n"
        "from bnstudy.books import registry\n"
        "found = registry.find()\n"
        "assert found.ablations and not found.broken\n"
        f"print(sorted({heavy!r} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=PACKAGE.parent)
    assert done.stdout.strip() == "[]", done.stderr
