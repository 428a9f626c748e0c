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


def modules(names: str) -> set[str]:
    """Return a layer, written as a list of words."""
    return set(names.split())


WORDS = modules(
    """
    address chapter checks claim_check claims confounds declaration design effects errors factors kinds
    levels outcome packs recipe seeds systems words
    """
)
MACHINE = modules(
    """
    activations architectures batchnorm convolution data evaluate first_layer fused imagewise kernels layers
    lenet lite machine measure nets noise norms optim own_images packed probes quirks ranks running stack sums
    train transforms vectors watchers whitening work
    """
)
BOOKS = modules(
    """
    appending clocks cluster executors interrupts joining journal language ledger mistakes places
    provenance record registry retries schedule search storage tuning watched
    """
)
JUDGEMENT = modules(
    """
    arm_table article article_sections certify checklist contrasts discussion drawing evidence figures
    fonts freshness held judging label_table marks orders origins page parties phrases placebo plot_bench
    plot_effects plot_lines plot_published plot_rates plot_strips plot_subsets ratios recorded references
    refinement repeats report sentences several sidecar stats style svg verdicts weighing workable
    """
)
DOOR = modules(
    """
    __main__ bench bench_steps certificate cli dashboard doctor lookup options peers progress
    record_commands refine report_commands run_commands sampling skeleton study textbook tune tune_command
    verify views
    """
)

LAYERS = {"words": WORDS, "machine": MACHINE, "books": BOOKS, "judgement": JUDGEMENT, "door": DOOR}
BELOW = {
    "words": WORDS,
    "machine": WORDS | MACHINE,
    "books": WORDS | BOOKS,
    "judgement": WORDS | BOOKS | JUDGEMENT,
    "door": set().union(*LAYERS.values()),
}
"""What each layer may import; `bnstudy` itself, which holds the version alone, belongs to none."""

TORCH = {"torch", "torchvision"}
MODULES = sorted(path.stem for path in PACKAGE.glob("*.py") if path.stem != "__init__")


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
    parts = [name.split(".") for name in names]
    return {part[1] for part in parts if part[0] == "bnstudy" and part[1] in MODULES}


def outside(names: set[str]) -> set[str]:
    """Return the distributions' packages among imported names, the standard library left out."""
    return {name.split(".")[0] for name in names} - sys.stdlib_module_names - {"bnstudy"}


def layer(module: str) -> str:
    return next(name for name, modules in LAYERS.items() if module in modules)


def test_every_module_has_one_layer() -> None:
    homes = {module: [name for name, held in LAYERS.items() if module in held] for module in MODULES}
    assert {module: found for module, found in homes.items() if len(found) != 1} == {}


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_downward(module: str) -> None:
    upward = own(imports(PACKAGE / f"{module}.py")) - BELOW[layer(module)]
    assert not upward, f"{module} ({layer(module)}) imports {upward}"


@pytest.mark.parametrize("module", sorted(WORDS & set(MODULES)))
def test_words_need_the_standard_library_alone(module: str) -> None:
    assert outside(imports(PACKAGE / f"{module}.py")) == set()


@pytest.mark.parametrize("module", sorted((BOOKS | JUDGEMENT) & set(MODULES)))
def test_books_and_judgement_never_see_a_tensor(module: str) -> None:
    assert not outside(imports(PACKAGE / f"{module}.py")) & TORCH


def test_queue_search_and_storages_alone_know_optuna() -> None:
    knowing = {m for m in MODULES if "optuna" in outside(imports(PACKAGE / f"{m}.py"))}
    assert knowing == {"journal", "schedule", "search", "storage"}


def test_imports_are_read_inside_functions_too(tmp_path: Path) -> None:
    """The reader itself: a test that reads nothing would pass for ever."""
    path = tmp_path / "module.py"
    path.write_text(
        "import json\n"
        "from bnstudy import train, recipe\n"
        "from bnstudy.ledger import Ledger\n"
        "def late():\n    import torch.nn as nn\n    from bnstudy.cli import main\n"
    )
    assert own(imports(path)) == {"train", "recipe", "ledger", "cli"}
    assert own(imports(path, top_level=True)) == {"train", "recipe", "ledger"}
    assert outside(imports(path)) == {"torch"}


@pytest.mark.parametrize("path", sorted(ABLATIONS.glob("*.py")), ids=lambda path: path.stem)
def test_questions_are_asked_in_words_alone(path: Path) -> None:
    """A figure function may import its plotting when it is called; loading the file may not."""
    names = imports(path, top_level=True)
    assert own(names) <= WORDS and outside(names) == set()


def test_finding_the_ablations_loads_nothing_heavy() -> None:
    """`bnstudy list` and `--help` answer in half a second; PyTorch alone takes two."""
    heavy = {"torch", "pandas", "optuna", "numpy", "scipy", "matplotlib", "pydantic"}
    code = (
        "import sys\n"
        "from bnstudy import registry\n"
        "found = registry.find()\n"
        "assert found.ablations and not found.broken\n"
        f"print(sorted({heavy!r} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=PACKAGE.parent)
    assert done.stdout.strip() == "[]", done.stderr
