"""A run's folder: its settings, its stages, and a log of what was started and ended there.

Several processes may write into it at once, each into files of its own; a reader sees them as one.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import secrets
import socket
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock, Timeout

from benchmark.errors import BadInput
from benchmark.files import write_whole
from benchmark.lines import append_line, read_lines
from benchmark.stages import Row, Stage
from benchmark.writers import place_of, writers_of, writing

SETTINGS = "settings.json"  # the file that makes a folder a run's
PART = "part"  # the event of a start that has ended before all images were there


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
    audit: str  # the stage of what is left where all is replaced; empty where there is none
    checked: dict[str, Any]  # what the self-check before it found; empty where there was none


class Part(NamedTuple):
    """What one start left of a cell that is not complete: others have the rest, or will."""

    title: str
    done: int  # images of the whole cell that are done
    chosen: int  # and that there are
    skipped: dict[str, str]  # id -> why it could not be read


class RunFolder:
    """All results of one method on one model and data set, under exactly one set of settings.

    ``settings.json`` says which; ``heatmaps`` and one stage per metric and protocol hold the
    results; ``timing.jsonl`` has a line per batch; ``log.jsonl`` a line per start and end, with
    every setting, version and the state of the code; ``manifest-*.txt`` the images of each start.
    A process that shares the folder with others has these files, but for the first and the last, in
    a folder of its own in ``writers``.
    """

    def __init__(self, path: Path, writer: str = "") -> None:
        self.path = path
        self._writer = writer
        self.place = place_of(path, writer)

    @contextlib.contextmanager
    def shared(self, *, always: bool) -> Iterator[RunFolder]:
        """Yield the folder to write into while others may do so, too.

        Args:
            always: whether several are meant to, as they do to a sharded cell: what this process
                writes is then in a folder of its own even where it is alone.
        """
        with writing(self.path, shared=always) as writer:
            yield RunFolder(self.path, writer)

    def claim(self, settings: dict[str, Any]) -> None:
        """Create the folder, or make sure that it was made with the same settings.

        Raises:
            BadInput: it holds results of other settings, or cannot be written.
        """
        file = self.path / SETTINGS
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
        """Keep other processes from timing here: they would slow each other down.

        Raises:
            BadInput: another process is.
        """
        held = FileLock(self.path / ".lock", timeout=0)
        try:
            held.acquire()
        except Timeout as error:
            raise BadInput(
                f"another process is timing in {self.path}: wait for it to end"
            ) from error
        try:
            yield
        finally:
            held.release()

    def stage(self, name: str) -> Stage:
        """Open one kind of result."""
        return Stage(self.path, name, self._writer)

    def begin(self, entry: Row) -> str:
        """Log a start; returns the name by which its end says which start it ends."""
        name = secrets.token_hex(4)
        self.log({"event": "start", "start": name, **entry})
        return name

    def log(self, entry: Row) -> None:
        """Add a line on what was started or ended, with the time of day."""
        self.place.mkdir(parents=True, exist_ok=True)
        append_line(self.place / "log.jsonl", {"time": now(), **entry})

    def time(self, ids: Sequence[str], seconds: float, peak_memory: int, *, first: bool) -> None:
        """Note how long explaining a batch took; the first of a process warms everything up."""
        entry = {
            "ids": list(ids),
            "seconds_per_image": seconds / len(ids),
            "peak_memory_bytes": peak_memory,
            "warm_up": first,
        }
        append_line(self.place / "timing.jsonl", entry)

    def timings(self) -> list[Row]:
        """Read the notes of ``time``."""
        return [line for lines in self._read("timing.jsonl") for line in lines]

    def _read(self, name: str) -> list[list[Row]]:
        """Read the lines of every writer's file of a name."""
        places = [place_of(self.path, writer) for writer in writers_of(self.path)]
        return [read_lines(place / name) for place in places]

    def outcomes(self) -> list[Outcome]:
        """Read what was completed here: one outcome per title, caption and manifest, newest last.

        Starts that differ only in their metrics are one outcome with all of them.
        """
        merged: dict[str, Outcome] = {}
        logged = [each for lines in self._read("log.jsonl") for each in lines]
        ends = [each for each in logged if each["event"] == "end"]
        for entry in sorted(ends, key=lambda end: str(end["time"])):
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
        """Read each start's settings, versions and command, and how it ended: None if killed.

        None also of one that has done its part while the rest of the images was not there yet. In
        the order in which they ended, or began if they did not.
        """
        found: list[tuple[str, Row, Row | None]] = []
        for lines in self._read("log.jsonl"):
            entries = _named(lines)
            last = {each["start"]: each for each in entries}
            for start in (each for each in entries if each["event"] == "start"):
                end = last[start["start"]]
                whole = None if end["event"] in ("start", PART) else end
                found.append((end["time"], start, whole))
        found.sort(key=lambda each: each[0])
        return [(start, end) for _, start, end in found]

    def skipped(self) -> dict[str, str]:
        """Read which images some start could not read, and why."""
        known: dict[str, str] = {}
        for entry in (each for lines in self._read("log.jsonl") for each in lines):
            known |= entry.get("skipped", {})
        return known

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

    def checked(self) -> Row:
        """Read what the latest self-check here found; empty where there was none."""
        found = [start["self_check"] for start, _ in self.starts() if start.get("self_check")]
        return dict(found[-1]) if found else {}

    def identity(self) -> dict[str, Any]:
        """Read what ``claim`` wrote: the settings that these results stand for."""
        text = (self.path / SETTINGS).read_text(encoding="utf-8")
        return dict(json.loads(text))

    def ids(self, manifest: str) -> list[str]:
        """Read a manifest written here.

        Raises:
            BadInput: it is not what was written, which its name tells.
        """
        file = self.path / manifest
        text = file.read_text(encoding="utf-8")
        if _manifest_name(text) != manifest:
            raise BadInput(f"{file} was changed: run the same command again, which writes it anew")
        return text.split("\n")[:-1]

    def write_manifest(self, ids: Sequence[str]) -> str:
        """Keep the list of images of a start; returns the file's name."""
        text = "".join(f"{image_id}\n" for image_id in ids)
        name = _manifest_name(text)
        write_whole(self.path / name, text)
        return name


