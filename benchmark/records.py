"""Results on disk: append-only rows and arrays that survive a kill, resumed where they end.

A stage is two files. ``<name>.jsonl`` has one line per image: its scalars, where its arrays lie,
and a checksum. ``<name>.f32`` has the arrays, little-endian float32, one after the other. Arrays
are written before the line that names them, so a line that is whole vouches for its arrays.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import secrets
import zlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from benchmark.errors import BadInput

Row = dict[str, Any]
Arrays = Mapping[str, NDArray[np.float32]]


class Stage:
    """One kind of result of a run, such as its heatmaps or one metric's scores."""

    def __init__(self, folder: Path, name: str) -> None:
        self.lines = folder / f"{name}.jsonl"
        self.arrays = folder / f"{name}.f32"
        self._lines_end, self._arrays_end = 0, 0
        self._repaired = False
        self.rows: dict[str, Row] = {row["id"]: row for row in self._whole_lines()}

    def append(self, rows: Sequence[Row], arrays: Sequence[Arrays]) -> None:
        """Add one row per image with its named arrays, and force them onto the disk."""
        if not rows:
            return
        self._cut_to_whole()
        start = self._arrays_end
        blocks, lines, added = [], [], []
        for row, named in zip(rows, arrays, strict=True):
            places, block = {}, b""
            for name, array in named.items():
                places[name] = [start + len(block), *array.shape]
                block += np.ascontiguousarray(array, dtype="<f4").tobytes()
            start += len(block)
            blocks.append(block)
            added.append({**row, "arrays": places, "arrays_crc": zlib.crc32(block)})
            lines.append(_line(added[-1]))
        self._arrays_end = _append(self.arrays, b"".join(blocks))
        self._lines_end = _append(self.lines, b"".join(lines))
        self.rows.update({row["id"]: row for row in added})

    def array(self, image_id: str, name: str) -> NDArray[np.float32]:
        """Read one array of one image.

        Raises:
            BadInput: the file was changed since it was written.
        """
        row = self.rows[image_id]
        with self.arrays.open("rb") as file:
            first = min(place[0] for place in row["arrays"].values())
            length = sum(4 * math.prod(shape) for _, *shape in row["arrays"].values())
            file.seek(first)
            block = file.read(length)
        if zlib.crc32(block) != row["arrays_crc"]:
            raise BadInput(
                f"{self.arrays} does not hold what was written for {image_id}: "
                "remove the folder and run again"
            )
        start, *shape = row["arrays"][name]
        count = math.prod(shape)
        return np.frombuffer(block, "<f4", count, start - first).reshape(shape).copy()

    def _whole_lines(self) -> Iterator[Row]:
        """Yield each intact row and remember where it ends; stop where a kill has torn the end.

        Raises:
            BadInput: a row is damaged and intact ones follow, which no kill leaves behind.
        """
        if not self.lines.exists():
            return
        size = self.arrays.stat().st_size if self.arrays.exists() else 0
        with self.lines.open("rb") as file:
            for number, line in enumerate(file, start=1):
                row = _parsed(line)
                if row is None or _arrays_end(row) > size:
                    if row is None and any(_parsed(later) for later in file):
                        raise BadInput(
                            f"line {number} of {self.lines} is damaged: move the folder away, and "
                            "the same command makes it anew"
                        )
                    return
                self._lines_end += len(line)
                self._arrays_end = max(self._arrays_end, _arrays_end(row))
                yield row

    def _cut_to_whole(self) -> None:
        """Before the first row is added, drop what a kill left unfinished."""
        if self._repaired:
            return
        self.lines.parent.mkdir(parents=True, exist_ok=True)
        for path, end in ((self.lines, self._lines_end), (self.arrays, self._arrays_end)):
            if path.exists() and path.stat().st_size > end:
                os.truncate(path, end)
        self._repaired = True


