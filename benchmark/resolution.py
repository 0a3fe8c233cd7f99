"""Which resolution a method's heatmaps have."""

from __future__ import annotations

from benchmark.interfaces import Classifier, Method


def native_resolution(method: Method, model: Classifier) -> int | None:
    """Return how many cells along a side a method's heatmaps of this model have.

    A method with a field ``res`` makes what that says; others say it by ``native(model)``. None
    where a method says nothing: its first heatmap shows it.
    """
    own: int | None = getattr(method, "res", None)
    if own is None and hasattr(method, "native"):
        own = method.native(model)
    return own
