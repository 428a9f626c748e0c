"""The reproducibility checklist, filled in from the designs and the origins of the records."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bnstudy.books.language import tell
from bnstudy.design import Ablation
from bnstudy.judgement.origins import Commit, Origins
from bnstudy.judgement.phrases import counted, duration, listed
from bnstudy.recipe import Recipe


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
    return tuple(Item(tell(topic), tell(question), answer) for topic, question, answer in answers)


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
        tell("Yes: each record holds its whole recipe, and the code has each formula once."),
    )
    yield (
        "Models",
        "Which hyperparameters, and how were they chosen?",
        tell(
            "Learning rates from {least} to {most}, crossed with the question or fixed before the runs. "
            "Where an arm is taken at its best rate, validation accuracy chooses it.",
            least=f"{rates[0]:g}",
            most=f"{rates[-1]:g}",
        ),
    )
    yield (
        "Runs",
        "How many seeds an arm?",
        tell("{numbers}; each section says how many and why.", numbers=listed(map(str, seeds), " or ")),
    )
    yield (
        "Results",
        "What is claimed, and when was it decided?",
        tell(
            "{claims}, each with a margin and a rule in its ablation's file. The first of a file is primary; "
            "the others are adjusted together (Holm).",
            claims=counted(claims, "claim"),
        ),
    )
    yield (
        "Results",
        "With which error bars?",
        tell(
            "95% intervals over seeds (90% to show equality). Each verdict says the smallest effect it could "
            "have seen."
        ),
    )
    none = tell("None: a training that diverged scores what it produced.")
    yield "Results", "Which runs were left out?", none


def _made(found: Origins) -> Iterator[tuple[str, str, str]]:
    """Yield what the records' provenance answers."""
    hashes = [(f"SHA-256 {value[:16]}…", n) for value, n in found.images]
    images = _shares(hashes) if hashes else tell("The records do not say.")
    yield "Data", "Which version of the images?", images
    commits = listed(map(_commit, found.commits))
    count = counted(len(found.commits), "commit")
    yield "Code", "Which code?", tell("{count}: {commits}.", count=count, commits=commits)
    unclean = [commit.name[:10] for commit in found.commits if not commit.clean]
    not_clean = tell("Not for some records of {commits}.", commits=listed(unclean))
    yield "Code", "Was it as committed?", not_clean if unclean else tell("Yes, for every record.")
    called = {"version": "bnstudy"}
    versions = (
        f"{called.get(name, name)} {listed((each for each, _ in tally), ' and ')}"
        for name, tally in found.versions
    )
    yield "Code", "With which dependencies?", tell("{text}.", text=listed(versions))
    trials = counted(found.records, "trial")
    yield "Runs", "How many trainings?", tell("{trials} recorded.", trials=trials)
    yield "Machines", "On what was it run?", _shares(found.machines)
    told = tell(
        "{time} of one process in all, with at most {memory} of memory each.",
        time=duration(3600 * found.core_hours),
        memory=f"{found.largest_memory / 2**30:.1f} GiB",
    )
    yield "Machines", "How long did it take, and with how much memory?", told
    yield (
        "Again",
        "How is it made again?",
        tell(
            "`bnstudy run --all --profile paper`, then `bnstudy report`. `bnstudy verify` trains a random "
            "sample of the records again and certifies it."
        ),
    )


def _commit(commit: Commit) -> str:
    name = commit.name[:10]
    return tell("{commit} of {date}", commit=name, date=commit.date) if commit.date else name


def _shares(values: Sequence[tuple[str, int]]) -> str:
    """Return values with the number of records that each has."""
    told = (tell("{value} ({records})", value=value, records=counted(n, "record")) for value, n in values)
    return tell("{text}.", text=listed(told, "; "))


def _data(recipes: Sequence[Recipe]) -> str:
    names = listed(sorted({recipe.data for recipe in recipes}))
    splits = sorted({(recipe.train_images, recipe.validation_images) for recipe in recipes}, reverse=True)
    told = listed(f"{train:,} + {held:,}" for train, held in splits)
    return tell(
        "{data}. Images to train + to validate: {splits}. Nothing is chosen by the test images.",
        data=names,
        splits=told,
    )
