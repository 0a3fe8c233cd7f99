"""Devices: which one a setting means, what it is called, its clock and its memory."""

from __future__ import annotations

import resource
import time

import torch

from benchmark.interfaces import BadInput
from benchmark.models import ImageClassifier


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


def device_name(device: torch.device) -> str:
    """Name a device as people do: the GPU's product name, or ``cpu``."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def clock(model: ImageClassifier) -> float:
    """Seconds, once the device has done what it was told."""
    if model.device.type == "cuda":
        torch.cuda.synchronize(model.device)
    return time.perf_counter()


def reset_peak_memory(model: ImageClassifier) -> None:
    """Begin to watch a GPU's memory anew."""
    if model.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(model.device)


def peak_memory(model: ImageClassifier) -> int:
    """Bytes at most in use: of the device since the reset, or by this process so far."""
    if model.device.type == "cuda":
        return torch.cuda.max_memory_allocated(model.device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
