"""The content of the report: everything that its pages say, gathered from the ledgers, in no layout.

`gather` judges and draws every ablation once and returns a `Report` of frozen dataclasses. Every number in it
comes from records; the pages (HTML, PDF, another language) arrange it and add no result.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bnstudy import chapter, declaration
from bnstudy.books.language import current, tell
from bnstudy.books.ledger import Record
from bnstudy.books.places import PAPER, Place
from bnstudy.chapter import ChapterClaim
from bnstudy.design import Ablation
from bnstudy.judgement import held, origins, sentences
from bnstudy.judgement.held import Held
from bnstudy.judgement.origins import Origins
from bnstudy.judgement.phrases import counted
from bnstudy.judgement.verdicts import Verdict
from bnstudy.plots import figures, style
from bnstudy.plots.drawing import Drawing
from bnstudy.reporting import arm_table, checklist, discussion, judging, recorded
from bnstudy.reporting.arm_table import ArmTable
from bnstudy.reporting.checklist import Item
from bnstudy.reporting.discussion import Said
from bnstudy.reporting.judging import Judged
from bnstudy.reporting.recorded import Number, System


@dataclass(frozen=True)
class Picture:
    """A figure as SVG text, as matplotlib wrote it, what it shows in words, and its size in pixels."""

    svg: str
    alt: str
    width: int
    height: int


@dataclass(frozen=True)
class Finding:
    """A declared claim with its verdict, in numbers (`verdict`) and in words."""

    anchor: str
    """Where a page shows it: `lr-sweep-1`, the ablation's name and the claim's place from 1."""
    verdict: Verdict
    sentence: str
    """The claim, what became of it, the effect with its interval: whole sentences."""
    effect: str
    """What decided: the effect with its interval and seeds, or why there is none."""
    power: str
    """The smallest effect that it could have seen, and what is left of the pairing; or nothing."""
    reason: str
    """Why the margin is what it is, as the ablation's file says; or nothing."""

    @property
    def claim(self) -> str:
        """The claim as declared."""
        return tell(self.verdict.claim.text)


@dataclass(frozen=True)
class Section:
    """An ablation: its question, answer and evidence."""

    name: str
    question: str
    source: str
    exercises: tuple[int, ...]
    """Exercises of the English edition that it answers; see `chapter.EXERCISES`."""
    measured: str
    """What was measured of the primary claim's sides, and between the rates of the grid; or nothing."""
    preview: str
    """`preview: 12 of 220 trials`, or nothing for a complete ledger of the `paper` profile."""
    finished: int
    declared: int
    """Trials that ran to their end, and trials of the whole design as this profile runs it."""
    diverged: int
    command: str
    """Reproduces it, or records what is missing."""
    findings: tuple[Finding, ...]
    """One for each declared claim, the first primary."""
    figure: Picture | None
    table: ArmTable | None
    held: tuple[Held, ...]
    """What no arm changes, and why it is what it is."""
    expected: str
    """What the literature leads one to expect, as the file says; paragraphs are parted by blank lines."""
    seeds_reason: str
    numbers: tuple[Number, ...]
    """Published numbers that its claims hold against our trials."""
    limits: tuple[str, ...]
    discussion: Said
    """What a person says of the findings; nothing before the ledger is complete."""
    declaration: str
    """The text of the ablation's file."""

    @property
    def state(self) -> str:
        """`empty`, `preview` or `complete`."""
        return "empty" if not self.finished else "preview" if self.preview else "complete"

    @property
    def short(self) -> Said:
        """The answer as a person gives it, or else what was measured; nothing without records."""
        if self.discussion.paragraphs:
            return self.discussion.answer
        return Said((self.measured,) if self.measured else (), current())

    @property
    def answer(self) -> str:
        """The short answer and the primary verdict; empty without records."""
        verdict = (self.primary.sentence,) if self.primary and self.finished else ()
        return " ".join((*self.short.paragraphs, *verdict))

    @property
    def primary(self) -> Finding | None:
        """The first claim's finding."""
        return self.findings[0] if self.findings else None


@dataclass(frozen=True)
class ClaimOfChapter:
    """A claim of the textbook's prose, the findings of claims that name it, and the ablations whose source
    names it without a claim on it."""

    claim: ChapterClaim
    findings: tuple[tuple[Section, Finding], ...]
    bearing: tuple[Section, ...]


@dataclass(frozen=True)
class Report:
    """All that the report says, gathered from the ledgers of one profile."""

    profile: str
    options: str
    """Of the command line, that name the place."""
    sections: tuple[Section, ...]
    """Those that answer exercises first, in their order; then those with records."""
    claims: tuple[ClaimOfChapter, ...]
    systems: tuple[System, ...]
    runs: tuple[Number, ...]
    """The published single runs of the textbook's recipe, against our seeds of the same."""
    checklist: tuple[Item, ...]
    origins: Origins
    abstract: Said
    """What a person says of the whole; nothing before all that it names is complete."""

    def section(self, name: str) -> Section:
        """Return the section of an ablation."""
        return next(section for section in self.sections if section.name == name)

    @property
    def judged(self) -> tuple[Section, ...]:
        """The sections whose verdicts count: complete ledgers, or where there are none all with records."""
        complete = tuple(section for section in self.sections if section.state == "complete")
        return complete or tuple(section for section in self.sections if section.state != "empty")

    @property
    def finished(self) -> int:
        """Trials that ran to their end."""
        return sum(section.finished for section in self.sections)

    @property
    def declared(self) -> int:
        """Trials that the profile's designs declare."""
        return sum(section.declared for section in self.sections)


