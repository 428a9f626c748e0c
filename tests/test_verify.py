"""A sample of the records, trained again: what is drawn, how it trains, and what the certificate says."""

import hashlib
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from handmade import SMALL, by_rate, crashed, diverged, outcome, records, two_arms, write
from scipy.stats import binom

from bnstudy import cli
from bnstudy.books import executors, provenance
from bnstudy.books.executors import InProcess
from bnstudy.books.ledger import Ledger, Record
from bnstudy.commands import certificate, sampling, verify
from bnstudy.commands.sampling import Asked
from bnstudy.commands.study import Machinery, Place
from bnstudy.design import Ablation, Trial
from bnstudy.errors import BnstudyError
from bnstudy.outcome import Outcome
from bnstudy.packs import Job, Pack, Result, plan
from bnstudy.training import work

MARGIN = 0.003
LOSSES = tuple(2.3 - 0.05 * step for step in range(10))
GOOD = outcome(0.8)

Measured = Callable[[Trial], Outcome]


def measured(trial: Trial) -> Outcome:
    """Return what the trial measures, in every pack."""
    return outcome(0.8 + int(trial.id[:4], 16) / 2**20, first_losses=LOSSES)


def here(**changes: Any) -> dict[str, Any]:
    """Return the provenance of a record that was made where the tests run."""
    facts = {**provenance.code(), **provenance.host(), "device": "cpu", "wall_seconds": 4.0}
    return facts | {"pack": {"size": 2, "slot": 0, "shares_images": True}} | changes


def told(arm: Mapping[str, str], seed: int) -> Outcome:
    """Return the same for an ablation by its arms; `by_rate` and `two_arms` share no trial."""
    [trial] = [t for t in by_rate().trials if t.seed == seed and dict(t.arm.levels) == arm]
    return measured(trial)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A folder with the 40 records of `by_rate`, made here."""
    place = Place(tmp_path / "results", "paper", pytest.fail)
    write(place.folder, by_rate(), told, **here())
    return place


@pytest.fixture
def packs(monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    """What was trained again, by hand."""
    return trained_by(monkeypatch, measured)


def trained_by(
    monkeypatch: pytest.MonkeyPatch,
    measured: Measured,
    facts: Callable[[Job], Mapping[str, Any]] = lambda _: {},
) -> list[Job]:
    """Have packs trained in this process by a function; return what they were."""
    jobs: list[Job] = []

    def run(job: Job, report: Callable[[int], None]) -> Result:
        jobs.append(job)
        report(100)
        return Result(tuple(map(measured, job.pack.trials)), {"device": "cpu", **facts(job)})

    monkeypatch.setattr(executors, "Pool", lambda _, devices: InProcess(run))
    return jobs


def unseen(name: str) -> Any:
    """Show no progress."""
    return nullcontext(lambda tally: None)


def made(place: Place, size: str = "3", seed: int = 1, names: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the certificate of a sample."""
    quiet = replace(place, say=lambda text: None)
    return certificate.make(Asked(names, size, seed), MARGIN, quiet, Machinery("cpu"), unseen)


def drawn(place: Place, size: str = "3", seed: int = 1, names: tuple[str, ...] = ()) -> list[str]:
    return [each.record.trial for each in sampling.draw(Asked(names, size, seed), place).drawn]


def sealed(line: str) -> str:
    """Return a line with the checksum that its content has, as a forger would."""
    content = line.rpartition(',"checksum":')[0]
    return f'{content},"checksum":"{hashlib.sha256((content + "}").encode()).hexdigest()[:16]}"}}'


def forge(path: Path, trial: str, old: str, new: str) -> None:
    """Change a trial's line and its checksum with it."""
    lines = path.read_text().splitlines()
    [place] = [n for n, line in enumerate(lines) if f'"trial":"{trial}"' in line]
    assert old in lines[place]
    lines[place] = sealed(lines[place].replace(old, new, 1))
    path.write_text("\n".join(lines) + "\n")


# The sample


