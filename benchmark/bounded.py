"""A limit to the time that a method may take, so that one that hangs does not hold up a sweep."""

from __future__ import annotations

import faulthandler
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from benchmark.errors import BadInput

AGAIN = 1.0  # seconds after which it rings once more, should what is bounded have swallowed it
GRACE = 60.0  # seconds after the limit in which a method has to come back to Python


class TookTooLong(BaseException):
    """What was bounded has not ended in its time; like KeyboardInterrupt not to be swallowed."""


@contextmanager
def bounded(seconds: float | None) -> Iterator[None]:
    """Raise in the block when it takes longer than so many seconds; None sets no limit.

    Python raises between two operations. A block that is stuck within one for ``GRACE`` more
    seconds ends the process, with the stack on standard error.

    Raises:
        TookTooLong: it does; also at its end, where it went on all the same.
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
    rung = over = False

    def ring(number: int, frame: FrameType | None) -> None:
        nonlocal rung
        del number, frame
        if not over:
            rung = True
            raise TookTooLong

    before = signal.getsignal(signal.SIGALRM)
    try:
        try:
            signal.signal(signal.SIGALRM, ring)
            # The stream that is there from the beginning: others may not have a file behind them.
            faulthandler.dump_traceback_later(
                seconds + GRACE, exit=True, file=sys.__stderr__ or sys.stderr
            )
            signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN)
            yield
        finally:
            over = True
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        faulthandler.cancel_dump_traceback_later()
        signal.signal(signal.SIGALRM, before)
    if rung:
        raise TookTooLong
