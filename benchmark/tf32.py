"""TF32 in the passes of one network and nowhere else, though torch's switch is the process's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from benchmark.models import ImageClassifier


class TF32Classifier(ImageClassifier):
    """A classifier whose passes, forward and backward, are rounded to TF32.

    The plain one sets torch's switch when it is made, for whatever the process does next: another
    classifier beside it would change its precision. Here the switch is on during passes only, so
    that classifiers of several precisions can take turns, and baselines and blurs are exact.
    """

    @classmethod
    def around(cls, model: ImageClassifier) -> TF32Classifier:
        """Take over a classifier, with all that belongs to it; the switch is off from now on."""
        own = cls.__new__(cls)
        vars(own).update(vars(model))
        _switch(on=False)
        return own

    def __call__(self, images: Tensor) -> Tensor:
        """Map images [B, 3, H, W] in [0, 1] to logits [B, K] in float32; counts the passes."""
        with allowed(on=True):
            logits = super().__call__(images)
        if logits.requires_grad:
            logits.register_hook(_backward)  # type: ignore[no-untyped-call]  # torch's
        return logits


def _backward(_: Tensor) -> None:
    """Switch on where a backward pass enters the network, and off where it ends.

    Where that is no hook on a tensor can know: a gradient may be asked for at any layer.
    """
    _switch(on=True)
    engine: Any = torch.autograd.Variable._execution_engine
    engine.queue_callback(lambda: _switch(on=False))


@contextmanager
def allowed(*, on: bool) -> Iterator[None]:
    """Round what is computed in the block to TF32, where the device can and ``on`` says so."""
    _switch(on=on)
    try:
        yield
    finally:
        _switch(on=False)


def _switch(*, on: bool) -> None:
    torch.backends.cuda.matmul.allow_tf32 = on
    torch.backends.cudnn.allow_tf32 = on
