"""What the commands show: plain values for machines, and the same as text for people."""

from __future__ import annotations

import dataclasses
import io
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnstudy import registry, study
from bnstudy.design import Ablation, Factor
from bnstudy.errors import BnstudyError
from bnstudy.packs import Pack, plan
from bnstudy.progress import clock
from bnstudy.recipe import Recipe, level_name

if TYPE_CHECKING:
    import pandas as pd

    from bnstudy.ledger import Record
    from bnstudy.verdicts import Verdict

Row = dict[str, Any]


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """Return rows as an aligned table that fits the terminal."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        numeric = all(isinstance(row[column], int | float) for row in rows)
        shown.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        shown.add_row(*("" if row[c] is None else _cell(row[c]) for c in columns))
    console = Console(file=io.StringIO(), width=max(80, Console().width), markup=False, highlight=False)
    with console.capture() as capture:
        console.print(shown)
    return "\n".join(line.rstrip() for line in capture.get().strip("\n").splitlines())


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def listing(ablation: Ablation, place: study.Place) -> Row:
    """Return an ablation's line of the list."""
    arms, seeds = len(ablation.arms), len(ablation.seeds)
    left = sum(len(trials) for _, trials in study.missing(ablation, place.ledger(ablation.name)))
    return {
        "name": ablation.name,
        "question": ablation.question,
        "source": ablation.source,
        "trials": f"{arms} x {seeds}",
        "recorded": f"{arms * seeds - left}/{arms * seeds}",
    }


def planned(ablation: Ablation, place: study.Place, workers: int) -> Row:
    """Return what a run would do: arms, differences, trials, packs, what is missing and why, how long."""
    from bnstudy.ledger import Ledger

    ledger: Ledger = place.ledger(ablation.name)
    recorded = ledger.recorded()
    packs = study.missing(ablation, ledger)
    unfinished = {
        t.id: recorded[t.id].outcome.status for _, trials in packs for t in trials if t.id in recorded
    }
    never = sum(len(trials) for _, trials in packs) - len(unfinished)
    reasons = {"not recorded yet": never} | _counted(list(unfinished.values()))
    seconds = _estimated_seconds([pack for pack, _ in packs], list(recorded.values()), workers)
    return {
        "ablation": ablation.name,
        "question": ablation.question,
        "profile": place.profile,
        "control": ablation.arms[0].name,
        "factors": [_factor(factor) for factor in ablation.factors],
        "arms": [_arm(arm.name, arm.recipe, ablation.arms[0].recipe) for arm in ablation.arms],
        "seeds": list(ablation.seeds),
        "trials": len(ablation.trials),
        "packs": len(plan(ablation)),
        "missing_trials": sum(len(trials) for _, trials in packs),
        "missing_packs": len(packs),
        "why_missing": {reason: n for reason, n in reasons.items() if n},
        "estimated_seconds": seconds,
    }


def _factor(factor: Factor) -> Row:
    return {
        "name": factor.name,
        "role": factor.role,
        "varies": list(factor.varies),
        "levels": [level.name for level in factor.levels],
        "control": factor.control.name,
    }


def _arm(name: str, recipe: Recipe, control: Recipe) -> Row:
    found = recipe.differences(control)
    return {"arm": name, "differs_from_control": {field: here for field, (here, _) in found.items()}}


def _counted(names: Sequence[str]) -> dict[str, int]:
    return {name: names.count(name) for name in dict.fromkeys(names)}


def _estimated_seconds(packs: Sequence[Pack], records: Sequence[Record], workers: int) -> float | None:
    """Return the time the packs take at the speed of what is recorded; `None` where nothing is."""
    from bnstudy.schedule import images_of

    speeds = [
        r.recipe.train_images * r.recipe.epochs * r.provenance["pack"]["size"] / r.provenance["wall_seconds"]
        for r in records
        if "wall_seconds" in r.provenance and "pack" in r.provenance
    ]
    if not speeds:
        return None
    images = sum(map(images_of, packs))
    return float(round(images / statistics.median(speeds) / min(workers, max(1, len(packs)))))


def plan_text(value: Row) -> str:
    """Return a plan as text."""
    seconds = value["estimated_seconds"]
    time = "known once the first pack is recorded" if seconds is None else f"about {clock(seconds)}"
    factors = [
        f | {"varies": ", ".join(f["varies"]), "levels": ", ".join(f["levels"])} for f in value["factors"]
    ]
    arms = [
        {
            "arm": a["arm"],
            "differs from the control in": _assignments(a["differs_from_control"]) or "(the control)",
        }
        for a in value["arms"]
    ]
    why = ", ".join(f"{n} {reason}" for reason, n in value["why_missing"].items()) or "nothing"
    return "\n".join(
        [
            f"{value['ablation']}: {value['question']}\n",
            table(factors, ("name", "role", "varies", "levels", "control")),
            "",
            table(arms, ("arm", "differs from the control in")),
            "",
            f"{value['trials']} trials ({value['profile']} profile): "
            f"{len(arms)} arms x {len(value['seeds'])} seeds, in {value['packs']} packs",
            f"missing: {why}, {value['missing_packs']} packs",
            f"time: {time}",
        ]
    )


