"""Keep freed memory in the process."""

import ctypes
import platform

# Parameter numbers of glibc's mallopt, from malloc.h.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4


def keep_freed_memory() -> None:
    """Let the allocator reuse large blocks instead of returning them to the system.

    A network's activations are tens of megabytes each, allocated and freed at every pass. By
    default the C library maps and unmaps them, and the system clears every page again: on a CPU
    that costs about as much as the arithmetic.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(_MMAP_MAX, 0)
    libc.mallopt(_TRIM_THRESHOLD, 2**31 - 1)
    libc.mallopt(_TOP_PAD, 2**28)
