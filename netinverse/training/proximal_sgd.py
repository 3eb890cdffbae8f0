"""Stochastic gradients of the lifted energy: one sweep of block steps, one step of an optimiser of torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from netinverse.checks import require_number
from netinverse.training.algorithm import BatchResult, gradients
from netinverse.training.metric import BETAS, FLOOR, adam, proximal_point
from netinverse.training.problem import TrainingProblem

_MOMENTUM = 0.9


@dataclass(frozen=True)
class ProximalSGD:
    """theta+ = prox_{s R}(theta - s d), d the mean of the gradients of the lifted energies of the last batches, s a step.

    optimiser: "adam", s = lr/(sqrt(v) + eps) with v the mean of the squared gradients, or "sgd", s d = lr times the sum of the
    gradients with momentum 0.9, so that s = lr/(1 - 0.9). The proximal map has the s of the gradient, argmin R(v) + sum_i (v_i -
    theta_i)^2/(2 s_i): where d is the gradient g, theta stays exactly if -g is a subgradient of R at theta, for every s. With
    another step, such as lr, it would be that of R times a number that the optimiser makes. Adam's s is one for each entry where
    R is separable (ni.L1, ni.SquaredNorm, ...), and otherwise (ni.GroupL21, ni.NuclearNorm, ...) one for each matrix or filter,
    with v its mean over the entries. Without R the steps are those of torch.

    The activations begin where the auxiliaries say and take one block step each, which passes on half of what is asked of them.
    The gradient in theta is then (sigma(z) - u) times what enters the layer: no activation is differentiated, and the cost is
    1.1 to 1.5 times that of one back-propagation.
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
        return (AdamRun if self.optimiser == "adam" else MomentumRun)(problem, self.learning_rate)


class ProximalSGDRun(ABC):
    """The optimiser of torch, and its state."""

    def __init__(self, problem: TrainingProblem, rate: float) -> None:
        self._problem, self._rate = problem, rate
        self._optimiser = self._begun(list(problem.parameters.values()))

    @abstractmethod
    def _begun(self, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        """Fused, in one pass over the parameters: what a step costs beside a small batch."""

    @abstractmethod
    def _regularised(self, p: Tensor, before: Tensor) -> Tensor:
        """The proximal point of one parameter, which the optimiser has moved from ``before``."""

    def batch(self, number: int, x: Tensor, targets: Tensor, progress: float) -> BatchResult:
        found = gradients(self._problem, x, targets, progress)
        for name, p in self._problem.parameters.items():
            g = found.gradients.get(name)
            p.grad = torch.zeros_like(p) if g is None else g
        before = {p: p.detach().clone() for p in self._problem.regularised.values()}
        self._optimiser.step()
        self._optimiser.zero_grad()
        with torch.no_grad():
            for p, start in before.items():
                p.copy_(self._regularised(p, start))
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


class MomentumRun(ProximalSGDRun):
    """d+ = 0.9 d + g, theta+ = prox_{s R}(theta - lr d), s = lr/(1 - 0.9): where g stays, d is 10 g."""

    def _begun(self, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.SGD(parameters, self._rate, _MOMENTUM, fused=True)

    def _regularised(self, p: Tensor, before: Tensor) -> Tensor:
        return proximal_point(self._problem.regulariser, p, self._rate / (1 - _MOMENTUM))


class AdamRun(ProximalSGDRun):
    """theta+ = prox_{s R}(theta - s m), s = lr/(sqrt(v) + eps)."""

    def _begun(self, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.Adam(parameters, self._rate, BETAS, FLOOR, fused=True)

    def _regularised(self, p: Tensor, before: Tensor) -> Tensor:
        kept, regulariser = self._optimiser.state[p], self._problem.regulariser
        mean, step = adam(kept["exp_avg"], kept["exp_avg_sq"], kept["step"], self._rate, regulariser)
        return proximal_point(regulariser, before - step * mean, step)
