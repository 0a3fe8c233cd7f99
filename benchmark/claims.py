"""Which images a process is at work on, so that others on the same cell take other ones.

Claims are advice: two that do the same image come to the same numbers, and lose only the time. So
nothing is locked, and a claim may be late. Each process has one small file in ``claims/`` of the
run's folder, which it touches while it lives. One that has ended, or is silent for long, has none.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.errors import BadInput
from benchmark.files import write_whole
from benchmark.shards import Shard
from benchmark.writers import new_writer, process_of, this_process

CLAIMS = "claims"  # the folder of the claims
DAY = 86_400  # seconds; what is longer is a mistake, or more than a clock can wait
TRIES = 3  # to find images that no other process claims in the same moment


@dataclass(frozen=True)
class Pace:
    """How much a process takes on at once, and how it shows that it lives."""

    seconds: float  # of work that is claimed at once; the first claim is one batch
    beat: float  # seconds between two signs of life
    silent: float  # seconds without one after which others take a claim over

    def __post_init__(self) -> None:
        if not 0 < self.beat < self.silent <= DAY or not 0 <= self.seconds <= DAY:
            raise BadInput(
                f"claims need 0 < beat < silent and seconds of at least 0, up to a day of {DAY}, "
                f"got beat={self.beat} silent={self.silent} seconds={self.seconds}"
            )


class Claims:
    """What this process has claimed of a cell, and what others have."""

    def __init__(self, folder: Path, shard: Shard, pace: Pace) -> None:
        self._folder, self._shard, self._pace = folder / CLAIMS, shard, pace
        self._file = self._folder / f"{shard.name}-{new_writer()}.json"
        self._batches = 1  # that the next claim is for
        self._since: float | None = None  # when the last claim was made

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

    def take(self, ids: Sequence[str], batch: int) -> list[str]:
        """Claim the next images that no other process is at work on, in place of the last claim.

        As many as are done in ``Pace.seconds``, going by how long the last claim took.

        Args:
            ids: what is to be done, in order.
            batch: images that are explained together; a claim is for whole batches.

        Returns:
            The images; empty where others are at work on all that is left.
        """
        now = time.monotonic()
        if self._since is not None and now - self._since < self._pace.seconds:
            self._batches *= 2
        self._since = now
        mine: list[str] = []
        for _ in range(TRIES):
            taken = self._others()
            mine = [each for each in ids if each not in taken][: self._batches * batch]
            if not mine:
                self._file.unlink(missing_ok=True)
                break
            write_whole(self._file, json.dumps({**this_process()._asdict(), "ids": mine}))
            # Two that claim in the same moment see each other now: that of the later name yields.
            earlier = self._others(before=self._file.name)
            if left := [each for each in mine if each not in earlier]:
                return left
        return mine

    def _others(self, before: str = "") -> set[str]:
        """Find what living processes have claimed; other shards of the same cut are left out."""
        files = sorted(self._folder.iterdir()) if self._folder.is_dir() else []
        taken: set[str] = set()
        for file in files:
            name = file.name
            apart = self._shard.is_apart_from(name.partition("-")[0])
            if name.startswith(".") or apart or file == self._file or (before and name > before):
                continue
            with contextlib.suppress(FileNotFoundError):
                claim = json.loads(file.read_text(encoding="utf-8"))
                if self._lives(claim, file):
                    taken |= set(claim["ids"])
                else:
                    file.unlink(missing_ok=True)
        return taken

    def _lives(self, claim: dict[str, Any], file: Path) -> bool:
        ended = process_of(claim).has_ended()
        if ended is not None:
            return not ended
        return file.stat().st_mtime > self._now() - self._pace.silent

    def _now(self) -> float:
        """Read the clock that the claims' times come from, which may be another machine's."""
        probe = self._folder / f".{self._file.name}"
        probe.touch()
        now = probe.stat().st_mtime
        probe.unlink(missing_ok=True)
        return now
