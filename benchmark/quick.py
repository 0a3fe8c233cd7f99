"""Cut a method's work down, to see that it runs and not what it is worth."""

from __future__ import annotations

from omegaconf import DictConfig, OmegaConf

# Fields with these names say how much work a method does; the more, the better its heatmap.
FEW = {
    "iterations": 2,
    "steps": 4,
    "points": 4,
    "first_points": 4,
    "samples": 4,
    "evaluations": 24,
}


def quick(method: DictConfig) -> DictConfig:
    """Return a method's node with little work in it, and in the methods it is made of."""
    node = method.copy()
    for key, value in node.items_ex(resolve=False):
        if key in FEW and value is not None:
            node[key] = FEW[str(key)]
        elif OmegaConf.is_dict(value):
            node[key] = quick(value)
    return node
