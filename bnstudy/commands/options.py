"""What the commands share: options that mean the same everywhere, what they stand for, and printing."""

import json
import os
import re
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated, Any

import typer

from bnstudy import address
from bnstudy.books import registry
from bnstudy.commands import study
from bnstudy.design import PROFILES, Ablation
from bnstudy.errors import BnstudyError

DONE, MISTAKE, FAILED, INTERRUPTED = 0, 1, 3, 130

VARIABLE = "BNSTUDY_STORAGE"
"""The environment variable that holds a storage's address, so that no command line need hold a password."""

RESULTS, QUICK = study.RESULTS, study.PROFILE

Names = Annotated[
    list[str] | None, typer.Argument(help="Ablations; `bnstudy list` shows all.", show_default=False)
]
Name = Annotated[str, typer.Argument(help="An ablation; `bnstudy list` shows all.", show_default=False)]
Profile = Annotated[str, typer.Option(help=f"How much of an ablation: {', '.join(PROFILES)}.")]
Results = Annotated[Path, typer.Option(help="Folder of ledgers and figures.")]
DataDir = Annotated[
    Path | None, typer.Option(help="Folder with the four Fashion-MNIST files.", show_default=False)
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Workers = Annotated[
    int | None, typer.Option(help="Processes; default one a core or GPU.", min=1, show_default=False)
]
ExecutorName = Annotated[
    str, typer.Option(help="local: processes of this machine; ray: the nodes of a Ray cluster.")
]
RayAddress = Annotated[
    str | None,
    typer.Option(help="host:port of its head; default $RAY_ADDRESS, else here.", show_default=False),
]
Seeds = Annotated[
    int | None, typer.Option(help="Seeds; default the profile's number.", min=1, show_default=False)
]
Extra = Annotated[
    Path | None, typer.Option("--ablations", help="A further folder of ablations.", show_default=False)
]
Lang = Annotated[str, typer.Option(help="The language it speaks: en, or zh (Chinese).")]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        help="Where to write: a .csv or .parquet file (export), a folder (bench; report: paper).",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]
Refine = Annotated[
    bool, typer.Option("--refine", help="Add learning rates where it is uncertain whether they work.")
]
Width = Annotated[
    float | None,
    typer.Option(help="Of --refine: how wide intervals may be, a ratio; default 1.5.", show_default=False),
]
Rounds = Annotated[
    int | None,
    typer.Option(help="Of --refine: rounds of bisection at the most; default 6.", min=1, show_default=False),
]
Every = Annotated[bool, typer.Option("--all", help="Every ablation.")]


def _storage(text: str) -> address.Address:
    """Return the storage's address, and take it out of the environment: workers need none."""
    kept = os.environ.pop(VARIABLE, "")
    return address.parse(kept if text == VARIABLE else text)


Storage = Annotated[
    address.Address | None,
    typer.Option(
        envvar=VARIABLE,
        parser=_storage,
        metavar="URL",
        help="A team's queue, postgresql://USER@HOST/DATABASE; default a journal beside the ledgers.",
        show_default=False,
    ),
]


def out_of_sight(command: Sequence[str]) -> None:
    """Start this program again where its command line holds a storage's address, without it.

    `ps` shows command lines to everyone on a machine, an environment to its owner alone.
    """
    words = list(command)
    for place, word in enumerate(words):
        option, given, value = word.partition("=")
        if option != "--storage" or (not given and place + 1 == len(words)):
            continue
        kept = value if given else words[place + 1]
        if "@" in kept or "password" in kept:
            words[place : place + (1 if given else 2)] = [f"--storage={VARIABLE}"]
            os.execve(sys.executable, words, {**os.environ, VARIABLE: kept})


def printable(text: str) -> str:
    """Return a text without what a terminal would obey or could not print: files may hold any name."""
    shown = re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", lambda found: f"\\x{ord(found[0]):02x}", text)
    return shown.encode(errors="backslashreplace").decode()


def say(text: str) -> None:
    """Tell the user something that is not the result."""
    print(printable(text), file=sys.stderr, flush=True)


def out(text: str) -> None:
    """Print the result."""
    print(printable(text), flush=True)


def out_json(value: Any) -> None:
    """Print the result for machines."""
    out(json.dumps(value, indent=1, default=str, allow_nan=False))


def place_of(results: Path, profile: str, storage: address.Address | None = None) -> study.Place:
    """Return the folder at the profile; its warnings go to standard error."""
    return study.Place(results, profile, say, storage)


def choose(
    names: Sequence[str] | None, every: bool, profile: str, seeds: int | None, extra: Path | None
) -> list[Ablation]:
    """Return the ablations asked for, each as the profile runs it; a broken file is named and passed over."""
    if names and every:
        raise BnstudyError("Name ablations or say --all, not both.")
    if not names and not every:
        raise BnstudyError("Which ablation? Name one (`bnstudy list` shows all), or say --all.")
    found = registry.find(extra)
    wanted = list(dict.fromkeys(names or found.ablations))
    for name, error in found.broken.items():
        if name not in wanted:
            say(f"{name} is passed over: {error}")
    return [found.get(name).at(profile, seeds) for name in wanted]


def displayed(name: str) -> AbstractContextManager[Any]:
    """Return the context in which the progress of what has this name is displayed on standard error."""
    from rich.console import Console

    from bnstudy.commands import progress

    return progress.shown(Console(stderr=True), name)
