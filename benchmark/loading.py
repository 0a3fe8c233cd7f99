"""Decode images in the background, and put them into batches."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from benchmark.interfaces import Batch, Dataset, Item, UnreadableImage

WORKERS = 2  # threads; decoding releases Python's lock


def items(
    dataset: Dataset, ids: Sequence[str], size: int, ahead: int, skip: Callable[[str, str], None]
) -> Iterator[Item]:
    """Yield images in order, decoding up to ``ahead`` of them beforehand.

    An unreadable image is passed to ``skip`` with the reason, and left out.
    """
    with ThreadPoolExecutor(WORKERS) as pool:
        waiting: deque[tuple[str, Future[Item]]] = deque()
        remaining = iter(ids)

        def refill() -> None:
            while len(waiting) < ahead and (image_id := next(remaining, None)) is not None:
                waiting.append((image_id, pool.submit(dataset.load, image_id, size)))

        refill()
        while waiting:
            image_id, future = waiting.popleft()
            refill()
            try:
                yield future.result()
            except UnreadableImage as error:
                skip(image_id, str(error))


def grouped(stream: Iterator[Item], size: int) -> Iterator[list[Item]]:
    """Put a stream into lists of ``size``, the last one shorter."""
    group: list[Item] = []
    for item in stream:
        group.append(item)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group


def batch_of(group: Sequence[Item], targets: Tensor, seed: int, device: torch.device) -> Batch:
    """Stack images with their targets [B]; each one's seed comes from the run's and its id."""
    return Batch(
        ids=[item.id for item in group],
        images=images_of(group, device),
        targets=targets.to(device),
        labels=torch.tensor([item.label for item in group], device=device),
        seeds=torch.tensor([image_seed(seed, item.id) for item in group]),
        truths=[item.truth for item in group],
    )


def images_of(group: Sequence[Item], device: torch.device) -> Tensor:
    """Stack images [B, 3, H, W] on a device."""
    return torch.stack([item.image for item in group]).to(device, non_blocking=True)


def image_seed(seed: int, image_id: str) -> int:
    """Derive an image's own seed, below 2^63, from the run's seed and the image's id."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{image_id}".encode()).digest()[:8]) >> 1
