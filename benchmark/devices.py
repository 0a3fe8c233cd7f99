"""Devices: which one a setting means, what it is called, its clock and its memory."""

from __future__ import annotations

import contextlib
import os
import resource
import sys
import time
from pathlib import Path

import torch

from benchmark.interfaces import BadInput
from benchmark.models import ImageClassifier

_RESET = Path("/proc/self/clear_refs")  # 5 sets the peak to what is in use now
_STATUS = Path("/proc/self/status")


def device_of(name: str) -> torch.device:
    """Turn ``auto``, ``cpu``, ``cuda`` or ``cuda:1`` into a device.

    Raises:
        BadInput: there is no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda"):
        raise BadInput(f"device={name} is unknown: use auto, cpu, cuda or cuda:1")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise BadInput(f"device={name}: there are {torch.cuda.device_count()} CUDA devices here")
    return device


def use_exact_operations() -> None:
    """Choose operations that give the same bits every time, for all this process does from now on.

    On a CPU all that is used here are such. On a GPU some sum in an order of chance unless told
    otherwise; where torch has no other way it goes on and warns, naming the operation.
    """
    # cuBLAS's buffers, looked up when it is first used: NVIDIA's choice for exactness.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(mode=True, warn_only=True)
    # Nothing here reads what it did not write, so new memory need not be filled.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def device_name(device: torch.device) -> str:
    """Name a device as people do: the GPU's product name, or ``cpu``."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def clock(model: ImageClassifier) -> float:
    """Seconds, once the device has done what it was told."""
    if model.device.type == "cuda":
        torch.cuda.synchronize(model.device)
    return time.perf_counter()


def reset_peak_memory(model: ImageClassifier) -> None:
    """Begin to watch memory anew: a GPU's, or on Linux this process's."""
    if model.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(model.device)
    else:
        with contextlib.suppress(OSError):  # no Linux, or not allowed
            _RESET.write_text("5", encoding="ascii")


def peak_memory(model: ImageClassifier) -> int:
    """Bytes at most in use since the reset, of the device or of this process.

    A CPU's is all that the process holds in memory, with its libraries and with what the allocator
    keeps for later; where the system cannot begin anew, the most since the process began.
    """
    if model.device.type == "cuda":
        return torch.cuda.max_memory_allocated(model.device)
    with contextlib.suppress(OSError):
        for line in _STATUS.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
