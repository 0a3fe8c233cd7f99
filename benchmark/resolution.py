"""Which resolution a method's heatmaps have, and what may be asked of them."""

from __future__ import annotations

from benchmark.config import Resize, Settings
from benchmark.interfaces import BadInput, Classifier, Method


def native_resolution(method: Method, model: Classifier) -> int | None:
    """Return how many cells along a side a method's heatmaps of this model have.

    A method with a field ``res`` makes what that says; others say it by ``native(model)``. None
    where a method says nothing: its first heatmap shows it.
    """
    own: int | None = getattr(method, "res", None)
    if own is None and hasattr(method, "native"):
        own = method.native(model)
    return own


def check_resolution(settings: Settings, native: int) -> None:
    """Refuse heatmaps of ``native`` cells where the settings ask for others and name no way.

    Raises:
        BadInput: with the resolutions that can be had.
    """
    finer = native < settings.res
    allowed = settings.resize is Resize.bilinear or (settings.resize is Resize.area and not finer)
    if native != settings.res and not allowed:
        other = "resize=bilinear" if finer else "resize=area or resize=bilinear"
        raise BadInput(
            f"method={settings.choices['method']} makes {native} x {native} heatmaps of this "
            f"model: for res={settings.res} add {other}, or use res={native}"
        )
