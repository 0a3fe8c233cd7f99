"""Which precisions a device has, and whether it is any faster at them."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor

from benchmark.cell import Cell
from benchmark.devices import clock
from benchmark.interfaces import BadInput
from benchmark.loading import grouped, images_of, items
from benchmark.models import ImageClassifier

REPEATS = 2


def trial_images(cell: Cell) -> Tensor:
    """Load the first batch of a cell's images [B, 3, H, W] that can be read.

    Raises:
        BadInput: there is none.
    """
    ids, size = cell.dataset.ids(), cell.settings.batch_size
    stream = items(cell.dataset, ids, cell.model.input_size, size, lambda *_: None)
    for group in grouped(stream, size):
        return images_of(group, cell.model.device)
    raise BadInput(f"none of the {len(ids)} chosen images can be read")


def refusal(
    load: Callable[[], ImageClassifier], images: Tensor, reference: float, slowest: float
) -> str:
    """Say why a precision is of no use here; empty where it is of use.

    Args:
        load: makes the classifier at this precision.
        images: [B, 3, H, W].
        reference: seconds of a pass at the reference's precision.
        slowest: how many times as long a pass may take.
    """
    try:
        seconds = seconds_of(load(), images)
    except (BadInput, RuntimeError) as error:  # torch has no kernel for it
        return str(error).partition("\n")[0]
    if seconds > slowest * reference:
        return (
            f"a pass takes {seconds / reference:.1f} times as long as at the reference, which "
            f"precision.slowest={slowest:g} leaves out"
        )
    return ""


def seconds_of(model: ImageClassifier, images: Tensor) -> float:
    """Time a pass over images [B, 3, H, W], forward and backward to the input; the fastest of few.

    On a CPU it is the process's own time, which others that are at work there do not lengthen.

    Raises:
        BadInput: its logits or gradients are not finite.
    """
    given = images.clone().requires_grad_()
    seconds = []
    for _ in range(1 + REPEATS):  # the first warms up
        started = _now(model)
        logits = model(given)
        (gradient,) = torch.autograd.grad(logits.sum(), given)
        seconds.append(_now(model) - started)
    if not (logits.isfinite().all() and gradient.isfinite().all()):
        raise BadInput("a pass over these images gives NaN or infinity")
    return min(seconds[1:])


def _now(model: ImageClassifier) -> float:
    return time.process_time() if model.device.type == "cpu" else clock(model)
