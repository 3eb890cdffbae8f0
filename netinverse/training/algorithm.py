"""The contract of a training algorithm, and what the stochastic ones share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from netinverse.lifting import Swept
from netinverse.training.problem import TrainingProblem


@dataclass(frozen=True)
class BatchResult:
    """Of one batch, before its step: the loss, (batch,), and the output."""

    loss: Tensor
    output: Tensor


class Run(Protocol):
    """One training under way: all that changes besides the parameters."""

    def batch(self, number: int, x: Tensor, targets: Tensor, progress: float) -> BatchResult:
        """One step of all parameters; ``number`` counts the batches of the epoch."""
        ...

    def state(self) -> dict[str, Tensor]:
        """What, with the parameters, is needed to go on."""
        ...

    def restore(self, state: Mapping[str, Tensor]) -> None: ...


class Algorithm(Protocol):
    """Configuration only."""

    @property
    def batches(self) -> str:
        """How it takes the data: "any", "fixed" (the same batches in every epoch) or "whole" (one batch of all samples)."""
        ...

    def begin(self, problem: TrainingProblem) -> Run: ...


def gradients(problem: TrainingProblem, x: Tensor, targets: Tensor, progress: float) -> Swept:
    """One sweep, its gradients those of the mean over the batch.

    Raises FloatingPointError where the loss or a gradient is not finite, before any parameter has moved.
    """
    found = problem.swept(x, targets, progress)
    scaled = {name: g / max(len(x), 1) for name, g in found.gradients.items()}
    finite = torch.isfinite(found.fidelity).all() & torch.stack([torch.isfinite(g).all() for g in scaled.values()]).all()
    if not bool(finite):
        bad = (~torch.isfinite(found.fidelity)).nonzero().flatten().tolist()
        where = f"the loss of sample(s) {', '.join(map(str, bad[:5]))}" if bad else "a gradient"
        raise FloatingPointError(f"{where} is not finite")
    return Swept(found.us, found.fidelity, found.output, scaled)