def test_a_seed_draws_the_same_trials_wherever_they_stand(place: Place, tmp_path: Path) -> None:
    other = Place(tmp_path / "other", "paper", pytest.fail)
    Ledger(other.folder / "made.jsonl").append(records(by_rate(), told)[::-1])
    assert drawn(place, "7") == drawn(other, "7")
    ids = [trial.id for trial in by_rate().trials]
    by_hash = sorted(ids, key=lambda trial: hashlib.sha256(f"1/made/{trial}".encode()).hexdigest())
    assert drawn(place, "7") == by_hash[:7]
    assert drawn(place, "7", seed=2) != drawn(place, "7")


def test_a_larger_sample_of_a_seed_holds_the_smaller_one(place: Place) -> None:
    assert drawn(place, "3") == drawn(place, "20")[:3]
    assert sorted(drawn(place, "100%")) == sorted(trial.id for trial in by_rate().trials)


def test_every_record_is_as_likely_as_another(place: Place) -> None:
    seen = [trial for seed in range(100) for trial in drawn(place, "4", seed)]
    low, high = binom.interval(0.9999, 100, 0.1)
    counts = [seen.count(trial.id) for trial in by_rate().trials]
    assert sum(counts) == 400 and low <= min(counts) and max(counts) <= high


@pytest.mark.parametrize(
    ("size", "of", "n"),
    [
        ("5%", 1000, 50),
        ("5%", 42, 2),
        ("5%", 3, 1),
        ("0.1%", 40, 1),
        ("100%", 7, 7),
        ("20", 7, 7),
        ("2", 7, 2),
    ],
)
def test_a_share_or_a_number_is_drawn(size: str, of: int, n: int) -> None:
    assert sampling.count(size, of) == n


@pytest.mark.parametrize("size", ["0", "-1", "0%", "101%", "five", "", "%", "nan%", "inf%", "1.5", "1e3"])
def test_other_sizes_are_refused(size: str) -> None:
    with pytest.raises(BnstudyError, match=r"--sample .*: give a share of the finished trials \(5%\) or"):
        sampling.count(size, 40)


def test_unfinished_trials_are_not_drawn_and_diverged_ones_are(tmp_path: Path) -> None:
    place = Place(tmp_path, "paper", pytest.fail)
    write(place.folder, two_arms(), lambda arm, seed: (crashed(), diverged(), None, GOOD, GOOD)[seed])
    sample = sampling.draw(Asked((), "100%", 0), place)
    assert sample.of == 6 and {each.record.seed for each in sample.drawn} == {1, 3, 4}


def test_a_sample_is_of_the_ablations_that_are_named(place: Place) -> None:
    write(place.folder, replace(two_arms(seeds=3), name="other"), lambda arm, seed: GOOD)
    assert sampling.draw(Asked((), "1", 0), place).of == 46
    sample = sampling.draw(Asked(("other", "other"), "100%", 0), place)
    assert sample.of == 6 and list(sample.ledgers) == ["other"]


def test_records_of_other_revisions_are_left_out_and_told(place: Place, packs: list[Job]) -> None:
    old = replace(by_rate(seeds=2), base=SMALL.replace(revisions={**SMALL.revisions, "train": 7}))
    write(place.folder, old, lambda arm, seed: outcome(0.1))
    sample = sampling.draw(Asked((), "100%", 0), place)
    assert sample.of == 40 and sample.stale == {"made": 16}
    notes: list[str] = []
    heard = replace(place, say=notes.append)
    value = certificate.make(Asked((), "1", 0), MARGIN, heard, Machinery("cpu"), unseen)
    assert notes[0].startswith("made: 16 records of other revisions than this code's (data=")
    assert notes[0].endswith(" cannot be compared and are left out.")
    assert value["left_out_as_stale"] == {"made": 16} and value["of"] == 40


def test_nothing_but_stale_records_is_an_error(tmp_path: Path) -> None:
    place = Place(tmp_path, "paper", pytest.fail)
    old = replace(by_rate(), base=SMALL.replace(revisions={**SMALL.revisions, "train": 7}))
    write(place.folder, old, lambda arm, seed: outcome(0.1))
    with pytest.raises(
        BnstudyError, match=r"Every record in .* is of other revisions than this code's, whose"
    ):
        drawn(place)


