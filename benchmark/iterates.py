"""What an optimiser of masks shows of its way, iteration by iteration."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from benchmark.interfaces import Batch, Classifier
from benchmark.masking import Objective


class Search(NamedTuple):
    """How the line search of one iteration went."""

    step: Tensor  # [B], the length that was taken
    tests: Tensor  # [B] int64, how many lengths were put to the test; 0 where none is made
    gave_up: Tensor  # [B] bool; the length was taken although it failed its test


class Iterate(NamedTuple):
    """Masks on their way, and the search that led there."""

    objective: Objective  # what is minimised
    masks: Tensor  # [B, m, r, r]
    search: Search | None = None  # none at the start, and where an optimiser has none

    def value(self, l1: Tensor) -> Tensor:
        """Measure the objective at the masks, [B], without path and noise: a pass for each term.

        Args:
            l1: [B], its weights of the masks' sizes, which an optimiser may change on its way.
        """
        objective = copy.copy(self.objective)
        objective.l1 = l1
        with torch.no_grad():
            return objective.losses(self.masks, objective.all_rows) + objective.penalty(
                self.masks, objective.all_rows
            )


class Descent(Protocol):
    """A method that optimises masks and shows how."""

    def descend(self, model: Classifier, batch: Batch) -> Iterator[Iterate]:
        """Yield the masks that it starts from, and those after each iteration."""
        ...


def last(iterates: Iterator[Iterate]) -> Tensor:
    """Go the whole way; return the masks [B, m, r, r] at its end."""
    return deque(iterates, maxlen=1).pop().masks
