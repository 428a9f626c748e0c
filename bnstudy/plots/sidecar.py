"""What goes beside a figure: the records it was drawn from, so that a stale one is known as such."""

import dataclasses
import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bnstudy.books.ledger import Record
from bnstudy.claims import Claim
from bnstudy.design import Ablation
from bnstudy.outcome import Outcome
from bnstudy.recipe import canonical_json, digest

NOT_DRAWN = "not drawn yet"

_DEFAULTS = {f.name: f.default for f in dataclasses.fields(Outcome)}


def content(
    ablation: Ablation, records: Mapping[str, Record], profile: str, commit: str | None
) -> dict[str, Any]:
    """Return what goes beside a figure: trials drawn, hash of the data behind it, commit of the code."""
    held = _of(ablation, records)
    return {
        "ablation": ablation.name,
        "profile": profile,
        "question": ablation.question,
        "trials": sorted(held),
        "data_hash": data_hash(held),
        "design_hash": design_hash(ablation),
        "commit": commit,
    }


def data_hash(records: Mapping[str, Record]) -> str:
    """Return the hash of what a figure shows: each trial and its outcome, whatever made them.

    Only fields that hold something count, so that an outcome with a new field keeps its figures.
    """
    return digest(canonical_json({trial: _measured(record.outcome) for trial, record in records.items()}))


def design_hash(ablation: Ablation) -> str:
    """Return the hash of what a figure shows besides: question, labels, claims and the kind of figure."""
    factors = [(f.name, f.role, [(level.name, level.label) for level in f.levels]) for f in ablation.factors]
    claims = [
        (c.text, c.effect.rule, c.effect.margin, c.effect.recorded, c.measure.outcome, *map(str, _about(c)))
        for c in ablation.claims
    ]
    return digest(canonical_json([ablation.question, _kind(ablation), factors, claims]))


def _about(claim: Claim) -> tuple[object, ...]:
    return claim.factor, claim.treatment, claim.control, claim.at


def _kind(ablation: Ablation) -> str:
    """Return the figure's name, or the source text of a function of the ablation's own."""
    if isinstance(ablation.figure, str):
        return ablation.figure
    try:
        return inspect.getsource(ablation.figure)
    except (OSError, TypeError):
        return repr(getattr(ablation.figure, "__name__", "function"))


def why_stale(path: Path, ablation: Ablation, records: Mapping[str, Record]) -> str:
    """Return why the figure beside this sidecar is not of the ablation's present records, or nothing."""
    held = _of(ablation, records)
    try:
        beside = json.loads(path.read_text())
        drawn, drawn_hash = set(beside["trials"]), beside["data_hash"]
        drawn_design = beside.get("design_hash", "")
    except FileNotFoundError:
        return NOT_DRAWN
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return f"its sidecar {path} cannot be read"
    if drawn != set(held):
        return f"drawn from {len(drawn)} trials, {len(held)} are recorded"
    if drawn_hash != data_hash(held):
        return "its records have changed"
    changed = drawn_design != design_hash(ablation)
    return "its question, labels, claims or kind have changed" if changed else ""


def _of(ablation: Ablation, records: Mapping[str, Record]) -> dict[str, Record]:
    """Return the records of the ablation's trials."""
    return {trial.id: records[trial.id] for trial in ablation.trials if trial.id in records}


def _measured(outcome: Outcome) -> dict[str, Any]:
    return {name: value for name, value in vars(outcome).items() if value != _DEFAULTS[name]}
