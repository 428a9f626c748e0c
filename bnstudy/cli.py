"""The door: parses commands, wires the parts together, prints. Results go to standard output, all else to
standard error; heavy libraries are imported by the commands that use them."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from bnstudy import __version__
from bnstudy.books import language, registry
from bnstudy.commands import record_commands, report_commands, run_commands, study, tune_command
from bnstudy.commands.options import (
    DONE,
    INTERRUPTED,
    MISTAKE,
    QUICK,
    RESULTS,
    DataDir,
    Extra,
    Json,
    Lang,
    Name,
    Names,
    Output,
    Profile,
    Results,
    Seeds,
    Workers,
    choose,
    out,
    out_json,
    out_of_sight,
    place_of,
    say,
)
from bnstudy.errors import BnstudyError

app = typer.Typer(
    help="The batch-normalization exercises of Dive into Deep Learning, answered by ablations.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Run the command line: one sentence and exit status 1 for a user's mistake, never a traceback."""
    out_of_sight(sys.orig_argv)
    try:
        app(prog_name="bnstudy")
    except BnstudyError as error:
        say(f"bnstudy: {error}")
        sys.exit(MISTAKE)
    except KeyboardInterrupt:
        say("bnstudy: interrupted.")
        sys.exit(INTERRUPTED)
    except BrokenPipeError:  # the reader of a pipe has seen enough
        sys.stderr.close()
        sys.exit(DONE)
    except OSError as error:  # a path that is too long, leads in a circle, may not be looked at...
        say(f"bnstudy: The system refuses {error.filename or 'what was asked'}: {error.strerror or error}.")
        sys.exit(MISTAKE)


def _version(wanted: bool) -> None:
    if wanted:
        out(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command("list")
def list_(
    profile: Profile = QUICK, results: Results = RESULTS, ablations: Extra = None, as_json: Json = False
) -> None:
    """Ablations: question, source, arms x seeds, recorded so far."""
    from bnstudy.commands import views

    found = registry.find(ablations)
    place = place_of(results, profile)
    rows = [views.listing(ablation.at(profile), place) for ablation in found.ablations.values()]
    if as_json:
        out_json({"ablations": rows, "broken": {name: str(error) for name, error in found.broken.items()}})
    else:
        out(views.table(rows, ("name", "question", "source", "trials", "recorded")))
    for name, error in found.broken.items():
        say(f"{name} does not load: {error}")


@app.command()
def plan(
    name: Name,
    profile: Profile = QUICK,
    results: Results = RESULTS,
    seeds: Seeds = None,
    workers: Workers = None,
    ablations: Extra = None,
    as_json: Json = False,
) -> None:
    """Arms and their resolved differences, trials, packs, what is missing and why, estimated time."""
    from bnstudy.commands import views

    [ablation] = choose([name], False, profile, seeds, ablations)
    planned = views.planned(ablation, place_of(results, profile), workers or study.cores())
    out_json(planned) if as_json else out(views.plan_text(planned))


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="Its name, such as my-question.", show_default=False)],
    ablations: Extra = None,
) -> None:
    """A new ablation file in ./ablations, or that folder; it runs as it is. Says what to type next."""
    from bnstudy.commands import skeleton

    folder = ablations or Path("ablations")
    out(f"{skeleton.write(name, folder)} is yours to edit. It runs as it is:")
    out("\n".join(skeleton.commands(name, folder)))


app.command()(run_commands.run)
app.command()(run_commands.retry)
app.command()(tune_command.tune)


@app.command()
def judge(
    names: Names = None,
    profile: Profile = QUICK,
    results: Results = RESULTS,
    seeds: Seeds = None,
    ablations: Extra = None,
    as_json: Json = False,
) -> None:
    """Verdicts on what is recorded."""
    from bnstudy.commands import views

    place = place_of(results, profile)
    chosen = choose(names, not names, profile, seeds, ablations)
    shown = [views.judgement(study.judge(ablation, place), place) for ablation in chosen]
    out_json(shown) if as_json else out("\n\n".join(views.judgement_text(x, power=True) for x in shown))


@app.command()
def figures(
    names: Names = None,
    profile: Profile = QUICK,
    results: Results = RESULTS,
    seeds: Seeds = None,
    lang: Lang = language.ENGLISH,
    ablations: Extra = None,
    as_json: Json = False,
) -> None:
    """Figures from the ledgers, without training."""
    place = place_of(results, profile)
    written: list[str] = []
    with language.speaking(lang):
        for ablation in choose(names, not names, profile, seeds, ablations):
            judged = study.judge(ablation, place)
            if not judged.finished.empty or names:
                written += map(str, study.draw(judged, place))
    if not written:
        raise BnstudyError(
            f"Nothing is recorded in {place.folder}; `bnstudy run lr-sweep{place.options}` records something."
        )
    out_json(written) if as_json else out("\n".join(written))


app.command()(report_commands.status)


@app.command()
def data(data_dir: DataDir = None, as_json: Json = False) -> None:
    """Where the images are; fetch and check them."""
    from bnstudy.commands import views
    from bnstudy.training import data as images

    path = images.fetch(data_dir, say)
    sources = [vars(source) for source in images.where(data_dir)]
    if as_json:
        out_json({"path": str(path), "sha256": images.REAL_SHA256, "sources": sources})
    else:
        rows = [source | {"available": "yes" if source["available"] else "no"} for source in sources]
        out(views.table(rows, ("kind", "place", "available", "note")))
        out(f"\n{path} holds the 70,000 images, checked.")


@app.command()
def doctor(data_dir: DataDir = None, results: Results = RESULTS, as_json: Json = False) -> None:
    """Versions, devices, data, determinism: what is fine, what is not, what to do."""
    from bnstudy.commands import doctor as examine
    from bnstudy.commands import views

    rows = [vars(finding) for finding in examine.examine(results, data_dir)]
    out_json(rows) if as_json else out(views.table(rows, ("what", "state", "found", "advice")))
    raise typer.Exit(MISTAKE if any(row["state"] == "broken" for row in rows) else DONE)


@app.command()
def bench(
    workers: Workers = None,
    epochs: Annotated[int, typer.Option(help="Epochs a trial; more is steadier.", min=1)] = 2,
    case: Annotated[
        str, typer.Option(help="bn-lenet, own-images, batch-128, no-norm, padded, max-pool, adam or dropout.")
    ] = "bn-lenet",
    repetitions: Annotated[int, typer.Option(help="Times that all are measured in turns.", min=1)] = 3,
    pack_sizes: Annotated[bool, typer.Option("--pack-sizes", help="Also packs of 2 to 16 trials.")] = False,
    operators: Annotated[
        bool, typer.Option("--operators", help="Also the time of a step by operator.")
    ] = False,
    output: Output = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Images a second of complete trials here, beside plain loops, and `d2l`'s own where it is installed."""
    from bnstudy.commands import bench as benchmark

    measured = benchmark.measure(
        workers or study.cores(),
        epochs,
        data_dir,
        say,
        case,
        repetitions=repetitions,
        pack_sizes=pack_sizes,
        operators=operators,
    )
    if output:
        from bnstudy.plots import figures, plot_bench

        paths = figures.save(plot_bench.benchmark(measured), output, case, measured, "bench")
        say(f"Kept as {', '.join(map(str, paths))}.")
    out_json(measured) if as_json else out(benchmark.text(measured))


app.command()(run_commands.dashboard)
app.command()(report_commands.report)
app.command()(record_commands.export)
app.command()(record_commands.show)
app.command()(record_commands.compare)
app.command()(record_commands.verify)


if __name__ == "__main__":
    main()
