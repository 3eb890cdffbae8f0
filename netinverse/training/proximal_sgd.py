"""Stochastic gradients of the lifted energy: one sweep of block steps, one step of an optimiser of torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from netinverse.checks import require_number
from netinverse.training.algorithm import BatchResult, gradients
from netinverse.training.problem import TrainingProblem

_MOMENTUM = 0.9


@dataclass(frozen=True)
class ProximalSGD:
    """theta+ = prox_{lr R}(theta - lr d), d the ``optimiser``'s direction for the gradient of the lifted energy of the batch.

    The activations begin where the auxiliaries say and take one block step each, which passes on half of what is asked of them.
    The gradient in theta is then (sigma(z) - u) times what enters the layer: no activation is differentiated, and the cost is
    that of one back-propagation. optimiser: "adam", or "sgd" with momentum 0.9.
    """

    learning_rate: float = 1e-3
    optimiser: str = "adam"
    batches = "any"
    separable = True

    def __post_init__(self) -> None:
        require_number("ProximalSGD", "learning_rate", self.learning_rate, "The default is 1e-3.")
        if self.optimiser not in ("adam", "sgd"):
            raise ValueError(f"ProximalSGD: optimiser is {self.optimiser!r}, but must be 'adam' or 'sgd'.")

    def begin(self, problem: TrainingProblem) -> ProximalSGDRun:
        parameters = list(problem.parameters.values())
        # In one pass over the parameters: what a step costs beside a small batch.
        if self.optimiser == "adam":
            return ProximalSGDRun(problem, torch.optim.Adam(parameters, self.learning_rate, fused=True), self.learning_rate)
        sgd = torch.optim.SGD(parameters, self.learning_rate, _MOMENTUM, fused=True)
        return ProximalSGDRun(problem, sgd, self.learning_rate)


class ProximalSGDRun:
    """The optimiser of torch, and its state."""

    def __init__(self, problem: TrainingProblem, optimiser: torch.optim.Optimizer, learning_rate: float) -> None:
        self._problem, self._optimiser, self._rate = problem, optimiser, learning_rate

    def batch(self, number: int, x: Tensor, targets: Tensor, progress: float) -> BatchResult:
        found = gradients(self._problem, x, targets, progress)
        for name, p in self._problem.parameters.items():
            p.grad = found.gradients.get(name)
        self._optimiser.step()
        self._optimiser.zero_grad()
        self._problem.regularise(self._rate)
        return BatchResult(found.loss, found.hits)

    def state(self) -> dict[str, Tensor]:
        kept: dict[str, Tensor] = {}
        for name, p in self._problem.parameters.items():
            kept |= {f"{name}/{key}": value for key, value in self._optimiser.state[p].items() if isinstance(value, Tensor)}
        return kept

    def restore(self, state: Mapping[str, Tensor]) -> None:
        found: dict[int, dict[str, Any]] = {}
        numbers = {name: k for k, name in enumerate(self._problem.parameters)}
        for place, value in state.items():
            name, _, key = place.rpartition("/")
            if name in numbers:
                found.setdefault(numbers[name], {})[key] = value
        self._optimiser.load_state_dict({**self._optimiser.state_dict(), "state": found})
