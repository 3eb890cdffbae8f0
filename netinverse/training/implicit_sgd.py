"""Implicit stochastic gradients: each batch's energy is minimised near the last parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from netinverse.checks import require_number, require_whole
from netinverse.training.algorithm import BatchResult, gradients
from netinverse.training.descent import descended
from netinverse.training.problem import TrainingProblem
from netinverse.training.weight_step import Anchor, weight_step


@dataclass(frozen=True)
class ImplicitSGD:
    """(theta, u)+ = argmin mean of E over the batch + 1/(2 tau) ||theta - theta_k||^2, by ``sweeps`` sweeps over u and theta.

    The activations begin where the auxiliaries say, for each batch anew; every block step lowers the objective of the batch, with
    steps that are found, not chosen. tau, ``proximity``, is the one number of the method: how far one batch may lead. Where batch
    normalisation trains, the steps in u hold its moments at those of the forward pass, so that layers are affine; those in theta
    lower the objective with the moments that they bring about.
    Wang & Benning, Lifted Bregman Training of Neural Networks, JMLR 24(232), 2023.
    """

    proximity: float = 0.1
    sweeps: int = 3
    batches = "any"
    separable = False

    def __post_init__(self) -> None:
        require_number("ImplicitSGD", "proximity", self.proximity, "The default is 0.1.")
        require_whole("ImplicitSGD", "sweeps", self.sweeps, 1, "The default is 3.")

    def begin(self, problem: TrainingProblem) -> ImplicitSGDRun:
        return ImplicitSGDRun(problem, self.proximity, self.sweeps)


class ImplicitSGDRun:
    """The length of the step in theta, which the next search begins at."""

    def __init__(self, problem: TrainingProblem, proximity: float, sweeps: int) -> None:
        self._problem, self._proximity, self._sweeps = problem, proximity, sweeps
        self._length = 1.0

    def batch(self, number: int, x: Tensor, targets: Tensor, progress: float) -> BatchResult:
        problem, held = self._problem, self._problem.held(x)
        first = gradients(problem, x, targets, progress)
        energy, held_energy, us = problem.energy(targets), held.energy(targets), first.us
        anchor = Anchor({name: p.detach().clone() for name, p in problem.parameters.items()}, self._proximity)
        for sweep in range(self._sweeps):
            us = us if sweep == 0 else descended(held, held_energy, x, us)
            self._length, _ = weight_step(problem, energy, x, us, self._length, anchor=anchor)
        return BatchResult(first.loss, first.hits)

    def state(self) -> dict[str, Tensor]:
        return {"length": torch.tensor(self._length, dtype=torch.float64)}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        self._length = float(state["length"])
