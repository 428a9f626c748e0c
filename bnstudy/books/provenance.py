"""Provenance: which code and which machine made a record. It names no person, no host and no folder."""

import hashlib
import os
import platform
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

from bnstudy import __version__

PACKAGE = Path(__file__).resolve().parents[1]
LIBRARIES = ("torch", "numba", "numpy", "scipy", "pandas", "optuna")
"""Distributions whose versions a record names; they are looked up, never imported."""

_GIT_SECONDS = 30
"""A cold `git status` on a network disk takes a few seconds; beyond that the commit is left unknown."""


def code() -> dict[str, Any]:
    """Return `commit`, `clean`, `sources` and `version` of the running code, looked up once a process.

    `clean` says that the package and the ablations are what the commit holds; results, and whatever else
    changes around them, do not matter. Both are None where the package is no tracked part of a git work
    tree or git is missing. `sources` is the `source_hash`, the same for a checkout and its wheel.
    """
    return dict(_code())


@cache
def _code() -> Mapping[str, Any]:
    folders = _source_folders(PACKAGE)
    commit, clean = git_state(PACKAGE, *folders.values())
    return {"commit": commit, "clean": clean, "sources": source_hash(folders), "version": __version__}


def host() -> dict[str, Any]:
    """Return the processor, the cores this process may use, the memory, the system, and versions."""
    versions = {name: _version(name) for name in LIBRARIES}
    return {
        "host_cpu": _processor(),
        "cores": _cores(),
        "memory_bytes": psutil.virtual_memory().total,
        "os": platform.platform(),
        "python": platform.python_version(),
    } | versions


def gpus() -> list[str]:
    """Return the names of the GPUs that the NVIDIA driver shows; none without a driver."""
    import pynvml

    with suppress(pynvml.NVMLError):
        pynvml.nvmlInit()
        try:
            handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
            return [str(pynvml.nvmlDeviceGetName(handle)) for handle in handles]
        finally:
            pynvml.nvmlShutdown()
    return []


def source_hash(folders: Mapping[str, Path]) -> str:
    """Return 16 hexadecimal digits: SHA-256 of the names and contents of all `.py` files of some folders.

    The keys say where a folder stands ("" is the package itself); line ends count as one byte, so that a
    checkout on Windows agrees.
    """
    files = {
        (Path(place) / path.relative_to(folder)).as_posix(): path.read_bytes().replace(b"\r\n", b"\n")
        for place, folder in folders.items()
        for path in folder.rglob("*.py")
    }
    total = hashlib.sha256()
    for name in sorted(files):
        total.update(f"{name}\0{len(files[name])}\0".encode() + files[name])
    return total.hexdigest()[:16]


def git_state(package: Path, *folders: Path) -> tuple[str | None, bool | None]:
    """Return the commit of the work tree that tracks a package, and whether the folders are as it says.

    A package that lies in a work tree but is not tracked there, as in the virtual environment of another
    project, has no commit. An untracked file in the folders makes them unclean; an ignored one does not.
    """
    with suppress(OSError, subprocess.SubprocessError):
        _git(package, "ls-files", "--error-unmatch", "__init__.py")
        commit = _git(package, "rev-parse", "--verify", "HEAD")
        status = ("status", "--porcelain", "--untracked-files=all", "--", *map(str, folders))
        return commit, not _git(package, *status)
    return None, None


def commit_date(commit: str) -> str:
    """Return the day of a commit, as in 2026-01-31; nothing where git or the commit is not here."""
    with suppress(OSError, subprocess.SubprocessError):
        return _git(PACKAGE, "show", "--no-patch", "--format=%cs", f"{commit}^{{commit}}")
    return ""


def _source_folders(package: Path) -> dict[str, Path]:
    """Return the package and, in a checkout, the ablations beside it; a wheel carries them inside."""
    beside = package.parent / "ablations"
    in_checkout = beside.is_dir() and not (package / "ablations").is_dir()
    return {"": package} | ({"ablations": beside} if in_checkout else {})


def _git(folder: Path, *words: str) -> str:
    """Return what git prints; it takes no locks, and no repository that the environment names."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    done = subprocess.run(
        ["git", "-C", str(folder), *words],
        env=environment | {"GIT_OPTIONAL_LOCKS": "0"},
        capture_output=True,
        text=True,
        check=True,
        timeout=_GIT_SECONDS,
    )
    return done.stdout.strip()


def _version(distribution: str) -> str | None:
    with suppress(metadata.PackageNotFoundError):
        return metadata.version(distribution)
    return None


def _processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Return the processor's name as Linux tells it, or else what the platform knows."""
    with suppress(OSError):
        for line in cpuinfo.read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def _cores() -> int:
    """Return how many cores this process may use: fewer than the machine has, in many containers."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
