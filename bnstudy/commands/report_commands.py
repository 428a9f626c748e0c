"""The commands about what is made of the records: the report, and whether it and the figures are of them."""

from pathlib import Path
from typing import Annotated

import typer

from bnstudy.books import language
from bnstudy.books.places import publish
from bnstudy.commands.options import (
    QUICK,
    RESULTS,
    Extra,
    Json,
    Lang,
    Output,
    Profile,
    Results,
    Seeds,
    choose,
    out,
    out_json,
    place_of,
    say,
)

OUTPUT, ARTICLE = Path("paper"), "report.pdf"
"""Where the report is, unless the user says otherwise."""

ELSEWHERE = "or choose another folder with -o"


def report(
    profile: Profile = "paper",
    results: Results = RESULTS,
    output: Output = None,
    lang: Lang = language.ENGLISH,
    ablations: Extra = None,
    as_json: Json = False,
) -> None:
    """The report from the ledgers, without training: one HTML page that needs nothing else, and a PDF in
    English."""
    from bnstudy.reporting import article, freshness, page
    from bnstudy.reporting import report as content

    chosen, place = choose(None, True, profile, None, ablations), place_of(results, profile)
    with language.speaking(lang):
        inputs, name = freshness.inputs(chosen, place), freshness.page_name()
        gathered = content.gather(chosen, place)
        html = page.render(gathered, inputs).encode()
    folder, written = output or OUTPUT, []
    if lang == language.ENGLISH:
        written.append(publish(folder / ARTICLE, article.pdf(gathered), ELSEWHERE))
    written.append(publish(folder / name, html, ELSEWHERE))  # last, so that its hashes speak for both
    out_json([str(path) for path in written]) if as_json else out("\n".join(map(str, written)))


def status(
    profile: Profile = QUICK,
    results: Results = RESULTS,
    seeds: Seeds = None,
    why: Annotated[
        bool, typer.Option("--why", help="Say why records are left out and figures stale.")
    ] = False,
    ablations: Extra = None,
    as_json: Json = False,
) -> None:
    """Done, missing, diverged and failed trials of each ablation; whether figures and report are of them."""
    from bnstudy.commands import views
    from bnstudy.reporting import freshness

    place = place_of(results, profile)
    chosen = choose(None, True, profile, seeds, ablations)
    now, page = freshness.inputs(chosen, place), OUTPUT / freshness.page_name()
    rows = [
        views.state(ablation, place) | {"report": freshness.state(page, now, ablation.name)}
        for ablation in chosen
    ]
    if as_json:
        out_json(rows)
        return
    out(views.table(rows, ("name", "done", "missing", "diverged", "failed", "figure", "report")))
    out(f"\nreport {page}: {freshness.why_stale(page, now) or 'of these records'}")
    for other in language.languages():
        with language.speaking(other):
            page = OUTPUT / freshness.page_name()
            if other != language.ENGLISH and page.exists():
                stale = freshness.why_stale(page, freshness.inputs(chosen, place))
                out(f"report {page}: {stale or 'of these records'}")
    for row in rows if not why else ():
        for note in row["repeated"]:
            say(f"{row['name']}: {note}.")
    for row in rows if why else ():
        out(
            "\n".join(
                [f"\n{row['name']}", *(f"  {reason}" for reason in row["why"] or ["nothing to report"])]
            )
        )