def test_nothing_recorded_is_a_sentence(place: Place, tmp_path: Path) -> None:
    empty = Place(tmp_path / "empty", "smoke", pytest.fail)
    with pytest.raises(
        BnstudyError, match=r"Nothing is recorded in .*smoke; `bnstudy run lr-sweep --profile"
    ):
        drawn(empty)
    empty.folder.mkdir(parents=True)
    (empty.folder / "made.jsonl").touch()
    with pytest.raises(BnstudyError, match="Nothing is recorded in"):
        drawn(empty)
    with pytest.raises(
        BnstudyError, match=r"Nothing is recorded of zebra in .*; `bnstudy run zebra --profile"
    ):
        drawn(place, names=("made", "zebra"))
    with pytest.raises(BnstudyError, match=r"No profile named 'papr'\. Did you mean"):
        drawn(replace(place, profile="papr"))


# Packs


def sample_of(place: Place, size: str = "100%") -> Sequence[sampling.Drawn]:
    return sampling.draw(Asked((), size, 0), place).drawn


def test_trials_train_together_where_they_did_when_they_were_recorded(tmp_path: Path) -> None:
    """Arms of one seed that differ in their rate alone, and never more than there were."""
    place = Place(tmp_path, "paper", pytest.fail)
    recorded = {"size": 3, "slot": 0, "shares_images": True}
    write(place.folder, by_rate(seeds=2), lambda arm, seed: GOOD, pack=recorded)
    found = verify.packed(sample_of(place))
    assert sorted(len(pack.trials) for pack in found) == [1, 1, 1, 1, 3, 3, 3, 3]
    for pack in found:
        assert pack.shares_images and len(pack.slots) >= 2
        assert len({(trial.seed, trial.arm.recipe.norm) for trial in pack.trials}) == 1


def test_seeds_with_their_own_images_train_together(tmp_path: Path) -> None:
    place = Place(tmp_path, "paper", pytest.fail)
    pack = {"size": 8, "slot": 0, "shares_images": False}
    write(place.folder, two_arms(seeds=5), lambda arm, seed: GOOD, pack=pack)
    found = verify.packed(sample_of(place))
    assert [len(pack.trials) for pack in found] == [5, 5] and not any(p.shares_images for p in found)


def test_a_trial_of_two_ablations_trains_once_and_is_held_against_both(
    place: Place, packs: list[Job]
) -> None:
    write(place.folder, replace(by_rate(), name="other"), told, **here())
    value = made(place, "100%")
    assert value["drawn"] == 80 and value["verdict"] == "bitwise"
    assert sum(len(job.pack.trials) for job in packs) == 40
    assert set(value["ledgers_sha256"]) == {"made", "other"}


# Levels


def test_equal_numbers_certify_bitwise(place: Place, packs: list[Job]) -> None:
    value = made(place, "5")
    assert value["verdict"] == "bitwise" and value["certified"] and value["reached"] == {"L0": 5}
    assert value["differs"] == [] and value["equivalence"] is None
    text = certificate.text(value).splitlines()
    assert text[0] == "5 of 40 finished trials (paper profile), drawn with seed 1, trained again."
    assert text[1] == "Certified bitwise: every number of each is equal to the last bit."
    assert re.fullmatch(r"Of all 40, at most \d+ come out otherwise \(95% confidence\)\.", text[2])
    assert text[-1] == f"certificate: {value['path']}" and len(text) == 5


def test_in_the_same_environment_a_changed_digit_fails_its_trial_alone(
    place: Place, packs: list[Job]
) -> None:
    trial = drawn(place, "100%")[3]
    accuracy = place.ledger("made").recorded()[trial].outcome.precise_test_accuracy
    assert accuracy is not None
    path = place.folder / "made.jsonl"
    forge(path, trial, f'"precise_test_accuracy":{accuracy}', f'"precise_test_accuracy":{accuracy + 0.001}')
    value = made(place, "100%")
    assert value["verdict"] == "failed" and not value["certified"]
    assert value["reached"] == {"L0": 39, "failed": 1}
    [row] = [row for row in value["trials"] if row["level"] == "failed"]
    assert row["trial"] == trial and row["largest_at"] == "precise_test_accuracy"
    assert row["different_values"] == 1 and row["largest_relative_difference"] == pytest.approx(
        0.00125, rel=0.1
    )
    shown = in_one_line(certificate.text(value))
    assert "Failed: not everything comes out as it is recorded." in shown
    assert (
        f"made {trial}" in shown and "the environment is the same, and precise_test_accuracy differs" in shown
    )
    assert "at most" not in shown


