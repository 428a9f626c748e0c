"""What the commands show: plain values for machines, and the same as text for people."""

from __future__ import annotations

import dataclasses
import io
import shutil
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bnstudy.commands import refine, study
from bnstudy.design import Ablation, Factor
from bnstudy.factors import TUNED
from bnstudy.packs import Pack, images_of, parts, plan
from bnstudy.recipe import Recipe, level_name
from bnstudy.words import counted, duration

if TYPE_CHECKING:
    from bnstudy.books.ledger import Record
    from bnstudy.judgement.verdicts import Verdict

Row = dict[str, Any]


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """Return rows as an aligned table that fits the terminal; words wrap, and nothing is cut."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        held = [row[column] for row in rows if row[column] is not None]
        numeric = bool(held) and all(isinstance(value, int | float) for value in held)
        shown.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        shown.add_row(*(Text(_cell(row[column])) for column in columns))
    file = io.StringIO()
    Console(file=file, width=_width(), color_system=None).print(shown)
    return "\n".join(line[1:].rstrip() for line in file.getvalue().splitlines() if line.strip())


def _width() -> int:
    """Return the columns of the terminal, or 100 where there is none."""
    return max(40, shutil.get_terminal_size((100, 24)).columns)


def paragraph(text: str, indent: int = 0) -> str:
    """Return a text in lines that fit the terminal, indented; paths are not broken."""
    space = " " * indent
    fill = textwrap.TextWrapper(_width(), space, space, break_long_words=False, break_on_hyphens=False)
    return fill.fill(text)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def listing(ablation: Ablation, place: study.Place) -> Row:
    """Return an ablation's line of the list."""
    ablation = place.at_tuned(ablation)
    arms, seeds, trials = len(ablation.arms), len(ablation.seeds), len(ablation.trials)
    left = trials
    if (place.folder / f"{ablation.name}.jsonl").exists():  # without one, what reads ledgers is not loaded
        left = sum(len(pack.trials) for pack in study.missing(ablation, place.ledger(ablation.name)))
    return {
        "name": ablation.name,
        "question": ablation.question,
        "source": ablation.source,
        "trials": f"{arms} x {seeds}" if trials == arms * seeds else str(trials),
        "recorded": f"{trials - left}/{trials}",
    }


def planned(ablation: Ablation, place: study.Place, workers: int) -> Row:
    """Return what a run would do: arms, differences, trials, packs, what is missing and why, how long."""
    ablation = place.at_tuned(ablation)
    ledger = place.ledger(ablation.name)
    recorded = ledger.recorded()
    packs = plan(ablation, {trial for trial, r in recorded.items() if r.outcome.finished})
    workers = max(1, min(workers, sum(map(parts, packs))))
    missing = [trial for pack in packs for trial in pack.trials]
    unfinished = {t.id: recorded[t.id].outcome.status for t in missing if t.id in recorded}
    never = len(missing) - len(unfinished)
    reasons = {"not recorded yet": never} | tally(list(unfinished.values()))
    control = ablation.control
    return {
        "ablation": ablation.name,
        "question": ablation.question,
        "profile": place.profile,
        "control": control.name,
        "factors": [_factor(factor) for factor in ablation.factors],
        "arms": [_arm(arm.name, arm.recipe, control.recipe) for arm in ablation.arms],
        "tuned": {arm.name: dict(dict(ablation.found).get(arm.levels, ())) for arm in ablation.arms}
        if any(factor.search for factor in ablation.factors)
        else {},
        "seeds": list(ablation.seeds),
        "trials": len(ablation.trials),
        "packs": len(plan(ablation)),
        "missing_trials": len(missing),
        "missing_packs": len(packs),
        "why_missing": {reason: n for reason, n in reasons.items() if n},
        "workers": workers,
        "estimated_seconds": _estimated_seconds(packs, list(recorded.values()), workers),
    }


def _factor(factor: Factor) -> Row:
    return {
        "name": factor.name,
        "role": factor.role,
        "varies": list(factor.varies),
        "levels": [level.name for level in factor.levels],
        "control": factor.control.name,
        "where": {name: list(levels) for name, levels in factor.where},
    }