class Outcome(NamedTuple):
    """What one start completed: which images, which stages, and how to present them."""

    manifest: str  # the file with the images' ids
    skipped: dict[str, str]  # id -> why it could not be read
    heatmaps: str  # the stage of the heatmaps that were scored
    stages: dict[str, str]  # metric -> the name of its stage
    higher_is_better: dict[str, bool]  # metric -> what its value means
    res: int  # cells along a side of the heatmaps
    title: str
    about: str  # the method's name, its paper, and a line on it; empty where its YAML has none
    caption: dict[str, str]  # what the numbers depend on
    warnings: list[str]


class RunFolder:
    """All results of one method on one model and data set, under exactly one set of settings.

    ``settings.json`` says which; ``heatmaps`` and one stage per metric and protocol hold the
    results; ``timing.jsonl`` has a line per batch; ``log.jsonl`` a line per start and end, with
    every setting, version and the state of the code; ``manifest-*.txt`` the images of each start.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def claim(self, settings: dict[str, Any]) -> None:
        """Create the folder, or make sure that it was made with the same settings.

        Raises:
            BadInput: it holds results of other settings, or cannot be written.
        """
        file = self.path / "settings.json"
        text = json.dumps(settings, indent=1, sort_keys=True) + "\n"
        try:
            if not file.exists():
                write_whole(file, text)
            elif file.read_text(encoding="utf-8") != text:
                raise BadInput(f"{self.path} holds results of other settings: move it away")
        except OSError as error:
            raise BadInput(f"cannot write to {self.path}: {error.strerror}") from error

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other processes from writing here.

        Raises:
            BadInput: another process is.
        """
        held = FileLock(self.path / ".lock", timeout=0)
        try:
            held.acquire()
        except Timeout as error:
            raise BadInput(
                f"another process is writing to {self.path}: wait for it to end"
            ) from error
        try:
            yield
        finally:
            held.release()

    def stage(self, name: str) -> Stage:
        """Open one kind of result."""
        return Stage(self.path, name)

    def begin(self, entry: Row) -> str:
        """Log a start; returns the name by which its end says which start it ends."""
        name = secrets.token_hex(4)
        self.log({"event": "start", "start": name, **entry})
        return name

    def log(self, entry: Row) -> None:
        """Add a line on what was started or ended, with the time of day."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        _append_line(self.path / "log.jsonl", {"time": now, **entry})

    def time(self, ids: Sequence[str], seconds: float, peak_memory: int, *, first: bool) -> None:
        """Note how long explaining a batch took; the first of a process warms everything up."""
        entry = {
            "ids": list(ids),
            "seconds_per_image": seconds / len(ids),
            "peak_memory_bytes": peak_memory,
            "warm_up": first,
        }
        _append_line(self.path / "timing.jsonl", entry)

    def timings(self) -> list[Row]:
        """Read the notes of ``time``."""
        return _lines(self.path / "timing.jsonl")

    def outcomes(self) -> list[Outcome]:
        """Read what was completed here: one outcome per title, caption and manifest, newest last.

        Starts that differ only in their metrics are one outcome with all of them.
        """
        merged: dict[str, Outcome] = {}
        for entry in _lines(self.path / "log.jsonl"):
            if entry["event"] != "end":
                continue
            outcome = outcome_of(entry)
            key = json.dumps([outcome.title, outcome.caption, outcome.manifest])
            if earlier := merged.pop(key, None):
                outcome = outcome._replace(
                    stages=earlier.stages | outcome.stages,
                    higher_is_better=earlier.higher_is_better | outcome.higher_is_better,
                )
            merged[key] = outcome
        return list(merged.values())

    def starts(self) -> list[tuple[Row, Row | None]]:
        """Read each start's settings, versions and command, and how it ended: None if killed."""
        entries = _named(_lines(self.path / "log.jsonl"))
        ends = {each["start"]: each for each in entries if each["event"] != "start"}
        starts = [each for each in entries if each["event"] == "start"]
        return [(each, ends.get(each["start"])) for each in starts]

    def started(self, stage: str = "") -> Row:
        """Read the settings, versions and command of the latest start, or of one stage's latest.

        Raises:
            BadInput: no start that the log still has made the stage.
        """
        starts = [start for start, _ in self.starts()]
        if stage:
            starts = [entry for entry in starts if stage in entry["stages"].values()]
        if not starts:
            raise BadInput(f"{self.path / 'log.jsonl'} does not say how {stage} was made")
        return starts[-1]

    def identity(self) -> dict[str, Any]:
        """Read what ``claim`` wrote: the settings that these results stand for."""
        text = (self.path / "settings.json").read_text(encoding="utf-8")
        return dict(json.loads(text))

    def ids(self, manifest: str) -> list[str]:
        """Read a manifest written here."""
        return (self.path / manifest).read_text(encoding="utf-8").splitlines()

    def write_manifest(self, ids: Sequence[str]) -> str:
        """Keep the list of images of a start; returns the file's name."""
        text = "".join(f"{image_id}\n" for image_id in ids)
        name = f"manifest-{len(ids)}-{hashlib.sha256(text.encode()).hexdigest()[:8]}.txt"
        write_whole(self.path / name, text)
        return name