def gather(ablations: Sequence[Ablation], place: Place, texts: Path | None = None) -> Report:
    """Return the report on the ablations (each as the place's profile runs it): judged, and drawn once.

    `texts` is the folder of the discussion, by default the project's own.
    """
    judged = {ablation.name: judging.judge(ablation, place) for ablation in ablations}
    records = {name: _records(each.ablation, place) for name, each in judged.items()}
    said = discussion.load(texts or PAPER / "discussion", judged)
    sections = [_section(each, records[name], place, said.get(name, Said())) for name, each in judged.items()]
    sections.sort(key=_order)
    facts = origins.gather(records, place)
    return Report(
        profile=place.profile,
        options=place.options,
        sections=tuple(sections),
        claims=tuple(_chapter_claim(claim, sections) for claim in chapter.CLAIMS),
        systems=recorded.systems(judged.values()),
        runs=recorded.runs(judged.values()),
        checklist=checklist.fill(facts, [each.ablation for name, each in judged.items() if records[name]]),
        origins=facts,
        abstract=said.get("abstract", Said()),
    )


def _order(section: Section) -> tuple[int, bool]:
    """Sort exercises first, in their order, and what has records before what has none."""
    exercise = section.exercises[0] if section.exercises else len(chapter.EXERCISES) + 1
    return exercise, section.state == "empty"


def _records(ablation: Ablation, place: Place) -> dict[str, Record]:
    """Return the records of the ablation's trials, finished or not."""
    held = place.ledger(ablation.name).recorded()
    return {trial.id: held[trial.id] for trial in ablation.trials if trial.id in held}


def _section(judged: Judged, records: Mapping[str, Record], place: Place, said: Said) -> Section:
    ablation, frame = judged.ablation, judged.finished
    drawing = None if frame.empty else Drawing(ablation, frame, judged.preview)
    return Section(
        name=ablation.name,
        question=tell(ablation.question),
        source=tell(ablation.source),
        exercises=chapter.exercises(ablation.source),
        measured=judged.measured,
        preview=_preview(judged, place),
        finished=len(frame),
        declared=len(ablation.trials),
        diverged=int((frame.status == "diverged").sum()),
        command=f"bnstudy run {ablation.name}{place.options}",
        findings=_findings(judged),
        figure=picture(judged.drawing) if drawing else None,
        table=arm_table.of(drawing) if drawing else None,
        held=held.of(ablation),
        expected=tell(declaration.expected(ablation.file)),
        seeds_reason=tell(declaration.seeds(ablation.file)),
        numbers=recorded.numbers(judged),
        limits=_limits(judged, records),
        discussion=said,
        declaration=ablation.file,
    )


def _preview(judged: Judged, place: Place) -> str:
    """Return how much of the design is recorded, where that is not all of it at the `paper` profile."""
    declared, finished = len(judged.ablation.trials), len(judged.finished)
    if place.profile == "paper" or finished == declared:
        return judged.preview
    return tell(
        "{preview}, {finished} of {declared} trials",
        preview=judged.preview,
        finished=finished,
        declared=declared,
    )


def _findings(judged: Judged) -> tuple[Finding, ...]:
    reasons = declaration.margins(judged.ablation.file)
    return tuple(
        Finding(
            anchor=f"{judged.ablation.name}-{place}",
            verdict=verdict,
            sentence=sentences.sentence(verdict),
            effect=sentences.finding(verdict),
            power=sentences.power(verdict),
            reason=tell(reasons.get(verdict.claim.text, "")),
        )
        for place, verdict in enumerate(judged.verdicts, 1)
    )


def picture(drawing: Drawing) -> Picture:
    """Return an ablation's figure as SVG text."""
    figure = figures.draw(drawing)
    file = io.StringIO()
    with style.applied():
        figure.savefig(file, format="svg", metadata={"Date": None})
    width, height = (round(72 * inches * 4 / 3) for inches in figure.get_size_inches())
    return Picture(file.getvalue(), str(figure.get_label()), width, height)


def _limits(judged: Judged, records: Mapping[str, Record]) -> tuple[str, ...]:
    """Return what the evidence cannot say, as its records and design tell."""
    ablation, frame = judged.ablation, judged.finished
    found = []
    if judged.preview and len(frame):
        found.append(
            tell(
                "It is a preview of {finished} of {trials} trials; the whole design has {declared}.",
                finished=len(frame),
                trials=len(ablation.trials),
                declared=len(ablation.whole.trials),
            )
        )
    if diverged := int((frame.status == "diverged").sum()):
        trials = counted(diverged, "trial")
        found.append(tell("{trials} diverged and scored the accuracy that they produced.", trials=trials))
    if failed := sum(not record.outcome.finished for record in records.values()):
        trials = counted(failed, "trial")
        found.append(tell("{trials} failed for the machine's reasons and count for nothing.", trials=trials))
    rates = {arm.recipe.lr for arm in ablation.arms}
    if len(rates) == 1:
        rate = f"{rates.pop():g}"
        found.append(
            tell("All arms share one learning rate, {rate}: one that wants another is wronged.", rate=rate)
        )
    found.append(
        tell(
            "Intervals are over seeds, for these 10,000 test images and this network; contrasts that no "
            "claim names are descriptive."
        )
    )
    return (*found, *(f"{note}." for note in judged.repeated))


def _chapter_claim(claim: ChapterClaim, sections: Sequence[Section]) -> ClaimOfChapter:
    findings = tuple(
        (section, finding)
        for section in sections
        for finding in section.findings
        if claim.id in finding.verdict.claim.refs
    )
    judged = {section.name for section, _ in findings}
    bearing = (s for s in sections if claim.id in chapter.named_claims(s.source) and s.name not in judged)
    return ClaimOfChapter(claim, findings, tuple(bearing))
