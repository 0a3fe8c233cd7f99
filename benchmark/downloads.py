"""Published weights: one process downloads what many want, and nothing else is taken for it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch.hub
from filelock import FileLock

from benchmark.errors import BadInput

DIGEST = re.compile(r"-([0-9a-f]{8,})\.")  # in a file's name: the beginning of its SHA-256
ONLY_WEIGHTS = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"  # torch's own; it asks at every load


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


@contextlib.contextmanager
def only_weights() -> Iterator[None]:
    """Let torch read tensors alone in the block: what is pickled beside them could run code."""
    before = os.environ.get(ONLY_WEIGHTS)
    os.environ[ONLY_WEIGHTS] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[ONLY_WEIGHTS]
        else:
            os.environ[ONLY_WEIGHTS] = before


def verify(url: str) -> None:
    """Compare a file in torch's cache with the hash in its name; torch does so only on arrival.

    Raises:
        BadInput: it is another file, or damaged.
    """
    file = Path(torch.hub.get_dir(), "checkpoints", Path(url).name)
    published = DIGEST.search(file.name)
    if published is None or not file.exists():
        return
    with file.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    if not digest.startswith(published[1]):
        raise BadInput(
            f"{file} is not what was published: its SHA-256 begins with {digest[:8]}; remove it, "
            "and it is downloaded again"
        )
