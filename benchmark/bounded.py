"""A limit to the time that a method may take, so that one image cannot hold up the others."""

from __future__ import annotations

import faulthandler
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from benchmark.errors import BadInput
from benchmark.interfaces import Item

GRACE = 60.0  # seconds after the limit in which a method has to come back to Python


_LATE = "took longer than timeout="  # how the reason begins by which an image is left out


class TookTooLong(Exception):
    """What was bounded has not ended in its time."""


class Limit:
    """Which images a run leaves out because its method takes too long for them."""

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        self._suspects: set[str] = set()  # of batches that took too long
        self.late: dict[str, str] = {}  # image id -> why it is left out

    def passed(self, ids: Sequence[str]) -> None:
        """Take note of a batch that took too long: one image is left out, several are suspects."""
        if len(ids) == 1:
            self.late[ids[0]] = f"{_LATE}{self._seconds:g} seconds"
        else:
            self._suspects.update(ids)

    def apart(self, group: Sequence[Item]) -> Iterator[list[Item]]:
        """Divide a batch so that each suspect is by itself."""
        for item in group:
            if item.id in self._suspects:
                yield [item]
        if others := [item for item in group if item.id not in self._suspects]:
            yield others


def is_late(reason: str) -> bool:
    """Whether the reason by which some run left out an image is that it took too long."""
    return reason.startswith(_LATE)


@contextmanager
def bounded(seconds: float | None) -> Iterator[None]:
    """Raise in the block when it takes longer than so many seconds; None sets no limit.

    Python raises between two operations. A block that is stuck within one for ``GRACE`` more
    seconds ends the process, with the stack on standard error.

    Raises:
        TookTooLong: it does.
        BadInput: there are no alarms here: on Windows, or in a thread.
    """
    if seconds is None:
        yield
        return
    if (
        not hasattr(signal, "setitimer")
        or threading.current_thread() is not threading.main_thread()
    ):
        raise BadInput("timeout needs a process of its own on a system with alarms: leave it null")

    def ring(number: int, frame: FrameType | None) -> None:
        del number, frame
        raise TookTooLong

    before = signal.signal(signal.SIGALRM, ring)
    # The stream that is there from the beginning: others may not have a file behind them.
    faulthandler.dump_traceback_later(seconds + GRACE, exit=True, file=sys.__stderr__ or sys.stderr)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        faulthandler.cancel_dump_traceback_later()
        signal.signal(signal.SIGALRM, before)