def _arm(name: str, recipe: Recipe, control: Recipe) -> Row:
    found = recipe.differences(control)
    return {"arm": name, "differs_from_control": {field: here for field, (here, _) in found.items()}}


def tally(names: Sequence[str]) -> dict[str, int]:
    """Return how often each name occurs, in the order of their first."""
    return {name: names.count(name) for name in dict.fromkeys(names)}


def _estimated_seconds(packs: Sequence[Pack], records: Sequence[Record], workers: int) -> float | None:
    """Return the time the packs take at the speed of what is recorded; `None` where nothing is."""
    speeds = [
        r.recipe.train_images * r.recipe.epochs * r.provenance["pack"]["size"] / r.provenance["wall_seconds"]
        for r in records
        if r.provenance.get("wall_seconds") and r.provenance.get("pack")
    ]
    if not packs:
        return 0.0
    if not speeds:
        return None
    from statistics import median

    images = sum(map(images_of, packs))
    return float(round(images / median(speeds) / workers))


def plan_text(value: Row) -> str:
    """Return a plan as text."""
    factors = [
        f | {"varies": ", ".join(f["varies"]), "levels": ", ".join(f["levels"]) + _nested(f["where"])}
        for f in value["factors"]
    ]
    arms = [
        {
            "arm": a["arm"],
            "differs from the control in": assignments(a["differs_from_control"])
            or f"(the control{_tuned(value['tuned'].get(a['arm'], {}))})",
        }
        for a in value["arms"]
    ]
    most = "" if value["trials"] == len(arms) * len(value["seeds"]) else " at most"
    return "\n".join(
        [
            f"{value['ablation']}: {value['question']}",
            "",
            table(factors, ("name", "role", "varies", "levels", "control")),
            "",
            table(arms, ("arm", "differs from the control in")),
            "",
            f"{value['profile']} profile: {counted(len(arms), 'arm')} x "
            f"{counted(len(value['seeds']), 'seed')}{most} = {counted(value['trials'], 'trial')}, "
            f"in {counted(value['packs'], 'pack')}",
            *_to_be_tuned(value),
            *_left_to_do(value),
        ]
    )


def _tuned(values: Mapping[str, Any]) -> str:
    """Return what the control was tuned to, which no difference shows."""
    return f", tuned to {assignments(values)}" if values else ""


def _to_be_tuned(value: Row) -> list[str]:
    if not value["tuned"] or all(value["tuned"].values()):
        return []
    searched = ", ".join(f["name"] for f in value["factors"] if f["levels"] == [TUNED])
    return [f"to be tuned first, for each arm: {searched} (`bnstudy run` does it, or `bnstudy tune`)"]


def _nested(where: Mapping[str, Sequence[str]]) -> str:
    """Return ` (where dropout is 0.1, 0.5)` for a nested factor; nothing for one that always exists."""
    conditions = " and ".join(f"{name} is {', '.join(levels)}" for name, levels in where.items())
    return f" (where {conditions})" if where else ""


def _left_to_do(value: Row) -> list[str]:
    """Return the lines of a plan on what is missing, why, and how long it takes."""
    if not value["missing_trials"]:
        return ["nothing is missing"]
    why = ", ".join(f"{n:,} {reason}" for reason, n in value["why_missing"].items())
    seconds = value["estimated_seconds"]
    told = "known once a first pack is recorded"
    if seconds is not None:
        used = counted(value["workers"], "worker")
        told = f"about {duration(seconds)} with {used}, at the speed of what is recorded"
    missing = counted(value["missing_trials"], "trial")
    return [f"missing: {missing} in {counted(value['missing_packs'], 'pack')} ({why})", f"time: {told}"]


def assignments(values: Mapping[str, Any]) -> str:
    """Return names and values as they are written in a design: norm=affine, lr=0.3."""
    return ", ".join(f"{name}={level_name(value)}" for name, value in values.items())


