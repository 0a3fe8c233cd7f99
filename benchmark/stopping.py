"""Being told to stop, as by a cluster that wants its machine back: at once, and in good order."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

# Slurm sends SIGTERM when it takes a machine back, and ahead of a time limit what --signal names.
SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
AGAIN = 75  # exit code, sysexits' EX_TEMPFAIL: start the same command again and it continues


class Stopped(BaseException):
    """This process was told to stop; like KeyboardInterrupt no error that a job may swallow."""


@contextlib.contextmanager
def stopping() -> Iterator[None]:
    """Raise ``Stopped`` in the block when the process is told to stop.

    The batch in hand is given up: what was done before is on the disk. Signals that somebody else
    handles already, such as a launcher, are left to them.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ours = [each for each in SIGNALS if signal.getsignal(each) is signal.SIG_DFL]

    def stop(number: int, frame: FrameType | None) -> None:
        del frame
        for each in ours:  # a second one must not disturb the end
            signal.signal(each, signal.SIG_IGN)
        raise Stopped(signal.Signals(number).name)

    for each in ours:
        signal.signal(each, stop)
    try:
        yield
    finally:
        for each in ours:
            signal.signal(each, signal.SIG_DFL)
