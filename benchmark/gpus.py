"""A GPU for each process of one machine, where a launcher starts several and assigns none."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from filelock import FileLock, Timeout

VISIBLE = "CUDA_VISIBLE_DEVICES"
SHARING = 64  # processes on one GPU, at most
_held: list[FileLock] = []  # for as long as this process lives


def gpus() -> list[str]:
    """Name the GPUs that this process may use, as the environment names them; needs no torch."""
    if VISIBLE in os.environ:
        return [each.strip() for each in os.environ[VISIBLE].split(",") if each.strip()]
    if shutil.which("nvidia-smi") is None:
        return []
    asked = subprocess.run(
        ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"],
        capture_output=True,
        text=True,
        check=False,
    )
    return asked.stdout.split() if asked.returncode == 0 else []


def workers() -> int:
    """Count how many processes to start here: one for each GPU, or without one for each core."""
    return len(gpus()) or len(os.sched_getaffinity(0))


def take_gpu() -> None:
    """Leave this process one GPU of several, that on which the fewest others of the project are.

    Has to come before anything uses CUDA. The lock that says so is gone with the process.
    """
    known = gpus()
    if _held or len(known) < 2:
        return
    for others in range(SHARING):
        for gpu in known:
            name = f"benchmark-{os.getuid()}-gpu-{gpu.replace('/', '-')}-{others}.lock"
            lock = FileLock(Path(tempfile.gettempdir()) / name, timeout=0)
            try:
                lock.acquire()
            except Timeout:
                continue
            _held.append(lock)
            os.environ[VISIBLE] = gpu
            return