def _assignments(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={level_name(value)}" for name, value in values.items())


def judgement(judged: study.Judged) -> Row:
    """Return an ablation's answer and verdicts."""
    return {
        "ablation": judged.ablation.name,
        "question": judged.ablation.question,
        "preview": judged.preview,
        "trials": len(judged.finished),
        "answer": judged.answer,
        "verdicts": [_finite(_verdict(v)) for v in judged.verdicts],
    }


def _verdict(verdict: Verdict) -> Row:
    from bnstudy import verdicts

    values: Row = dataclasses.asdict(verdict)
    claim = values.pop("claim")
    estimate = values.pop("estimate") or {}
    told = {"sentence": verdicts.sentence(verdict), "refs": claim["refs"], "effect": claim["effect"]}
    return {"claim": claim["text"], **told, **values, **estimate}


def _finite(value: Any) -> Any:
    """Return a value without infinities and NaN, which JSON does not have; an open end is null."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return value


def judgement_text(value: Row) -> str:
    """Return an answer and its verdicts as text."""
    head = f"{value['ablation']}: {value['question']}"
    if not value["trials"]:
        return f"{head}\n  nothing is recorded yet: bnstudy run {value['ablation']}"
    note = f" ({value['preview']})" if value["preview"] else ""
    lines = [head, f"  {value['answer']}{note}"]
    lines += [f"  {v['sentence']}{note}" for v in value["verdicts"] if not v["primary"]]
    if value.get("figure"):
        lines.append(f"  figure: {value['figure']}")
    return "\n".join(lines)


def state(ablation: Ablation, place: study.Place) -> Row:
    """Return how far an ablation is, and why records are left out or its figure is stale."""
    recorded = place.ledger(ablation.name).recorded()
    held = [recorded[trial.id] for trial in ablation.trials if trial.id in recorded]
    done = sum(record.outcome.finished for record in held)
    stale = study.stale_figure(ablation, place, recorded)
    strangers = [record for trial, record in recorded.items() if trial not in {t.id for t in ablation.trials}]
    why = [f"figure: {stale}"] if stale else []
    why += [f"{r.trial} {r.outcome.status}: {r.outcome.reason}" for r in held if not r.outcome.finished]
    return {
        "name": ablation.name,
        "done": done,
        "missing": len(ablation.trials) - done,
        "diverged": sum(record.outcome.status == "diverged" for record in held),
        "failed": sum(not record.outcome.finished for record in held),
        "figure": "stale" if stale and held else "none" if stale else "of these records",
        "why": why + _left_out(strangers, ablation),
    }


def _left_out(records: Sequence[Record], ablation: Ablation) -> list[str]:
    """Return why records of the ledger are not of the design: another revision, seed or recipe."""
    current = ablation.base.revisions
    old = [r for r in records if dict(r.recipe.revisions) != dict(current)]
    told = (
        [f"{len(old)} records are of older revisions ({_assignments(old[0].recipe.revisions)}): stale"]
        if old
        else []
    )
    other = len(records) - len(old)
    return told + (
        [f"{other} records are of seeds or recipes that this design does not have"] if other else []
    )


def find(trial: str, place: study.Place) -> Record:
    """Return the record whose id begins so, from any ledger of the profile."""
    found = {
        record.trial: record
        for path in sorted(place.folder.glob("*.jsonl"))
        for record in place.ledger(path.stem).recorded().values()
        if record.trial.startswith(trial)
    }
    if not found:
        raise BnstudyError(
            f"No trial {trial!r} is recorded in {place.folder}; `bnstudy export` lists a ledger's trials."
        )
    if len(found) > 1:
        raise BnstudyError(
            f"{len(found)} trials begin with {trial!r}; give more digits: {', '.join(sorted(found)[:4])}."
        )
    return next(iter(found.values()))


def record_text(value: Mapping[str, Any]) -> str:
    """Return a record as text, a field a line."""
    lines = []
    for name, field in value.items():
        if isinstance(field, dict) and field:
            lines += [f"{name}:", *(f"  {key}: {item}" for key, item in field.items())]
        else:
            lines.append(f"{name}: {field}")
    return "\n".join(lines)


def rerun(record: Record, data_dir: Path | None, device: str, say: study.Say) -> Row:
    """Train a recorded trial again and return both outcomes, field by field where they differ."""
    from bnstudy import data, machine, work
    from bnstudy.design import Arm, Trial
    from bnstudy.packs import Job

    images = data.fetch(data_dir, say) if record.recipe.data != "sample" else None
    trial = Trial(Arm(tuple(record.arm.items()), record.recipe), record.seed)
    pack = Pack((trial,), shares_images=bool(record.provenance.get("pack", {}).get("shares_images", True)))
    result = work.run_pack(Job(pack, machine.devices(device)[0], images), lambda images: None)
    before, after = dataclasses.asdict(record.outcome), dataclasses.asdict(result.outcomes[0])
    return {
        "trial": record.trial,
        "bitwise": before == after,
        "differences": {
            k: {"recorded": before[k], "rerun": after[k]} for k in before if before[k] != after[k]
        },
        "provenance": result.provenance,
    }


def compared(a: str, b: str, place: study.Place) -> Row:
    """Return two trials or arms side by side: recipes' difference, numbers (means over seeds), curves."""
    left, right = _records(a, place), _records(b, place)
    differences = left[0].recipe.differences(right[0].recipe)
    names = (
        "precise_test_accuracy",
        "test_accuracy",
        "batch_test_accuracy",
        "precise_train_accuracy",
        "validation_area",
    )
    means = {name: (_mean(left, name), _mean(right, name)) for name in names}
    return {
        "a": {
            "name": a,
            "trials": [r.trial for r in left],
            "status": _counted([r.outcome.status for r in left]),
        },
        "b": {
            "name": b,
            "trials": [r.trial for r in right],
            "status": _counted([r.outcome.status for r in right]),
        },
        "differs_in": {name: {"a": x, "b": y} for name, (x, y) in differences.items()},
        "outcomes": [
            {"outcome": name, "a": x, "b": y, "a minus b": _minus(x, y)} for name, (x, y) in means.items()
        ],
        "validation_accuracy": {"a": _curve(left), "b": _curve(right)},
    }


def _records(text: str, place: study.Place) -> list[Record]:
    """Return the finished records that a trial's id or `ABLATION:factor=level,...` means."""
    name, colon, arm = text.partition(":")
    if not colon:
        return [find(text, place)]
    ablation = registry.find().get(name)
    wanted = dict(part.partition("=")[::2] for part in arm.split(",") if part)
    for factor, level in wanted.items():
        ablation.factor(factor).level(level)
    found = [
        record
        for record in place.ledger(name).recorded().values()
        if record.outcome.finished and wanted.items() <= record.arm.items()
    ]
    recipes = {record.recipe.fingerprint for record in found}
    if not found:
        raise BnstudyError(
            f"Nothing is recorded of {text} in {place.folder}; `bnstudy plan {name}` lists its arms."
        )
    if len(recipes) > 1:
        raise BnstudyError(f"{text} means {len(recipes)} arms; name a level of every factor: {found[0].arm}.")
    return found


def _mean(records: Sequence[Record], name: str) -> float | None:
    values = [getattr(record.outcome, name) for record in records]
    return None if None in values else sum(values) / len(values)


def _minus(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a - b


def _curve(records: Sequence[Record]) -> list[float]:
    curves = [record.outcome.validation_accuracy for record in records]
    return [sum(values) / len(values) for values in zip(*curves, strict=False)]


def compare_text(value: Row) -> str:
    """Return a comparison as text."""
    a, b = value["a"], value["b"]
    differs = ", ".join(
        f"{k} ({level_name(v['a'])} and {level_name(v['b'])})" for k, v in value["differs_in"].items()
    )
    curves = [
        {"epoch": epoch, "a": x, "b": y}
        for epoch, (x, y) in enumerate(zip(*value["validation_accuracy"].values(), strict=False), 1)
    ]
    return "\n".join(
        [
            f"a: {a['name']}, {len(a['trials'])} trials",
            f"b: {b['name']}, {len(b['trials'])} trials",
            f"recipes differ in: {differs or 'nothing'}",
            "",
            table(value["outcomes"], ("outcome", "a", "b", "a minus b")),
            "",
            "validation accuracy",
            table(curves, ("epoch", "a", "b")),
        ]
    )


def csv(frame: pd.DataFrame) -> str:
    """Return a table of records as CSV; lists are JSON."""
    return _flat(frame).to_csv(index=False)


def write_table(frame: pd.DataFrame, path: Path) -> None:
    """Write a table of records as .csv or .parquet."""
    try:
        if path.suffix == ".parquet":
            _flat(frame).to_parquet(path, index=False)
        elif path.suffix == ".csv":
            path.write_text(csv(frame))
        else:
            raise BnstudyError(f"{path}: a table is written as .csv or .parquet.")
    except OSError as error:
        raise BnstudyError(f"Cannot write {path}: {error.strerror or error}.") from error


def _flat(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the table with its lists and mappings as JSON texts."""
    import json

    def text(value: Any) -> Any:
        return json.dumps(value) if isinstance(value, tuple | list | dict) else value

    return frame.map(text)
