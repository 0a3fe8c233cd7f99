"""Before a run: does the network do what its settings say, and do the metrics what they promise?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from benchmark.cell import Cell
from benchmark.constant_scores import constant_scores
from benchmark.images import chunks
from benchmark.interfaces import BadInput, Item, UnreadableImage
from benchmark.items import check_item
from benchmark.lines import finite
from benchmark.model_sources import OWN_WEIGHTS, RANDOM
from benchmark.models import Activation, ImageClassifier, Precision

IMAGES = 16  # that are looked at
TRIED = 64  # images in which so many readable ones are looked for
REPEATED = 4  # of them, those that the network is shown several times
SHOWN = 4  # times that those are, beside the first: again, for their targets, and two scores
# By how much logits of an image may differ between batches, as a share of the largest.
ROUNDING = {Precision.fp32: 1e-3}
# The classes that load weights which state an accuracy.
EMBEDDED = ("benchmark.model_sources.ScenesModel", "benchmark.tagged_network.TaggedModel")
TORCHVISION = "benchmark.model_sources.TorchvisionModel"
TELLING = 16  # classes under sigmoid that by chance do not all have logits in [0, 1]
COARSE = 5e-2  # for the other precisions


def self_check(cell: Cell, ids: Sequence[str]) -> dict[str, Any]:
    """Show the network a few images, as they are before any attack, and the metrics a stand-in.

    Args:
        cell: what is about to be run.
        ids: all of the cell's images, so that every shard and every start checks the same ones.

    Returns:
        What was found, for ``benchmark.plausible``; empty where no image can be read.

    Raises:
        BadInput: the network, the baseline or a metric is not what it has to be; it says which.
    """
    model, items = cell.model, _readable(cell, ids)
    if not items:
        return {}
    for item in items:
        check_item(item, len(model.class_names))
    few = items[:REPEATED]
    _check_evaluation(model.network)
    with torch.no_grad(), _checked_output(model):
        logits = cell.logits(few)
        _check_repeats(model, few[0].id, logits, cell.logits(few), cell.logits(few[:1]))
        rest = [
            cell.logits(items[REPEATED:][part]) for part in chunks(len(items) - len(few), REPEATED)
        ]
        batch = cell.batch_of(few, {})
        baseline = cell.baseline(model, batch)
        if not baseline.isfinite().all():
            raise BadInput("baseline: its image has NaN or infinity; check the values of baseline")
        on_image, on_baseline = (
            float(model.scores(each, batch.targets).mean()) for each in (batch.images, baseline)
        )
        constant = list(constant_scores(cell, batch.select([0])))
    logits = torch.cat([logits, *rest])
    _check_logits(model, logits)
    seen = logits.argmax(1).tolist()
    labelled = [(one, item.label) for one, item in zip(seen, items, strict=True) if item.label >= 0]
    found = {
        "images": len(items),
        "labelled": len(labelled),
        "right": sum(one == label for one, label in labelled),
        "classes": len(model.class_names),
        "stated_accuracy": _stated_accuracy(cell),
        "judged": _may_be_judged(model, items),
        "shown": len(few),  # of which the two scores are means
        "in_unit_range": _in_unit_range(logits),
        "score_on_image": on_image,
        "score_on_baseline": on_baseline,
        "constant": constant,
    }
    return finite(found)


def passes(images: int) -> int:
    """Count the passes forward of a check on so many images, or on the first ``IMAGES`` of them."""
    few = min(REPEATED, images)
    return min(IMAGES, images) + SHOWN * few + 1  # the last: one image alone


def _readable(cell: Cell, ids: Sequence[str]) -> list[Item]:
    found: list[Item] = []
    for image_id in ids[:TRIED]:
        try:
            found.append(cell.dataset.load(image_id, cell.model.input_size))
        except UnreadableImage:  # the run reports it
            continue
        if len(found) == IMAGES:
            break
    return found


def _check_evaluation(network: nn.Module) -> None:
    """Refuse a network with parts in training mode, whose answers then change."""
    if active := [name for name, module in network.named_modules() if module.training]:
        raise BadInput(
            f"the model's {active[0] or 'network'} is in training mode, in which dropout and batch "
            "normalisation change its answers: call eval() where it is loaded"
        )


@contextmanager
def _checked_output(model: ImageClassifier) -> Iterator[None]:
    """Refuse within the block what a network returns instead of one tensor of scores."""
    classes = len(model.class_names)

    def check(_network: nn.Module, given: tuple[Any, ...], output: object) -> None:
        shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        if shape != (len(given[0]), classes):
            raise BadInput(
                f"the model returns {shape} for {len(given[0])} images and {classes} classes: "
                "logits are one tensor [images, classes]"
            )

    handle = model.network.register_forward_hook(check)
    try:
        yield
    finally:
        handle.remove()


def _check_repeats(
    model: ImageClassifier, name: str, logits: Tensor, again: Tensor, alone: Tensor
) -> None:
    """Refuse a network whose answers [B, K] to the same image, the first one, differ."""
    most = ROUNDING.get(model.precision, COARSE) * float(logits.abs().max())
    moved = float((logits - again).abs().max())
    if moved > (0 if model.device.type == "cpu" else most):
        raise BadInput(
            f"the model changes when called twice: logits differ by up to {moved:.3g}. Is dropout "
            "or another random layer left on?"
        )
    moved = float((logits[:1] - alone).abs().max())
    if moved > most:
        raise BadInput(
            f"the model's logits for {name} differ by up to {moved:.3g} with the other images in "
            "its batch. Is batch normalisation in training mode?"
        )


def _check_logits(model: ImageClassifier, logits: Tensor) -> None:
    """Refuse probabilities [B, K] in the place of logits."""
    sums_to_one = bool(((logits >= 0) & ((logits.sum(1, keepdim=True) - 1).abs() < 1e-3)).all())
    telling = _in_unit_range(logits) and logits.shape[1] >= TELLING
    if sums_to_one if model.activation is Activation.softmax else telling:
        raise BadInput(
            "the model returns probabilities, of which probabilities would be taken once more: "
            f"leave out its last {model.activation.name}, so that it returns logits"
        )


def _in_unit_range(logits: Tensor) -> bool:
    return bool(((logits >= 0) & (logits <= 1)).all()) and bool((logits != logits[0, 0]).any())


def _may_be_judged(model: ImageClassifier, items: Sequence[Item]) -> bool:
    """Whether the highest class should be the label: not where several may be, or are, present."""
    several = sum(bool((item.truth.classes != item.label).any()) for item in items)
    exclusive = model.activation is Activation.softmax and 2 * several <= len(items)
    return exclusive and model.weights != RANDOM


def _stated_accuracy(cell: Cell) -> float | None:
    """Return the accuracy in [0, 1] that the weights state of their own data; None if they do not.

    torchvision's do, also where they come from a file that ``auto`` has found, and the project's.
    Of a model of the user's own nothing is known.
    """
    weights, given = cell.model.weights, cell.settings.model
    own = OWN_WEIGHTS / weights
    if given.get("_target_") in EMBEDDED and own.is_file():
        with safe_open(own, "pt") as file:
            stated = (file.metadata() or {}).get("test_accuracy")
        return None if stated is None else float(stated)
    if given.get("_target_") != TORCHVISION or weights == RANDOM:
        return None
    from torchvision import models  # noqa: PLC0415 - loaded by now, with the model

    published = models.get_model_weights(given.architecture).__members__
    named = given.pretrained if given.weights == "auto" else given.weights
    if named not in published:
        return None
    known = published[named].meta.get("_metrics", {}).get("ImageNet-1K", {})
    return float(known["acc@1"]) / 100 if "acc@1" in known else None
