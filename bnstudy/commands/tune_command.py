"""The command that searches the nuisance factors of every arm."""

from typing import Annotated

import typer

from bnstudy.commands import study
from bnstudy.commands.options import (
    DONE,
    FAILED,
    INTERRUPTED,
    QUICK,
    RESULTS,
    DataDir,
    Device,
    ExecutorName,
    Extra,
    Json,
    Name,
    Profile,
    RayAddress,
    Results,
    Storage,
    Workers,
    choose,
    displayed,
    out,
    out_json,
    place_of,
    say,
)
from bnstudy.words import counted


def tune(
    name: Name,
    budget: Annotated[
        int, typer.Option(help="Points an arm, each trained from two seeds of its own.", min=1)
    ] = 16,
    profile: Profile = QUICK,
    results: Results = RESULTS,
    data_dir: DataDir = None,
    device: Device = "auto",
    workers: Workers = None,
    executor: ExecutorName = "local",
    ray_address: RayAddress = None,
    storage: Storage = None,
    ablations: Extra = None,
    as_json: Json = False,
) -> None:
    """Search the nuisance factors of every arm with one budget, judged by the validation images alone."""
    from bnstudy.books.tuning import PART
    from bnstudy.commands import tune as tuner

    [ablation] = choose([name], False, profile, None, ablations)
    place = place_of(results, profile, storage)
    machinery = study.Machinery(device, workers, data_dir, executor, ray_address)
    try:
        tally = tuner.run(ablation, place, machinery, displayed, budget)
    except KeyboardInterrupt:
        say(f"Interrupted. What is recorded is safe in {place.folder / PART}; the same command goes on.")
        raise typer.Exit(INTERRUPTED) from None
    if tally.failed:
        say(
            f"{name}: {counted(len(tally.failed), 'trial')} of the search failed "
            f"({next(iter(tally.failed.values()))}). The same command tries again."
        )
        raise typer.Exit(FAILED)
    found = tuner.summary(ablation, place, budget)
    out_json(found) if as_json else out(tuner.text(found))
    raise typer.Exit(DONE)