def _manifest_name(text: str) -> str:
    """Name a manifest by what is in it."""
    digest, ids = hashlib.sha256(text.encode()).hexdigest(), text.count("\n")
    return f"manifest-{ids}-{digest[:8]}.txt"


def folders(root: Path) -> list[RunFolder]:
    """Find the folders of runs in a folder or below it; what is in one of them is not looked at."""
    found = []
    for place, inner, files in os.walk(root):
        if SETTINGS in files:
            found.append(RunFolder(Path(place)))
            inner.clear()
    return sorted(found, key=lambda folder: folder.path)


def finished(root: Path) -> list[tuple[RunFolder, Outcome]]:
    """Find what was completed anywhere below a folder.

    Raises:
        BadInput: nothing was.
    """
    found = [(folder, outcome) for folder in folders(root) for outcome in folder.outcomes()]
    if not found:
        raise BadInput(f"there is no finished run below {root}")
    return found


def outcome_of(entry: Row) -> Outcome:
    """Read an outcome back from the line that logged it."""
    older: Row = {
        "heatmaps": "heatmaps",
        "about": "",
        "audit": "",
        "checked": {},
    }  # of logs that lack them
    known = older | entry
    return Outcome(**{name: known[name] for name in Outcome._fields})


def note_failure(results: Path, settings: Row, error: str) -> None:
    """Keep why a cell of a sweep has failed, for the tables; each machine in a file of its own."""
    results.mkdir(parents=True, exist_ok=True)
    host = re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname())
    entry = {"time": now(), "settings": settings, "error": error}
    append_line(results / f"failures-{host}.jsonl", entry)


def failures(results: Path) -> list[Row]:
    """Read the notes of ``note_failure``, newest last."""
    lines = [line for file in results.glob("failures*.jsonl") for line in read_lines(file)]
    return sorted(lines, key=lambda line: str(line["time"]))


def now() -> str:
    """Name this moment so that names sort as moments do, on whichever machine."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _named(entries: list[Row]) -> list[Row]:
    """Name the starts of logs whose starts have no names: an end there is that of the last."""
    latest = ""
    for number, entry in enumerate(entries):
        if entry["event"] == "start":
            latest = entry.setdefault("start", str(number))
        else:
            entry.setdefault("start", latest)
    return entries
