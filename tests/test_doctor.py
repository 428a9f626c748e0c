"""The doctor finds what would stop or slow a run, and says what to do about each."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from bnstudy.books import provenance
from bnstudy.commands import doctor
from bnstudy.commands.doctor import Finding, examine
from bnstudy.errors import BnstudyError
from bnstudy.training import data, machine


def one(check: Iterator[Finding]) -> Finding:
    (finding,) = check
    return finding


def named(check: Iterator[Finding], what: str) -> Finding:
    return {finding.what: finding for finding in check}[what]


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine without images and without a way to get them; returns its empty cache."""

    def missing() -> None:
        raise BnstudyError("not installed")

    monkeypatch.setenv("BNSTUDY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(data, "SYSTEM_FOLDER", tmp_path / "system")
    monkeypatch.setattr(data, "_require_torchvision", missing)
    monkeypatch.setattr(data, "_require_apt", missing)
    return tmp_path / "cache"


@pytest.mark.slow
def test_this_machine_can_be_examined(tmp_path: Path) -> None:
    """All findings in the order in which a run meets them, each with a state that the door knows."""
    findings = examine(tmp_path / "results", None)
    whats = [finding.what for finding in findings]
    assert [what for what in whats if what != "allocator"] == [
        *("versions", "processor", "memory", "GPU", "images", "results", "determinism")
    ]
    assert {finding.state for finding in findings} <= {"fine", "note", "broken"}
    assert all(finding.found for finding in findings)
    assert all(finding.advice for finding in findings if finding.state != "fine"), "what to do is always said"
    assert not (tmp_path / "results").exists(), "looking leaves nothing behind"


def test_versions_are_those_installed() -> None:
    import torch

    found = one(doctor._versions()).found
    assert f"torch {torch.__version__.partition('+')[0]}" in found and "None" not in found


def test_too_little_memory_is_noted_with_workers_that_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    def memory(free: int) -> Finding:
        given = SimpleNamespace(available=free, total=64_000_000_000)
        monkeypatch.setattr(doctor.psutil, "virtual_memory", lambda: given)
        return named(doctor._processor(), "memory")

    monkeypatch.setattr(doctor, "cores", lambda: 8)
    advice = "8 workers may take 12.0 GB; use fewer: --workers 2."
    assert memory(3_000_000_000) == Finding("memory", "note", "3.0 GB free", advice)
    assert "--workers 1." in memory(100_000_000).advice
    assert memory(64_000_000_000) == Finding("memory", "fine", "64.0 GB free")


def test_another_allocator_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.platform, "libc_ver", lambda: ("musl", "1.2"))
    assert named(doctor._processor(), "allocator").state == "note"


@pytest.mark.parametrize(
    ("cards", "usable", "expected"),
    [
        ([], False, Finding("GPU", "fine", "none", "The CPU is used; that is enough.")),
        (["H100", "H100"], True, Finding("GPU", "fine", "cuda:0, cuda:1")),
    ],
)
def test_gpus(cards: list[str], usable: bool, expected: Finding, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "gpus", lambda: cards)
    monkeypatch.setattr(doctor.torch.cuda, "is_available", lambda: usable)
    monkeypatch.setattr(machine, "devices", lambda asked: [f"cuda:{n}" for n in range(len(cards))])
    assert one(doctor._gpus()) == expected


def test_a_gpu_that_pytorch_cannot_use_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "gpus", lambda: ["H100"])
    monkeypatch.setattr(doctor.torch.cuda, "is_available", lambda: False)
    finding = one(doctor._gpus())
    assert finding.state == "note" and finding.found == "H100, unused" and "install another" in finding.advice


def test_no_source_of_images_is_broken(bare: Path) -> None:
    finding = one(doctor._data(None))
    assert finding.state == "broken" and "--data-dir" in finding.advice


def test_images_that_are_not_fetched_yet_are_noted(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "_require_torchvision", lambda: None)
    finding = one(doctor._data(None))
    assert finding.state == "note" and finding.found.endswith("in this order: mirror")
    assert "`bnstudy data`" in finding.advice


def test_checked_images_are_fine(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "_read_published", lambda path: None)
    assert one(doctor._data(None)) == Finding("images", "fine", f"{bare / 'fashion-mnist.bin'}, checked")


def test_damaged_images_are_not_fine(bare: Path) -> None:
    bare.mkdir()
    (bare / "fashion-mnist.bin").write_bytes(b"something else")
    assert one(doctor._data(None)).state == "broken"


def test_a_data_folder_without_the_images_is_broken_whatever_else_there_is(
    bare: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who names a folder means it: `run` would refuse it, too."""
    monkeypatch.setattr(data, "_read_published", lambda path: None)
    finding = one(doctor._data(tmp_path / "nowhere"))
    assert (
        finding.state == "broken" and "nowhere" in finding.found and "leave --data-dir out" in finding.advice
    )


def test_a_results_folder_that_is_not_there_yet_is_fine(tmp_path: Path) -> None:
    finding = one(doctor._results(tmp_path / "a" / "b"))
    assert finding.state == "fine" and "can be written" in finding.found
    assert list(tmp_path.iterdir()) == []


def test_a_results_folder_that_is_a_file_is_broken(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("")
    finding = one(doctor._results(tmp_path / "results"))
    assert finding.state == "broken" and "Choose another folder with --results." in finding.advice


def test_a_results_folder_that_refuses_is_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, *more: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "touch", refuse)
    finding = one(doctor._results(tmp_path))
    assert finding.state == "broken" and finding.found == f"{tmp_path}: Permission denied"


def test_a_full_disk_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda folder: SimpleNamespace(free=50_000_000))
    finding = one(doctor._results(tmp_path))
    assert finding.state == "note" and finding.advice == "Less than 100 MB are free."


def test_determinism_is_told_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def damaged() -> bool:
        raise BnstudyError("sample.npz cannot be read (it is gone); install bnstudy again.")

    monkeypatch.setattr(doctor, "alone_or_not", lambda: True)
    assert one(doctor._determinism()).state == "fine"
    monkeypatch.setattr(doctor, "alone_or_not", lambda: False)
    finding = one(doctor._determinism())
    assert finding.state == "note" and "within rounding" in finding.advice
    monkeypatch.setattr(doctor, "alone_or_not", damaged)
    finding = one(doctor._determinism())
    assert finding.state == "broken" and "sample.npz" in finding.found


def test_missing_numba_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "fuses", lambda device: False)
    (finding,) = [found for found in doctor._processor() if found.what == "kernels"]
    assert finding.state == "note" and "pip install numba" in finding.advice
