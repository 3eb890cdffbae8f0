"""Incremental aggregated gradients: a table of the last gradient of every batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from netinverse.checks import require_number
from netinverse.training.algorithm import BatchResult, gradients
from netinverse.training.metric import proximal_point
from netinverse.training.problem import TrainingProblem


@dataclass(frozen=True)
class ProximalSAGA:
    """theta+ = prox_{lr R}(theta - lr (g_i - g_i^old + mean of the table)), g_i the gradient of the lifted energy of batch i.

    The direction has the mean of the full gradient, and its variance falls as the iterates settle. The table holds one gradient
    for each batch, so that the batches have to be the same in every epoch: a DataLoader without shuffling.
    Defazio, Bach & Lacoste-Julien, NeurIPS 2014.
    """

    learning_rate: float = 0.03
    batches = "fixed"
    separable = True

    def __post_init__(self) -> None:
        require_number("ProximalSAGA", "learning_rate", self.learning_rate, "The default is 0.03.")

    def begin(self, problem: TrainingProblem) -> ProximalSAGARun:
        return ProximalSAGARun(problem, self.learning_rate)


class ProximalSAGARun:
    """``table``: by batch, the last gradient of each parameter; ``mean``: over the batches seen so far."""

    def __init__(self, problem: TrainingProblem, learning_rate: float) -> None:
        self._problem, self._rate = problem, learning_rate
        self._table: dict[int, dict[str, Tensor]] = {}
        self._mean = {name: torch.zeros_like(p) for name, p in problem.parameters.items()}

    def batch(self, number: int, x: Tensor, targets: Tensor, progress: float) -> BatchResult:
        found = gradients(self._problem, x, targets, progress)
        old, count = self._table.get(number), max(len(self._table), 1)
        with torch.no_grad():
            for name, p in self._problem.parameters.items():
                new = found.gradients.get(name, torch.zeros_like(p))
                mean = self._mean[name]
                if old is None:
                    # The table grows: until every batch is in it, its mean is that of those seen.
                    known = len(self._table)
                    p.sub_(new if known == 0 else (new + known * mean) / (known + 1), alpha=self._rate)
                    self._mean[name] = (known * mean + new) / (known + 1)
                else:
                    p.sub_(new - old[name] + mean, alpha=self._rate)
                    self._mean[name] = mean + (new - old[name]) / count
        self._table[number] = {
            name: found.gradients.get(name, torch.zeros_like(p)) for name, p in self._problem.parameters.items()
        }
        with torch.no_grad():
            for p in self._problem.regularised.values():
                p.copy_(proximal_point(self._problem.regulariser, p, self._rate))
        return BatchResult(found.loss, found.hits)

    def state(self) -> dict[str, Tensor]:
        kept = {f"{k}/{name}": g for k, row in self._table.items() for name, g in row.items()}
        kept |= {f"mean/{name}": mean for name, mean in self._mean.items()}
        return kept

    def restore(self, state: Mapping[str, Tensor]) -> None:
        for key, value in state.items():
            place, _, name = key.partition("/")
            if name not in self._problem.parameters:
                continue
            if place == "mean":
                self._mean[name] = value
            else:
                self._table.setdefault(int(place), {})[name] = value
