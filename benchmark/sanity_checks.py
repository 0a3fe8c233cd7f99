"""A method's heatmaps under every variant of the network, the class and the image, compared."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor

from benchmark.captions import title
from benchmark.cell import Cell
from benchmark.config import Resize
from benchmark.images import chunks, resize_heatmaps
from benchmark.interfaces import BadInput, Batch, Method
from benchmark.models import ImageClassifier
from benchmark.redraw import layers, redrawn
from benchmark.sanity_variants import Variant, variants
from benchmark.similarity import Similarity, similarity

Heatmaps = Sequence[NDArray[np.float32]]  # one [r, r] per image


def check(
    method: Method,
    model: ImageClassifier,
    batch: Batch,
    checks: Sequence[str],
    *,
    seed: int = 0,
    resize: tuple[int, str] | None = None,
) -> pd.DataFrame:
    """Explain images as they are and under each variant, and compare.

    Args:
        method: the method.
        model: the classifier, which is left as it was.
        batch: images and the classes to explain, which stay the same but in the check ``logit``.
        checks: of ``CHECKS``.
        seed: of the random weights.
        resize: to how many cells along a side, and how, heatmaps are brought before.

    Returns:
        A line per variant and image: check, layer, step, id, rank, magnitude, ssim, change (see
        ``Similarity``). An image whose class no step of FGSM keeps has NaN there.

    Raises:
        BadInput: the method cannot explain the model, or a variant of it; the message says which.
    """

    def explained(model: ImageClassifier, batch: Batch) -> Heatmaps:
        return list(explain(method, model, batch, resize).float().cpu().numpy())

    shape = (1, 3, model.input_size, model.input_size)
    groups = layers(model.network, batch.images.new_zeros(shape))
    random = redrawn(model.network, seed)
    first = explained(model, batch)
    parts = []
    for each in variants(model, batch, checks, random, groups):
        try:
            second = explained(each.model, each.batch)
        except BadInput as error:
            raise BadInput(f"{error}; without this check by --check: {each.check}") from error
        parts.append(_compared(each, first, second))
    columns = ["check", "layer", "step", "id", *Similarity._fields]
    return pd.DataFrame([line for part in parts for line in part], columns=columns)


def explain(
    method: Method, model: ImageClassifier, batch: Batch, resize: tuple[int, str] | None
) -> Tensor:
    """Explain images by heatmaps [B, r, r], brought to as many cells as asked for."""
    model.begin_count(len(batch.ids))
    heatmaps = method(model, batch).detach()
    if resize and heatmaps.shape[-1] != resize[0]:
        heatmaps = resize_heatmaps(heatmaps, *resize)
    return heatmaps


def resize_of(cell: Cell) -> tuple[int, str] | None:
    """Say to how many cells along a side a cell's heatmaps are brought, and how.

    Raises:
        BadInput: they have another resolution than asked for.
    """
    settings = cell.settings
    cell.check_resolution()
    return None if settings.resize is Resize.refuse else (settings.res, settings.resize.name)


def _compared(variant: Variant, first: Heatmaps, second: Heatmaps) -> list[dict[str, object]]:
    missing = dict.fromkeys(Similarity._fields, float("nan"))
    return [
        {"check": variant.check, "layer": variant.layer, "step": variant.step, "id": image_id}
        | (similarity(one, two)._asdict() if valid else missing)
        for image_id, one, two, valid in zip(
            variant.batch.ids, first, second, variant.valid, strict=True
        )
    ]


def of_cell(cell: Cell, checks: Sequence[str]) -> pd.DataFrame:
    """Check the method of a cell on its images, batch by batch.

    Raises:
        BadInput: its heatmaps have another resolution than asked for.
        UnreadableImage: an image cannot be decoded.
    """
    settings, resize = cell.settings, resize_of(cell)
    ids = cell.dataset.ids()
    parts = [
        check(
            cell.method,
            cell.model,
            cell.batch(ids[part]),
            checks,
            seed=settings.seed,
            resize=resize,
        )
        for part in chunks(len(ids), settings.batch_size)
    ]
    return pd.concat(parts, ignore_index=True).assign(method=title(cell))
