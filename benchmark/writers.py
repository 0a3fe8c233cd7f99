"""Who writes into a run's folder: each process has files of its own, so that none waits.

The folder's own files belong to the one process that may append to them; any other that comes, and
every process of a sharded cell, has a folder in ``writers/``. No lock is held: a process owns the
folder's own files by a small file that only one can create, and it is given up for dead only where
that is certain, on its own machine.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import socket
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from benchmark.files import append

WRITERS = "writers"  # the folder of the writers' folders
OWNER = ".owner-"  # and a number: the process that appends to the folder's own files
_TAKING = 2  # moments between looking and taking in which another process may come first


class Process(NamedTuple):
    """A process, so that another one can tell whether it still runs."""

    host: str
    machine: str  # the boot and the set of process numbers that ``pid`` is one of
    pid: int
    began: str  # when it began, in ticks since the boot: numbers of processes are used again

    def has_ended(self) -> bool | None:
        """Whether it has for certain; None of a process of another machine."""
        here = this_process()
        if (self.host, self.machine) != (here.host, here.machine):
            return None
        return _began(self.pid) != self.began


@cache
def _machine() -> str:
    """Name the boot and the namespace in which process numbers mean something."""
    parts = []
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip())
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return " ".join(parts)


def _began(pid: int) -> str:
    """When a process began; empty where there is none of this number, or only its remains."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return _began_without_proc(pid)
    state, *fields = text.rpartition(")")[2].split()
    return "" if state in "ZX" else fields[18]


def _began_without_proc(pid: int) -> str:
    if Path("/proc/self/stat").exists():
        return ""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        pass
    return "running"


def this_process() -> Process:
    """Describe the process that asks; forked ones are processes of their own."""
    return Process(socket.gethostname(), _machine(), os.getpid(), _began(os.getpid()))


def process_of(values: dict[str, Any]) -> Process:
    """Read a process back from what was written of it."""
    return Process(*(values[name] for name in Process._fields))


def place_of(folder: Path, writer: str) -> Path:
    """Return where a writer's files are; the empty name is the folder's own."""
    return folder / WRITERS / writer if writer else folder


def writers_of(folder: Path) -> list[str]:
    """Name all that have written here, the folder's own files first."""
    try:
        with os.scandir(folder / WRITERS) as entries:
            return ["", *sorted(entry.name for entry in entries)]
    except FileNotFoundError:
        return [""]


def new_writer() -> str:
    """Make a name that no process has had: host, process number and chance."""
    host = re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname())[:40]
    return f"{host}-{os.getpid()}-{secrets.token_hex(4)}"


@contextlib.contextmanager
def writing(folder: Path, *, shared: bool) -> Iterator[str]:
    """Yield a writer's name under which no other process writes here.

    Args:
        folder: the run's.
        shared: whether several processes are meant to share the folder: each then has a name of its
            own. If not, it is the empty one, of the folder's own files, unless they are taken.
    """
    owned = None if shared else _own(folder)
    try:
        yield "" if owned else new_writer()
    finally:
        if owned:
            owned.unlink(missing_ok=True)


def _own(folder: Path) -> Path | None:
    """Become the process that appends to the folder's own files; None where another may be.

    Numbers only grow while their processes are dead, so that the next one is free for one taker.
    """
    mine = folder / f".{new_writer()}"
    for _ in range(_TAKING):
        known = sorted(
            (int(file.name.removeprefix(OWNER)), file) for file in folder.glob(f"{OWNER}*")
        )
        if known and not _is_dead(known[-1][1]):
            return None
        place = folder / f"{OWNER}{known[-1][0] + 1 if known else 0}"
        try:
            append(mine, json.dumps(this_process()._asdict()).encode())
            os.link(mine, place)  # whole, or not at all
        except FileExistsError:
            continue
        except OSError:  # a file system without links: files of one's own do as well
            return None
        finally:
            mine.unlink(missing_ok=True)
        return place
    return None


def _is_dead(file: Path) -> bool:
    try:
        return process_of(json.loads(file.read_text(encoding="utf-8"))).has_ended() is True
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return False  # given up in this moment, or not readable, so that nothing is certain
