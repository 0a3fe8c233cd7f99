"""What a process is at work on, so that others on the same cell take other images or results.

A claim is of images and of the stages that its process makes of them: heatmaps, scores by a metric.
Claims are advice: two that make the same come to the same numbers, and lose only the time. So
nothing is locked, and a claim may be late. Each process has one small file in ``claims/`` of the
run's folder, which it touches while it lives. One that has ended, or is silent for long, has none.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from benchmark.errors import BadInput
from benchmark.files import write_whole
from benchmark.shards import Shard
from benchmark.writers import Process, new_writer, process_of, this_process

CLAIMS = "claims"  # the folder of the claims
DAY = 86_400  # seconds; what is longer is a mistake, or more than a clock can wait
TRIES = 3  # to find images that no other process claims in the same moment


@dataclass(frozen=True)
class Pace:
    """How much a process takes on at once, and how it shows that it lives."""

    seconds: float  # of work that is claimed at once; the first claim is one batch
    beat: float  # seconds between two signs of life
    silent: float  # seconds without one after which others take a claim over
    look: float  # seconds between two looks at work that waits for what others make

    def __post_init__(self) -> None:
        ordered = 0 < self.beat < self.silent <= DAY
        if not ordered or not 0 <= self.seconds <= DAY or not 0 < self.look <= DAY:
            raise BadInput(
                "claims need 0 < beat < silent, look above 0 and seconds of at least 0, up to a "
                f"day of {DAY}, got beat={self.beat} silent={self.silent} look={self.look} "
                f"seconds={self.seconds}"
            )


class _Claim(NamedTuple):
    process: Process
    ids: list[str]
    stages: list[str]


class Claims:
    """What this process has claimed of a cell, and what others have."""

    def __init__(self, folder: Path, shard: Shard, pace: Pace, stages: Collection[str]) -> None:
        """Claim nothing yet; ``stages`` are those that this process makes of every image."""
        self._folder, self._shard, self._pace = folder / CLAIMS, shard, pace
        self._stages = sorted(stages)
        self._file = self._folder / f"{shard.name}-{new_writer()}.json"
        self._batches = 1  # that the next claim is for
        self._since: float | None = None  # when the last claim was made
        self._taken: Mapping[str, Set[str]] = {}  # stages by image, of others at the last claim
        self._company = True  # whether there were any at the one before

    @contextlib.contextmanager
    def alive(self) -> Iterator[None]:
        """Show until the end of the block that this process lives; then give up what it claimed."""
        ended = threading.Event()

        def beat() -> None:
            while not ended.wait(self._pace.beat):
                with contextlib.suppress(OSError):  # nothing was claimed yet, or the disk is full
                    os.utime(self._file)

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            self._file.unlink(missing_ok=True)

    def take(self, lacking: Mapping[str, Set[str]], batch: int) -> list[str]:
        """Claim the next images of which no other process makes what is lacking.

        The claim takes the place of the last one. It is for as many images as are done in
        ``Pace.seconds``, going by how long the last one took.

        Args:
            lacking: the stages that each image lacks, in the order in which they are to be done.
            batch: images that are explained together; a claim is for whole batches.

        Returns:
            The images; empty where others are at work on all of them.
        """
        self._company = self._since is None or bool(self._taken)
        now = time.monotonic()
        if self._since is not None and now - self._since < self._pace.seconds:
            self._batches *= 2
        self._since = now
        mine: list[str] = []
        for _ in range(TRIES):
            self._taken = self._others()
            mine = _free(lacking, self._taken)[: self._batches * batch]
            if not mine:
                self._file.unlink(missing_ok=True)
                self._since = None  # what follows is no work, but waiting
                break
            claim = {**this_process()._asdict(), "ids": mine, "stages": self._stages}
            write_whole(self._file, json.dumps(claim))
            # Two that claim in the same moment see each other now: that of the later name yields.
            earlier = self._others(before=self._file.name)
            if left := _free({each: lacking[each] for each in mine}, earlier):
                return left
        return mine

    @property
    def alone(self) -> bool:
        """Whether no other process has claimed anything since the claim before the last.

        Then there is nothing new to read, and a large sweep asks the file system much less. One
        that has come and gone between two claims is not seen, which loses its time at most.
        """
        return not self._company and not self._taken

    def leave(self, lacking: Mapping[str, Set[str]]) -> bool:
        """Whether others make all that is lacking; if not, wait a moment for what they make.

        Of images that ``take`` has found taken, this process may need more than others make, as
        scores of the heatmaps that they are at. It has claimed nothing while it waits.
        """
        if all(stages <= self._taken.get(each, set()) for each, stages in lacking.items()):
            return True
        time.sleep(self._pace.look)
        return False

    def _others(self, before: str = "") -> dict[str, set[str]]:
        """Find the stages by image that living processes have claimed, but for shards apart."""
        files = sorted(self._folder.iterdir()) if self._folder.is_dir() else []
        taken: dict[str, set[str]] = {}
        for file in files:
            name = file.name
            apart = self._shard.is_apart_from(name.partition("-")[0])
            if name.startswith(".") or apart or file == self._file or (before and name > before):
                continue
            with contextlib.suppress(OSError):  # it has gone, or was replaced in this moment
                claim = _read(file)
                if not self._lives(claim, file):
                    file.unlink(missing_ok=True)
                elif claim:
                    for each in claim.ids:
                        taken.setdefault(each, set()).update(claim.stages)
        return taken

    def _lives(self, claim: _Claim | None, file: Path) -> bool:
        if claim and claim.process.has_ended():
            return False
        return file.stat().st_mtime > self._now() - self._pace.silent

    def _now(self) -> float:
        """Read the clock that the claims' times come from, which may be another machine's."""
        probe = self._folder / f".{self._file.name}"
        probe.touch()
        now = probe.stat().st_mtime
        probe.unlink(missing_ok=True)
        return now


def _read(file: Path) -> _Claim | None:
    """Read a claim; None of a file that is damaged or that another version has written."""
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        return _Claim(process_of(values), list(values["ids"]), list(values["stages"]))
    except (ValueError, KeyError, TypeError):
        return None


def _free(lacking: Mapping[str, Set[str]], taken: Mapping[str, Set[str]]) -> list[str]:
    """Name the images of which nothing that is lacking is taken."""
    return [each for each, stages in lacking.items() if stages.isdisjoint(taken.get(each, ()))]