def in_one_line(text: str) -> str:
    """Return a text as if the terminal were wide enough for it."""
    return " ".join(text.split())


def elsewhere(place: Place, drift: float, accuracy: float = 0.0, losses: tuple[float, ...] = LOSSES) -> Place:
    """Return a folder whose records another processor made: its numbers are off by so much."""
    other = replace(place, results=place.results / "elsewhere")

    def far(arm: Mapping[str, str], seed: int) -> Outcome:
        first = tuple(loss * (1 + drift) for loss in losses)
        found = told(arm, seed)
        assert found.precise_test_accuracy is not None
        return replace(
            found,
            first_losses=first,
            precise_test_accuracy=found.precise_test_accuracy + accuracy * (-1) ** seed,
        )

    write(other.folder, by_rate(seeds=4), far, **here(host_cpu="Another"))
    return other


def test_another_environment_certifies_within_tolerance(place: Place, packs: list[Job]) -> None:
    value = made(elsewhere(place, 5e-5, accuracy=0.001), "16")
    assert value["verdict"] == "within tolerance" and value["certified"] and value["reached"] == {"L1": 16}
    assert value["equivalence"]["state"] == "shown" and value["equivalence"]["trials"] == 16
    assert [row["fact"] for row in value["differs"]] == ["host_cpu"]
    assert value["differs"][0]["recorded"] == "Another" and value["differs"][0]["trials"] == 16
    assert all(row["steps"] == 10 for row in value["trials"])
    shown = in_one_line(certificate.text(value))
    assert "L0 0 of 16" in shown and "L1 16 of 16" in shown and "L2 shown" in shown
    assert "host_cpu Another" in shown and "trials of this" in shown


def test_four_trials_are_too_few_elsewhere(place: Place, packs: list[Job]) -> None:
    value = made(elsewhere(place, 5e-5), "4")
    assert value["verdict"] == "not shown" and value["equivalence"]["state"] == "not shown"
    assert "at least 5 trials are needed: --sample 5" in " ".join(certificate.text(value).split())


