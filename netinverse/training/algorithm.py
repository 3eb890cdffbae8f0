"""The contract of a training algorithm, and what the stochastic ones share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from netinverse.training.problem import Summed, TrainingProblem


@dataclass(frozen=True)
class BatchResult:
    """Of one batch, before its step: the sum of the losses, and how many labels were met, NaN where there are none."""

    loss: Tensor
    hits: Tensor


class Run(Protocol):
    """One training under way: all that changes besides the parameters."""

    def batch(self, number: int, x: Tensor, targets: Tensor, progress: float) -> BatchResult:
        """One step of all parameters; ``number`` counts the batches of the epoch."""
        ...

    def state(self) -> dict[str, Tensor]:
        """What, with the parameters, is needed to go on, by names that no run on other parameters has."""
        ...

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """``state`` may hold more: that of runs on other parameters."""
        ...


class Algorithm(Protocol):
    """Configuration only."""

    @property
    def batches(self) -> str:
        """How it takes the data: "any", "fixed" (the same batches in every epoch) or "whole" (one batch of all samples)."""
        ...

    @property
    def separable(self) -> bool:
        """Whether ``gradients`` is all it takes from a batch, so that processes can share its samples, or the layers."""
        ...

    def begin(self, problem: TrainingProblem) -> Run: ...


def gradients(problem: TrainingProblem, x: Tensor, targets: Tensor, progress: float) -> Summed:
    """One sweep, its gradients those of the mean over the batch.

    Raises FloatingPointError where the loss or a gradient is not finite, before any parameter has moved.
    """
    found = problem.summed(x, targets, progress)
    if found.lost:
        raise not_finite_loss(found.lost)
    scaled = {name: g / max(len(x), 1) for name, g in found.gradients.items()}
    # The ends of a gradient are found seventeen times faster than which of its entries are finite.
    ends = [end for g in scaled.values() if g.numel() for end in torch.aminmax(g)]
    if not bool(torch.isfinite(torch.stack(ends)).all()):
        lost = [name for name, g in scaled.items() if not bool(torch.isfinite(g).all())]
        raise FloatingPointError(f"the gradient of {', '.join(lost[:5])} is not finite")
    return replace(found, gradients=scaled)


def not_finite_loss(lost: Sequence[int]) -> FloatingPointError:
    return FloatingPointError(f"the loss of sample(s) {', '.join(map(str, lost[:5]))} is not finite")
