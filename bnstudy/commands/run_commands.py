"""The commands that train what is missing or failed of ablations, judge and draw, and show how it goes."""

from collections.abc import Mapping, Sequence
from typing import Annotated

import typer

from bnstudy.books import retries
from bnstudy.commands import refine as refiner
from bnstudy.commands import study
from bnstudy.commands.options import (
    DONE,
    FAILED,
    INTERRUPTED,
    QUICK,
    RESULTS,
    DataDir,
    Device,
    Every,
    ExecutorName,
    Extra,
    Json,
    Names,
    Profile,
    RayAddress,
    Refine,
    Results,
    Rounds,
    Seeds,
    Storage,
    Width,
    Workers,
    choose,
    displayed,
    out,
    out_json,
    place_of,
    say,
)
from bnstudy.commands.refine import Asked
from bnstudy.design import Ablation
from bnstudy.words import counted


def run(
    names: Names = None,
    every: Every = False,
    profile: Profile = QUICK,
    results: Results = RESULTS,
    data_dir: DataDir = None,
    device: Device = "auto",
    workers: Workers = None,
    executor: ExecutorName = "local",
    ray_address: RayAddress = None,
    seeds: Seeds = None,
    storage: Storage = None,
    refine: Refine = False,
    width: Width = None,
    rounds: Rounds = None,
    ablations: Extra = None,
    as_json: Json = False,
) -> None:
    """Run what is missing, judge, draw. Ctrl-C stops cleanly; the same command goes on."""
    chosen = choose(names, every, profile, seeds, ablations)
    machinery = study.Machinery(device, workers, data_dir, executor, ray_address)
    asked = refiner.asked(refine, width, rounds, [] if every else chosen)
    _run(chosen, place_of(results, profile, storage), machinery, as_json, asked=asked)


def retry(
    names: Names = None,
    every: Every = False,
    status: Annotated[str, typer.Option(help="Of what trials: crashed, lost, not run.")] = "crashed,lost",
    profile: Profile = QUICK,
    results: Results = RESULTS,
    data_dir: DataDir = None,
    device: Device = "auto",
    workers: Workers = None,
    executor: ExecutorName = "local",
    ray_address: RayAddress = None,
    seeds: Seeds = None,
    storage: Storage = None,
    ablations: Extra = None,
    as_json: Json = False,
) -> None:
    """Run only failed trials again, however often they failed; then judge and draw."""
    again = retries.statuses(status)
    chosen = choose(names, every, profile, seeds, ablations)
    machinery = study.Machinery(device, workers, data_dir, executor, ray_address)
    _run(chosen, place_of(results, profile, storage), machinery, as_json, again)


def _run(
    chosen: Sequence[Ablation],
    place: study.Place,
    machinery: study.Machinery,
    as_json: bool,
    again: Sequence[str] = (),
    asked: Asked | None = None,
) -> None:
    """Train, conclude, and say what failed; never returns."""
    try:
        tallies = study.run(chosen, place, machinery, displayed, again)
        if asked:
            able = [ablation for ablation in chosen if not tallies[ablation.name].failed]
            tallies |= refiner.run(able, place, machinery, displayed, asked)
    except KeyboardInterrupt:
        for ablation in map(place.at_tuned, chosen):
            left = sum(len(pack.trials) for pack in study.missing(ablation, place.ledger(ablation.name)))
            done = len(ablation.trials) - left
            say(f"{ablation.name}: {done} of {len(ablation.trials)} trials are safe in {place.folder}.")
        say("Interrupted. The same command goes on from there.")
        raise typer.Exit(INTERRUPTED) from None
    _conclude(chosen, place, as_json)
    for name, tally in tallies.items():
        if tally.failed:
            say(_failed(name, "failed", tally.failed, "The same command tries again."))
        if tally.left_alone:
            advice = f"`bnstudy retry {name}{place.options}` tries again."
            say(_failed(name, "failed too often and were left alone", tally.left_alone, advice))
    raise typer.Exit(FAILED if any(t.failed or t.left_alone for t in tallies.values()) else DONE)


def _failed(name: str, how: str, reasons: Mapping[str, str], advice: str) -> str:
    return f"{name}: {counted(len(reasons), 'trial')} {how} ({next(iter(reasons.values()))}). {advice}"


def _conclude(chosen: Sequence[Ablation], place: study.Place, as_json: bool) -> None:
    """Judge and draw; print each answer and where its figure is."""
    from bnstudy.commands import views

    shown = []
    for ablation in chosen:
        judged = study.judge(ablation, place)
        paths = [] if judged.finished.empty else study.draw(judged, place)
        figure = next((str(path) for path in paths if path.suffix == ".png"), None)
        shown.append(views.judgement(judged, place) | {"figure": figure})
    out_json(shown) if as_json else out("\n\n".join(map(views.judgement_text, shown)))


def dashboard(
    profile: Profile = QUICK,
    results: Results = RESULTS,
    storage: Storage = None,
    port: Annotated[int, typer.Option(help="0 takes any that is free.", min=0, max=65535)] = 8080,
    host: Annotated[str, typer.Option(help="Whom to listen to; 0.0.0.0 is everyone.")] = "127.0.0.1",
    ablations: Extra = None,
    as_json: Json = False,
) -> None:
    """What is queued, runs and has ended, in a browser; nothing can be changed there. Ctrl-C ends it."""
    from bnstudy.commands.dashboard import fill, serve

    place = place_of(results, profile, storage)
    fill(place, ablations)
    server = serve(place, host, port)
    url = f"http://{host}:{server.server_port}/"
    out_json({"url": url}) if as_json else out(f"{url} shows {storage or place.folder}. Ctrl-C ends it.")
    try:
        with study.terminable():
            server.serve_forever()
    except KeyboardInterrupt:
        server.server_close()
