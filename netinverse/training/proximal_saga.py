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
from netinverse.training.process_group import batch_mark, same_marks


@dataclass(frozen=True)
class ProximalSAGA:
    """theta+ = prox_{lr R}(theta - lr (w_i (g_i - g_i^old) + sum_k w_k g_k / sum_k w_k)), g_k the gradient of the mean lifted
    energy of batch k as it is in the table, w_k its samples over the mean number of samples.

    The batches come in the order of the loader, so that the direction has not the full gradient, that of the mean over all
    samples, as its mean, as it would where batches were drawn at random: the source proves convergence for that case alone. What
    holds in any order: as the iterates settle every g_i comes near its g_i^old, the direction becomes the full gradient, and the
    points of rest are those of the whole problem. The table holds one gradient for each batch, so that the batches have to be the
    same in every epoch: a DataLoader without shuffling. Raises ValueError for others.
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
    """``table``: by batch, the last gradient of each parameter; ``sizes``: its samples; ``marks``: what tells them from others.

    ``mean``: of the gradients, over samples seen so far.
    """

    def __init__(self, problem: TrainingProblem, learning_rate: float) -> None:
        self._problem, self._rate = problem, learning_rate
        self._table: dict[int, dict[str, Tensor]] = {}
        self._sizes: dict[int, int] = {}
        self._marks: dict[int, Tensor] = {}
        self._mean = {name: torch.zeros_like(p) for name, p in problem.parameters.items()}

    def batch(self, number: int, x: Tensor, targets: Tensor, progress: float) -> BatchResult:
        mark = batch_mark(x, targets)
        self._require_the_same(number, mark)
        found = gradients(self._problem, x, targets, progress)
        row = {name: found.gradients.get(name, torch.zeros_like(p)) for name, p in self._problem.parameters.items()}
        old = self._table.get(number)
        self._table[number], self._sizes[number], self._marks[number] = row, len(x), mark
        share = len(x) / max(sum(self._sizes.values()), 1)
        with torch.no_grad():
            for name, p in self._problem.parameters.items():
                mean = self._mean[name]
                if old is None:
                    # The table grows: until every batch is in it, its mean is that of those seen.
                    self._mean[name] = mean + share * (row[name] - mean)
                    p.sub_(self._mean[name], alpha=self._rate)
                else:
                    change = row[name] - old[name]
                    p.sub_(share * len(self._table) * change + mean, alpha=self._rate)
                    self._mean[name] = mean + share * change
            for p in self._problem.regularised.values():
                p.copy_(proximal_point(self._problem.regulariser, p, self._rate))
        return BatchResult(found.loss, found.hits)

    def _require_the_same(self, number: int, mark: Tensor) -> None:
        if number in self._marks and not bool(same_marks(mark, self._marks[number], mark.dtype)):
            raise ValueError(
                f"ProximalSAGA: batch {number} has other samples, or another order of them, than in the epoch before, but the "
                f"last gradient of every batch is kept. Pass the same batches in every epoch, or take ProximalSGD()."
            )

    def state(self) -> dict[str, Tensor]:
        kept = {f"{k}/{name}": g for k, row in self._table.items() for name, g in row.items()}
        kept |= {f"mean/{name}": mean for name, mean in self._mean.items()}
        sizes = torch.tensor([self._sizes[k] for k in range(len(self._sizes))], dtype=torch.int64)
        kept |= {f"samples/{name}": sizes for name in self._mean}
        if self._marks:
            marks = torch.stack([self._marks[k] for k in range(len(self._marks))])
            kept |= {f"marks/{name}": marks for name in self._mean}
        return kept

    def restore(self, state: Mapping[str, Tensor]) -> None:
        for key, value in state.items():
            place, _, name = key.partition("/")
            if name not in self._problem.parameters:
                continue
            if place == "mean":
                self._mean[name] = value
            elif place == "samples":
                self._sizes = dict(enumerate(value.tolist()))
            elif place == "marks":
                self._marks = dict(enumerate(value))
            else:
                self._table.setdefault(int(place), {})[name] = value
