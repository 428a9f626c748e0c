"""The commands about single records: a table of all, one in full, two side by side, a sample verified."""

import json
import random
from typing import Annotated

import typer

from bnstudy.commands.options import (
    DONE,
    FAILED,
    INTERRUPTED,
    QUICK,
    RESULTS,
    DataDir,
    Device,
    Extra,
    Json,
    Name,
    Names,
    Output,
    Profile,
    Results,
    Workers,
    choose,
    displayed,
    out,
    out_json,
    place_of,
    say,
)
from bnstudy.outcome import MARGIN
from bnstudy.words import counted


def export(
    name: Name,
    profile: Profile = QUICK,
    results: Results = RESULTS,
    output: Output = None,
    ablations: Extra = None,
) -> None:
    """A tidy table of what is recorded, one row a trial; as csv on standard output without -o."""
    from bnstudy.commands import lookup

    [ablation] = choose([name], False, profile, None, ablations)
    frame = lookup.recorded(ablation.name, place_of(results, profile))
    if output is None:
        out(lookup.csv(frame).rstrip("\n"))
    else:
        lookup.write_table(frame, output)
        say(f"{counted(len(frame), 'trial')} in {output}")


def show(
    trial: Annotated[str, typer.Argument(help="A trial's id, or the beginning of one.")],
    profile: Profile = QUICK,
    results: Results = RESULTS,
    rerun: Annotated[bool, typer.Option("--rerun", help="Train it again and compare.")] = False,
    data_dir: DataDir = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """One record in full, with the command that reruns it."""
    from bnstudy.commands import lookup

    place = place_of(results, profile)
    record = lookup.find(trial, place)
    if rerun:
        came = lookup.rerun(record, data_dir, device, say)
        out_json(came) if as_json else out(lookup.rerun_text(came))
        return
    shown = json.loads(record.line())
    out_json(shown) if as_json else out(lookup.record_text(shown))
    say(f"Train it again: bnstudy show {record.trial}{place.options} --rerun")


def compare(
    a: Annotated[str, typer.Argument(help="A trial's id, or an arm: lr-sweep:network=bn,lr=1.")],
    b: Annotated[str, typer.Argument(help="The other one.")],
    profile: Profile = QUICK,
    results: Results = RESULTS,
    ablations: Extra = None,
    as_json: Json = False,
) -> None:
    """Two trials or arms: their resolved difference, their numbers and their curves."""
    from bnstudy.commands import lookup

    compared = lookup.compared(a, b, place_of(results, profile), ablations)
    out_json(compared) if as_json else out(lookup.compare_text(compared))


def verify(
    names: Names = None,
    sample: Annotated[str, typer.Option(help="How many finished trials: a share or a number.")] = "5%",
    seed: Annotated[
        int | None, typer.Option(help="Draws the sample; default a new one.", show_default=False)
    ] = None,
    margin: Annotated[
        float, typer.Option(help="What mean difference of accuracy counts as none, elsewhere.", min=0)
    ] = MARGIN,
    profile: Profile = QUICK,
    results: Results = RESULTS,
    data_dir: DataDir = None,
    device: Device = "auto",
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Train a random sample of recorded trials again, compare, and certify what comes out."""
    from bnstudy.commands import certificate, study
    from bnstudy.commands.sampling import Asked

    asked = Asked(tuple(names or ()), sample, random.randrange(10**6) if seed is None else seed)
    machinery = study.Machinery(device, workers, data_dir)
    try:
        made = certificate.make(asked, margin, place_of(results, profile), machinery, displayed)
    except KeyboardInterrupt:
        say("Interrupted. Nothing was certified.")
        raise typer.Exit(INTERRUPTED) from None
    out_json(made) if as_json else out(certificate.text(made))
    raise typer.Exit(DONE if made["certified"] else FAILED)
