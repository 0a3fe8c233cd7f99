"""Let one process download a file that many want."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch.hub
from filelock import FileLock


@contextlib.contextmanager
def one_at_a_time() -> Iterator[None]:
    """Make torch's downloads in the block wait for those of other processes that share its cache.

    Whoever waited finds the file there. What is in the cache already waits for nothing.
    """
    plain = torch.hub.download_url_to_file

    def download(url: str, dst: str, *given: Any, **named: Any) -> None:
        with FileLock(f"{dst}.lock"):
            if not Path(dst).exists():
                plain(url, dst, *given, **named)

    torch.hub.download_url_to_file = download
    try:
        yield
    finally:
        torch.hub.download_url_to_file = plain
