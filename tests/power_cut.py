"""A process that loses its power while it writes: what was not yet forced onto the disk is torn."""

import os
import random
import signal
import sys
from pathlib import Path

WRITING = os.O_WRONLY | os.O_RDWR


def at(place, count, seed):
    """End this process by SIGKILL at its so-many-th fsync of a file in a folder.

    Of what was added to that file since it was opened, an arbitrary part is there afterwards.
    """
    sizes: dict[str, int] = {}
    left = int(count)
    plain = os.fsync

    def watch(event, arguments):
        if event == "open" and isinstance(arguments[0], str) and arguments[2] & WRITING:
            kept = 0 if arguments[2] & os.O_TRUNC else _size(arguments[0])
            sizes[os.path.realpath(arguments[0])] = kept

    def fsync(descriptor):
        nonlocal left
        path = str(Path(f"/proc/self/fd/{descriptor}").readlink())
        if path.startswith(place):
            left -= 1
            if left == 0:
                _tear(path, sizes[path], random.Random(seed))
                os.kill(os.getpid(), signal.SIGKILL)
        plain(descriptor)

    sys.addaudithook(watch)
    os.fsync = fsync


def _size(path):
    return Path(path).stat().st_size if Path(path).exists() else 0


def _tear(path, before, chance):
    os.truncate(path, chance.randint(before, _size(path)))
