"""What a data set's images, and a method's heatmaps, have to be, whoever wrote them."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from benchmark.interfaces import BadInput, Item


def check_item(item: Item, classes: int) -> None:
    """Refuse an image's label, boxes or pixels that a network of so many classes cannot take.

    Raises:
        BadInput: with the image's id.
    """
    if not -1 <= item.label < classes:
        raise BadInput(
            f"{item.id} has the label {item.label}: the model has the classes 0 to {classes - 1}, "
            "and -1 is for none"
        )
    image, boxes = item.image, item.truth.boxes
    if image.ndim != 3 or len(image) != 3:
        raise BadInput(f"{item.id} has pixels {tuple(image.shape)}: [3, H, W] are needed")
    if not bool(((image >= 0) & (image <= 1)).all()):
        raise BadInput(
            f"{item.id} has pixels from {float(image.min()):.4g} to {float(image.max()):.4g}: RGB "
            "in [0, 1] is needed"
        )
    if boxes.shape != (len(item.truth.classes), 4):
        raise BadInput(
            f"{item.id} has boxes {tuple(boxes.shape)} of {len(item.truth.classes)} classes: one "
            "row xmin, ymin, xmax, ymax for each is needed"
        )
    if not boxes.isfinite().all() or bool((boxes[:, :2] > boxes[:, 2:]).any()):
        raise BadInput(
            f"{item.id} has a box that is not finite, or has its maximum below its minimum: boxes "
            "are xmin, ymin, xmax, ymax"
        )


def check_heatmaps(heatmaps: Tensor, ids: Sequence[str], maker: str) -> Tensor:
    """Refuse what is no heatmap for each image.

    Constant and negative ones are heatmaps, and they may be on any device.

    Returns:
        The heatmaps [B, r, r], float32 on the CPU.

    Raises:
        BadInput: with who made them, and the image.
    """
    if not isinstance(heatmaps, Tensor):
        raise BadInput(
            f"{maker} returned {type(heatmaps).__name__}: heatmaps are a tensor [B, r, r]"
        )
    cells = heatmaps.shape[-1] if heatmaps.ndim else 0
    if heatmaps.shape != (len(ids), cells, cells) or not cells:
        raise BadInput(
            f"{maker} returned shape {tuple(heatmaps.shape)} for {len(ids)} images: a heatmap is "
            "[B, r, r]"
        )
    if heatmaps.is_complex():
        raise BadInput(f"{maker} returned {heatmaps.dtype}: heatmaps are real numbers")
    found = heatmaps.detach().float().cpu()  # where a double may become infinite
    if lost := [ids[row] for row in range(len(ids)) if not found[row].isfinite().all()]:
        raise BadInput(f"{maker} returned NaN or infinity for {', '.join(lost[:3])}")
    return found
