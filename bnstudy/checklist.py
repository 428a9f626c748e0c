"""The reproducibility checklist, filled in from the designs and the origins of the records."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bnstudy.design import Ablation
from bnstudy.origins import Origins
from bnstudy.recipe import Recipe
from bnstudy.words import counted, duration


@dataclass(frozen=True)
class Item:
    """A question of the machine learning reproducibility checklist (Pineau et al. 2021), and its answer."""

    topic: str
    question: str
    answer: str


def fill(found: Origins, ablations: Sequence[Ablation]) -> tuple[Item, ...]:
    """Return the checklist for the ablations that have records; empty without any."""
    if not ablations:
        return ()
    answers = (*_designed(ablations), *_made(found))
    return tuple(Item(topic, question, answer) for topic, question, answer in answers)


def _designed(ablations: Sequence[Ablation]) -> Iterator[tuple[str, str, str]]:
    """Yield what the ablations' files answer."""
    recipes = [arm.recipe for ablation in ablations for arm in ablation.arms]
    rates = sorted({recipe.lr for recipe in recipes})
    seeds = sorted({len(ablation.seeds) for ablation in ablations})
    claims = sum(len(ablation.claims) for ablation in ablations)
    yield "Data", "Which data, and how many examples?", _data(recipes)
    yield (
        "Models",
        "Is every model described?",
        "Yes: each record holds its whole recipe, and the code has each formula once.",
    )
    yield (
        "Models",
        "Which hyperparameters, and how were they chosen?",
        f"Learning rates from {rates[0]:g} to {rates[-1]:g}, crossed with the question or fixed before the "
        "runs. Where an arm is taken at its best rate, validation accuracy chooses it.",
    )
    yield (
        "Runs",
        "How many seeds an arm?",
        " or ".join(map(str, seeds)) + "; each section says how many and why.",
    )
    yield (
        "Results",
        "What is claimed, and when was it decided?",
        f"{counted(claims, 'claim')}, each with a margin and a rule in its ablation's file. The first of a "
        "file is primary; the others are adjusted together (Holm).",
    )
    yield (
        "Results",
        "With which error bars?",
        "95% intervals over seeds (90% to show equality). Each verdict says the smallest effect it could "
        "have seen.",
    )
    yield "Results", "Which runs were left out?", "None: a training that diverged scores what it produced."


def _made(found: Origins) -> Iterator[tuple[str, str, str]]:
    """Yield what the records' provenance answers."""
    images = "; ".join(f"SHA-256 {value[:16]}… ({counted(n, 'record')})" for value, n in found.images)
    yield "Data", "Which version of the images?", f"{images}." if images else "The records do not say."
    commits = ", ".join(f"{c.name[:10]}{f' of {c.date}' if c.date else ''}" for c in found.commits)
    yield "Code", "Which code?", f"{counted(len(found.commits), 'commit')}: {commits}."
    unclean = [commit.name[:10] for commit in found.commits if not commit.clean]
    clean = f"Not for some records of {', '.join(unclean)}." if unclean else "Yes, for every record."
    yield "Code", "Was it as committed?", clean
    called = {"version": "bnstudy"}
    versions = (
        f"{called.get(name, name)} {' and '.join(each for each, _ in tally)}"
        for name, tally in found.versions
    )
    yield "Code", "With which dependencies?", f"{', '.join(versions)}."
    yield "Runs", "How many trainings?", f"{counted(found.records, 'trial')} recorded."
    machines = "; ".join(f"{name} ({counted(n, 'record')})" for name, n in found.machines)
    yield "Machines", "On what was it run?", f"{machines}."
    memory = f"{found.largest_memory / 2**30:.1f} GiB"
    told = f"{duration(3600 * found.core_hours)} of one process in all, with at most {memory} of memory each."
    yield "Machines", "How long did it take, and with how much memory?", told
    yield (
        "Again",
        "How is it made again?",
        "`bnstudy run --all --profile paper`, then `bnstudy report`. `bnstudy verify` trains a random sample "
        "of the records again and certifies it.",
    )


def _data(recipes: Sequence[Recipe]) -> str:
    names = ", ".join(sorted({recipe.data for recipe in recipes}))
    splits = sorted({(recipe.train_images, recipe.validation_images) for recipe in recipes}, reverse=True)
    told = ", ".join(f"{train:,} + {held:,}" for train, held in splits)
    return f"{names}. Images to train + to validate: {told}. Nothing is chosen by the test images."
