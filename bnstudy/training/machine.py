"""The machine under a training: which devices there are, and how a process is set up for one."""

import ctypes
import importlib.util
import os
import platform
import resource
import sys
from typing import Any

import torch

from bnstudy.errors import BnstudyError

KEEP_PAGES = 1 << 30  # bytes; below this size freed memory stays with the process

MEMORY_FRACTION = 0.9
"""Of a GPU's memory, what tensors may take: the rest is for the driver's context, and for a screen."""


def devices(asked: str) -> list[str]:
    """Return the devices to use for `auto`, `cpu`, `cuda` (all of them) or `cuda:N`: one worker each on GPUs.

    Raises `BnstudyError` for a device that is not there.
    """
    gpus = [f"cuda:{n}" for n in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    if asked == "cpu" or (asked == "auto" and not gpus):
        return ["cpu"]
    if asked in ("auto", "cuda") and gpus:
        return gpus
    if asked in gpus:
        return [asked]
    found = f"found {', '.join(gpus)}" if gpus else "PyTorch finds no CUDA device here"
    raise BnstudyError(
        f"No device {asked!r}: {found}. Use --device cpu, or see `bnstudy doctor` for what is missing."
    )


def fuses(device: str) -> bool:
    """Return whether our own loops run here: on a CPU, with Numba installed."""
    return device == "cpu" and importlib.util.find_spec("numba") is not None


def prepare(device: str) -> None:
    """Set this process up to train on one device: one thread, deterministic kernels, full float32.

    One thread in each of several processes trains faster than several in one, and sums in one order; a
    CPU needs nothing else to be deterministic.
    """
    torch.set_num_threads(1)
    _keep_pages()
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = False
    if device.startswith("cuda"):
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)  # imports the compiler: 150 MB that a CPU need not spend
        # Filling new memory to expose its use would cost a pass over every tensor.
        setattr(torch.utils.deterministic, "fill_uninitialized_memory", False)  # noqa: B010
        torch.cuda.set_device(torch.device(device))
        torch.cuda.set_per_process_memory_fraction(MEMORY_FRACTION, torch.device(device))


def _keep_pages() -> None:
    """Let glibc keep freed memory: a step frees and takes 200 MB, and new pages cost a third of it."""
    if platform.libc_ver()[0] == "glibc":
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(-3, KEEP_PAGES)  # M_MMAP_THRESHOLD
        mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD


def has_own_memory(device: str) -> bool:
    """Return whether a device's memory is its own, so that what fits there must be found out."""
    return device.startswith("cuda")


def free_memory(device: str) -> None:
    """Give back what the allocator keeps of tensors that are gone; a CPU's keeps it on purpose."""
    if device.startswith("cuda"):
        torch.cuda.empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether memory ran out. PyTorch has a class for that on a GPU, and only a text on a CPU and for
    what CUDA and its libraries take by themselves."""
    texts = ("DefaultCPUAllocator", "CUDA error: out of memory", "STATUS_ALLOC_FAILED")
    known = isinstance(error, torch.OutOfMemoryError | MemoryError)
    return known or any(text in str(error) for text in texts)


def is_lost(error: BaseException) -> bool:
    """Return whether an error of CUDA's was met: after most of them a process can use no GPU again."""
    return any(text in str(error) for text in ("CUDA error", "cuDNN error")) and not is_out_of_memory(error)


def facts(device: str) -> dict[str, Any]:
    """Return how this process computes: the part of a record's provenance that only it knows."""
    gpu = device.startswith("cuda")
    return {
        "device": torch.cuda.get_device_name(device) if gpu else "cpu",
        "threads": torch.get_num_threads(),
        "deterministic": not gpu or torch.are_deterministic_algorithms_enabled(),
        "tf32": torch.backends.cudnn.allow_tf32 or torch.backends.cuda.matmul.allow_tf32,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "cuda": torch.version.cuda if gpu else None,
    }


def peak_memory_bytes(device: str) -> int:
    """Return the most memory this process has held: on the GPU by tensors, on the CPU resident."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device)
    kilo = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * kilo
