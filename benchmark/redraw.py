"""A network's layers from its input to its output, and copies of it with some of them random."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from functools import partial

import torch
from torch import Tensor, nn

MOST = 20  # layers that are told apart; of a network with more, blocks are


def redrawn(network: nn.Module, seed: int) -> nn.Module:
    """Copy a network to the CPU and draw all its parameters anew.

    Weights of convolutions and linear layers are drawn as He et al. (2015) do for ReLUs and their
    biases are 0: torch's own draw loses the image on the way through a deep network. Every other
    module draws as torch does when it is new; so batch normalisation forgets its statistics and
    does nothing from then on, and a deep residual network has large logits. Parameters that their
    module cannot draw, such as a transformer's class token, have their values shuffled.
    """
    copied = copy.deepcopy(network).cpu()
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.default_generator.manual_seed(seed)  # the CPU's alone
        for module in copied.modules():
            draw = getattr(module, "reset_parameters", getattr(module, "_reset_parameters", None))
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif draw is not None:
                draw()
            else:
                for parameter in module.parameters(recurse=False):
                    values = parameter.flatten()
                    parameter.copy_(values[torch.randperm(len(values))].view_as(parameter))
    return copied


def layers(network: nn.Module, blank: Tensor) -> dict[str, list[str]]:
    """Group the modules that have weights of their own into layers, from the input to the output.

    A layer is a module with a matrix or a kernel, and the normalisations and other modules with
    vectors alone that are called between it and the next one; those before the first are the
    first's. Where there are more than ``MOST``, layers whose names begin alike are one, in as many
    parts of the name as leave at most ``MOST`` (or else in one). A module that is never called by
    itself, as in an attention, counts as called when what contains it is.

    Args:
        network: in evaluation mode.
        blank: an input [B, 3, H, W] of the network, to see the order of calls.

    Returns:
        The name of each layer, of its first module or of the block, with its modules' names.
    """
    called = _order_of_calls(network, blank)
    own = [name for name, module in network.named_modules() if _own(module)]
    # What only the whole network contains and nobody calls, as an auxiliary head, is no layer.
    weighted = [name for name in own if not name or _caller(called, name)]
    weighted.sort(key=lambda name: called[_caller(called, name)])
    single: dict[str, list[str]] = {}
    waiting: list[str] = []  # vectors before the first matrix
    for name in weighted:
        if any(value.ndim > 1 for value in _own(network.get_submodule(name))):
            single[name] = [*waiting, name]
            waiting = []
        elif single:
            single[next(reversed(single))].append(name)
        else:
            waiting.append(name)
    if waiting:
        single[waiting[0]] = waiting
    parts = max((name.count(".") + 1 for name in single), default=1)
    for depth in range(parts, 0, -1):
        blocks: dict[str, list[str]] = {}
        for name, names in single.items():
            blocks.setdefault(".".join(name.split(".")[:depth]), []).extend(names)
        if len(blocks) <= MOST:
            break
    return blocks


def mixed(network: nn.Module, other: nn.Module, names: Iterable[str]) -> nn.Module:
    """Copy a network, with the parameters and buffers of some modules from another one's."""
    copied = copy.deepcopy(network)
    with torch.no_grad():
        for name in names:
            theirs = other.get_submodule(name)
            mine = copied.get_submodule(name)
            for kind in ("named_parameters", "named_buffers"):
                values = dict(getattr(theirs, kind)(recurse=False))
                for key, value in getattr(mine, kind)(recurse=False):
                    value.copy_(values[key])
    return copied


def _own(module: nn.Module) -> list[nn.Parameter]:
    return list(module.parameters(recurse=False))


def _order_of_calls(network: nn.Module, blank: Tensor) -> dict[str, int]:
    """Number the modules by their first call."""
    called: dict[str, int] = {}

    def note(name: str, *_: object) -> None:
        called.setdefault(name, len(called))

    handles = [
        module.register_forward_pre_hook(partial(note, name))
        for name, module in network.named_modules()
    ]
    try:
        with torch.no_grad():
            network(blank)
    finally:
        for handle in handles:
            handle.remove()
    return called


def _caller(called: dict[str, int], name: str) -> str:
    """Name a module that was called, or else the nearest one around it."""
    while name not in called:
        name = name.rpartition(".")[0]
    return name
