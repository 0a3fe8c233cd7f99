"""Files that a kill leaves whole: written at once, or added to at their end."""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from benchmark.errors import BadInput


def write_whole(path: Path, text: str) -> None:
    """Write a file so that a reader sees all of it or none of it, whoever else writes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}")
    try:
        with unfinished.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    finally:  # also where a signal stops the process in between
        unfinished.unlink(missing_ok=True)


def check_endings(files: Iterable[Path], known: Sequence[str]) -> None:
    """Refuse files that a command does not know how to write.

    Raises:
        BadInput: one ends otherwise.
    """
    for file in files:
        if file.suffix not in known:
            raise BadInput(f"--write takes files that end in {', '.join(known)}, not {file}")


def write_then_show(
    files: Sequence[Path], write: Callable[[Path], object], show: Callable[[], object]
) -> None:
    """Write a command's files, show what it found, and say which files there are.

    Files come first, for a reader such as ``head`` may end the command while it shows; what was
    found is shown also where a file cannot be written.
    """
    try:
        for file in files:
            write(file)
    finally:
        show()
    for file in files:
        print(f"written to {file}")


def append(path: Path, data: bytes) -> int:
    """Add bytes to a file, force them onto the disk, and return the file's new length."""
    with path.open("ab") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
        return file.tell()


def file_digest(path: Path) -> str:
    """Hash a file's bytes; empty where there is no such file."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
