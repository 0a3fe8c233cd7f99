"""Keep freed memory in the process, or give it back."""

import ctypes
import gc
import platform

# Parameter numbers of glibc's mallopt, from malloc.h.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4


def keep_freed_memory() -> None:
    """Let the allocator reuse large blocks instead of returning them to the system.

    A network's activations are tens of megabytes each, allocated and freed at every pass. By
    default the C library maps and unmaps them, and the system clears every page again: on a CPU
    that costs about as much as the arithmetic.
    """
    if libc := _glibc():
        libc.mallopt(_MMAP_MAX, 0)
        libc.mallopt(_TRIM_THRESHOLD, 2**31 - 1)
        libc.mallopt(_TOP_PAD, 2**28)


def return_freed_memory() -> None:
    """Give back to the system what was kept, so that what is in use can be measured."""
    gc.collect()
    if libc := _glibc():
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    return ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None
