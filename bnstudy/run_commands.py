"""The command that trains what is missing of ablations, judges them and draws."""

from collections.abc import Sequence

import typer

from bnstudy import study
from bnstudy.design import Ablation
from bnstudy.options import (
    DONE,
    FAILED,
    INTERRUPTED,
    QUICK,
    RESULTS,
    DataDir,
    Device,
    Every,
    Extra,
    Json,
    Names,
    Profile,
    Results,
    Seeds,
    Workers,
    choose,
    displayed,
    out,
    out_json,
    place_of,
    say,
)
from bnstudy.words import counted


def run(
    names: Names = None,
    every: Every = False,
    profile: Profile = QUICK,
    results: Results = RESULTS,
    data_dir: DataDir = None,
    device: Device = "auto",
    workers: Workers = None,
    seeds: Seeds = None,
    ablations: Extra = None,
    as_json: Json = False,
) -> None:
    """Run what is missing, judge, draw. Ctrl-C stops cleanly; the same command goes on."""
    chosen = choose(names, every, profile, seeds, ablations)
    place = place_of(results, profile)
    machinery = study.Machinery(device, workers, data_dir)
    try:
        tallies = study.run(chosen, place, machinery, displayed)
    except KeyboardInterrupt:
        for ablation in chosen:
            left = sum(len(trials) for _, trials in study.missing(ablation, place.ledger(ablation.name)))
            done = len(ablation.trials) - left
            say(f"{ablation.name}: {done} of {len(ablation.trials)} trials are safe in {place.folder}.")
        say("Interrupted. The same command goes on from there.")
        raise typer.Exit(INTERRUPTED) from None
    _conclude(chosen, place, as_json)
    failed = {name: tally.failed for name, tally in tallies.items() if tally.failed}
    for name, reasons in failed.items():
        say(
            f"{name}: {counted(len(reasons), 'trial')} failed ({next(iter(reasons.values()))}). "
            "The same command tries again."
        )
    raise typer.Exit(FAILED if failed else DONE)


def _conclude(chosen: Sequence[Ablation], place: study.Place, as_json: bool) -> None:
    """Judge and draw; print each answer and where its figure is."""
    from bnstudy import views

    shown = []
    for ablation in chosen:
        judged = study.judge(ablation, place)
        paths = [] if judged.finished.empty else study.draw(judged, place)
        figure = next((str(path) for path in paths if path.suffix == ".png"), None)
        shown.append(views.judgement(judged, place) | {"figure": figure})
    out_json(shown) if as_json else out("\n\n".join(map(views.judgement_text, shown)))