def judgement(judged: study.Judged, place: study.Place) -> Row:
    """Return an ablation's answer and verdicts, and the command that records more."""
    return {
        "ablation": judged.ablation.name,
        "question": judged.ablation.question,
        "preview": judged.preview,
        "command": f"bnstudy run {judged.ablation.name}{place.options}",
        "trials": len(judged.finished),
        "answer": judged.answer,
        "repeated": list(judged.repeated),
        "verdicts": [_finite(_verdict(v)) for v in judged.verdicts],
        **({"refined": refine.rows(judged.refined)} if judged.refined else {}),
    }


def _verdict(verdict: Verdict) -> Row:
    from bnstudy.judgement import sentences

    values: Row = dataclasses.asdict(verdict)
    claim = values.pop("claim")
    estimate = values.pop("estimate") or {}
    told = {"sentence": sentences.sentence(verdict), "power": sentences.power(verdict)}
    return {
        "claim": claim["text"],
        **told,
        "refs": claim["refs"],
        "effect": claim["effect"],
        **values,
        **estimate,
    }


def _finite(value: Any) -> Any:
    """Return a value without infinities and NaN, which JSON does not have; an open end is null."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return value


def judgement_text(value: Row, *, power: bool = False) -> str:
    """Return an answer and its verdicts as text; with `power`, also what each comparison can see."""
    head = f"{value['ablation']}: {value['question']}"
    if not value["trials"]:
        return f"{head}\n  No trial is finished yet: {value['command']}"
    note = f" ({value['preview']})" if value["preview"] else ""
    lines = []
    for verdict in value["verdicts"]:
        told = value["answer"] if verdict["primary"] else verdict["sentence"]
        lines.append(paragraph(f"{told}{note}", 2))
        if power and verdict["power"]:
            lines.append(paragraph(verdict["power"], 4))
    if not lines:
        lines.append(f"  It has no claims to judge; {counted(value['trials'], 'trial')} finished.{note}")
    lines += [paragraph(f"Note: {note}.", 2) for note in value["repeated"]]
    if value.get("figure"):
        lines.append(f"  figure: {value['figure']}")
    return "\n".join([head, *lines])


def state(ablation: Ablation, place: study.Place) -> Row:
    """Return how far an ablation is, and why records are left out or its figure is stale."""
    from bnstudy.books.ledger import chosen
    from bnstudy.plots import sidecar

    ablation = place.at_tuned(ablation)
    records = place.ledger(ablation.name).records()
    recorded = chosen(records)
    design = {trial.id for trial in ablation.trials}
    held = [record for trial, record in recorded.items() if trial in design]
    strangers = [record for trial, record in recorded.items() if trial not in design]
    done = sum(record.outcome.finished for record in held)
    stale = study.stale_figure(ablation, place, recorded)
    repeated = _repeated(records)
    failures = [f"{r.outcome.status}: {r.outcome.reason}" for r in held if not r.outcome.finished]
    return {
        "name": ablation.name,
        "done": done,
        "missing": len(design) - done,
        "diverged": sum(record.outcome.status == "diverged" for record in held),
        "failed": len(failures),
        "repeated": repeated,
        "figure": {"": "of these records", sidecar.NOT_DRAWN: "none"}.get(stale, "stale"),
        "why": [
            *([f"figure: {stale}"] if stale and recorded else []),
            *(f"{counted(n, 'trial')} {failure}" for failure, n in tally(failures).items()),
            *repeated,
            *_left_out(strangers, ablation),
        ],
    }


def _repeated(records: Sequence[Record]) -> list[str]:
    """Return what is told of trials that are recorded several times; what judges them loads SciPy."""
    from bnstudy.books.ledger import repeated

    if not repeated(records):
        return []
    from bnstudy.judgement import repeats

    return repeats.told(records)


def _left_out(records: Sequence[Record], ablation: Ablation) -> list[str]:
    """Return why records of the ledger are not of the design: another revision, seed or recipe."""
    current = dict(ablation.base.revisions)
    revisions = [dict(record.recipe.revisions) for record in records]
    stale = tally([assignments(r) for r in revisions if r != current])
    told = [f"{counted(n, 'record')} of other revisions, stale: {which}" for which, n in stale.items()]
    other = revisions.count(current)
    strange = f"{counted(other, 'record')} of seeds or recipes that this design does not have"
    return [*told, strange] if other else told
