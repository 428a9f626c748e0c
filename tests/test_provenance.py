"""Provenance names the code and the machine behind a record, truthfully, and no person or place."""

import json
import os
import platform
import shutil
import socket
import subprocess
import sys
import types
from importlib import metadata
from pathlib import Path

import pytest

from bnstudy import __version__
from bnstudy.books import provenance
from bnstudy.books.provenance import git_state, source_hash

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")


def git(folder: Path, *words: str) -> str:
    person = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    done = subprocess.run(
        ["git", "-C", folder, *person, *words], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A committed checkout with a package, ablations and a ledger of record."""
    files = {
        "pack/__init__.py": "x = 1\n",
        "pack/deep/inner.py": "y = 2\n",
        "ablations/lr.py": "",
        "results/lr.jsonl": "{}\n",
        ".gitignore": "__pycache__\n.venv\n",
    }
    folder = tmp_path / "checkout"
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    if shutil.which("git"):
        git(tmp_path, "init", "--quiet", "checkout")
        git(folder, "add", ".")
        git(folder, "commit", "--quiet", "--message", "start")
    return folder


def state(checkout: Path) -> tuple[str | None, bool | None]:
    return git_state(checkout / "pack", checkout / "pack", checkout / "ablations")


@needs_git
def test_a_checkout_tells_its_commit(checkout: Path) -> None:
    assert state(checkout) == (git(checkout, "rev-parse", "HEAD"), True)


@needs_git
@pytest.mark.parametrize(
    ("name", "clean"),
    [
        ("pack/deep/inner.py", False),
        ("pack/new.py", False),
        ("ablations/mine.py", False),
        ("pack/__pycache__/inner.pyc", True),
        ("results/lr.jsonl", True),
        ("results/new.jsonl", True),
    ],
)
def test_only_a_change_of_the_sources_makes_a_checkout_unclean(
    checkout: Path, name: str, clean: bool
) -> None:
    """A run writes into `results/`: its second record must not look less trustworthy than its first."""
    (checkout / name).parent.mkdir(exist_ok=True)
    (checkout / name).write_text("changed")
    assert state(checkout) == (git(checkout, "rev-parse", "HEAD"), clean)


@needs_git
def test_a_package_inside_another_project_s_environment_has_no_commit(checkout: Path) -> None:
    for place in (".venv/site-packages/pack", "untracked/pack"):
        shutil.copytree(checkout / "pack", checkout / place)
        assert git_state(checkout / place, checkout / place) == (None, None)


@needs_git
def test_a_repository_named_by_the_environment_is_not_ours(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A git hook runs with GIT_DIR set to the repository that was committed to."""
    monkeypatch.setenv("GIT_DIR", str(checkout / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(tmp_path))
    shutil.copytree(checkout / "pack", tmp_path / "pack")
    assert git_state(tmp_path / "pack", tmp_path / "pack") == (None, None)
    assert state(checkout)[1] is True


def test_without_git_only_the_sources_are_known(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(checkout))
    assert state(checkout) == (None, None)


def test_the_source_hash_sees_contents_and_names_and_nothing_else(checkout: Path) -> None:
    folders = {"": checkout / "pack"}
    before = source_hash(folders)
    (checkout / "pack" / "notes.txt").write_text("no code")
    (checkout / "pack" / "__init__.py").write_bytes(b"x = 1\r\n")
    assert source_hash(folders) == before, "what is no code, and line ends, must not matter"
    (checkout / "pack" / "__init__.py").write_text("x = 2\n")
    changed = source_hash(folders)
    (checkout / "pack" / "__init__.py").rename(checkout / "pack" / "other.py")
    assert len({before, changed, source_hash(folders)}) == 3


def test_a_wheel_and_its_checkout_have_the_same_source_hash(checkout: Path, tmp_path: Path) -> None:
    """The installed package carries the ablations inside; beside it may lie anybody's `ablations`."""
    installed = tmp_path / "site-packages" / "pack"
    shutil.copytree(checkout / "pack", installed)
    shutil.copytree(checkout / "ablations", installed / "ablations")
    (tmp_path / "site-packages" / "ablations").mkdir()
    (tmp_path / "site-packages" / "ablations" / "stranger.py").write_text("")
    hashes = {source_hash(provenance._source_folders(each)) for each in (checkout / "pack", installed)}
    assert len(hashes) == 1


def test_code_is_looked_up_once_and_cannot_be_spoiled() -> None:
    first = provenance.code()
    assert list(first) == ["commit", "clean", "sources", "version"]
    assert first["version"] == __version__ and len(first["sources"]) == 16
    first.clear()
    assert provenance.code()["version"] == __version__


def test_the_host_is_told_in_plain_values() -> None:
    host = provenance.host()
    assert host["host_cpu"] and host["cores"] >= 1 and host["memory_bytes"] > 1e8
    assert host["python"] == platform.python_version()
    assert host["numpy"] == metadata.version("numpy")
    assert json.loads(json.dumps(host)) == host


def test_a_library_that_is_missing_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "LIBRARIES", ("no-such-library",))
    assert provenance.host()["no-such-library"] is None


def test_a_processor_without_a_model_name_is_told_by_the_platform(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    assert provenance._processor(cpuinfo) == (platform.processor() or platform.machine())
    cpuinfo.write_text("processor\t: 0\nmodel name\t: Some: CPU @ 3 GHz \n")
    assert provenance._processor(cpuinfo) == "Some: CPU @ 3 GHz"


def nvidia_driver(names: list[str], works: bool) -> types.ModuleType:
    """A stand-in for the driver's library with GPUs of these names."""
    driver = types.ModuleType("pynvml")

    class NVMLError(Exception):
        pass

    def start() -> None:
        if not works:
            raise NVMLError("no driver")

    driver.__dict__.update(
        NVMLError=NVMLError,
        nvmlInit=start,
        nvmlShutdown=lambda: names.clear(),
        nvmlDeviceGetCount=lambda: len(names),
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetName=lambda handle: names[handle],
    )
    return driver


def test_gpus_are_those_that_a_driver_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["NVIDIA H100 80GB HBM3", "NVIDIA L4"]
    monkeypatch.setitem(sys.modules, "pynvml", nvidia_driver(list(names), works=True))
    assert provenance.gpus() == names
    monkeypatch.setitem(sys.modules, "pynvml", nvidia_driver(names, works=False))
    assert provenance.gpus() == []


def test_a_record_names_no_person_no_host_and_no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("USER", "LOGNAME", "USERNAME", "HOME", "USERPROFILE", "HOSTNAME"):
        monkeypatch.setenv(name, "/home/anna-the-student")
    provenance._code.cache_clear()
    text = json.dumps([provenance.code(), provenance.host(), provenance.gpus()])
    for secret in ("anna-the-student", socket.gethostname(), str(provenance.PACKAGE.parent), str(Path.cwd())):
        assert secret not in text


def test_provenance_imports_no_library_that_it_names() -> None:
    code = "import sys, bnstudy.books.provenance as p; p.host(); print({*p.LIBRARIES} & {*sys.modules})"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=provenance.PACKAGE.parent, capture_output=True, text=True
    )
    assert run.stdout.strip() == "set()", run.stderr