def outcome_of(entry: Row) -> Outcome:
    """Read an outcome back from the line that logged it."""
    older: Row = {"heatmaps": "heatmaps", "about": ""}  # logs that have neither
    known = older | entry
    return Outcome(**{name: known[name] for name in Outcome._fields})


def note_failure(results: Path, settings: Row, error: str) -> None:
    """Keep why a cell of a sweep has failed, for the tables."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    results.mkdir(parents=True, exist_ok=True)
    entry = {"time": now, "settings": settings, "error": error}
    _append_line(results / "failures.jsonl", entry)


def failures(results: Path) -> list[Row]:
    """Read the notes of ``note_failure``, newest last."""
    return _lines(results / "failures.jsonl")


def file_digest(path: Path) -> str:
    """Hash a file's bytes; empty where there is no such file."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def write_whole(path: Path, text: str) -> None:
    """Write a file so that a reader sees all of it or none of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    with unfinished.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)


def _lines(path: Path) -> list[Row]:
    """Read a log, leaving out what a kill has torn."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        with contextlib.suppress(json.JSONDecodeError):
            rows.append(json.loads(line))
    return rows


def _named(entries: list[Row]) -> list[Row]:
    """Name the starts of logs whose starts have no names: an end there is that of the last."""
    latest = ""
    for number, entry in enumerate(entries):
        if entry["event"] == "start":
            latest = entry.setdefault("start", str(number))
        else:
            entry.setdefault("start", latest)
    return entries


def _append_line(path: Path, entry: Row) -> None:
    """Add a line to a log, on a line of its own also where the last one was torn."""
    _append(path, (b"\n" if _is_torn(path) else b"") + (json.dumps(entry) + "\n").encode())


def _is_torn(path: Path) -> bool:
    if not path.exists() or path.stat().st_size == 0:
        return False
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read() != b"\n"


def _append(path: Path, data: bytes) -> int:
    """Add bytes to a file, force them onto the disk, and return the file's new length."""
    with path.open("ab") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
        return file.tell()


def _line(row: Row) -> bytes:
    """One row as JSON, its last key a checksum of all before it; NaN becomes null."""
    finite = {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in row.items()
    }
    body = json.dumps(finite, allow_nan=False)
    return f'{body[:-1]}, "check": {zlib.crc32(body.encode())}}}\n'.encode()


def _parsed(line: bytes) -> Row | None:
    """Read a line back, or None where it is torn or garbled."""
    body, mark, check = line.rpartition(b', "check": ')
    if not mark or not check.endswith(b"}\n") or not check[:-2].isdigit():
        return None
    if zlib.crc32(body + b"}") != int(check[:-2]):
        return None
    row: Row = json.loads(body + b"}")
    return row


def _arrays_end(row: Row) -> int:
    """Where the last of a row's arrays ends in the file, in bytes."""
    places = row["arrays"].values()
    return max((start + 4 * math.prod(shape) for start, *shape in places), default=0)