def test_a_mean_that_is_off_refutes(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def better(trial: Trial) -> Outcome:
        found = measured(trial)
        assert found.precise_test_accuracy is not None
        return replace(found, precise_test_accuracy=found.precise_test_accuracy + 0.01)

    trained_by(monkeypatch, better)
    value = made(elsewhere(place, 5e-5, accuracy=0.001), "16")
    assert value["reached"] == {"L1": 16} and value["equivalence"]["state"] == "refuted"
    assert value["verdict"] == "failed" and value["equivalence"]["mean"] == pytest.approx(0.01, abs=0.001)


def test_first_steps_that_are_apart_fail_where_rounding_is_no_reason(place: Place, packs: list[Job]) -> None:
    value = made(elsewhere(place, 5e-3), "6")
    assert value["verdict"] == "failed" and value["reached"] == {"failed": 6}
    assert "the loss of step 0 is more than 0.0001 apart" in in_one_line(certificate.text(value))
    assert value["trials"][0]["first_steps"]["apart"] == 0
    assert len(packs) <= 6, "no rounding excuses the very first step"


def test_records_without_first_losses_show_less(place: Place, packs: list[Job]) -> None:
    other = elsewhere(place, 0.0, accuracy=0.001, losses=())
    value = made(other, "16")
    assert value["verdict"] == "not shown" and value["reached"] == {"not shown": 16}
    assert value["equivalence"]["state"] == "shown"
    assert "the record holds no losses of its first steps" in in_one_line(certificate.text(value))


def test_a_field_younger_than_the_record_is_not_compared(place: Place, packs: list[Job]) -> None:
    """Here the lines are without the field, as an older version wrote them."""
    path = place.folder / "made.jsonl"
    lines = path.read_text().splitlines()
    short = [re.sub(r'"first_losses":\[[^]]*\],?', "", line).replace(",}", "}") for line in lines]
    path.write_text("".join(sealed(line) + "\n" for line in short))
    assert made(place, "5")["verdict"] == "bitwise"


# What does not come to its end


def test_a_trial_that_crashes_is_not_verified_and_harms_no_other(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    unlucky = drawn(place, "100%")[0]

    def fragile(trial: Trial) -> Outcome:
        if trial.id == unlucky:
            raise RuntimeError("out of luck")
        return measured(trial)

    pack = {"size": 4, "slot": 0, "shares_images": True}
    path = place.folder / "made.jsonl"
    path.unlink()
    write(place.folder, by_rate(), told, **here(pack=pack))
    trained_by(monkeypatch, fragile)
    value = made(place, "100%")
    assert value["verdict"] == "not shown" and value["reached"] == {"not verified": 1, "L0": 39}
    [row] = [row for row in value["trials"] if row["level"] == "not verified"]
    assert row["trial"] == unlucky and row["reason"].startswith("crashed: RuntimeError: out of luck")
    assert row["largest_relative_difference"] is None and row["different_values"] is None
    assert "Not certified: nothing speaks against the records" in in_one_line(certificate.text(value))


def test_a_trial_that_does_not_fit_is_not_verified(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    trained_by(monkeypatch, lambda trial: Outcome(status="not run", reason="does not fit into the memory"))
    value = made(place, "3")
    assert value["reached"] == {"not verified": 3} and value["verdict"] == "not shown"
    assert value["trials"][0]["reason"] == "not run: does not fit into the memory"
    assert value["differs"] == []


# Sizes of packs, and rounding


def test_where_bits_hang_on_the_size_of_the_pack_it_is_trained_as_large(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on processors whose first convolution rounds with it."""
    (place.folder / "made.jsonl").unlink()
    write(place.folder, by_rate(), told, **here(pack={"size": 3, "slot": 1, "shares_images": True}))
    jobs: list[Job] = []

    def run(job: Job, report: Callable[[int], None]) -> Result:
        jobs.append(job)
        off = 0.0 if len(job.pack.slots) == 3 else 1e-6
        outcomes = [replace(measured(trial), train_loss=0.5 + off) for trial in job.pack.trials]
        if off == 0:
            outcomes[0] = replace(outcomes[0], train_loss=0.6)  # not the slot that was recorded
        return Result(tuple(outcomes), {"device": "cpu"})

    monkeypatch.setattr(executors, "Pool", lambda _, devices: InProcess(run))
    value = made(place, "2")
    assert value["verdict"] == "bitwise" and value["differs"] == []
    assert [len(job.pack.trials) for job in jobs] == [1, 1, 3, 3]
    assert all(len(set(job.pack.trials)) == 1 for job in jobs)


def drifting(by: float) -> Measured:
    """Return a training whose losses part from step 5 on, by this much for a rounding error of the rate."""

    def run(trial: Trial) -> Outcome:
        rate = trial.arm.recipe.lr
        exact = min((0.1, 1.0, 10.0, 100.0), key=lambda level: abs(level / rate - 1))
        errors = (rate / exact - 1) / 2**-22
        first = [loss * (1 + by * errors * (step >= 5)) for step, loss in enumerate(LOSSES)]
        return replace(outcome(0.8), first_losses=tuple(first))

    return run


@pytest.mark.parametrize(("by", "level"), [(1e-4, "L1"), (1e-7, "failed"), (0.0, "failed")])
def test_steps_that_rounding_alone_parts_are_excused(
    by: float, level: str, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = trained_by(monkeypatch, drifting(by))
    parted = tuple(loss * (1.01 if step >= 5 else 1) for step, loss in enumerate(LOSSES))
    value = made(elsewhere(place, 0.0, losses=parted), "1")
    assert value["reached"] == {level: 1} and value["trials"][0]["first_steps"]["apart"] == 5
    assert value["trials"][0]["steps"] == (5 if level == "L1" else None)
    first, *rounded = jobs
    assert len(rounded) == 2
    for again in rounded:
        assert again.pack.shares_images and len(again.pack.trials) == 4
        assert {trial.seed for trial in again.pack.trials} == {first.pack.trials[0].seed}
    if level == "L1":
        assert "(1 of 1 over the first 5 only)" in " ".join(certificate.text(value).split())


# The file


def test_a_certificate_is_published_whole(place: Place, packs: list[Job]) -> None:
    value = made(place, "3", seed=17)
    path = Path(value.pop("path"))
    assert json.loads(path.read_text(), parse_constant=pytest.fail) == json.loads(json.dumps(value))
    assert path.parent == place.folder / "certificates" and list(path.parent.iterdir()) == [path]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d{6}Z-seed-17\.json", path.name)
    ledger = (place.folder / "made.jsonl").read_bytes()
    assert value["ledgers_sha256"] == {"made": hashlib.sha256(ledger).hexdigest()}
    lines = {line["trial"]: line for line in map(json.loads, ledger.splitlines())}
    assert {row["trial"]: row["checksum"] for row in value["trials"]} == {
        trial: lines[trial]["checksum"] for trial in drawn(place, "3", 17)
    }
    assert value["here"]["torch"] and value["here"]["sources"] == provenance.code()["sources"]
    assert "wall_seconds" not in value["here"] and set(value["levels"]) == {"L0", "L1", "L2"}
    assert str(Path.home()) not in path.read_text() and str(place.results) not in path.read_text()


def test_a_folder_that_cannot_be_written_is_told_before_the_training(place: Place, packs: list[Job]) -> None:
    (place.folder / "certificates").write_text("")
    with pytest.raises(BnstudyError, match=r"Cannot write .*certificates: File exists\. Free the disk"):
        made(place)
    assert not packs


# The command


Door = Callable[..., tuple[int, str, str]]


@pytest.fixture
def door(place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Door:
    """Run `bnstudy verify` on the folder in this process: exit status, output, notes."""
    monkeypatch.setenv("COLUMNS", "1000")

    def run(*words: str) -> tuple[int, str, str]:
        options = ("--profile", "paper", "--results", str(place.results), "--device", "cpu")
        monkeypatch.setattr(sys, "argv", ["bnstudy", "verify", *words, *options])
        with pytest.raises(SystemExit) as end:
            cli.main()
        printed = capsys.readouterr()
        return int(end.value.code or 0), printed.out, printed.err

    return run


def test_what_is_certified_is_status_0(door: Door, packs: list[Job]) -> None:
    status, out, err = door("made", "--sample", "10%", "--seed", "3")
    assert status == 0 and out.startswith(
        "4 of 40 finished trials (paper profile), drawn with seed 3, trained"
    )
    assert err.splitlines()[0].endswith("on cpu") and err.splitlines()[-1].startswith(
        "trained again: 4/4 trials"
    )


def test_what_is_not_certified_is_status_3(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    trained_by(monkeypatch, lambda trial: outcome(0.5))
    status, out, _ = door("--sample", "2", "--seed", "3", "--json")
    value = json.loads(out, parse_constant=pytest.fail)
    assert status == 3 and value["verdict"] == "failed" and Path(value["path"]).is_file()


def test_a_new_seed_is_drawn_where_none_is_given(door: Door, packs: list[Job]) -> None:
    seeds = {json.loads(door("--sample", "1", "--json")[1])["seed"] for _ in range(4)}
    assert len(seeds) > 1


def test_a_mistake_is_one_sentence(door: Door, packs: list[Job]) -> None:
    for words in (("zebra",), ("--sample", "many")):
        status, out, err = door(*words)
        assert status == 1 and out == "" and err.count("\n") == 1 and err.startswith("bnstudy: ")
    assert not packs


def test_an_interrupt_certifies_nothing(door: Door, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = []

    class Interrupted(InProcess):
        def events(self, seconds: float) -> list[executors.Event]:
            raise KeyboardInterrupt

        def close(self) -> None:
            closed.append(self)

    monkeypatch.setattr(executors, "Pool", lambda run, devices: Interrupted(run))
    status, out, err = door("--sample", "2")
    assert status == 130 and out == "" and err.endswith("Interrupted. Nothing was certified.\n")
    assert len(closed) == 1 and not list((place.folder / "certificates").iterdir())


# Real trainings


def ledger_of(place: Place, ablation: Ablation, rounded_by: float = 0.0, **changes: Any) -> Ledger:
    """Write the ledger of an ablation, trained for real; with learning rates that are off by so much."""
    ledger = Ledger(place.folder / f"{ablation.name}.jsonl")
    for pack in plan(ablation):
        exact = [trial.arm for trial in pack.trials]
        off = [replace(arm, recipe=arm.recipe.replace(lr=arm.recipe.lr * (1 + rounded_by))) for arm in exact]
        trials = tuple(Trial(arm, trial.seed) for arm, trial in zip(off, pack.trials, strict=True))
        result = work.run_pack(Job(Pack(trials, pack.shares_images), "cpu", None), lambda images: None)
        place_in_pack = {"size": len(pack.slots), "slot": 0, "shares_images": pack.shares_images}
        facts = {**here(), **result.provenance, "pack": place_in_pack, **changes}
        pairs = zip(pack.trials, result.outcomes, strict=True)
        ledger.append([Record.of(ablation.name, trial, outcome, facts) for trial, outcome in pairs])
    return ledger


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train in this process: starting workers takes seconds."""
    monkeypatch.setattr(executors, "Pool", lambda run, devices: InProcess(run))


@pytest.fixture
def empty(tmp_path: Path) -> Place:
    return Place(tmp_path / "results", "paper", pytest.fail)


def test_real_trainings_come_out_to_the_bit_in_other_packs(empty: Place, in_process: None) -> None:
    ledger_of(empty, by_rate(rates=(1.0, 10.0), seeds=2))
    value = made(empty, "3")
    assert value["verdict"] == "bitwise" and value["drawn"] == 3 and value["differs"] == []
    assert all(row["first_steps"]["steps"] == 10 for row in value["trials"])


def test_a_forged_digit_of_a_real_record_is_found(empty: Place, in_process: None) -> None:
    ledger = ledger_of(empty, by_rate(rates=(1.0, 10.0), seeds=1))
    record = next(r for r in ledger.records() if r.arm == {"network": "bn", "lr": "1"})
    accuracy = record.outcome.precise_test_accuracy
    assert accuracy is not None
    forge(ledger.path, record.trial, f":{accuracy},", f":{accuracy + 0.1},")
    assert ledger.recorded()[record.trial].outcome.precise_test_accuracy == accuracy + 0.1
    value = made(empty, "100%")
    assert value["verdict"] == "failed"
    assert [row["trial"] for row in value["trials"] if row["level"] == "failed"] == [record.trial]


def test_real_trainings_that_round_otherwise_pass_by_their_first_steps(
    empty: Place, in_process: None
) -> None:
    """A rate of 1000 amplifies a rounding error to everything within some steps."""
    ablation = by_rate(rates=(1.0, 1000.0), seeds=1)
    ledger_of(empty, ablation, rounded_by=3 * 2**-22, host_cpu="Another")
    value = made(empty, "100%")
    assert "L1" in value["reached"] and value["reached"].keys() <= {"L0", "L1"}
    steps = {(row["arm"]["network"], row["arm"]["lr"]): row["steps"] for row in value["trials"]}
    assert steps["bn", "1"] == 10 and 0 < steps["bn", "1000"] < 10


@pytest.mark.slow
def test_another_recipe_under_the_same_name_fails_elsewhere(empty: Place, in_process: None) -> None:
    """A learning rate off by one percent is no rounding."""
    ledger_of(empty, two_arms(seeds=1), rounded_by=0.01, host_cpu="Another")
    value = made(empty, "100%")
    bn = [row for row in value["trials"] if row["arm"]["network"] == "bn"]
    assert value["verdict"] == "failed" and {row["level"] for row in bn} == {"failed"}


@pytest.mark.slow
def test_ctrl_c_ends_real_workers_within_seconds(empty: Place) -> None:
    """In the middle of trainings that would take minutes."""
    long = replace(two_arms(seeds=2), base=SMALL.replace(train_images=1600, epochs=1000))
    write(empty.folder, long, lambda arm, seed: GOOD)
    words = ("verify", "--profile", "paper", "--results", str(empty.results), "--sample", "100%")
    with subprocess.Popen(
        [sys.executable, "-m", "bnstudy", *words, "--workers", "2", "--device", "cpu"],
        cwd=empty.results,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        assert running.stderr is not None and running.stdout is not None
        workers = psutil.Process(running.pid).children
        while not any(worker.cpu_times().user > 5 for worker in workers(recursive=True)):  # 3 are the start
            assert running.poll() is None
            time.sleep(0.1)
        running.send_signal(signal.SIGINT)
        start = time.monotonic()
        told_last = running.stderr.read().splitlines()[-1]
        assert running.wait(60) == 130 and time.monotonic() - start < 5
        assert told_last == "Interrupted. Nothing was certified." and running.stdout.read() == ""
    assert not list((empty.folder / "certificates").iterdir())
